//! What the supervisor keeps, and who serves at the moment.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::carry::Carried;
use super::duty::Stage;
use super::merged::Merged;
use super::upgrade::Progress;
use super::worker::{Start, Worker, WorkerError, how};
use super::{Binary, SupervisorError};
use crate::config::Config;
use crate::control::api::UpgradeStage;
use crate::control::embedded::Embedded;
use crate::control::socket::SocketError;
use crate::edge::{ADMIN, EVENTS, OBSERVE, StartError, named, optioned};
use crate::listener::Sockets;
use crate::observe::Observed;
use crate::surface::Secured;

/// A worker reads its files, checks its releases and opens its mirror in this time.
pub(super) const START: Duration = Duration::from_secs(60);

/// A worker that crashed is replaced at once; one that keeps crashing, with these pauses.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Who has served for so long did not crash because of its start.
const STEADY: Duration = Duration::from_secs(60);

/// How often a worker that retires is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Desks of workers that nobody could ask any more are left out.
const DESKS_MAX: u64 = 64;

/// The sockets of the supervisor.
pub(super) struct Held {
    /// Those that workers inherit, by name.
    pub(super) passed: Vec<(String, OwnedFd)>,
    /// The monitors'.
    pub(super) observe: Option<tokio::net::TcpListener>,
    /// That of operators on another machine.
    pub(super) admin: Option<Secured>,
}

impl Held {
    /// Binds what the config names, or takes it from `sockets`.
    pub(super) fn bind(config: &Config, sockets: &mut Sockets) -> Result<Self, StartError> {
        let mut listen = |name: &str, address: SocketAddr| {
            let failed = |source| StartError::Listen {
                address: address.to_string(),
                source,
            };
            sockets.listen(name, address).map_err(failed)
        };
        let asked = &config.listeners;
        let mut passed = Vec::new();
        for (name, address, _) in named(asked) {
            let listener = listen(&name, address)?;
            optioned(&listener, address, &asked.tcp)?;
            passed.push((name, listener.into()));
        }
        if let Some(events) = &config.events {
            let listener = listen(EVENTS, events.listen)?;
            if let Ok(platform) = listener.local_addr() {
                info!(%platform, "events are heard");
            }
            passed.push((EVENTS.to_owned(), listener.into()));
        }
        let mut watched = |name: &str, address| {
            let listener = tokio::net::TcpListener::from_std(listen(name, address)?);
            listener.map_err(|source| StartError::Listen {
                address: name.to_owned(),
                source,
            })
        };
        let observe = asked.observe.map(|at| watched(OBSERVE, at)).transpose()?;
        let admin = match &asked.admin_tcp {
            Some(apart) => {
                let listener = watched(ADMIN, apart.listen)?;
                if let Ok(operators) = listener.local_addr() {
                    info!(%operators, "operators elsewhere are answered");
                }
                Some(apart.mutual.listen(listener))
            }
            None => None,
        };
        Ok(Self {
            passed,
            observe,
            admin,
        })
    }
}

/// Everything that tasks of the supervisor share.
pub(super) struct Shared {
    pub(super) store: Arc<Embedded>,
    /// Held while a worker is replaced, whyever.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    /// Told when this process is to become what the worker in charge runs.
    pub(super) become_it: Notify,
    /// The last upgrade.
    pub(super) progress: Mutex<Option<watch::Receiver<Progress>>>,
    /// What a worker runs that replaces one that crashed.
    pub(super) binary: Mutex<Arc<Binary>>,
    /// Where the program was at start: what is there now is what an upgrade means.
    pub(super) path: PathBuf,
    config: PathBuf,
    state: PathBuf,
    sockets: Vec<(String, OwnedFd)>,
    in_charge: watch::Sender<Option<Arc<Worker>>>,
    retiring: Mutex<Vec<Arc<Worker>>>,
    ended: Mutex<Merged>,
    stopping: AtomicBool,
    desks: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        path: &Path,
        (binary, start): (Binary, PathBuf),
        sockets: Vec<(String, OwnedFd)>,
        store: Arc<Embedded>,
    ) -> Self {
        Self {
            store,
            changing: Arc::default(),
            become_it: Notify::new(),
            progress: Mutex::default(),
            path: start,
            binary: Mutex::new(Arc::new(binary)),
            config: path.to_owned(),
            state: config.state.clone(),
            sockets,
            in_charge: watch::Sender::new(None),
            retiring: Mutex::default(),
            ended: Mutex::default(),
            stopping: AtomicBool::new(false),
            desks: AtomicU64::new(0),
        }
    }

    /// What workers inherit.
    pub(super) fn sockets(&self) -> &[(String, OwnedFd)] {
        &self.sockets
    }

    /// Whether somebody is in charge, and who lives: the one in charge first.
    pub(super) fn living(&self) -> (bool, Vec<Arc<Worker>>) {
        let in_charge = self.in_charge().is_some_and(|worker| worker.lives());
        let mut workers = self.workers();
        workers.retain(|worker| worker.lives());
        (in_charge, workers)
    }

    /// What workers counted that have ended.
    pub(super) fn ended_text(&self) -> String {
        self.ended.lock().text()
    }

    /// Takes over from the program that this process was before.
    pub(super) fn adopt(self: &Arc<Self>, carried: &Carried) -> io::Result<()> {
        let mut workers = Vec::new();
        for worker in &carried.workers {
            match Worker::adopt(worker) {
                Ok(worker) => workers.push(Arc::new(worker)),
                Err(error) => {
                    // Their desks are needed by the program before.
                    workers.into_iter().for_each(std::mem::forget);
                    return Err(error);
                }
            }
        }
        self.ended.lock().add(&carried.ended, false);
        *self.progress.lock() = carried.report.clone().map(|mut report| {
            if report.stage == UpgradeStage::Following {
                report.stage = UpgradeStage::Done;
            }
            watch::Sender::new(report).subscribe()
        });
        for (at, worker) in workers.into_iter().enumerate() {
            if at == 0 && carried.in_charge {
                self.in_charge.send_replace(Some(worker));
            } else {
                self.retiring.lock().push(Arc::clone(&worker));
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.retire(worker).await });
            }
        }
        Ok(())
    }

    /// Who serves; none: it has crashed, and the next one starts.
    pub(super) fn in_charge(&self) -> Option<Arc<Worker>> {
        self.in_charge.borrow().clone()
    }

    /// How many still answer what they accepted before.
    pub(super) fn retiring(&self) -> usize {
        self.retiring.lock().len()
    }

    /// A worker that runs `binary`; it accepts nothing yet.
    pub(super) fn start(&self, binary: &Binary) -> Result<Arc<Worker>, WorkerError> {
        let control = self.state.join("control.sock");
        loop {
            let number = self.desks.fetch_add(1, Ordering::Relaxed) % DESKS_MAX;
            let start = Start {
                binary,
                config: &self.config,
                control: &control,
                desk: self.state.join(format!("worker-{number}.sock")),
                sockets: &self.sockets,
            };
            match Worker::start(&start) {
                // That of a worker that still retires.
                Err(WorkerError::Desk(SocketError::InUse { .. })) => {}
                started => return started.map(Arc::new),
            }
        }
    }

    /// The first worker: it need not find its origins well.
    pub(super) async fn begin(&self) -> Result<(), SupervisorError> {
        let _turn = self.changing.lock().await;
        let binary = Arc::clone(&self.binary.lock());
        self.replace(&binary).await?;
        Ok(())
    }

    async fn replace(&self, binary: &Binary) -> Result<(), WorkerError> {
        let worker = self.start(binary)?;
        let begun = async {
            worker.prepared(START).await?;
            worker.order(Stage::Accept).await
        };
        begun.await.inspect_err(|_| worker.kill())?;
        self.in_charge.send_replace(Some(worker));
        Ok(())
    }

    /// Another worker accepts now: the one before may go when it has nothing left to do.
    pub(super) fn hand_over(self: &Arc<Self>, binary: Binary, worker: Arc<Worker>) {
        *self.binary.lock() = Arc::new(binary);
        if let Some(before) = self.in_charge.send_replace(Some(worker)) {
            self.retiring.lock().push(Arc::clone(&before));
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.retire(before).await });
        }
    }

    /// Follows a worker to its end, and keeps what it counted.
    async fn retire(&self, worker: Arc<Worker>) {
        if let Err(error) = worker.order(Stage::Retire).await {
            warn!(pid = worker.pid, %error, "the worker before could not be told to retire");
        }
        loop {
            tokio::select! {
                _ = worker.ended() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            worker.counters().await;
            if let Ok(facts) = worker.facts().await
                && facts.stage == Stage::Leave
            {
                worker.counters().await;
                // One that does not hear it leaves by itself.
                let _told = worker.order(Stage::Leave).await;
            }
        }
        self.keep_counters(&worker).await;
        self.retiring
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &worker));
        info!(pid = worker.pid, "the worker before has ended");
    }

    async fn keep_counters(&self, worker: &Worker) {
        let counters = worker.counters().await;
        let mut ended = self.ended.lock();
        ended.add(&counters, false);
        *ended = std::mem::take(&mut *ended).counted();
    }

    /// Replaces a worker that crashed, as often as it does.
    pub(super) async fn keep(&self) {
        let mut in_charge = self.in_charge.subscribe();
        let mut pause = Duration::ZERO;
        loop {
            let serving = in_charge.borrow_and_update().clone();
            let Some(worker) = serving else { return };
            let since = Instant::now();
            let status = tokio::select! {
                status = worker.ended() => status,
                changed = in_charge.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let _turn = self.changing.lock().await;
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            if !in_charge
                .borrow()
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, &worker))
            {
                continue;
            }
            warn!(
                pid = worker.pid,
                status = how(status),
                "the worker ended; another one starts"
            );
            self.keep_counters(&worker).await;
            self.in_charge.send_replace(None);
            if since.elapsed() >= STEADY {
                pause = Duration::ZERO;
            }
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
                if self.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let binary = Arc::clone(&self.binary.lock());
                match self.replace(&binary).await {
                    Ok(()) => break,
                    Err(error) => warn!(%error, "no worker could be started; it is tried again"),
                }
            }
        }
    }

    /// All workers read their files again.
    pub(super) async fn reload(&self) {
        for worker in self.workers() {
            if let Err(error) = worker.order(Stage::Reload).await {
                warn!(pid = worker.pid, %error, "a worker was not told to reload");
            }
        }
    }

    /// All workers finish what is under way. True: nothing was cut off.
    pub(super) async fn drain(&self) -> bool {
        self.stopping.store(true, Ordering::Relaxed);
        // One that starts just now is waited for, or it would be left alone.
        let _turn = self.changing.lock().await;
        let workers = self.workers();
        let mut well = true;
        for worker in &workers {
            if let Err(error) = worker.order(Stage::Drain).await {
                warn!(pid = worker.pid, %error, "a worker was not told to end");
                worker.kill();
            }
        }
        for worker in &workers {
            well &= worker.ended().await.is_some_and(|status| status.success());
        }
        well
    }

    /// Ends all workers at once.
    pub(super) async fn kill(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for worker in self.workers() {
            worker.kill();
            worker.ended().await;
        }
    }

    /// The one in charge first.
    fn workers(&self) -> Vec<Arc<Worker>> {
        let mut workers: Vec<_> = self.in_charge().into_iter().collect();
        workers.extend(self.retiring.lock().iter().cloned());
        workers
    }
}

#[async_trait]
impl Observed for Shared {
    /// Counted by all workers there were; what is measured now, by the one in charge.
    async fn metrics(&self) -> String {
        let mut merged = self.ended.lock().clone();
        let in_charge = self.in_charge();
        for worker in self.workers() {
            let main = in_charge
                .as_ref()
                .is_some_and(|main| Arc::ptr_eq(main, &worker));
            merged.add(&worker.counters().await, main);
        }
        merged.text()
    }

    async fn not_ready(&self) -> Vec<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return vec!["the edge is draining".to_owned()];
        }
        let Some(worker) = self.in_charge() else {
            return vec!["the worker is being replaced".to_owned()];
        };
        match worker.facts().await {
            Ok(facts) => facts.not_ready,
            Err(error) => vec![format!("the worker: {error}")],
        }
    }
}
