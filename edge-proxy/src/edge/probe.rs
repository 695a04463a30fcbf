//! A walk through the whole stack of an edge that need not accept anybody: TLS for the schools, a file, a read, a page.
//!
//! It comes in by a socket of its own on loopback and goes through the same rooms as everybody's requests. What is
//! proven is that this process can serve, not that its origins are well: who compares two walks can tell.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Edge;
use crate::colour::Colour;
use crate::listener::{Connections, Front, Surface};

/// Schools whose handshake is tried: a handshake is a millisecond.
const SCHOOLS_MAX: usize = 64;

/// For one request: an origin that takes longer is not waited for.
const REQUEST: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What must be written otherwise in a path.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'%')
    .add(b'[')
    .add(b']');

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was asked for.
    pub what: String,
    /// What came.
    pub outcome: String,
    /// Whether that is as it should be.
    pub good: bool,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.outcome)
    }
}

impl Edge {
    /// Walks through this edge, whether or not it accepts anybody.
    pub async fn probe(&self) -> Vec<Probe> {
        let mut walk = JoinSet::new();
        match self.entrance(&mut walk) {
            Ok((address, tls)) => self.walk(address, tls).await,
            Err(error) => vec![Probe {
                what: "a socket on loopback".to_owned(),
                outcome: error.to_string(),
                good: false,
            }],
        }
    }

    /// A way in of its own; it ends with `walk`.
    fn entrance(&self, walk: &mut JoinSet<()>) -> io::Result<(SocketAddr, bool)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = !self.asked.public.is_empty();
        let surface = if tls {
            Surface::Public
        } else {
            Surface::DangerPlain
        };
        let front = &self.front;
        let (stay, draining) = watch::channel(false);
        let own = Arc::new(Front {
            app: Arc::clone(&front.app),
            handshake: front.handshake.clone(),
            draining,
            proxy_protocol_from: Vec::new(),
            limits: front.limits.clone(),
            metrics: Arc::clone(&front.metrics),
            connections: Arc::new(Connections::new(&front.limits)),
        });
        walk.spawn(async move {
            // It ends when it is aborted; a socket that cannot be watched is seen by who connects.
            let _ended = own.accept(listener, surface).await;
            drop(stay);
        });
        Ok((address, tls))
    }

    async fn walk(&self, address: SocketAddr, tls: bool) -> Vec<Probe> {
        let world = self.assembly.world().load_full();
        let hosts = world.config.tenants.iter();
        let hosts =
            hosts.filter_map(|(_, hosts)| hosts.first().map(|host| host.as_str().to_owned()));
        let hosts: Vec<String> = hosts.take(SCHOOLS_MAX).collect();
        let Some(host) = hosts.first() else {
            return Vec::new();
        };
        let mut probes = Vec::new();
        if tls {
            for host in &hosts {
                let shaken = within(shake(address, host)).await;
                probes.push(Probe {
                    what: format!("TLS for {host}"),
                    good: shaken.is_ok(),
                    outcome: shaken.map_or_else(|error| error, |_| "agreed".to_owned()),
                });
            }
        }
        let file = world.apps().iter().find_map(|app| {
            let live = Colour::BOTH
                .into_iter()
                .filter_map(|colour| app.colour(colour));
            live.filter_map(|live| app.files.a_file(&live.release))
                .next()
        });
        let file = file.map(|path| utf8_percent_encode(path, ESCAPED).to_string());
        let read = world.config.rules.a_path();
        let asked = [
            ("a file", file, true),
            ("a read", read, false),
            ("a page", Some("/".to_owned()), false),
        ];
        for (what, path, must_be_ours) in asked {
            let Some(path) = path else { continue };
            let seen = within(get(address, tls, host, &path)).await;
            probes.push(Probe {
                what: what.to_owned(),
                good: match &seen {
                    Ok(status) if must_be_ours => *status == StatusCode::OK,
                    Ok(status) => !status.is_server_error(),
                    Err(_) => false,
                },
                outcome: seen.map_or_else(|error| error, |status| status.as_str().to_owned()),
            });
        }
        probes
    }
}

async fn within<T>(asked: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(REQUEST, asked).await {
        Ok(Ok(seen)) => Ok(seen),
        // In one word: the text of an error may name what was asked.
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("too slow".to_owned()),
    }
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn shake(address: SocketAddr, host: &str) -> io::Result<Tls> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let named = Arc::new(Named(provider.signature_verification_algorithms));
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(named)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn get(address: SocketAddr, tls: bool, host: &str, path: &str) -> io::Result<StatusCode> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "bellwether-probe")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    if tls {
        ask(shake(address, host).await?, request).await
    } else {
        ask(TcpStream::connect(address).await?, request).await
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> io::Result<StatusCode> {
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    body.map_err(io::Error::other)?;
    Ok(status)
}

/// Wants a certificate for the name, whoever made it: schools may have their own authorities.
#[derive(Debug)]
struct Named(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
