//! HTTP/2: the requests of one connection.
//!
//! In place of pingora's own loop. A request is first tried in the connection's own turn: a hit needs
//! nothing that it would have to wait for, so it is answered without a task, and goes out with the
//! others that came in the same read. What does wait becomes a task. And a connection that was idle
//! for too long is told so before it is closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::room::{Busy, Seat};

/// Streams that pingora refused as malformed before the connection is of no more use: as many as in
/// its own loop.
const MALFORMED_MAX: u32 = 32;

/// A connection that makes room for another has so long to say goodbye.
const LEAVE: Duration = Duration::from_secs(2);

/// So long a new connection is not told goodbye: a client asks nothing on one that ends (RFC 9113, 6.8), and its first
/// request may be on its way. Shorter than what a drain waits for goodbyes.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Serves the connection to its end; `idle`: without a request for so long it is closed, at the
/// latest after twice as long.
pub(super) async fn serve<A>(
    app: &Arc<A>,
    stream: Stream,
    draining: &watch::Receiver<bool>,
    idle: Duration,
    seat: Seat,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut connection = match handshake(stream, app.h2_options()).await {
        Ok(connection) => connection,
        Err(error) => {
            debug!(error = %error.etype().as_str(), "an HTTP/2 connection did not begin");
            return;
        }
    };
    let mut watched = draining.clone();
    // The sender is gone only when the edge is.
    let mut drained = pin!(async { drop(watched.wait_for(|draining| *draining).await) });
    let mut silence = tokio::time::interval_at(Instant::now() + idle, idle);
    let mut patience = pin!(tokio::time::sleep(FIRST_REQUEST));
    let (mut new, mut leaving, mut silent, mut malformed) = (true, false, true, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drained, if !leaving && !new => {
                connection.graceful_shutdown();
                leaving = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = seat.leave(), if !leaving => {
                connection.graceful_shutdown();
                leaving = true;
                // Others wait for its place.
                silence = tokio::time::interval_at(Instant::now() + LEAVE, LEAVE);
                continue;
            }
            () = &mut patience, if new => {
                new = false;
                continue;
            }
            _ = silence.tick() => {
                if silent && seat.is_idle() {
                    if leaving {
                        return; // It was told and does not answer.
                    }
                    connection.graceful_shutdown();
                    leaving = true;
                }
                silent = true;
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(request))) => {
                (new, silent) = (false, false);
                answer(app, request, draining, seat.busy());
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                if malformed == MALFORMED_MAX {
                    return;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// Answers a request now if that needs no waiting, else in a task.
fn answer<A>(app: &Arc<A>, request: HttpSession, draining: &watch::Receiver<bool>, busy: Busy)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (app, draining) = (Arc::clone(app), draining.clone());
    let mut answering = Box::pin(async move {
        app.process_new_http(ServerSession::new_http2(request), &draining)
            .await;
        drop(busy);
    });
    // A task is polled when it starts: nothing that wakes this waker is lost. A panic ends this
    // request alone, as it would in a task.
    let mut nobody = Context::from_waker(Waker::noop());
    let first = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(&mut nobody)));
    if let Ok(Poll::Pending) = first {
        tokio::spawn(answering);
    }
}

#[cfg(test)]
mod tests;
