//! Who is at work in a store: publishes and collections keep out of each other's way.
//!
//! A publish relies on blobs that it found, a collection deletes blobs that nobody relies on. Each
//! says first that it is there and looks for the other one then, so at least one of two that begin at
//! the same time sees the other: the collection gives way, the publish waits. A lease is renewed while its
//! owner lives; one that was not renewed for [`Work::life`] is what a kill has left. The clocks of machines may
//! differ by some minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use object_store::PutMode;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::put::json;
use super::read::RECORD_BYTES_MAX;
use super::reports::seconds;
use super::{FORMAT, Store, StoreError};

/// What its owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// `uploads/<id>`.
    Publish,
    /// `sweeps/<id>`.
    Collect,
}

impl Work {
    /// What was not renewed for so long is dead. A publish may sleep for a while with the machine it
    /// runs on; a collection is waited for, so it must not.
    pub(crate) fn life(self) -> Duration {
        match self {
            Self::Publish => Duration::from_secs(3600),
            Self::Collect => Duration::from_secs(600),
        }
    }

    /// Where leases for it lie.
    pub(super) fn folder(self) -> Path {
        Path::from(match self {
            Self::Publish => "uploads",
            Self::Collect => "sweeps",
        })
    }
}

/// What a lease's object holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// For people, such as `learn 2026-11-22.1`.
    what: String,
    renewed_s: u64,
}

/// Somebody else's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) path: Path,
    /// For people.
    pub(crate) what: String,
    pub(crate) alive: bool,
}

/// The right to work in a store. Whoever drops it without [`Lease::end`] leaves it to expire.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    path: Path,
    work: Work,
    began: Instant,
    /// Seconds after it began.
    renewed_s: Arc<AtomicU64>,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// Says that somebody is at work, from `now` on.
    pub(crate) async fn take(
        store: &Store,
        work: Work,
        what: String,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| store.failed("a random name", no_chance()))?;
        let path = work.folder().join(hex::encode(id));
        let began = Instant::now();
        store.put_lease(&path, &what, now).await?;
        let renewed_s = Arc::new(AtomicU64::new(0));
        let renewing = tokio::spawn({
            let (store, path, renewed_s) = (store.clone(), path.clone(), Arc::clone(&renewed_s));
            async move {
                loop {
                    tokio::time::sleep(work.life() / 12).await;
                    let elapsed = began.elapsed();
                    if store.put_lease(&path, &what, now + elapsed).await.is_ok() {
                        renewed_s.store(elapsed.as_secs(), Ordering::Relaxed);
                    }
                }
            }
        });
        Ok(Self {
            store: store.clone(),
            path,
            work,
            began,
            renewed_s,
            renewing,
        })
    }

    /// Whether others still see it. Its owner trusts it for half of the time that others do.
    pub(crate) async fn holds(&self) -> Result<bool, StoreError> {
        let renewed = Duration::from_secs(self.renewed_s.load(Ordering::Relaxed));
        if self.began.elapsed() >= renewed + self.work.life() / 2 {
            return Ok(false);
        }
        match self.store.object(&self.path, RECORD_BYTES_MAX).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Leases for that work but this one.
    pub(crate) async fn others(
        &self,
        work: Work,
        now: SystemTime,
    ) -> Result<Vec<Other>, StoreError> {
        let mut others = self.store.leases(work, now).await?;
        others.retain(|other| other.path != self.path);
        Ok(others)
    }

    /// Says that the work is done. One that cannot be removed expires.
    pub(crate) async fn end(self) {
        self.renewing.abort();
        // Best effort: it expires.
        let _ = self.store.delete([self.path.clone()].into()).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Store {
    async fn put_lease(&self, path: &Path, what: &str, now: SystemTime) -> Result<(), StoreError> {
        let record = json(&Record {
            format: FORMAT,
            what: what.to_owned(),
            renewed_s: seconds(now),
        });
        self.put(path, record.into(), PutMode::Overwrite).await?;
        Ok(())
    }

    /// The leases for some work. One that cannot be read is no reason to think that nobody holds it.
    pub(crate) async fn leases(
        &self,
        work: Work,
        now: SystemTime,
    ) -> Result<Vec<Other>, StoreError> {
        let mut leases = Vec::new();
        for path in self.objects_in(&work.folder()).await? {
            let bytes = match self.object(&path, RECORD_BYTES_MAX).await {
                Ok(bytes) => bytes,
                // Its owner has ended since.
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            let record: Record =
                serde_json::from_slice(&bytes).map_err(|error| self.damaged(&path, error))?;
            // One from a clock that is ahead is alive.
            let age_s = seconds(now).saturating_sub(record.renewed_s);
            leases.push(Other {
                path,
                what: record.what,
                alive: age_s < work.life().as_secs(),
            });
        }
        Ok(leases)
    }
}

fn no_chance() -> object_store::Error {
    object_store::Error::Generic {
        store: "the system",
        source: "it gives no random numbers".into(),
    }
}
