//! One accepted connection: the bytes below HTTP.
//!
//! Differs from pingora's own streams in three ways. Writes are gathered: what is ready in one turn
//! of the connection goes out in one TLS record and one system call, and for HTTP/2 the flush waits
//! one turn for the streams that are about to write; the last one is never held back. Buffers are
//! freed when empty, so that an idle connection costs little. And reading has deadlines: pingora's
//! are per read, so one byte a minute would be legal.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::peer::{Await, Peer};

/// Gathered at most before it must go out: a few H2 frames, or one answer of 64 KiB with its header.
const GATHERED_BYTES_MAX: usize = 80 * 1024;

/// A TLS or plain connection as pingora's [`IO`](pingora_core::protocols::IO).
pub(super) struct Connection {
    socket: Socket,
    peer: Arc<Peer>,
    proxy_digest: Arc<ProxyDigest>,
    socket_digest: Option<Arc<SocketDigest>>,
    ssl_digest: Option<Arc<SslDigest>>,
    since: SystemTime,
    out: Vec<u8>,
    written: usize,
    yielded: bool,
    deadline: Option<Deadline>,
}

enum Socket {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

struct Deadline {
    of: Await,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Connection {
    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: Arc<Peer>) -> io::Result<Self> {
        let session = stream.get_ref().1;
        let cipher = session
            .negotiated_cipher_suite()
            .map_or("", |suite| suite.suite().as_str().unwrap_or(""));
        let version = session
            .protocol_version()
            .map_or("", |v| v.as_str().unwrap_or(""));
        let digest = SslDigest::new(cipher, version, None, None, Vec::new());
        Self::over(Socket::Tls(Box::new(stream)), peer, Some(Arc::new(digest)))
    }

    pub(super) fn plain(stream: TcpStream, peer: Arc<Peer>) -> io::Result<Self> {
        Self::over(Socket::Plain(stream), peer, None)
    }

    /// Whether the handshake chose HTTP/2.
    pub(super) fn is_h2(&self) -> bool {
        self.peer.h2
    }

    fn over(
        socket: Socket,
        peer: Arc<Peer>,
        ssl_digest: Option<Arc<SslDigest>>,
    ) -> io::Result<Self> {
        let socket_digest = SocketDigest::from_raw_fd(socket.tcp().as_raw_fd());
        // `set` fails only when a value is there already, and this digest is new.
        let _ = socket_digest.peer_addr.set(Some(peer.address.into()));
        let header = ResponseHeader::build_no_case(200, Some(0)).map_err(io::Error::other)?;
        Ok(Self {
            socket,
            proxy_digest: Arc::new(ProxyDigest::new(
                Box::new(header),
                Some(Box::new(Arc::clone(&peer))),
            )),
            peer,
            socket_digest: Some(Arc::new(socket_digest)),
            ssl_digest,
            since: SystemTime::now(),
            out: Vec::new(),
            written: 0,
            yielded: false,
            deadline: None,
        })
    }

    /// Fails when the client has not sent in time what the request now waits for.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let awaited = self.peer.awaited();
        let Some(limit) = self.peer.limit(awaited) else {
            self.deadline = None;
            return Ok(());
        };
        let deadline = match &mut self.deadline {
            Some(deadline) if deadline.of == awaited => deadline,
            other => other.insert(Deadline {
                of: awaited,
                sleep: Box::pin(tokio::time::sleep(limit)),
            }),
        };
        match deadline.sleep.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                self.peer.timed_out(awaited);
                Err(io::Error::new(io::ErrorKind::TimedOut, awaited.as_str()))
            }
        }
    }

    /// Sends what was gathered; the buffer is freed when it is empty.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let n = ready!(self.socket.poll_write(cx, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match this.socket.poll_read(cx, buf)? {
            Poll::Ready(()) => {
                let n = buf.filled().len() - before;
                if this.peer.received(n) {
                    this.deadline = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                this.peer.register(cx.waker());
                this.poll_deadline(cx)?;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.yielded = false;
        if this.out.len() + buf.len() > GATHERED_BYTES_MAX {
            ready!(this.poll_out(cx))?;
            if buf.len() > GATHERED_BYTES_MAX {
                let n = ready!(this.socket.poll_write(cx, buf))?;
                this.peer.sent(n);
                return Poll::Ready(Ok(n));
            }
        }
        this.out.extend_from_slice(buf);
        this.peer.sent(buf.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.peer.h2 && !this.out.is_empty() && !this.yielded {
            this.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_out(cx))?;
        this.yielded = false;
        this.socket.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        this.socket.poll_shutdown(cx)
    }
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => stream.get_ref().0,
            Self::Plain(stream) => stream,
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Result<Poll<()>, io::Error> {
        let polled = match self {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// How long a closing connection may take to say goodbye: the peer may be gone.
const GOODBYE: Duration = Duration::from_secs(2);

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A peer that is gone cannot be told; dropping the socket is all that is left.
        let _ = tokio::time::timeout(GOODBYE, AsyncWriteExt::shutdown(self)).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        let fd: RawFd = self.socket.tcp().as_raw_fd();
        fd
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.peer.h2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.since,
            ..TimingDigest::default()
        })]
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.proxy_digest))
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.socket_digest.clone()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.socket_digest = Some(Arc::new(digest));
    }
}

impl Peek for Connection {}
