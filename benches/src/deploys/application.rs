//! A version of the application: pages, posts, event streams, WebSockets and uploads.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::BenchError;

/// Of one event stream, ten each second.
pub(super) const EVENTS: usize = 30;
pub(super) const EVENT: &str = "data: 0123456789 0123456789 0123456789\n\n";

/// More than there are clients.
const CONNECTIONS_MAX: u32 = 10_000;

/// What is under way gets so long when it ends.
const END: Duration = Duration::from_secs(60);

/// The page: the same of every version, so that every answer can be compared.
pub(super) fn page() -> Bytes {
    Bytes::from("<p>the same words again and again</p>\n".repeat(100))
}

/// A running version.
pub(super) struct Application {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    places: Arc<Semaphore>,
    runtime: Option<Runtime>,
}

impl Application {
    pub(super) fn start() -> Result<Self, BenchError> {
        let broken = || BenchError::io("the application cannot be started");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(broken())?;
        let bound = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = bound.map_err(broken())?;
        let address = listener.local_addr().map_err(broken())?;
        let (stop, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
        runtime.spawn(accept(listener, stopped, Arc::clone(&places)));
        Ok(Self {
            address,
            stop,
            places,
            runtime: Some(runtime),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends as applications do: no more connections, idle ones are closed, what is under way may finish.
    pub(super) fn end(mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            let left = self.places.acquire_many(CONNECTIONS_MAX);
            // What takes longer is cut, as it would be.
            let _late = runtime.block_on(async { tokio::time::timeout(END, left).await });
            runtime.shutdown_background();
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, mut stop: watch::Receiver<bool>, places: Arc<Semaphore>) {
    loop {
        let stopping = stop.clone();
        tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => {
                let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).acquire_owned().await) else {
                    continue;
                };
                tokio::spawn(connection(stream, stopping, Arc::new(place)));
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Who would say it is gone with the application.
    drop(stop.wait_for(|stop| *stop).await);
}

/// `place` is held until the connection ends, also when it becomes a WebSocket.
async fn connection(
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
    place: Arc<OwnedSemaphorePermit>,
) {
    let answer = service_fn(|request| answer(request, Arc::clone(&place)));
    let serving = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut serving = pin!(serving);
    tokio::select! {
        _ended = serving.as_mut() => return,
        () = stopped(&mut stop) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = serving.await;
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Answer, hyper::Error> {
    let whole = |body: Bytes| Full::new(body).boxed_unsync();
    let mut response = Response::new(whole(Bytes::new()));
    match request.uri().path() {
        "/up" => {}
        "/page" => *response.body_mut() = whole(page()),
        "/echo" => *response.body_mut() = whole(request.into_body().collect().await?.to_bytes()),
        "/upload" => {
            let mut bytes = 0;
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                bytes += frame?.data_ref().map_or(0, Bytes::len);
            }
            *response.body_mut() = whole(bytes.to_string().into());
        }
        "/live/events" => {
            let events = stream::unfold(0, |sent| async move {
                if sent == EVENTS {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                let frame = Frame::data(Bytes::from_static(EVENT.as_bytes()));
                Some((Ok(frame), sent + 1))
            });
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, "text/event-stream".parse().expect("a value"));
            *response.body_mut() = StreamBody::new(events).boxed_unsync();
        }
        "/live/socket" => {
            tokio::spawn(echo(request, place));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(UPGRADE, "websocket".parse().expect("a value"));
            headers.insert(CONNECTION, "upgrade".parse().expect("a value"));
            // Of the key that RFC 6455 has as its example, which the clients send.
            let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().expect("a value");
            headers.insert("sec-websocket-accept", accept);
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// Every byte comes back: frames too.
async fn echo(request: Request<Incoming>, _place: Arc<OwnedSemaphorePermit>) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else {
        return;
    };
    let mut stream = TokioIo::new(upgraded);
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
