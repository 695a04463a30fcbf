//! Carries what a store commits to the request path, in order, missing nothing.
//!
//! A reader that lagged, or a store that is unsure of its last write, is answered by reading again:
//! the events after the last one applied, then all records. Events that are no longer kept are
//! answered by purging everything. Both are safe to repeat. While reading again fails for longer than
//! a few seconds, the request path is told that it is cut off.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::edge::Follower;
use super::event::{Event, Purge};
use super::state::{AppState, CacheState, State, described, written};
use super::store::{
    Change, Committed, ControlStore, Key, News, Note, Record, Sequence, Snapshot, StoreError,
};

/// Events read at once while catching up.
const PAGE: usize = 512;

/// How long to wait before reading again from a store that failed.
const RETRY: Duration = Duration::from_millis(250);

/// Changes that may have been missed are looked for during this time before nothing stored is served. A process
/// that is cut off notices within two seconds more: five together.
const TRUST: Duration = Duration::from_secs(3);

/// What the request path uses now.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The last change it has seen.
    pub sequence: Sequence,
    /// The apps and their splits.
    pub state: Arc<State>,
    /// The revision of each app's record.
    pub revisions: BTreeMap<AppId, Sequence>,
}

/// The task that follows a store; it ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    applied: watch::Receiver<Applied>,
    task: JoinHandle<()>,
}

impl Following {
    /// Tells `follower` the present state, then every change from now on.
    ///
    /// # Errors
    /// When the present state cannot be read; later failures are logged and tried again.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        follower: Arc<dyn Follower>,
    ) -> Result<Self, StoreError> {
        // First the tail, then the snapshot: what happens in between is heard twice, never missed.
        let tail = store.tail();
        let (sender, applied) = watch::channel(Applied::default());
        let mut follow = Follow {
            store,
            follower,
            applied: sender,
        };
        // Nothing is stored yet that an event before this moment could forbid.
        follow.adopt(&follow.store.snapshot().await?);
        let task = tokio::spawn(async move { follow.run(tail).await });
        Ok(Self { applied, task })
    }

    /// What the request path uses, to read or to wait on.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follow {
    store: Arc<dyn ControlStore>,
    follower: Arc<dyn Follower>,
    applied: watch::Sender<Applied>,
}

impl Follow {
    async fn run(&mut self, mut tail: broadcast::Receiver<News>) {
        loop {
            match tail.recv().await {
                Ok(News::Committed(change)) => {
                    let next = Sequence(self.sequence().0 + 1);
                    if change.sequence == next {
                        self.apply(&change);
                    } else if change.sequence > next {
                        self.catch_up().await;
                    }
                }
                Ok(News::Unsure) | Err(RecvError::Lagged(_)) => self.catch_up().await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn sequence(&self) -> Sequence {
        self.applied.borrow().sequence
    }

    fn apply(&self, committed: &Committed) {
        let sequence = committed.sequence;
        let mut next = self.applied.borrow().clone();
        next.sequence = sequence;
        match &committed.change {
            Change::Append(event) => self.tell(event, sequence),
            Change::Put { key, value, .. } => {
                let record = Record {
                    revision: sequence,
                    value: value.clone(),
                };
                read_into(&mut next, key, &record);
                self.follower.adopt(&next.state, sequence);
            }
        }
        self.applied.send_replace(next);
    }

    fn tell(&self, event: &Event, sequence: Sequence) {
        match event {
            Event::Purge(purge) => self.follower.purge(purge, sequence),
            Event::SoftPurge(purge) => self.follower.soften(purge, sequence),
        }
    }

    /// Reads until it is known that nothing was missed.
    async fn catch_up(&self) {
        let trust = tokio::time::sleep(TRUST);
        let mut trust = pin!(trust);
        let mut cut_off = false;
        loop {
            let reading = async {
                match self.try_catch_up().await {
                    Ok(()) | Err(StoreError::Closed) => return true,
                    Err(StoreError::CutOff) => {}
                    Err(error) => tracing::warn!("the state could not be read again: {error}"),
                }
                tokio::time::sleep(RETRY).await;
                false
            };
            tokio::select! {
                biased;
                ended = reading => if ended { break },
                () = &mut trust, if !cut_off => {
                    cut_off = true;
                    tracing::warn!("the state cannot be read: nothing stored is served until it can");
                    self.follower.cut_off(true);
                }
            }
        }
        if cut_off {
            tracing::info!("the state is read again, and nothing was missed");
            self.follower.cut_off(false);
        }
    }

    async fn try_catch_up(&self) -> Result<(), StoreError> {
        // Before the events: one that comes after the snapshot is still ahead in the tail.
        let snapshot = self.store.snapshot().await?;
        let mut after = self.sequence();
        loop {
            let page = match self.store.events(after, PAGE).await {
                Err(StoreError::Compacted { oldest, .. }) => {
                    self.follower.purge(&Purge::Everything, oldest);
                    after = Sequence(oldest.0 - 1);
                    continue;
                }
                other => other?,
            };
            let Some(last) = page.last() else {
                self.adopt(&snapshot);
                return Ok(());
            };
            after = last.sequence;
            for entry in &page {
                self.tell(&entry.event, entry.sequence);
            }
        }
    }

    fn adopt(&self, snapshot: &Snapshot) {
        let mut next = Applied {
            sequence: snapshot.sequence,
            ..Applied::default()
        };
        for (key, record) in &snapshot.records {
            read_into(&mut next, key, record);
        }
        self.follower.adopt(&next.state, next.sequence);
        self.applied.send_replace(next);
    }
}

/// Takes an app's record over; one that cannot be read changes nothing, so its app stays as it was.
fn read_into(applied: &mut Applied, key: &Key, record: &Record) {
    if key.is_cache() {
        // One that cannot be read was written to stop something: nothing is cached until it can be.
        let cache = serde_json::from_slice(&record.value).unwrap_or_else(|error| {
            tracing::error!("record `{key}` cannot be read, so the cache is off: {error}");
            CacheState { off: true }
        });
        Arc::make_mut(&mut applied.state).cache = cache;
        return;
    }
    if key.is_challenges() {
        match serde_json::from_slice(&record.value) {
            Ok(challenges) => Arc::make_mut(&mut applied.state).challenges = challenges,
            Err(error) => tracing::error!("record `{key}` cannot be read: {error}"),
        }
        return;
    }
    let Some(app) = key.as_app() else {
        return;
    };
    match serde_json::from_slice(&record.value) {
        Ok(state) => {
            applied.revisions.insert(app.clone(), record.revision);
            Arc::make_mut(&mut applied.state).apps.insert(app, state);
        }
        Err(error) => tracing::error!("record `{key}` cannot be read: {error}"),
    }
}

/// Writes the first state of every app that has none yet: the config's first colours seed an empty
/// state only, later the state wins.
///
/// # Errors
/// When the state cannot be read or written.
pub async fn seed(
    store: &dyn ControlStore,
    first: impl IntoIterator<Item = (AppId, AppState)>,
    at: jiff::Timestamp,
) -> Result<(), StoreError> {
    for (app, state) in first {
        let key = Key::app(&app);
        if store.record(&key).await?.is_some() {
            continue;
        }
        let change = Change::Put {
            expected: Sequence::ZERO,
            value: written(&state),
            key,
        };
        let note = Note {
            at,
            who: "edge".into(),
            what: format!("seed {app}"),
            from: "nothing".into(),
            to: described(&state),
            why: Some("first colours of the config".into()),
            receipt: None,
        };
        match store.commit(change, note).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
