//! One careful request, to see what a peer really sends.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::case::Protocol;
use crate::ground::{Ground, HOST};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What the handshake settled on.
    pub(crate) protocol: Vec<u8>,
    pub(crate) tls: Option<ProtocolVersion>,
    pub(crate) coding: Option<String>,
    /// Of the header, roughly: names and values.
    pub(crate) header_bytes: usize,
    pub(crate) body: Bytes,
}

/// A client that trusts the certificate of the run, and asks for what the load tools ask for.
pub(crate) struct Visitor {
    tls: ClientConfig,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Visitor {
    pub(crate) fn new(ground: &Ground) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(ground.certificate().clone())?;
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls })
    }

    pub(crate) async fn get(
        &self,
        address: SocketAddr,
        protocol: Protocol,
        path: &str,
    ) -> Result<Answer, Failure> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![alpn(protocol).to_vec()];
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(ServerName::try_from(HOST)?, stream)
            .await?;
        let (_, session) = stream.get_ref();
        let settled = session.alpn_protocol().unwrap_or_default().to_vec();
        let version = session.protocol_version();
        let authority = format!("{HOST}:{}", address.port());
        let request = Request::get(match protocol {
            Protocol::H1 => path.to_owned(),
            Protocol::H2 => format!("https://{authority}{path}"),
        })
        .header("accept-encoding", "identity");
        let io = TokioIo::new(stream);
        let response: Response<Incoming> = match protocol {
            Protocol::H1 => {
                let (mut sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                let request = request
                    .header("host", authority)
                    .body(Empty::<Bytes>::new())?;
                sender.send_request(request).await?
            }
            Protocol::H2 => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                sender
                    .send_request(request.body(Empty::<Bytes>::new())?)
                    .await?
            }
        };
        let (parts, body) = response.into_parts();
        let fields = parts.headers.iter();
        let coding = parts.headers.get("content-encoding");
        Ok(Answer {
            status: parts.status.as_u16(),
            protocol: settled,
            tls: version,
            coding: coding.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            header_bytes: fields
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum(),
            body: body.collect().await?.to_bytes(),
        })
    }
}

/// The protocol's name in a handshake.
pub(crate) fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::H1 => b"http/1.1",
        Protocol::H2 => b"h2",
    }
}
