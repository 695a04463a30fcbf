//! One accepted connection: the bytes below HTTP.
//!
//! Differs from pingora's own streams in three ways. Writes are gathered: what is ready in one turn
//! of the connection goes out in one TLS record and one system call, and for HTTP/2 the flush waits
//! one turn for the streams that are about to write; the last one is never held back. Buffers are
//! freed when empty, so that an idle connection costs little. And reading has deadlines and a least
//! rate: pingora's are per read, so one byte a minute would be legal.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::frames::{self, Breach, Incoming, Outgoing};
use super::pace::{Await, Received};
use super::peer::{Date, Peer};
use super::wire::Wire;

/// Gathered at most before it must go out: a few H2 frames, or one answer of 64 KiB with its header.
const GATHERED_BYTES_MAX: usize = 80 * 1024;
/// From here on more of the same size will follow: a buffer that grew with each would be copied as often.
const LARGE_BYTES: usize = 8 * 1024;

/// In what pingora answers by itself.
const NAMED: &[u8] = b"Server: Pingora\r\n";
/// The line in which pingora says when it sends.
const DATED: &[u8] = b"Date: ";
/// Said below HTTP to a client whose request has not begun for pingora.
const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";
const HEADER_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";

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
    body: BodyPace,
    frames: Option<Box<Frames>>,
}

enum Socket {
    Tls(Box<TlsStream<Wire>>),
    Plain(Wire),
}

/// What goes by on an HTTP/2 connection.
struct Frames {
    incoming: Incoming,
    outgoing: Outgoing,
}

struct Deadline {
    of: Await,
    began: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// How a body has come so far. Only the time in which the edge waits counts: an origin that reads
/// slowly is not the client's fault.
#[derive(Default)]
struct BodyPace {
    bytes: u64,
    waited: Duration,
}

impl BodyPace {
    /// What is left to wait: one pause for free, and then what the bytes so far have earned.
    fn left(&self, idle: Duration, bytes_per_s_min: u32) -> Duration {
        let millis = self.bytes.saturating_mul(1000) / u64::from(bytes_per_s_min.max(1));
        let earned = idle.saturating_add(Duration::from_millis(millis));
        earned.saturating_sub(self.waited).min(idle)
    }
}

impl Connection {
    pub(super) fn tls(mut stream: TlsStream<Wire>, peer: Arc<Peer>) -> io::Result<Self> {
        let session = stream.get_mut().1;
        // Less would send what was gathered in two parts.
        session.set_buffer_limit(Some(GATHERED_BYTES_MAX));
        let cipher = session
            .negotiated_cipher_suite()
            .map_or("", |suite| suite.suite().as_str().unwrap_or(""));
        let version = session
            .protocol_version()
            .map_or("", |v| v.as_str().unwrap_or(""));
        let digest = SslDigest::new(cipher, version, None, None, Vec::new());
        Self::over(Socket::Tls(Box::new(stream)), peer, Some(Arc::new(digest)))
    }

    pub(super) fn plain(stream: Wire, peer: Arc<Peer>) -> io::Result<Self> {
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
        let frames = peer.h2.then(|| {
            Box::new(Frames {
                incoming: Incoming::new(peer.limits().frames, Instant::now()),
                outgoing: Outgoing::default(),
            })
        });
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
            body: BodyPace::default(),
            frames,
        })
    }

    /// Waits for the client without holding a buffer for what it will send: whether there is
    /// something to read. If not, the client has gone.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let polled = self.socket.poll_readable(cx);
        if polled.is_pending() {
            self.poll_deadline(cx)?;
        }
        polled
    }

    /// Fails when the client has not sent in time what the request now waits for.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let awaited = self.peer.pace().awaited();
        if self.deadline.as_ref().is_some_and(|set| set.of != awaited) {
            self.disarm();
        }
        let limits = self.peer.limits();
        let limit = match awaited {
            Await::Nothing => {
                self.body = BodyPace::default();
                return Ok(());
            }
            Await::Header => limits.header,
            Await::Body => self
                .body
                .left(limits.body_idle, limits.body_bytes_per_s_min),
        };
        let whole_pause = limit == limits.body_idle;
        let deadline = self.deadline.get_or_insert_with(|| Deadline {
            of: awaited,
            began: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(limit)),
        });
        if deadline.sleep.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        let reason = match awaited {
            Await::Body if !whole_pause => "body_too_slow",
            awaited => awaited.as_str(),
        };
        self.peer.faulted(reason);
        if awaited == Await::Header && self.peer.pace().header_began() {
            self.part(REQUEST_TIMEOUT, cx);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    }

    /// No deadline any more; what was waited for a body stays on its account.
    fn disarm(&mut self) {
        if let Some(deadline) = self.deadline.take()
            && deadline.of == Await::Body
        {
            self.body.waited += deadline.began.elapsed();
        }
    }

    /// Looks at bytes that came in.
    fn received(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut anew = false;
        if let Some(frames) = &mut self.frames {
            let incoming = &mut frames.incoming;
            let headers = incoming.headers();
            if let Err(breach) = incoming.read(bytes, Instant::now(), self.peer.bytes_out()) {
                return Err(self.end_h2(breach, cx));
            }
            anew = incoming.headers() != headers;
            let half =
                incoming.in_header() || incoming.in_frame() && !self.peer.pace().has_bodies();
            self.peer.pace().set_in_header(half);
        }
        if self.peer.pace().awaited() == Await::Body {
            self.body.bytes += bytes.len() as u64;
        }
        match self.peer.received(bytes.len()) {
            Received::Same if !anew => Ok(()),
            Received::Same | Received::Anew => {
                self.disarm();
                Ok(())
            }
            Received::TooLarge => {
                self.peer.faulted("header_too_large");
                self.part(HEADER_TOO_LARGE, cx);
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "header_too_large",
                ))
            }
        }
    }

    /// A last answer below HTTP/1.1's session, which knows nothing of the request yet.
    fn part(&mut self, answer: &[u8], cx: &mut Context<'_>) {
        if self.frames.is_none() && !self.peer.pace().is_active() {
            self.out.extend_from_slice(answer);
            // The connection ends whether or not the client can be told.
            let _ = self.poll_out(cx);
            let _ = self.socket.poll_flush(cx);
        }
    }

    /// Ends an HTTP/2 connection whose frames are wrong or too many.
    fn end_h2(&mut self, breach: Breach, cx: &mut Context<'_>) -> io::Error {
        self.peer.faulted(breach.reason);
        let whole = self.frames.as_ref();
        if whole.is_some_and(|frames| frames.outgoing.between_frames()) {
            self.out.extend_from_slice(&frames::goodbye(breach.code));
            // As above.
            let _ = self.poll_out(cx);
            let _ = self.socket.poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::InvalidData, breach.reason)
    }

    /// Looks at bytes that go out: refusals that were made below the rooms are counted here.
    /// Returns where pingora's own name stands, which nobody is told.
    fn sends(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let peer = &self.peer;
        if let Some(frames) = &mut self.frames {
            frames.outgoing.wrote(bytes, |word| peer.faulted(word));
        } else if !peer.pace().is_active()
            && let Some(status) = bytes.strip_prefix(b"HTTP/1.1 ")
        {
            match status.get(..3) {
                Some(b"400") => peer.faulted("not_http"),
                Some(b"405") => peer.faulted("method_not_allowed"),
                _ => {}
            }
            let at = bytes.windows(NAMED.len()).position(|line| line == NAMED)?;
            return Some(at..at + NAMED.len());
        }
        None
    }

    /// A write that failed because the client takes nothing is counted.
    fn wrote<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                self.peer.faulted(super::wire::STALLED);
            }
        })
    }

    /// Sends what was gathered; the buffer is freed when it is empty.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let polled = ready!(self.socket.poll_write(cx, &self.out[self.written..]));
            let n = self.wrote(polled)?;
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

/// Puts the time in the `Date` line of a header, which is as long.
fn redate(header: &mut [u8], date: &Date) {
    let line = header.split_mut(|byte| *byte == b'\n').find(|line| {
        let name = line.get(..DATED.len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(DATED))
    });
    // And the carriage return.
    if let Some(line) = line
        && line.len() == DATED.len() + date.len() + 1
    {
        line[DATED.len()..][..date.len()].copy_from_slice(date);
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
            Poll::Ready(()) => Poll::Ready(this.received(&buf.filled()[before..], cx)),
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
                let polled = ready!(this.socket.poll_write(cx, buf));
                let n = this.wrote(polled)?;
                this.sends(&buf[..n]);
                this.peer.sent(n);
                return Poll::Ready(Ok(n));
            }
        }
        let named = this.sends(buf).unwrap_or(0..0);
        let from = this.out.len();
        if buf.len() >= LARGE_BYTES {
            this.out.reserve_exact(GATHERED_BYTES_MAX - from);
        }
        this.out.extend_from_slice(&buf[..named.start]);
        this.out.extend_from_slice(&buf[named.end..]);
        if let Some(date) = this.peer.take_date() {
            redate(&mut this.out[from..], &date);
        }
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
        let polled = ready!(this.socket.poll_flush(cx));
        Poll::Ready(this.wrote(polled))
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
            Self::Tls(stream) => stream.get_ref().0.tcp(),
            Self::Plain(stream) => stream.tcp(),
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

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Tls(stream) => Pin::new(stream)
                .poll_fill_buf(cx)
                .map_ok(|plaintext| !plaintext.is_empty()),
            Self::Plain(stream) => {
                let mut first = [0];
                let peeked = stream.tcp().poll_peek(cx, &mut ReadBuf::new(&mut first));
                peeked.map_ok(|bytes| bytes > 0)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origins_date_takes_the_place_of_the_one_of_sending() {
        let then = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let sent = "HTTP/1.1 200 OK\r\nx-date: Date: x\r\ndate: Sun, 22 Nov 2026 11:00:00 GMT\r\na: b\r\n\r\n";
        let mut header = sent.as_bytes().to_vec();
        redate(&mut header, then);
        let expected = sent.replace(
            "Sun, 22 Nov 2026 11:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        );
        assert_eq!(header, expected.as_bytes());
        for other in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ndate: now\r\n\r\n",
            "date: ",
        ] {
            let mut header = other.as_bytes().to_vec();
            redate(&mut header, then);
            assert_eq!(header, other.as_bytes());
        }
    }
}
