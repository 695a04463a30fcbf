//! What an origin answers: whole, piece by piece, or broken off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::body::Frame;
use tokio::sync::{mpsc, watch};

/// An answer that is being put together.
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Source,
}

enum Source {
    Whole(Bytes),
    Piped(mpsc::Receiver<io::Result<Bytes>>),
}

/// The other end of a body: the test writes, the client reads.
pub(crate) struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("tests use statuses that exist"),
            headers: HeaderMap::new(),
            body: Source::Whole(Bytes::new()),
        }
    }

    /// 200 with a body of a type.
    pub(crate) fn of(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(200)
            .header("content-type", content_type)
            .body(body)
    }

    /// 200 with JSON that nobody has agreed to keep.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::of("application/json", body.to_string())
    }

    /// 200 with a body that follows by and by.
    pub(crate) fn piped() -> (Self, Pipe) {
        let (sender, receiver) = mpsc::channel(16);
        let reply = Self {
            body: Source::Piped(receiver),
            ..Self::new(200)
        };
        (reply, Pipe(sender))
    }

    /// The connection becomes a WebSocket.
    pub(crate) fn upgrade(accept: &str) -> Self {
        Self::new(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("tests use names that are names");
        let value = HeaderValue::try_from(value).expect("tests use values that are values");
        self.headers.append(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Source::Whole(body.into());
        self
    }

    /// Agrees that the answer is kept, for a minute.
    pub(crate) fn shared(self, scope: &str) -> Self {
        self.header("x-edge-cache-scope", scope)
            .header("cache-control", "max-age=60")
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS
    }

    pub(super) fn respond(self, answering: Option<Answering>) -> http::Response<Body> {
        let body = Body {
            source: self.body,
            _answering: answering,
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl Pipe {
    /// Sends a piece; false: the reader is gone.
    pub(crate) async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(Ok(piece.into())).await.is_ok()
    }

    /// Ends the connection in the middle of the body.
    pub(crate) async fn break_off(self) {
        // A reader that is gone has broken off itself.
        let _ = self.0.send(Err(io::Error::other("broken off"))).await;
    }

    /// Returns when nobody reads any more.
    pub(crate) async fn abandoned(&self) {
        self.0.closed().await;
    }
}

/// A request that is being answered; counted while it lives.
pub(super) struct Answering(Arc<AtomicUsize>);

impl Answering {
    pub(super) fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a reply, as hyper reads it.
pub(super) struct Body {
    source: Source,
    _answering: Option<Answering>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Piped(pieces) => pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.source {
            Source::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Source::Piped(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Holds answers back until a test opens it.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
