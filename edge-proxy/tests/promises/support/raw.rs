//! Bytes as they are, for what no well-behaved client would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::tls;
use super::wait::{PATIENCE, soon};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection without any idea of HTTP.
pub(crate) struct Raw(Box<dyn Stream>);

/// What came back until the other side closed, or was silent for too long.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) closed: bool,
    pub(crate) after: Duration,
}

impl Heard {
    /// The status of the first answer; 0: there was none.
    pub(crate) fn status(&self) -> u16 {
        let status = self.text.strip_prefix("HTTP/1.1 ");
        status
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    }

    /// How many answers came.
    pub(crate) fn answers(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }
}

impl Raw {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the edge accepts connections");
        stream.set_nodelay(true).expect("the socket is open");
        Self(Box::new(stream))
    }

    pub(crate) async fn tls(address: SocketAddr, sni: &str, config: Arc<ClientConfig>) -> Self {
        let stream = tls(address, sni, config)
            .await
            .expect("the edge shakes hands");
        Self(Box::new(stream))
    }

    /// Sends; false: the edge has closed the connection already.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = async {
            self.0.write_all(bytes.as_ref()).await?;
            self.0.flush().await
        };
        soon("the bytes are sent", sent).await.is_ok()
    }

    /// Reads until the edge closes the connection.
    pub(crate) async fn hear(&mut self) -> Heard {
        self.hear_for(PATIENCE).await
    }

    /// Reads until the edge closes the connection, or nothing came for `silence`.
    pub(crate) async fn hear_for(&mut self, silence: Duration) -> Heard {
        let began = Instant::now();
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let closed = loop {
            match tokio::time::timeout(silence, self.0.read(&mut buffer)).await {
                // A reset says the same as an end.
                Ok(Ok(0) | Err(_)) => break true,
                Ok(Ok(n)) => text.extend_from_slice(&buffer[..n]),
                Err(_) => break false,
            }
        };
        Heard {
            text: String::from_utf8_lossy(&text).into_owned(),
            closed,
            after: began.elapsed(),
        }
    }

    /// Reads until what came ends with or holds `needle`.
    pub(crate) async fn hear_until(&mut self, needle: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains(needle) {
            let n = soon("the edge goes on", self.0.read(&mut buffer))
                .await
                .expect("the connection holds");
            assert_ne!(n, 0, "closed after {text:?}, before {needle:?} came");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        text
    }
}
