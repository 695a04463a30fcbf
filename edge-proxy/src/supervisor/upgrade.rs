//! Another version takes over, or nothing happens.
//!
//! The new worker starts beside the old one, reads and checks everything, and is walked through with requests of its
//! own; the same walk through the old one says what an origin that is down looks like. Only a worker that meets at
//! least what the old one meets is told to accept, and only then is the old one told to retire. Whatever fails before
//! ends the new worker, and no request has seen it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use super::Binary;
use super::duty::Stage;
use super::shared::Shared;
use super::worker::{Worker, WorkerError};
use crate::control::api::{Problem, UpgradeReport, UpgradeRequest, UpgradeStage};
use crate::control::store::{Change, ControlStore as _, Key, Note, Sequence};
use crate::edge::Probe;

/// Unless it is said: members are found healthy within seconds.
const WAIT_S: u32 = 60;

/// The longest wait that can be asked for.
const WAIT_S_MAX: u32 = 3600;

/// How often is looked whether it is as ready as the one before.
const LOOK: Duration = Duration::from_millis(250);

/// Workers that still answer what they accepted: each has its memory.
const RETIRING_MAX: usize = 8;

/// How far an upgrade is.
pub(super) type Progress = UpgradeReport;

/// Why nothing happened.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the new worker: {0}")]
    Worker(#[from] WorkerError),
    #[error("the new worker was not ready within {0} s: {1}")]
    NotReady(u32, String),
    #[error("there is no worker to take over from; the next one starts by itself")]
    Nobody,
    #[error(
        "a deploy or a drain of {0} is under way, and would be lost; try again when it has ended"
    )]
    Underway(String),
    #[error("{0}")]
    Note(String),
}

impl Shared {
    /// Begins; it ends, or has changed nothing, by itself.
    pub(super) fn upgrade(
        self: &Arc<Self>,
        asked: UpgradeRequest,
        who: String,
    ) -> Result<UpgradeReport, Problem> {
        let wait_s = asked.wait_s.unwrap_or(WAIT_S).min(WAIT_S_MAX);
        let path = asked
            .binary
            .as_ref()
            .map_or_else(|| self.path.clone(), PathBuf::from);
        if !path.is_absolute() {
            return Err(Problem::usage("the path of the program begins with `/`"));
        }
        let Ok(turn) = Arc::clone(&self.changing).try_lock_owned() else {
            let detail = "a worker is being replaced already; nothing was changed";
            return Err(Problem::conflict(
                "running",
                "an upgrade is under way",
                detail,
            ));
        };
        if self.retiring() >= RETIRING_MAX {
            let detail = format!(
                "{RETIRING_MAX} workers of earlier upgrades still answer requests; wait until one has ended"
            );
            return Err(Problem::refused(detail, Vec::new()));
        }
        let binary = Binary::at(&path).map_err(|error| Problem::usage(error.to_string()))?;
        let first = UpgradeReport {
            binary: path.display().to_string(),
            version: None,
            stage: UpgradeStage::Starting,
            why: None,
            log: Vec::new(),
            probes: Vec::new(),
            pid: None,
            retiring: self.retiring(),
            seconds: 0,
            dry_run: asked.dry_run,
            inherited: 0,
            inherited_bytes: 0,
            not_inherited: None,
        };
        let (progress, seen) = watch::channel(first.clone());
        *self.progress.lock() = Some(seen);
        let attempt = Attempt {
            shared: Arc::clone(self),
            began: Instant::now(),
            wait_s,
            dry_run: asked.dry_run,
            supervisor: asked.supervisor,
            cold: asked.cold,
            why: asked.reason,
            who,
            progress,
            _turn: turn,
        };
        tokio::spawn(attempt.make(binary));
        Ok(first)
    }
}

struct Attempt {
    shared: Arc<Shared>,
    began: Instant,
    wait_s: u32,
    dry_run: bool,
    supervisor: bool,
    cold: bool,
    why: Option<String>,
    who: String,
    progress: watch::Sender<Progress>,
    _turn: OwnedMutexGuard<()>,
}

impl Attempt {
    async fn make(self, binary: Binary) {
        let path = binary.path().display().to_string();
        let worker = match self.shared.start(&binary) {
            Ok(worker) => worker,
            Err(error) => return self.failed(&error.into(), Vec::new()),
        };
        self.say(|report| report.pid = Some(worker.pid));
        if let Err(failure) = self.let_in(&worker, &path).await {
            worker.kill();
            worker.ended().await;
            return self.failed(&failure, worker.said());
        }
        if self.dry_run {
            worker.kill();
        } else {
            info!(
                pid = worker.pid,
                binary = path,
                "another worker accepts connections"
            );
            self.shared.hand_over(binary, worker);
        }
        if self.supervisor && !self.dry_run {
            info!("the supervisor becomes the version that serves now");
            self.say(|report| report.stage = UpgradeStage::Following);
            self.shared.become_it.notify_one();
        } else {
            self.say(|report| report.stage = UpgradeStage::Done);
        }
    }

    /// Checks it, and tells it to accept.
    async fn let_in(&self, worker: &Arc<Worker>, path: &str) -> Result<(), Failure> {
        self.check(worker).await?;
        if !self.dry_run {
            self.note(path).await?;
            self.hand_entries(worker).await;
            worker.order(Stage::Accept).await?;
        }
        Ok(())
    }

    /// The new worker begins with what people read most now. That fails for itself: an empty cache is no fault.
    async fn hand_entries(&self, worker: &Worker) {
        let Some(before) = self.shared.in_charge().filter(|_| !self.cold) else {
            return;
        };
        match worker.inherit(&before).await {
            Ok(taken) => self.say(|report| {
                report.inherited = taken.entries;
                report.inherited_bytes = taken.bytes;
                report.not_inherited = taken.why;
            }),
            Err(error) => {
                warn!(%error, "the new worker begins with an empty cache");
                self.say(|report| report.not_inherited = Some(error.to_string()));
            }
        }
    }

    /// Everything that can be known before it accepts.
    async fn check(&self, worker: &Arc<Worker>) -> Result<(), Failure> {
        let wait = Duration::from_secs(self.wait_s.into());
        let before = self.shared.in_charge().ok_or(Failure::Nobody)?;
        let facts = worker.prepared(wait).await?;
        let underway = before.facts().await.map(|facts| facts.underway);
        if let Some(app) = underway.unwrap_or_default().first() {
            return Err(Failure::Underway(app.clone()));
        }
        self.say(|report| {
            report.version = Some(facts.version.clone());
            report.stage = UpgradeStage::Checking;
        });
        loop {
            let lacks = self.lacks(worker, &before).await?;
            if lacks.is_empty() {
                return Ok(());
            }
            if self.began.elapsed() >= wait {
                return Err(Failure::NotReady(self.wait_s, lacks.join("; ")));
            }
            sleep(LOOK).await;
        }
    }

    /// What it does not do that the one before does.
    async fn lacks(&self, worker: &Worker, before: &Worker) -> Result<Vec<String>, Failure> {
        let then = before
            .facts()
            .await
            .map(|facts| facts.not_ready)
            .unwrap_or_default();
        let mut lacks = worker.facts().await?.not_ready;
        lacks.retain(|reason| !then.contains(reason));
        if !lacks.is_empty() {
            return Ok(lacks);
        }
        let probes = worker.probe().await?;
        self.say(|report| {
            report.probes = probes.iter().map(ToString::to_string).collect();
        });
        let bad: Vec<&Probe> = probes.iter().filter(|probe| !probe.good).collect();
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        // An origin that is down, or a school without a certificate, is no fault of the new version.
        let then = before.probe().await.unwrap_or_default();
        let as_before = |probe: &&Probe| !then.contains(probe);
        Ok(bad
            .into_iter()
            .filter(as_before)
            .map(ToString::to_string)
            .collect())
    }

    /// In the audit log, before it is so.
    async fn note(&self, path: &str) -> Result<(), Failure> {
        let store = &self.shared.store;
        let failed = |error: crate::control::store::StoreError| Failure::Note(error.to_string());
        let key = Key::worker();
        let known = store.record(&key).await.map_err(failed)?;
        let version = self.progress.borrow().version.clone().unwrap_or_default();
        let described = |path: &str, version: &str| format!("{version} ({path})");
        let value = serde_json::json!({ "version": version, "binary": path });
        let from = known.as_ref().and_then(|record| {
            let value: serde_json::Value = serde_json::from_slice(&record.value).ok()?;
            Some(described(
                value["binary"].as_str()?,
                value["version"].as_str()?,
            ))
        });
        let note = Note {
            at: Timestamp::now(),
            who: self.who.clone(),
            what: "upgrade".to_owned(),
            from: from.unwrap_or_else(|| "the version that was started".to_owned()),
            to: described(path, &version),
            why: self.why.clone(),
            receipt: None,
        };
        let change = Change::Put {
            key,
            expected: known.map_or(Sequence::ZERO, |record| record.revision),
            value: value.to_string().into_bytes(),
        };
        store.commit(change, note).await.map_err(failed)?;
        Ok(())
    }

    fn say(&self, change: impl FnOnce(&mut UpgradeReport)) {
        self.progress.send_modify(|report| {
            change(report);
            report.seconds = self.began.elapsed().as_secs();
            report.retiring = self.shared.retiring();
        });
    }

    fn failed(&self, failure: &Failure, log: Vec<String>) {
        warn!(%failure, "the upgrade has changed nothing");
        self.say(|report| {
            report.stage = UpgradeStage::Failed;
            report.why = Some(failure.to_string());
            report.log = log;
        });
    }
}
