//! The worker's side: serves requests, and does what its supervisor says.
//!
//! A worker prepares everything and accepts nothing until it is told. Its desk is HTTP over the unix socket that it
//! inherits: `GET /worker` says how it is, `POST /worker/...` tells it what to do, `/v1/...` is the operator's API,
//! handed on by the supervisor.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::config::{self, Config, Mistakes};
use crate::control::link::{ConnectError, Remote};
use crate::edge::{ENTRIES, Edge, Heir, Legacy, Monitors, Part, Probe, Secret, StartError, Taken};
use crate::listener::Sockets;
use crate::observe::Observed as _;
use crate::surface::{self, Peer};

/// The name of the desk's socket.
pub(super) const DESK: &str = "desk";

/// Where a worker is told of who may ask for its entries.
pub(super) const PROMISE: &str = "/worker/promise";

/// Where a worker is told whom to ask for entries.
pub(super) const INHERIT: &str = "/worker/inherit";

/// Whom the supervisor hands a command on for.
pub(super) const ACCOUNT: &str = "x-edge-account";

/// An edit is live within two looks: a file that is being written is not judged half-way.
const CONFIG_EVERY: Duration = Duration::from_secs(1);

/// Orders that wait for the one before: the supervisor waits for each.
const ORDERS_MAX: usize = 8;

/// A worker that has ended waits so long for its last counters to be read.
const LEAVE: Duration = Duration::from_secs(10);

/// How far a worker is, and the words of its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Everything was checked; nothing is accepted yet.
    Prepared,
    /// It accepts.
    Accept,
    /// Another one accepts: idle connections end with their next answer.
    Retire,
    /// It ends as soon as what is under way has ended.
    Drain,
    /// Nothing is left; its last counters can be read.
    Leave,
    /// The files are read again, and the access log is opened again.
    Reload,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Prepared => "prepared",
            Self::Accept => "accept",
            Self::Retire => "retire",
            Self::Drain => "drain",
            Self::Leave => "leave",
            Self::Reload => "reload",
        })
    }
}

/// How a worker is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) stage: Stage,
    pub(super) not_ready: Vec<String>,
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    /// Apps that a deploy or a drain is under way of.
    pub(super) underway: Vec<String>,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DutyError {
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error(transparent)]
    Control(#[from] ConnectError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("what a supervisor passes is missing; `edge-proxy run` starts workers: {0}")]
    Passed(io::Error),
}

impl DutyError {
    /// What is wrong with the files, if that is why.
    pub fn mistakes(&self) -> Option<&Mistakes> {
        match self {
            Self::Config(mistakes) => Some(mistakes),
            Self::Control(_) | Self::Start(_) | Self::Passed(_) => None,
        }
    }
}

enum Order {
    Stage(Stage, oneshot::Sender<()>),
    Probe(oneshot::Sender<Vec<Probe>>),
}

#[derive(Clone)]
struct Desk {
    stage: Arc<Mutex<Stage>>,
    monitors: Arc<Monitors>,
    legacy: Arc<Legacy>,
    orders: mpsc::Sender<Order>,
}

/// Serves as the worker of the supervisor at `control`, until it says that this is enough.
///
/// # Errors
/// When something that the worker needs is not as it must be; then nothing was accepted.
pub async fn serve(path: &Path, control: &Path) -> Result<ExitCode, DutyError> {
    let mut sockets = Sockets::handed().map_err(DutyError::Passed)?;
    let desk = sockets.listen_unix(DESK).map_err(DutyError::Passed)?;
    let desk = UnixListener::from_std(desk).map_err(DutyError::Passed)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(DutyError::Passed)?;
    // A terminal sends these to the whole group; what they mean is the supervisor's to say.
    let _heard = signal(SignalKind::interrupt()).map_err(DutyError::Passed)?;
    let _heard = signal(SignalKind::hangup()).map_err(DutyError::Passed)?;

    let mut lifeline = lifeline().map_err(DutyError::Passed)?;

    let config = config::load(path)?;
    let mut changes = config::watch(path, CONFIG_EVERY, &config);
    let store = Arc::new(Remote::connect(control).await?);
    let edge = Edge::prepare(config, sockets, Part::Worker(store)).await?;
    let (orders, mut ordered) = mpsc::channel(ORDERS_MAX);
    let stage = Arc::new(Mutex::new(Stage::Prepared));
    let (stop, stopped) = watch::channel(false);
    let router = router(
        &edge,
        Desk {
            stage: Arc::clone(&stage),
            monitors: edge.monitors(),
            legacy: edge.legacy(),
            orders,
        },
    );
    let serving = tokio::spawn(surface::serve(desk, router, stopped));

    let ended = loop {
        tokio::select! {
            changed = changes.changed() => take_over(&edge, changed),
            _ = terminated.recv() => break Stage::Drain,
            () = gone(&mut lifeline) => break Stage::Drain,
            order = ordered.recv() => match order {
                Some(Order::Probe(reply)) => drop(reply.send(edge.probe().await)),
                Some(Order::Stage(order, reply)) => {
                    match order {
                        Stage::Accept => edge.accept(),
                        Stage::Reload => {
                            edge.reopen_log();
                            take_over(&edge, config::load(path));
                        }
                        Stage::Retire | Stage::Drain => {
                            *stage.lock() = order;
                            let _asked = reply.send(());
                            break order;
                        }
                        Stage::Prepared | Stage::Leave => {}
                    }
                    if order == Stage::Accept {
                        *stage.lock() = order;
                    }
                    let _asked = reply.send(());
                }
                None => break Stage::Drain,
            },
        }
    };
    let cut = if ended == Stage::Retire {
        let hurry = async {
            loop {
                tokio::select! {
                    _ = terminated.recv() => return,
                    () = gone(&mut lifeline) => return,
                    order = ordered.recv() => match order {
                        Some(Order::Stage(order, reply)) => {
                            let _asked = reply.send(());
                            if order == Stage::Drain {
                                return;
                            }
                        }
                        Some(Order::Probe(_)) => {}
                        None => return,
                    },
                }
            }
        };
        edge.retire(hurry).await
    } else {
        edge.drain().await
    };
    if cut == 0 {
        info!("every request was answered");
    } else {
        warn!(cut, "requests were cut off at the limit `drain_s`");
    }
    if ended == Stage::Retire {
        *stage.lock() = Stage::Leave;
        let leave = async {
            while let Some(order) = ordered.recv().await {
                if let Order::Stage(order, reply) = order {
                    let _asked = reply.send(());
                    if matches!(order, Stage::Leave | Stage::Drain) {
                        return;
                    }
                }
            }
        };
        // A supervisor that is gone reads nothing more.
        let _late = tokio::time::timeout(LEAVE, leave).await;
    }
    stop.send_replace(true);
    // What it answers last is bounded by itself; a panic there was logged.
    let _ended = serving.await;
    Ok(if cut == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The supervisor holds the other end of standard input, and says nothing there.
fn lifeline() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
}

/// Waits until the supervisor is gone: nobody could purge, ask or end this worker, and its sockets would stand in the
/// way of the next supervisor.
async fn gone(lifeline: &mut pipe::Receiver) {
    let mut nothing = [0];
    while lifeline
        .read(&mut nothing)
        .await
        .is_ok_and(|bytes| bytes > 0)
    {}
    warn!("the supervisor is gone: no more connections");
}

fn take_over(edge: &Edge, changed: Result<Config, Mistakes>) {
    match changed {
        Ok(config) => {
            let fingerprint = config.fingerprint;
            let at_next_start = edge.reload(config);
            info!(%fingerprint, ?at_next_start, "the changed config is live");
        }
        Err(mistakes) => warn!("the changed config is not used:\n{mistakes}"),
    }
}

fn router(edge: &Edge, desk: Desk) -> Router {
    let order = |stage| {
        post(move |State(desk): State<Desk>| async move {
            let (reply, done) = oneshot::channel();
            answered(&desk, Order::Stage(stage, reply), done).await
        })
    };
    let mut router = Router::new()
        .route("/worker", get(facts))
        .route("/worker/metrics", get(metrics))
        .route("/worker/probe", post(probe))
        .route(PROMISE, post(promise))
        .route(INHERIT, post(inherit))
        .route(ENTRIES, post(entries));
    for stage in [
        Stage::Accept,
        Stage::Retire,
        Stage::Drain,
        Stage::Leave,
        Stage::Reload,
    ] {
        router = router.route(&format!("/worker/{stage}"), order(stage));
    }
    let operators = edge.operators().layer(middleware::from_fn(on_behalf));
    router.with_state(desk).fallback_service(operators)
}

/// The supervisor says whose command it is: only its account can open the desk.
async fn on_behalf(mut request: Request, next: Next) -> Response {
    let account = request.headers_mut().remove(ACCOUNT);
    let account = account.and_then(|peer| peer.to_str().ok()?.parse::<Peer>().ok());
    if let Some(peer) = account {
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}

async fn answered<T: Serialize>(
    desk: &Desk,
    order: Order,
    done: oneshot::Receiver<T>,
) -> Result<Json<T>, StatusCode> {
    let gone = |_| StatusCode::SERVICE_UNAVAILABLE;
    desk.orders
        .send(order)
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    done.await.map(Json).map_err(gone)
}

async fn facts(State(desk): State<Desk>) -> Json<Facts> {
    let stage = *desk.stage.lock();
    Json(Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stage,
        not_ready: desk.monitors.not_ready().await,
        in_flight: desk.monitors.in_flight(),
        connections: desk.monitors.connections(),
        underway: desk
            .monitors
            .underway()
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

/// Whom to ask for entries.
#[derive(Serialize, Deserialize)]
pub(super) struct Inherit {
    /// The desk of the worker before.
    pub(super) desk: PathBuf,
    pub(super) secret: Secret,
}

async fn promise(State(desk): State<Desk>, Json(secret): Json<Secret>) -> Json<()> {
    desk.legacy.promise(&secret);
    Json(())
}

/// Only before it accepts: what it has stored itself is newer.
async fn inherit(
    State(desk): State<Desk>,
    Json(from): Json<Inherit>,
) -> Result<Json<Taken>, StatusCode> {
    let stage = *desk.stage.lock();
    if stage != Stage::Prepared {
        return Err(StatusCode::CONFLICT);
    }
    Ok(Json(desk.legacy.take(&from.desk, &from.secret).await))
}

async fn entries(State(desk): State<Desk>, Json(heir): Json<Heir>) -> Result<Body, StatusCode> {
    let left = desk.legacy.leave(&heir).await;
    left.map_err(|error| {
        info!(%error, "no entries are left to the next worker");
        StatusCode::CONFLICT
    })
}

async fn metrics(State(desk): State<Desk>) -> String {
    desk.monitors.metrics().await
}

async fn probe(State(desk): State<Desk>) -> Result<Json<Vec<Probe>>, StatusCode> {
    let (reply, done) = oneshot::channel();
    answered(&desk, Order::Probe(reply), done).await
}
