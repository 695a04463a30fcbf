//! `edge-proxy run`: keeps what must outlive a version of the edge, and one worker that serves.
//!
//! The supervisor holds the listening sockets, the state file, the operator's socket and the counters; it serves no
//! request. A worker is the same program as another process: it inherits the sockets, reads and changes the state
//! through [`crate::control::link`], and is asked and told over a unix socket of its own ([`duty`]). Another version
//! is another worker ([`upgrade`]): it takes over only when everything about it was seen to work. A worker that
//! crashes is replaced, and clients wait in the sockets' queues meanwhile. The supervisor itself becomes another version
//! by executing it ([`carry`]), and the worker goes on.

mod binary;
mod carry;
mod desk;
pub mod duty;
mod merged;
mod notify;
mod shared;
mod upgrade;
mod worker;

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::binary::Binary;
pub use self::carry::{Carried, Going};
use self::notify::Manager;
use self::shared::Shared;
pub use self::worker::WorkerError;
use crate::config::Config;
use crate::control::embedded::{Embedded, OpenError};
use crate::control::link;
use crate::control::socket::{AdminSocket, SocketError};
use crate::edge::StartError;
use crate::listener::Sockets;
use crate::observe;

/// After the drain limit a worker ends by itself; one that does not is ended.
const DRAIN_MORE: Duration = Duration::from_secs(15);

/// Why the supervisor did not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SupervisorError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    State(#[from] OpenError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the program {path} cannot be run: {source}")]
    Binary { path: PathBuf, source: io::Error },
    #[error("signals cannot be heard: {0}")]
    Signal(io::Error),
    #[error("what the supervisor before has left cannot be taken over: {0}")]
    Carried(io::Error),
    #[error("the worker did not start: {0}")]
    Worker(#[from] WorkerError),
}

/// How a supervisor ends.
#[derive(Debug)]
pub enum Ended {
    /// With its process.
    Exit(ExitCode),
    /// As another program in the same process.
    Become(Box<Going>),
}

/// Serves until SIGTERM, or until it becomes another program; says how it ended.
///
/// `config` was loaded from `path`, which workers load again. `binary` is what they run. `carried` is what the program
/// before has left.
///
/// # Errors
/// When a part, or the first worker, cannot start; then nothing is left running.
pub async fn run(
    config: Config,
    path: &Path,
    binary: Binary,
    mut sockets: Sockets,
    carried: Option<&Carried>,
) -> Result<Ended, SupervisorError> {
    let listen = |kind| signal(kind).map_err(SupervisorError::Signal);
    let mut terminated = listen(SignalKind::terminate())?;
    let mut interrupted = listen(SignalKind::interrupt())?;
    let mut reloaded = listen(SignalKind::hangup())?;
    let manager = Manager::of_environment();

    let held = shared::Held::bind(&config, &mut sockets)?;
    let state = &config.state;
    std::fs::create_dir_all(state).map_err(|source| StartError::State {
        path: state.clone(),
        source,
    })?;
    let store = Arc::new(Embedded::open(&state.join("state.redb"))?);
    // After the state file: its lock is what keeps two starts apart, not a socket's name.
    let control = AdminSocket::bind(&state.join("control.sock"))?;
    let admin = AdminSocket::bind(&config.listeners.admin)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(link::serve(control, Arc::clone(&store)));
    let observe = held.observe;
    if let Some(monitors) = observe.as_ref().and_then(|held| held.local_addr().ok()) {
        info!(%monitors, "monitors are answered");
    }
    let start = carried.map_or_else(|| binary.path().to_owned(), |carried| carried.path.clone());
    let shared = Shared::new(&config, path, (binary, start), held.passed, store);
    let shared = Arc::new(shared);
    // For who this process becomes.
    let observed = observe
        .as_ref()
        .map(|held| held.as_fd().try_clone_to_owned());
    let observed = observed.transpose().map_err(SupervisorError::Carried)?;
    if let Some(carried) = carried {
        shared.adopt(carried).map_err(SupervisorError::Carried)?;
        carried.settle();
        info!("the supervisor is another version now");
    }
    if shared.in_charge().is_none() {
        shared.begin().await?;
    }

    let (stop, stopped) = watch::channel(false);
    if let Some(listener) = observe {
        tasks.spawn(observe::serve(
            listener,
            Arc::clone(&shared) as _,
            stopped.clone(),
        ));
    }
    tasks.spawn(desk::serve(admin, held.admin, Arc::clone(&shared), stopped));
    let keeping = Arc::clone(&shared);
    tasks.spawn(async move { keeping.keep().await });
    manager.ready();
    let watched = Arc::clone(&shared);
    let watching = manager.clone();
    tasks.spawn(async move { watching.watch(&watched).await });

    loop {
        tokio::select! {
            _ = reloaded.recv() => shared.reload().await,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            () = shared.become_it.notified() => {
                // Nobody is replaced, asked or told from here on.
                let _turn = shared.changing.lock().await;
                tasks.shutdown().await;
                let going = Going::of(&shared, observed).map_err(SupervisorError::Carried)?;
                return Ok(Ended::Become(Box::new(going)));
            }
        }
    }
    manager.stopping();
    info!("no more connections; requests under way may finish");
    let ended = end(
        &shared,
        config.limits.drain,
        &mut terminated,
        &mut interrupted,
    )
    .await;
    stop.send_replace(true);
    tasks.shutdown().await;
    Ok(Ended::Exit(ended))
}

/// Lets all workers finish, within the drain limit or until told again.
async fn end(
    shared: &Shared,
    drain: Duration,
    terminated: &mut Signal,
    interrupted: &mut Signal,
) -> ExitCode {
    let limit = drain.saturating_add(DRAIN_MORE);
    tokio::select! {
        well = shared.drain() => return if well { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        () = tokio::time::sleep(limit) => warn!("a worker did not end in time: it is killed"),
        _ = terminated.recv() => warn!("told to stop again: requests were cut off"),
        _ = interrupted.recv() => warn!("told to stop again: requests were cut off"),
    }
    shared.kill().await;
    ExitCode::FAILURE
}
