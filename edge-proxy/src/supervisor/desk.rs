//! The operator's socket: upgrades are the supervisor's own; the rest is answered by the worker in charge.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::watch;

use super::duty::ACCOUNT;
use super::shared::Shared;
use crate::control::api::{Problem, UpgradeReport, UpgradeRequest};
use crate::control::problem::parsed;
use crate::control::socket::AdminSocket;
use crate::surface::{self, Peer};

/// The largest command.
const COMMAND_BYTES_MAX: usize = 2 << 20;

/// Answers operators until `stop` turns true.
pub(super) async fn serve(
    mut socket: AdminSocket,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    if let Some(listener) = socket.listener() {
        let router = Router::new()
            .route("/v1/upgrade", get(upgrading).post(upgrade))
            .fallback(hand_on)
            .with_state(shared);
        surface::serve(listener, router, stop).await;
    }
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<(StatusCode, Json<UpgradeReport>), Problem> {
    let asked: UpgradeRequest = parsed(&body)?;
    let report = shared.upgrade(asked, peer.account())?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

async fn upgrading(State(shared): State<Arc<Shared>>) -> Result<Json<UpgradeReport>, Problem> {
    let progress = shared.progress.lock().clone();
    let progress =
        progress.ok_or_else(|| Problem::unknown("there was no upgrade since the start"))?;
    let report = progress.borrow().clone();
    Ok(Json(report))
}

async fn hand_on(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let absent = |detail: String| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "worker",
            "no worker answers",
            detail,
        )
    };
    let worker = shared.in_charge().ok_or_else(|| {
        absent("the worker has crashed and the next one is starting; try again".to_owned())
    })?;
    let (mut head, body) = request.into_parts();
    let body = Limited::new(body, COMMAND_BYTES_MAX).collect().await;
    let body = body
        .map_err(|_| Problem::usage("the body is too long, or was cut off"))?
        .to_bytes();
    // Set here alone, whatever the client said.
    head.headers.remove(ACCOUNT);
    if let Peer::Account(uid) = peer {
        head.headers.insert(ACCOUNT, HeaderValue::from(uid));
    }
    head.extensions.clear();
    let request = Request::from_parts(head, Full::new(body));
    let answer = worker
        .send(request)
        .await
        .map_err(|error| absent(error.to_string()))?;
    let (mut head, body) = answer.into_parts();
    // The whole body is here: how it came does not matter.
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(head, Body::from(body)))
}
