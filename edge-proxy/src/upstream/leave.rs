//! How event streams and WebSockets end when their version is left: not in the middle of something.
//!
//! The connection to the origin of a stream route is one of these. It passes every byte as it is and follows what the
//! bytes mean. When the version is left, and the answer is between two events or messages, it says for the origin that
//! this is the end: `retry:` and the end of the body, or a close frame with 1012. The client comes back by itself, and
//! to another version. What is neither an event stream nor a WebSocket is left alone.

mod answer;
mod events;
mod frames;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pingora_core::Result;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::answer::{Answer, Farewell};
use super::connect::connect;
use super::ledger::Ledger;

/// How long a client gets to answer a close frame before the connection ends anyway.
const GOODBYE: Duration = Duration::from_secs(2);

/// Connects to members for stream routes.
#[derive(Debug)]
pub struct Connector {
    /// Of the colour whose members they are.
    pub ledger: Arc<Ledger>,
    /// How long a connection may take.
    pub limit: Duration,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let tcp = connect(address, self.limit).await?;
        // Events are small, and somebody waits for each.
        let _slower = tcp.set_nodelay(true);
        let connection = Connection::new(tcp, Arc::clone(&self.ledger));
        Ok(VirtualSocketStream::new(Box::new(connection)).into())
    }
}

/// A connection to a member that can be ended well.
struct Connection<S> {
    io: S,
    answer: Answer,
    ledger: Arc<Ledger>,
    /// Ready when the version is left. In a mutex only because sockets have to be `Sync`.
    left: Mutex<BoxFuture<'static, ()>>,
    is_left: bool,
    stage: Stage,
}

enum Stage {
    /// The origin speaks.
    Going,
    /// These bytes of the farewell are still to be read.
    Parting(Vec<u8>, Farewell),
    /// A close frame is out: what the origin still says is dropped until it ends.
    Parted(Mutex<BoxFuture<'static, ()>>),
    /// The end.
    Over,
}

impl<S> Connection<S> {
    fn new(io: S, ledger: Arc<Ledger>) -> Self {
        let mut leaving = ledger.leaving();
        let left = async move {
            // Its sender is in the ledger, which this connection holds.
            let _gone = leaving.wait_for(|leaving| *leaving).await;
        };
        Self {
            io,
            answer: Answer::default(),
            ledger,
            left: Mutex::new(Box::pin(left)),
            is_left: false,
            stage: Stage::Going,
        }
    }

    fn part(&mut self) {
        if let Some((bytes, farewell)) = self.answer.farewell() {
            self.ledger.parted();
            self.stage = Stage::Parting(bytes, farewell);
        }
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    fn poll_answer(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.stage {
                Stage::Going => {
                    if !self.is_left {
                        self.is_left = self.left.get_mut().as_mut().poll(cx).is_ready();
                    }
                    if self.is_left && self.answer.is_between() {
                        self.part();
                        continue;
                    }
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
                    let between = self.answer.read(&buf.filled()[before..]);
                    if let Some(end) = between.filter(|_| self.is_left) {
                        // What begins after it was never said.
                        buf.set_filled(before + end);
                        self.part();
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Parting(bytes, farewell) => {
                    let some = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..some]);
                    bytes.drain(..some);
                    if bytes.is_empty() {
                        self.stage = match farewell {
                            Farewell::Events => Stage::Over,
                            Farewell::WebSocket => {
                                Stage::Parted(Mutex::new(Box::pin(tokio::time::sleep(GOODBYE))))
                            }
                        };
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Parted(late) => {
                    if late.get_mut().as_mut().poll(cx).is_ready() {
                        self.stage = Stage::Over;
                        continue;
                    }
                    let mut dropped = [0; 4096];
                    let mut dropped = ReadBuf::new(&mut dropped);
                    let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut dropped));
                    if read.is_err() || dropped.filled().is_empty() {
                        self.stage = Stage::Over;
                    }
                }
                Stage::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_answer(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> VirtualSocket for Connection<S> {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        // Set where it was opened.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
