//! The handshake: rustls with the certificates of [`certs`], its outcome counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listener::Wire;
use crate::metrics::Metrics;
use crate::metrics::labels::Handshake as Ended;

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Handshake {
    acceptor: TlsAcceptor,
}

/// A connection whose handshake is done.
pub(crate) struct Shaken {
    /// The connection.
    pub(crate) stream: TlsStream<Wire>,
    /// The name that the client asked for, in lower case.
    pub(crate) sni: Option<Box<str>>,
    /// Whether HTTP/2 was agreed.
    pub(crate) h2: bool,
    /// The version that was agreed.
    pub(crate) version: Option<&'static str>,
}

impl Handshake {
    /// Certificates may change below `config`: its resolver reads the live table.
    pub fn new(config: Arc<rustls::ServerConfig>) -> Self {
        Self {
            acceptor: config.into(),
        }
    }

    /// Shakes hands within `limit`.
    ///
    /// # Errors
    /// When the client speaks no TLS that suits, asks for a name without a certificate, or is slow.
    pub(crate) async fn accept(
        &self,
        stream: Wire,
        limit: Duration,
        metrics: &Metrics,
    ) -> io::Result<Shaken> {
        let stream = match tokio::time::timeout(limit, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let ended = if is_unknown_name(&error) {
                    Ended::UnknownName
                } else {
                    Ended::Failed
                };
                metrics.handshake(ended, false);
                return Err(error);
            }
            Err(_) => {
                metrics.handshake(Ended::Timeout, false);
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        let session = stream.get_ref().1;
        metrics.handshake(
            Ended::Done,
            session.handshake_kind() == Some(HandshakeKind::Resumed),
        );
        let sni = session
            .server_name()
            .map(|name| name.to_ascii_lowercase().into_boxed_str());
        let h2 = session.alpn_protocol() == Some(b"h2");
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Some("1.3"),
            Some(ProtocolVersion::TLSv1_2) => Some("1.2"),
            _ => None,
        };
        Ok(Shaken {
            stream,
            sni,
            h2,
            version,
        })
    }
}

/// rustls has no variant of its own for a resolver that has nothing to offer.
fn is_unknown_name(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::General(text)) if text.contains("certificate chain resolved"))
}
