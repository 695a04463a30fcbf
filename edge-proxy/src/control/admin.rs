//! The operator's API on the unix socket.
//!
//! This file knows HTTP; what a command does is in [`commands`]. Nothing of a URL, header or body
//! is logged, only what was done.

mod certificates;
mod commands;
mod deploy;
mod document;
mod drain;
mod once;
mod pause;
mod rollout;
mod underway;

use std::collections::BTreeMap;
use std::sync::Arc;

use asset_pipeline::id::AppId;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Deserialize;
use tokio::sync::watch;

pub(crate) use self::document::of_operators;
use self::underway::Underway;
use super::api::{
    AuditEntry, AuditReport, BrokenRecord, CacheReport, CacheRequest, DeployReport, DeployRequest,
    DrainReport, DrainRequest, Explanation, FreezeReport, FreezeRequest, InFlight, PauseReport,
    PauseRequest, Problem, PurgeReport, PurgeRequest, RolloutCommand, RolloutReport,
    RolloutRequest, ShiftReport, ShiftRequest, Status,
};
use super::beside::{Presence, There};
use super::edge::{ColourFacts, Edge, Facts};
use super::follow::{Applied, Following};
use super::idempotency::Keys;
use super::observed::Observed;
use super::problem::parsed;
use super::socket::AdminSocket;
use super::status;
use super::store::{ControlStore, Sequence};
use crate::colour::{Colour, PerColour};
use crate::explain::{Asker, NotAnAsker};
use crate::surface::{self, Accept, Peer};

/// Notes that are listed when no number is given.
const AUDIT_LISTED: usize = 50;

/// Notes that are listed at most: their answer must stay small.
const AUDIT_LISTED_MAX: usize = 1000;

/// What the handlers work with.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn ControlStore>,
    edge: Arc<dyn Edge>,
    applied: watch::Receiver<Applied>,
    keys: Keys,
    pub(super) observed: Observed,
    deploys: Underway<DeployReport>,
    drains: Underway<DrainReport>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// `following` is what carries this store's changes to the request path.
    pub fn new(store: Arc<dyn ControlStore>, edge: Arc<dyn Edge>, following: &Following) -> Self {
        Self {
            store,
            edge,
            applied: following.applied(),
            keys: Keys::default(),
            observed: Observed::default(),
            deploys: Underway::default(),
            drains: Underway::default(),
        }
    }

    /// Answers operators until `stop` turns true.
    pub async fn serve(self, mut socket: AdminSocket, stop: watch::Receiver<bool>) {
        if let Some(listener) = socket.listener() {
            surface::serve(listener, self.router(), stop).await;
        }
    }

    /// Answers operators on another machine, who have shown their certificates.
    pub(crate) async fn serve_apart(self, operators: impl Accept, stop: watch::Receiver<bool>) {
        surface::serve(operators, self.router(), stop).await;
    }

    /// What requests see.
    pub(super) fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    /// How a colour is, with those who are with it in processes that serve beside this one.
    pub(super) async fn colour(&self, app: &AppId, colour: Colour) -> ColourFacts {
        let here = self.edge.colour(app, colour).await;
        here.and(app, colour, &self.store.beside())
    }

    /// Everything about the process that is not about a colour.
    pub(super) async fn facts(&self) -> Facts {
        self.edge.facts().await
    }

    /// The judge's evidence against the new versions of rollouts under way, by app. Holds nothing of the edge.
    pub(crate) fn evidence(&self) -> impl Fn() -> Vec<(String, f64)> + Send + Sync + use<> {
        let (observed, applied) = (self.observed.clone(), self.applied.clone());
        move || {
            let state = Arc::clone(&applied.borrow().state);
            let under_way = state.apps.iter().filter(|(_, now)| {
                let rollout = now.rollout.as_ref();
                rollout.is_some_and(|rollout| rollout.is_under_way())
            });
            under_way
                .map(|(app, _)| (app.to_string(), observed.evidence(app)))
                .collect()
        }
    }

    /// Tells processes beside this one who is with versions here. `settled`: the last change that was seen when this was
    /// told before.
    pub(crate) fn tell_who_is_there(&self, settled: Sequence) -> Sequence {
        let applied = self.applied();
        let mut apps = BTreeMap::new();
        for app in applied.state.apps.keys() {
            let mut there = PerColour::default();
            for colour in Colour::BOTH {
                *there.get_mut(colour) = There::of(&self.edge.there(app, colour));
            }
            apps.insert(app.clone(), there);
        }
        self.store.present(Presence { settled, apps });
        applied.sequence
    }

    /// A process beside this one that has not said since a change who is with its versions: somebody may be.
    pub(super) fn unheard(&self, since: Sequence) -> Option<InFlight> {
        let beside = self.store.beside();
        let unheard = beside.iter().filter(|there| there.settled < since).count();
        (unheard > 0).then(|| InFlight {
            class: "unheard".to_owned(),
            count: unheard as u64,
            oldest_s: 0,
        })
    }

    /// The apps that a deploy or a drain is under way of: it would end with this process.
    pub(crate) fn underway(&self) -> Vec<AppId> {
        let mut apps = self.deploys.apps();
        apps.extend(self.drains.apps());
        apps
    }

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
async fn status_now(State(admin): State<Admin>) -> Json<Status> {
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
async fn shift(
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
async fn deploy(
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
async fn deploying(
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
async fn drain(
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
async fn draining(
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
async fn pause(
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
async fn freeze(
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
async fn roll_out(
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
async fn rolling_out(
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
async fn steer(
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
async fn purge(
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
async fn cache(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Json<CacheReport>, Problem> {
    let asked: CacheRequest = parsed(&body)?;
    admin.switch_cache(asked, &peer.to_string()).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain {
    url: String,
    method: Option<String>,
    #[serde(rename = "as")]
    asker: Option<String>,
}

/// What would happen to a request, room by room, without making one.
#[utoipa::path(
    get, path = "/v1/explain",
    params(
        ("url" = String, Query, description = "With scheme and host"),
        ("method" = Option<String>, Query, description = "GET if left out"),
        ("as" = Option<String>, Query, description = "Who asks: TENANT/SUBJECT or TENANT/SUBJECT:ROLE,ROLE; nobody in particular if left out"),
    ),
    responses((status = 200, body = Explanation), (status = 400, body = Problem, description = "Not such a URL"))
)]
async fn explain(
    State(admin): State<Admin>,
    query: Result<Query<Explain>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Query(asked) = query
        .map_err(|_| Problem::usage("explain takes `url`, if it is not GET `method`, and `as`"))?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Problem::usage("the method is a word such as GET"))?;
    let url: Uri = asked
        .url
        .parse()
        .map_err(|error| Problem::usage(format!("the URL: {error}")))?;
    if url.scheme().is_none() || url.host().is_none() {
        return Err(Problem::usage(
            "the URL needs its scheme and host, such as https://oak.example/",
        ));
    }
    let asker: Option<Asker> = asked
        .asker
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: NotAnAsker| Problem::usage(error.to_string()))?;
    let explained = admin.edge.explain(&method, &url, asker.as_ref()).await;
    explained.map(Json).map_err(Problem::usage)
}

#[derive(Deserialize)]
struct Audit {
    limit: Option<usize>,
    seen: Option<String>,
}

/// Checks the whole audit log, and lists its newest records, newest first.
#[utoipa::path(
    get, path = "/v1/audit",
    params(
        ("limit" = Option<usize>, Query, description = "At most 1000; 50 if left out"),
        ("seen" = Option<String>, Query, description = "SEQUENCE:HASH of a record as it once was: it must still be that one"),
    ),
    responses((status = 200, body = AuditReport), (status = 400, body = Problem, description = "Not such a number or record"))
)]
async fn audit(
    State(admin): State<Admin>,
    query: Result<Query<Audit>, QueryRejection>,
) -> Result<Json<AuditReport>, Problem> {
    let Query(asked) =
        query.map_err(|_| Problem::usage("audit takes `limit`, a number, and `seen`"))?;
    let seen = asked.seen.map(|text| {
        let (sequence, hash) = text.split_once(':')?;
        Some((Sequence(sequence.parse().ok()?), hash.parse().ok()?))
    });
    if seen == Some(None) {
        let text = "a record is written as SEQUENCE:HASH, as `audit log` shows it";
        return Err(Problem::usage(text));
    }
    let limit = asked.limit.unwrap_or(AUDIT_LISTED).min(AUDIT_LISTED_MAX);
    let audit = admin.store.audit(limit, seen.flatten()).await?;
    let entries = audit.newest.into_iter().map(|noted| match noted.note {
        Some(note) => AuditEntry {
            sequence: noted.sequence.0,
            hash: noted.hash.to_string(),
            at: note.at.to_string(),
            who: note.who,
            what: note.what,
            from: note.from,
            to: note.to,
            why: note.why,
        },
        None => AuditEntry {
            sequence: noted.sequence.0,
            hash: noted.hash.to_string(),
            at: String::new(),
            who: String::new(),
            what: "this record cannot be read".into(),
            from: String::new(),
            to: String::new(),
            why: None,
        },
    });
    Ok(Json(AuditReport {
        records: audit.records,
        broken: audit.broken.map(|(sequence, why)| BrokenRecord {
            sequence: sequence.0,
            why: why.into(),
        }),
        entries: entries.collect(),
    }))
}
