//! What never ends: the event stream and the WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use futures_util::{SinkExt, StreamExt};
use http::header::{CACHE_CONTROL, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{self, Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::answer::Problem;
use super::{Platform, Visit};
use crate::demo::school::{Note, School};

const TICK: Duration = Duration::from_secs(1);
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// A tick each second, the first at once, and the notes of the school as they are written.
pub(super) async fn events(State(platform): State<Arc<Platform>>, visit: Visit) -> Response {
    let mut response = Sse::new(ticks(platform, visit.school)).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn ticks(
    platform: Arc<Platform>,
    school: &'static School,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // A timer is never due at once: the first tick does not wait for it, nor for a note.
    let first = stream::iter([tick(&platform)]);
    let mut beat = time::interval_at(Instant::now() + TICK, TICK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let notes = Some(platform.registry.listen());
    let rest = stream::unfold(
        (platform, beat, notes),
        move |(platform, mut beat, mut notes)| async move {
            let event = match next(&mut beat, &mut notes, school).await {
                Some(note) => Event::default().event("note").data(json!(note).to_string()),
                None => tick(&platform),
            };
            Some((event, (platform, beat, notes)))
        },
    );
    first.chain(rest).map(Ok)
}

fn tick(platform: &Platform) -> Event {
    let stamp = json!(platform.stamp("events"));
    Event::default().event("tick").data(stamp.to_string())
}

type Notes = tokio::sync::broadcast::Receiver<Note>;

/// A note of this school, or none when it is time for a tick.
async fn next(beat: &mut Interval, notes: &mut Option<Notes>, school: &School) -> Option<Note> {
    loop {
        let Some(listened) = notes else {
            beat.tick().await;
            return None;
        };
        tokio::select! {
            _ = beat.tick() => return None,
            heard = listened.recv() => match heard {
                Ok(note) if note.school == school.id => return Some(note),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => *notes = None,
            },
        }
    }
}

/// Says everything back.
pub(super) async fn socket(
    State(platform): State<Arc<Platform>>,
    _visit: Visit,
    mut request: Request,
) -> Result<Response, Problem> {
    platform.stamp("socket");
    let asked = request.headers();
    let wanted = asked
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = asked.get(SEC_WEBSOCKET_KEY).filter(|_| wanted);
    let accept = key
        .and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok())
        .ok_or(Problem::NOT_A_WEBSOCKET)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(io) = upgrade.await {
            let limits = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
            let io = TokioIo::new(io);
            echo(WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await).await;
        }
    });
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

async fn echo<S>(mut socket: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // Pings and the closing handshake are answered by the library while it is read.
    while let Some(Ok(message)) = socket.next().await {
        let is_said = message.is_text() || message.is_binary();
        if is_said && socket.send(message).await.is_err() {
            return;
        }
    }
}
