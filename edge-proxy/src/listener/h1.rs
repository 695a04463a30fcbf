//! HTTP/1.1: the requests of one connection, one after the other.
//!
//! In place of pingora's own loop, which holds everything that a request needs while it waits for
//! one: most connections of a school are idle, and so a third of the memory is enough. And a
//! connection that was idle for too long is told so before it is closed.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::Shutdown;
use pingora_core::protocols::http::ServerSession;
use tokio::sync::watch;
use tracing::debug;

use super::connection::Connection;
use super::room::Seat;

/// How long a connection may wait for its next request.
pub(super) struct Stay {
    pub(super) keep_alive: Duration,
    /// Turns true when it may not wait any longer.
    pub(super) dismissed: watch::Receiver<bool>,
    pub(super) seat: Seat,
}

/// Serves the connection to its end.
pub(super) async fn serve<A>(
    app: &Arc<A>,
    mut connection: Box<Connection>,
    draining: &watch::Receiver<bool>,
    mut stay: Stay,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    // The first header has a deadline already, which the connection keeps itself.
    let mut patience = Duration::MAX;
    while asked(&mut connection, patience, &mut stay).await {
        let _busy = stay.seat.busy();
        let answered = answer(app, connection, draining, stay.keep_alive).await;
        // What pingora would carry to the next request is said anew for each, or not used.
        let kept = answered.and_then(|kept| kept.consume().0.into_any().downcast().ok());
        match kept {
            Some(kept) => connection = kept,
            None => return,
        }
        patience = stay.keep_alive;
    }
    connection.shutdown().await;
}

/// Waits for a request: whether one comes before the client goes or the wait is over.
async fn asked(connection: &mut Connection, patience: Duration, stay: &mut Stay) -> bool {
    let Stay {
        dismissed, seat, ..
    } = stay;
    // The sender is gone only when the edge is.
    let dismissed = pin!(async { drop(dismissed.wait_for(|dismissed| *dismissed).await) });
    let readable = poll_fn(|cx| connection.poll_readable(cx));
    tokio::select! {
        biased;
        readable = readable => readable.unwrap_or_else(|error| {
            debug!(%error, "a connection ended while it waited for a request");
            false
        }),
        () = dismissed => false,
        () = seat.leave() => false,
        () = tokio::time::sleep(patience) => false,
    }
}

/// Answers a request; the connection, if it may ask another. What that needs is in the box alone: it is gone before the next
/// wait.
fn answer<'a, A>(
    app: &'a Arc<A>,
    connection: Box<Connection>,
    draining: &'a watch::Receiver<bool>,
    keep_alive: Duration,
) -> BoxFuture<'a, Option<ReusedHttpStream>>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut session = ServerSession::new_http1(connection);
    session.set_keepalive((!*draining.borrow()).then_some(keep_alive.as_secs()));
    app.process_new_http(session, draining)
}

#[cfg(test)]
mod tests;
