use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::super::counters::Counters;
use super::super::event::Entry;
use super::super::shift::{Weight, decide};
use super::super::store::Audit;
use super::*;
use crate::colour::{Colour, PerColour, Split};
use crate::control::embedded::Embedded;
use crate::control::state::{ColourState, Phase};

/// What the request path was told.
#[derive(Default)]
struct Told {
    states: Mutex<Vec<(u64, Arc<State>)>>,
    purges: Mutex<Vec<(u64, Purge)>>,
    cut_off: Mutex<Vec<bool>>,
}

impl Follower for Told {
    fn adopt(&self, state: &Arc<State>, sequence: Sequence) {
        self.states.lock().push((sequence.0, state.clone()));
    }

    fn purge(&self, purge: &Purge, sequence: Sequence) {
        self.purges.lock().push((sequence.0, purge.clone()));
    }

    fn soften(&self, purge: &Purge, sequence: Sequence) {
        self.purge(purge, sequence);
    }

    fn cut_off(&self, cut_off: bool) {
        self.cut_off.lock().push(cut_off);
    }
}

fn learn() -> AppId {
    "learn".parse().expect("an app")
}

fn first() -> AppState {
    let colour = |_| {
        Some(ColourState {
            release: "r1".parse().expect("an id"),
            members: BTreeMap::new(),
            phase: Phase::Idle,
            schema: "1".parse().expect("a range"),
            leaving: false,
        })
    };
    AppState::new(PerColour::each(colour), Split::all(Colour::Blue))
}

fn note() -> Note {
    Note {
        at: Timestamp::UNIX_EPOCH,
        who: "test".into(),
        what: "test".into(),
        from: String::new(),
        to: String::new(),
        why: None,
        receipt: None,
    }
}

fn purge(tenant: &str) -> Purge {
    Purge::Tenant(tenant.parse().expect("a tenant"))
}

async fn store_in(folder: &tempfile::TempDir) -> Arc<Embedded> {
    let store = Embedded::open(&folder.path().join("state.redb")).expect("it opens");
    let first = [(learn(), first())];
    seed(&store, first, Timestamp::UNIX_EPOCH)
        .await
        .expect("it seeds");
    Arc::new(store)
}

async fn reached(following: &Following, sequence: u64) -> Applied {
    let mut applied = following.applied();
    let reached = applied.wait_for(|applied| applied.sequence.0 >= sequence);
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    reached.expect("in time").expect("it follows").clone()
}

#[tokio::test]
async fn the_request_path_gets_the_state_at_once_and_every_change_in_order()
-> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder).await;
    let told = Arc::new(Told::default());
    let following = Following::start(store.clone(), told.clone()).await?;
    assert_eq!(told.states.lock().len(), 1, "before start answers");

    let next = decide(
        &first(),
        "green=10%".parse::<Weight>().expect("a weight"),
        vec![],
    )
    .expect("it can");
    let change = Change::Put {
        key: Key::app(&learn()),
        expected: Sequence(1),
        value: written(&next),
    };
    store.commit(change, note()).await?;
    store
        .commit(Change::Append(Event::Purge(purge("oak"))), note())
        .await?;
    let applied = reached(&following, 3).await;
    assert_eq!(applied.state.apps[&learn()], next);
    assert_eq!(applied.revisions[&learn()], Sequence(2));
    let states: Vec<u64> = told
        .states
        .lock()
        .iter()
        .map(|(sequence, _)| *sequence)
        .collect();
    assert_eq!(states, [1, 2]);
    assert_eq!(*told.purges.lock(), [(3, purge("oak"))]);
    Ok(())
}

#[tokio::test]
async fn a_seed_does_not_change_what_commands_decided() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder).await;
    let next = first().shifted(Split::all(Colour::Green));
    let change = Change::Put {
        key: Key::app(&learn()),
        expected: Sequence(1),
        value: written(&next),
    };
    store.commit(change, note()).await?;
    let other: AppId = "portal".parse().expect("an app");
    seed(
        store.as_ref(),
        [(learn(), first()), (other.clone(), first())],
        Timestamp::UNIX_EPOCH,
    )
    .await?;
    let following = Following::start(store, Arc::new(Told::default())).await?;
    let applied = following.applied().borrow().clone();
    assert_eq!(applied.state.apps[&learn()], next);
    assert_eq!(applied.state.apps[&other], first());
    assert_eq!(applied.sequence, Sequence(3));
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_its_app_as_it_was() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder).await;
    let following = Following::start(store.clone(), Arc::new(Told::default())).await?;
    let change = Change::Put {
        key: Key::app(&learn()),
        expected: Sequence(1),
        value: b"{}".to_vec(),
    };
    store.commit(change, note()).await?;
    let applied = reached(&following, 2).await;
    assert_eq!(applied.state.apps[&learn()], first());
    Ok(())
}

/// A store whose tail loses things, and whose log forgets.
struct Lossy {
    store: Arc<Embedded>,
    tail: broadcast::Sender<News>,
    forgotten: u64,
}

#[async_trait]
impl ControlStore for Lossy {
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.store.record(key).await
    }

    async fn commit(&self, change: Change, note: Note) -> Result<Sequence, StoreError> {
        self.store.commit(change, note).await
    }

    async fn events(&self, after: Sequence, count_max: usize) -> Result<Vec<Entry>, StoreError> {
        if after.0 < self.forgotten {
            let oldest = Sequence(self.forgotten + 1);
            return Err(StoreError::Compacted { after, oldest });
        }
        self.store.events(after, count_max).await
    }

    async fn audit(
        &self,
        count_max: usize,
        seen: Option<(Sequence, asset_pipeline::digest::Digest)>,
    ) -> Result<Audit, StoreError> {
        self.store.audit(count_max, seen).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot().await
    }

    fn report(&self, _: Counters) {}

    fn tail(&self) -> broadcast::Receiver<News> {
        self.tail.subscribe()
    }
}

async fn missed(forgotten: u64, news: impl FnOnce(&broadcast::Sender<News>)) -> Vec<(u64, Purge)> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_in(&folder).await;
    let (tail, _) = broadcast::channel(4);
    let lossy = Arc::new(Lossy {
        store: store.clone(),
        tail: tail.clone(),
        forgotten,
    });
    let told = Arc::new(Told::default());
    let following = Following::start(lossy, told.clone())
        .await
        .expect("it follows");
    for tenant in ["oak", "elm", "ash"] {
        let change = Change::Append(Event::Purge(purge(tenant)));
        store.commit(change, note()).await.expect("it commits");
    }
    news(&tail);
    reached(&following, 4).await;
    told.purges.lock().clone()
}

fn committed(sequence: u64, tenant: &str) -> News {
    News::Committed(Arc::new(Committed {
        sequence: Sequence(sequence),
        change: Change::Append(Event::Purge(purge(tenant))),
    }))
}

#[tokio::test]
async fn what_the_tail_lost_is_read_from_the_log() {
    let all = [(2, purge("oak")), (3, purge("elm")), (4, purge("ash"))];
    let gap = missed(0, |tail| {
        let _heard = tail.send(committed(4, "ash"));
    });
    assert_eq!(gap.await, all);
    let unsure = missed(0, |tail| {
        let _heard = tail.send(News::Unsure);
    });
    assert_eq!(unsure.await, all);
    let lagged = missed(0, |tail| {
        for _ in 0..20 {
            let _heard = tail.send(committed(2, "oak"));
        }
    });
    assert_eq!(lagged.await, all);
}

#[tokio::test]
async fn what_the_log_forgot_purges_everything() {
    let purges = missed(3, |tail| {
        let _heard = tail.send(News::Unsure);
    });
    assert_eq!(purges.await, [(4, Purge::Everything), (4, purge("ash"))]);
}
