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
use utoipa::OpenApi;

use super::duty::ACCOUNT;
use super::shared::Shared;
use crate::control::admin::of_operators;
use crate::control::api::{Problem, UpgradeReport, UpgradeRequest};
use crate::control::problem::parsed;
use crate::control::socket::AdminSocket;
use crate::surface::{self, Peer, Secured};

/// The largest command.
const COMMAND_BYTES_MAX: usize = 2 << 20;

/// Answers operators until `stop` turns true: those of this machine, and `apart` those who show certificates.
pub(super) async fn serve(
    mut socket: AdminSocket,
    apart: Option<Secured>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/v1/upgrade", get(upgrading).post(upgrade))
        .route("/v1/openapi.json", get(document))
        .fallback(hand_on)
        .with_state(shared);
    let apart = async {
        if let Some(operators) = apart {
            surface::serve(operators, router.clone(), stop.clone()).await;
        }
    };
    let here = async {
        if let Some(listener) = socket.listener() {
            surface::serve(listener, router.clone(), stop.clone()).await;
        }
    };
    tokio::join!(here, apart);
}

/// What a supervisor answers itself.
#[derive(OpenApi)]
#[openapi(paths(upgrade, upgrading))]
struct Own;

async fn document() -> Json<utoipa::openapi::OpenApi> {
    let mut document = of_operators();
    document.merge(Own::openapi());
    Json(document)
}

/// Begins to replace the process that serves; look at it with GET.
#[utoipa::path(
    post, path = "/v1/upgrade", request_body = UpgradeRequest,
    responses(
        (status = 202, body = UpgradeReport, description = "Begun"),
        (status = 400, body = Problem, description = "Not a program"),
        (status = 409, body = Problem, description = "A worker is being replaced already"),
        (status = 422, body = Problem, description = "Refused: too many workers of earlier upgrades still answer"),
    )
)]
async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<(StatusCode, Json<UpgradeReport>), Problem> {
    let asked: UpgradeRequest = parsed(&body)?;
    let report = shared.upgrade(asked, peer.to_string())?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// The last upgrade since the start.
#[utoipa::path(
    get, path = "/v1/upgrade",
    responses(
        (status = 200, body = UpgradeReport),
        (status = 404, body = Problem, description = "There was none"),
    )
)]
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
    if !request.uri().path().starts_with("/v1/") {
        // The rest of a worker's desk is the supervisor's own.
        return Err(Problem::unknown("there is no such command"));
    }
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
    if let Ok(peer) = HeaderValue::try_from(peer.to_string()) {
        head.headers.insert(ACCOUNT, peer);
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
