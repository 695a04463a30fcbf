//! The paths of the operator's API, and what each of them takes.

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::super::api::{
    CacheReport, CacheRequest, DeployReport, DeployRequest, DrainReport, DrainRequest,
    FreezeReport, FreezeRequest, PauseReport, PauseRequest, Problem, PurgeReport, PurgeRequest,
    RolloutCommand, RolloutReport, RolloutRequest, ShiftReport, ShiftRequest, Status,
};
use super::super::problem::parsed;
use super::super::status;
use super::super::store::Sequence;
use super::told::{audit, explain};
use super::{Admin, certificates, document, once, rollout};
use crate::surface::Peer;

impl Admin {
    /// Its paths, for any listener.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/status", get(status_now))
            .route("/v1/apps/{app}/shift", post(shift))
            .route("/v1/apps/{app}/deploy", get(deploying).post(deploy))
            .route("/v1/apps/{app}/rollout", get(rolling_out).post(roll_out))
            .route("/v1/apps/{app}/rollout/{command}", post(steer))
            .route("/v1/apps/{app}/freeze", post(freeze))
            .route("/v1/apps/{app}/drain", get(draining).post(drain))
            .route("/v1/apps/{app}/pause", post(pause))
            .route(
                "/v1/certificates/{host}",
                get(certificates::look).post(certificates::begin),
            )
            .route("/v1/authorities/{authority}/key", post(certificates::rekey))
            .route("/v1/purge", post(purge))
            .route("/v1/cache", post(cache))
            .route("/v1/explain", get(explain))
            .route("/v1/audit", get(audit))
            .route("/v1/openapi.json", get(document::document))
            .fallback(async || Problem::unknown("no such path; /v1/openapi.json lists them"))
            .method_not_allowed_fallback(async || {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method",
                    "no such method here",
                    "/v1/openapi.json lists what each path takes",
                )
            })
            .layer(middleware::from_fn_with_state(
                self.keys.clone(),
                once::once,
            ))
            .with_state(self)
    }
}

/// What is begun is accepted; what only would be is an answer.
fn begun<T>(report: T, dry_run: bool) -> (StatusCode, Json<T>) {
    let status = if dry_run {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    (status, Json(report))
}

/// The revision in `If-Match`, which is written as this API writes `ETag`.
fn if_match(headers: &HeaderMap) -> Result<Option<Sequence>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let revision = value.to_str().ok().and_then(|text| {
        let digits = text.strip_prefix('"')?.strip_suffix('"')?;
        digits.parse().ok()
    });
    revision
        .map(|revision| Some(Sequence(revision)))
        .ok_or_else(|| {
            Problem::usage(
                "If-Match is the revision of the app in quotes, such as \"7\"; `status` shows it",
            )
        })
}

/// How things are.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status_now(State(admin): State<Admin>) -> Json<Status> {
    let applied = admin.applied.borrow().clone();
    Json(status::compose(&admin, &applied).await)
}

/// Gives a colour a weight and the other one the rest; answers when requests see it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/shift", request_body = ShiftRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("If-Match" = Option<String>, Header, description = "The revision that was seen, in quotes"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 200, body = ShiftReport),
        (status = 400, body = Problem, description = "Not a weight"),
        (status = 404, body = Problem, description = "No such app"),
        (status = 409, body = Problem, description = "Other operators keep changing it"),
        (status = 412, body = Problem, description = "It was changed since it was seen"),
        (status = 422, body = Problem, description = "Refused: the colour cannot take traffic"),
    )
)]
pub(super) async fn shift(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: ShiftRequest = parsed(&body)?;
    let seen = if_match(&headers)?;
    let report = admin.shift(&app, asked, seen, &peer.to_string()).await?;
    let revision = format!("\"{}\"", report.revision);
    Ok(([(header::ETAG, revision)], Json(report)).into_response())
}

/// Begins to make an idle colour a new version; it ends, or is undone, by itself.
#[utoipa::path(
    post, path = "/v1/apps/{app}/deploy", request_body = DeployRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 202, body = DeployReport, description = "Begun; look at it with GET"),
        (status = 200, body = DeployReport, description = "A dry run: it could begin"),
        (status = 400, body = Problem, description = "Not a deploy"),
        (status = 404, body = Problem, description = "No such app"),
        (status = 409, body = Problem, description = "Another deploy is under way"),
        (status = 422, body = Problem, description = "Refused: the colour is in use"),
    )
)]
pub(super) async fn deploy(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<DeployReport>), Problem> {
    let asked: DeployRequest = parsed(&body)?;
    let report = admin.deploy(&app, asked, &peer.to_string()).await?;
    let dry_run = report.dry_run;
    Ok(begun(report, dry_run))
}

/// The last deploy of an app since this edge started, under way or ended.
#[utoipa::path(
    get, path = "/v1/apps/{app}/deploy",
    params(("app" = String, Path, description = "The app")),
    responses(
        (status = 200, body = DeployReport),
        (status = 404, body = Problem, description = "No such app, or no deploy"),
        (status = 422, body = Problem, description = "It was refused while it waited"),
    )
)]
pub(super) async fn deploying(
    State(admin): State<Admin>,
    Path(app): Path<String>,
) -> Result<Json<DeployReport>, Problem> {
    admin.last_deploy(&app).await.map(Json)
}

/// Begins to leave a colour: nobody new comes to it, who is there may finish. It ends by itself.
#[utoipa::path(
    post, path = "/v1/apps/{app}/drain", request_body = DrainRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 202, body = DrainReport, description = "Begun; look at it with GET"),
        (status = 200, body = DrainReport, description = "A dry run: it could begin"),
        (status = 400, body = Problem, description = "Not a drain"),
        (status = 404, body = Problem, description = "No such app"),
        (status = 409, body = Problem, description = "Another drain is under way"),
        (status = 422, body = Problem, description = "Refused: the other colour cannot take the traffic"),
    )
)]
pub(super) async fn drain(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<DrainReport>), Problem> {
    let asked: DrainRequest = parsed(&body)?;
    let report = admin.drain(&app, asked, &peer.to_string()).await?;
    let dry_run = report.dry_run;
    Ok(begun(report, dry_run))
}

/// The last drain of an app since this edge started, under way or ended.
#[utoipa::path(
    get, path = "/v1/apps/{app}/drain",
    params(("app" = String, Path, description = "The app")),
    responses(
        (status = 200, body = DrainReport),
        (status = 404, body = Problem, description = "No such app, or no drain"),
    )
)]
pub(super) async fn draining(
    State(admin): State<Admin>,
    Path(app): Path<String>,
) -> Result<Json<DrainReport>, Problem> {
    admin.last_drain(&app).await.map(Json)
}

/// Holds an app's requests or lets them go on; answers when requests see it and those under way have ended. It stays so
/// across a restart.
#[utoipa::path(
    post, path = "/v1/apps/{app}/pause", request_body = PauseRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 200, body = PauseReport),
        (status = 400, body = Problem, description = "Not a pause"),
        (status = 404, body = Problem, description = "No such app"),
    )
)]
pub(super) async fn pause(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<Json<PauseReport>, Problem> {
    let asked: PauseRequest = parsed(&body)?;
    admin.pause(&app, asked, &peer.to_string()).await.map(Json)
}

/// Lets no more go to a newer version of an app until a time, or again; back is always possible.
#[utoipa::path(
    post, path = "/v1/apps/{app}/freeze", request_body = FreezeRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 200, body = FreezeReport),
        (status = 400, body = Problem, description = "Not a time to come"),
        (status = 404, body = Problem, description = "No such app"),
    )
)]
pub(super) async fn freeze(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<Json<FreezeReport>, Problem> {
    let asked: FreezeRequest = parsed(&body)?;
    admin.freeze(&app, asked, &peer.to_string()).await.map(Json)
}

/// Starts to give a colour its traffic step by step; answers when the first step is in force.
#[utoipa::path(
    post, path = "/v1/apps/{app}/rollout", request_body = RolloutRequest,
    params(
        ("app" = String, Path, description = "The app"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 200, body = RolloutReport),
        (status = 400, body = Problem, description = "Not a rollout"),
        (status = 404, body = Problem, description = "No such app"),
        (status = 422, body = Problem, description = "Refused: the colour cannot take traffic, or another rollout is under way"),
    )
)]
pub(super) async fn roll_out(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<Json<RolloutReport>, Problem> {
    let asked: RolloutRequest = parsed(&body)?;
    let started = admin.start_rollout(&app, asked, &peer.to_string()).await;
    started.map(Json)
}

/// The last rollout of an app, under way or ended.
#[utoipa::path(
    get, path = "/v1/apps/{app}/rollout",
    params(("app" = String, Path, description = "The app")),
    responses((status = 200, body = RolloutReport), (status = 404, body = Problem, description = "No such app, or no rollout"))
)]
pub(super) async fn rolling_out(
    State(admin): State<Admin>,
    Path(app): Path<String>,
) -> Result<Json<RolloutReport>, Problem> {
    admin.last_rollout(&app).await.map(Json)
}

/// Steers the rollout that is under way; answers when requests see it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/rollout/{command}", request_body = RolloutCommand,
    params(
        ("app" = String, Path, description = "The app"),
        ("command" = String, Path, description = "`pause`, `resume`, `promote` or `abort`"),
        ("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again"),
    ),
    responses(
        (status = 200, body = RolloutReport),
        (status = 404, body = Problem, description = "No such app or command"),
        (status = 409, body = Problem, description = "No rollout is under way"),
        (status = 422, body = Problem, description = "Refused: the colour cannot take traffic"),
    )
)]
pub(super) async fn steer(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path((app, command)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<RolloutReport>, Problem> {
    let command = rollout::word(&command)
        .ok_or_else(|| Problem::unknown("a rollout takes pause, resume, promote and abort"))?;
    let asked: RolloutCommand = parsed(&body)?;
    let steered = admin
        .steer_rollout(&app, &command, asked, &peer.to_string())
        .await;
    steered.map(Json)
}

/// What was stored or fetched before it is not served again; answers when that is so.
#[utoipa::path(
    post, path = "/v1/purge", request_body = PurgeRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again")),
    responses(
        (status = 200, body = PurgeReport),
        (status = 400, body = Problem, description = "Not exactly one of tag, url and all, or one that cannot be"),
        (status = 404, body = Problem, description = "No such school"),
    )
)]
pub(super) async fn purge(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Json<PurgeReport>, Problem> {
    let asked: PurgeRequest = parsed(&body)?;
    admin.purge(asked, &peer.to_string()).await.map(Json)
}

/// Turns the cache of reads off or on; answers when requests see it. It stays so across a restart.
#[utoipa::path(
    post, path = "/v1/cache", request_body = CacheRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "What was done under a key is answered again, not done again")),
    responses((status = 200, body = CacheReport), (status = 400, body = Problem, description = "Not such a request"))
)]
pub(super) async fn cache(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Json<CacheReport>, Problem> {
    let asked: CacheRequest = parsed(&body)?;
    admin.switch_cache(asked, &peer.to_string()).await.map(Json)
}
