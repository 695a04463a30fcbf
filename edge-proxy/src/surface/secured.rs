//! The admin listener over TCP, for operators on another machine: TLS with certificates on both sides, or nothing.
//!
//! Handshakes are done beside the accept loop, few at once and each in bounded time, so that a client that does not shake
//! hands holds nobody up.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::digest::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ACCEPT_AGAIN, Accept, Peer};

/// Operators are few.
const HANDSHAKES_MAX: usize = 16;
/// For one handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How operators on another machine are known.
#[derive(Clone)]
pub struct Mutual {
    tls: Arc<ServerConfig>,
    fingerprint: Digest,
}

/// Which file cannot be used, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMutual {
    /// The edge's own certificate.
    Certificate(&'static str),
    /// Its key.
    Key(&'static str),
    /// Who vouches for operators.
    Clients(&'static str),
}

impl Mutual {
    /// Reads the files: the edge's own chain and key, and the bundle of who vouches for operators.
    ///
    /// # Errors
    /// What cannot be used, without a word of what the files hold.
    pub fn read(certificate: &Path, key: &Path, clients: &Path) -> Result<Self, NotMutual> {
        let chain = certificates(certificate).map_err(NotMutual::Certificate)?;
        let bundle = certificates(clients).map_err(NotMutual::Clients)?;
        let mut parts: Vec<u8> = Vec::new();
        let mut roots = RootCertStore::empty();
        for authority in bundle {
            parts.extend_from_slice(&authority);
            let added = roots.add(authority);
            added.map_err(|_| NotMutual::Clients("holds what is no authority"))?;
        }
        chain.iter().for_each(|of| parts.extend_from_slice(of));
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|_| NotMutual::Key("holds no key that can be read, as PEM"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Without a certificate of such an authority there is no connection.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|_| NotMutual::Clients("vouches for nobody"))?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| NotMutual::Certificate("leaves no version of TLS"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|_| NotMutual::Key("is not the key of the certificate beside it"))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            fingerprint: Digest::of(&parts),
        })
    }

    /// Shakes hands with whoever comes to `listener`.
    pub(crate) fn listen(&self, listener: TcpListener) -> Secured {
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        let tls = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut accepting = JoinSet::new();
        accepting.spawn(shake(listener, tls, sender));
        Secured {
            ready,
            _accepting: accepting,
        }
    }
}

impl PartialEq for Mutual {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Mutual {}

impl std::fmt::Debug for Mutual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutual").finish_non_exhaustive()
    }
}

type Shaken = (TlsStream<TcpStream>, Peer);

/// Operators whose certificates were proven.
pub(crate) struct Secured {
    ready: mpsc::Receiver<Shaken>,
    /// Ends with this value, and with it every handshake.
    _accepting: JoinSet<()>,
}

impl Accept for Secured {
    type Io = TlsStream<TcpStream>;

    async fn accept(&mut self) -> io::Result<Shaken> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        self.ready.recv().await.ok_or_else(closed)
    }
}

async fn shake(listener: TcpListener, tls: TlsAcceptor, ready: mpsc::Sender<Shaken>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut shaking = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while shaking.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("an operator could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        shaking.spawn(async move {
            let _place = place;
            let shaken = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await;
            let Ok(Ok(stream)) = shaken else {
                tracing::warn!(
                    "somebody without an operator's certificate came to the admin listener"
                );
                return;
            };
            let shown = stream.get_ref().1.peer_certificates();
            if let Some(certificate) = shown.and_then(|chain| chain.first()) {
                let peer = Peer::Certificate(Digest::of(certificate));
                // Nobody listens any more only when the edge stops.
                let _stopping = ready.send((stream, peer)).await;
            }
        });
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found = CertificateDer::pem_file_iter(file).map_err(|_| "cannot be read")?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|_| "is damaged: a PEM section is cut off")?;
    if found.is_empty() {
        return Err("holds no certificate, as PEM");
    }
    Ok(found)
}

/// Where operators on another machine come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTcp {
    /// The address.
    pub listen: SocketAddr,
    /// How they are known.
    pub mutual: Mutual,
}
