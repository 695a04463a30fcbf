//! How the small HTTP listeners for operators are served: admin and observe.
//!
//! Not the public listener: few clients, HTTP/1.1 only, but every wait and count has its limit,
//! so that a client that sends nothing, or reads nothing, holds a place for a known time.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Clients at once; the next ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 64;

/// For a request's head, and between requests.
const HEAD: Duration = Duration::from_secs(20);

/// For a whole connection: no command and no scrape takes as long.
const CONNECTION: Duration = Duration::from_secs(120);

/// For answers under way when the edge stops.
const DRAIN: Duration = Duration::from_secs(5);

/// After `accept` failed, mostly for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// Somebody on the network.
    Network,
    /// An account of this machine, by user id.
    Account(u32),
}

impl Peer {
    /// As records name who it was.
    pub(crate) fn account(self) -> String {
        match self {
            Self::Account(uid) => format!("uid {uid}"),
            Self::Network => "network".to_owned(),
        }
    }
}

/// A socket that clients connect to.
pub(crate) trait Accept: Send + 'static {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Peer::Network))
    }
}

impl Accept for UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, Peer::Account(uid)))
    }
}

/// Serves until `stop` turns true, then lets answers under way end.
pub(crate) async fn serve(
    mut listener: impl Accept,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = stop.clone();
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let (io, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("a client could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let connection = connection(io, peer, router.clone(), stopping.clone());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stopped(&mut stop) => {}
    }
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if timeout(DRAIN, places.acquire_many(all)).await.is_err() {
        tracing::warn!("an operator's connection was cut: it took longer than {DRAIN:?} to end");
    }
}

async fn connection(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let with_peer = axum::middleware::map_request(move |mut request: Request<Body>| async move {
        request.extensions_mut().insert(peer);
        request
    });
    let service = TowerToHyperService::new(router.layer(with_peer));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        hyper::service::Service::call(&service, request)
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(64)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        // A client that leaves early or sends junk has been answered by hyper where possible.
        _ended = serving.as_mut() => return,
        () = stopped(&mut stop) => {}
        () = tokio::time::sleep(CONNECTION) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = timeout(DRAIN, serving).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender gone means the same: nobody is left who could stop us.
    let _gone = stop.wait_for(|stop| *stop).await;
}
