//! An origin that does what a test tells it, and remembers every byte that it was sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::reply::{Answering, Pipe, Reply};

/// Connections that may wait to be accepted: as many as Puma allows. Tokio's own 128 are less than a stampede, and what
/// the kernel then drops is tried again after a second and after three.
const QUEUE_MAX: u32 = 1024;

/// A listening origin; it ends with its value.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// A word that its answers may carry, such as the colour.
    pub(crate) name: &'static str,
    inner: Arc<Inner>,
    accepting: AbortHandle,
}

type Handler = Arc<dyn Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync>;

struct Inner {
    handlers: Mutex<HashMap<String, Handler>>,
    otherwise: Mutex<Option<Handler>>,
    seen: Mutex<Vec<Seen>>,
    wire: Mutex<Vec<u8>>,
    well: AtomicBool,
    hung: AtomicBool,
    nonces: AtomicUsize,
    in_flight: Arc<AtomicUsize>,
}

/// A request as a handler gets it.
pub(crate) struct Asked {
    pub(crate) seen: Seen,
    pub(crate) body: Incoming,
    /// Another one for each request.
    pub(crate) nonce: String,
}

/// A request as it is remembered.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of a header that is text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Origin {
    /// Listens, answers `/up` with yes and everything else with 404.
    pub(crate) async fn start(name: &'static str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let bound = socket.bind(([127, 0, 0, 1], 0).into());
        bound.expect("loopback has free ports");
        let listener = socket.listen(QUEUE_MAX).expect("it is bound");
        let address = listener.local_addr().expect("a bound socket has a name");
        let inner = Arc::new(Inner {
            handlers: Mutex::default(),
            otherwise: Mutex::default(),
            seen: Mutex::default(),
            wire: Mutex::default(),
            well: AtomicBool::new(true),
            hung: AtomicBool::new(false),
            nonces: AtomicUsize::new(0),
            in_flight: Arc::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inner))).abort_handle();
        Self {
            address,
            name,
            inner,
            accepting,
        }
    }

    /// Says what happens at a path.
    pub(crate) fn on<F, R>(&self, path: &str, handler: F)
    where
        F: Fn(Asked) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.inner
            .handlers
            .lock()
            .insert(path.to_owned(), boxed(handler));
    }

    /// Says what happens at every other path.
    pub(crate) fn otherwise<F, R>(&self, handler: F)
    where
        F: Fn(Asked) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        *self.inner.otherwise.lock() = Some(boxed(handler));
    }

    /// Answers a path with bodies that the test writes piece by piece: one pipe for each request.
    pub(crate) fn on_stream(
        &self,
        path: &str,
        content_type: &'static str,
    ) -> mpsc::UnboundedReceiver<Pipe> {
        let (pipes, receiver) = mpsc::unbounded_channel();
        self.on(path, move |_| {
            let (reply, pipe) = Reply::piped();
            // A test that dropped the receiver does not want the pipe.
            let _ = pipes.send(pipe);
            async move { reply.header("content-type", content_type) }
        });
        receiver
    }

    /// Accepts WebSockets at a path and sends every message back.
    pub(crate) fn on_websocket(&self, path: &str) {
        self.on(path, |asked| async move {
            let accept = derive_accept_key(asked.seen.header("sec-websocket-key").as_bytes());
            Reply::upgrade(&accept)
        });
    }

    /// Whether `/up` says yes from now on.
    /// From now on health checks get no answer.
    pub(crate) fn set_hung(&self) {
        self.inner.hung.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_well(&self, well: bool) {
        self.inner.well.store(well, Ordering::Relaxed);
    }

    /// The requests so far, without health checks.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().clone()
    }

    /// The requests for one path so far.
    pub(crate) fn seen_at(&self, path: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path() == path)
            .collect()
    }

    /// How many requests for a path there were so far.
    pub(crate) fn hits(&self, path: &str) -> usize {
        let seen = self.inner.seen.lock();
        seen.iter().filter(|seen| seen.path() == path).count()
    }

    /// Whether these bytes were received, in whatever form.
    pub(crate) fn was_sent(&self, text: &str) -> bool {
        let wire = self.inner.wire.lock();
        wire.windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    }

    /// Requests whose answers are not at their end.
    pub(crate) fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }

    /// Closes the port and every connection.
    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn boxed<F, R>(handler: F) -> Handler
where
    F: Fn(Asked) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Arc::new(move |asked| Box::pin(handler(asked)))
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    // Dropped with this task, and then every connection is.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let inner = Arc::clone(&inner);
        connections.spawn(serve(stream, inner));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    let heard = Heard {
        stream,
        inner: Arc::clone(&inner),
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&inner)));
    // An edge that breaks off is the business of the test, not of its origin.
    // Without a date of its own: a test may have moved the edge's clock.
    let _ = http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(heard), service)
        .with_upgrades()
        .await;
}

async fn answer(
    mut request: Request<Incoming>,
    inner: Arc<Inner>,
) -> Result<http::Response<super::reply::Body>, Infallible> {
    if request.uri().path() == "/up" {
        if inner.hung.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let status = match inner.well.load(Ordering::Relaxed) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        return Ok(Reply::new(status.as_u16()).respond(None));
    }
    let answering = Answering::begin(&inner.in_flight);
    let seen = Seen {
        method: request.method().clone(),
        target: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    inner.seen.lock().push(seen.clone());
    let handler = inner.handlers.lock().get(seen.path()).cloned();
    let handler = handler.or_else(|| inner.otherwise.lock().clone());
    let upgrade = hyper::upgrade::on(&mut request);
    let nonce = format!(
        "nonce-{}-",
        inner.nonces.fetch_add(1, Ordering::Relaxed) + 1
    );
    let asked = Asked {
        seen,
        body: request.into_body(),
        nonce,
    };
    let reply = match handler {
        Some(handler) => handler(asked).await,
        None => Reply::new(404).header("content-type", "text/plain"),
    };
    if reply.is_upgrade() {
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                echo(TokioIo::new(upgraded)).await;
            }
        });
    }
    Ok(reply.respond(Some(answering)))
}

async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}

/// The whole body of a request.
pub(crate) async fn whole(body: Incoming) -> Bytes {
    body.collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default()
}

/// A connection whose incoming bytes are written down.
struct Heard {
    stream: TcpStream,
    inner: Arc<Inner>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.inner
            .wire
            .lock()
            .extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
