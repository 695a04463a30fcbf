//! Publishes, deploys, pins, kills and collections in any order: nothing that is retained or in use
//! ever misses a blob.

mod mortal;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::local::LocalFileSystem;
use proptest::prelude::*;

use super::*;
use crate::id::{EdgeId, ReleaseId};
use crate::publish::{Publish, publish};
use mortal::Mortal;

const KEEP: usize = 2;
const YOUNG: Duration = Duration::from_secs(48 * 3600);

#[derive(Debug, Clone)]
enum Step {
    Publish {
        text: u8,
        dies: Option<u8>,
    },
    /// An edge names a release, and goes on naming the one before, or all.
    Deploy {
        edge: bool,
        which: u8,
        pin: bool,
    },
    Collect {
        dies: Option<u8>,
    },
    /// Both at the same time, in an order that `seed` decides.
    Race {
        text: u8,
        seed: u8,
        dies: Option<u8>,
    },
    Wait {
        hours: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let dies = || prop_oneof![3 => Just(None), 1 => (0_u8..40).prop_map(Some)];
    let step = prop_oneof![
        3 => (any::<u8>(), dies()).prop_map(|(text, dies)| Step::Publish { text, dies }),
        3 => (any::<bool>(), any::<u8>(), any::<bool>())
            .prop_map(|(edge, which, pin)| Step::Deploy { edge, which, pin }),
        3 => dies().prop_map(|dies| Step::Collect { dies }),
        1 => (any::<u8>(), any::<u8>(), dies())
            .prop_map(|(text, seed, dies)| Step::Race { text, seed, dies }),
        4 => (1_u8..60).prop_map(|hours| Step::Wait { hours }),
    ];
    proptest::collection::vec(step, 4..24)
}

struct World {
    folder: tempfile::TempDir,
    now: SystemTime,
    published: usize,
    /// What each edge needs.
    edges: BTreeMap<EdgeId, BTreeSet<ReleaseId>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("store")).expect("a folder");
        Self {
            folder,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            published: 0,
            edges: BTreeMap::new(),
        }
    }

    /// A store whose owner dies after so many operations.
    fn store(&self, dies: Option<u8>, seed: u8) -> Store {
        let root = self.folder.path().join("store");
        let inner = LocalFileSystem::new_with_prefix(&root).expect("a folder");
        Store::over(&root, Arc::new(Mortal::new(inner, dies, seed)))
    }

    fn site(&self, text: u8) -> PathBuf {
        let site = self.folder.path().join(format!("site-{}", self.published));
        fs::create_dir(&site).expect("a folder");
        let page = format!("<link rel=stylesheet href=a.css><p>{}", text % 2);
        let css = format!("a{{color:#{:06x}}}", text % 5).repeat(30);
        for (name, text) in [("index.html", page), ("a.css", css)] {
            fs::write(site.join(name), text).expect("a file");
        }
        site
    }

    fn publish(&mut self, text: u8, dies: Option<u8>, seed: u8) -> Publish {
        self.published += 1;
        let release = format!("r{:03}", self.published);
        let release = release.parse().expect("a name");
        let store = self.store(dies, seed);
        let mut publish = Publish::new(self.site(text), app(), release, store);
        publish.now = self.now;
        publish
    }

    fn gc(&self, dies: Option<u8>, seed: u8) -> Gc {
        Gc {
            keep: KEEP,
            younger_than: YOUNG,
            now: self.now,
            ..Gc::new(self.store(dies, seed))
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    async fn report(&self) {
        for (edge, releases) in &self.edges {
            let store = self.store(None, 0);
            let releases = releases.iter().cloned();
            // There is no store before the first publish.
            let _ = store.report_in_use(&app(), edge, releases, self.now).await;
        }
    }

    async fn visible(&self) -> Vec<crate::store::ReleaseRef> {
        let releases = self.store(None, 0).releases(&app()).await;
        releases.unwrap_or_default()
    }

    /// What must be there whatever a collection does now.
    async fn must_stay(&self) -> BTreeSet<ReleaseId> {
        let mut releases = self.visible().await;
        releases
            .sort_by_key(|release| std::cmp::Reverse((release.published_s, release.id.clone())));
        let young = |at: u64| seconds(self.now).saturating_sub(at) < YOUNG.as_secs();
        let stays = releases.iter().enumerate();
        let stays = stays.filter(|(at, release)| *at < KEEP || young(release.published_s));
        let mut stays: BTreeSet<_> = stays.map(|(_, release)| release.id.clone()).collect();
        stays.extend(self.edges.values().flatten().cloned());
        stays
    }

    async fn deploy(&mut self, edge: bool, which: u8, pin: bool) {
        let visible = self.visible().await;
        if visible.is_empty() {
            return;
        }
        let id = visible[usize::from(which) % visible.len()].id.clone();
        let edge: EdgeId = if edge { "e1" } else { "e2" }.parse().expect("a name");
        let mut releases = match self.edges.get(&edge) {
            Some(held) if pin => held.clone(),
            held => held
                .into_iter()
                .flatten()
                .next_back()
                .cloned()
                .into_iter()
                .collect(),
        };
        releases.insert(id);
        self.edges.insert(edge, releases);
        self.report().await;
    }

    /// Every release that can be seen is whole, and `must_stay` can be seen.
    async fn check(&self, must_stay: &BTreeSet<ReleaseId>) {
        let store = self.store(None, 0);
        let visible = self.visible().await;
        for id in must_stay {
            let there = visible.iter().any(|release| release.id == *id);
            assert!(there, "{id} is gone, there are {visible:?}");
        }
        for release in visible {
            let manifest = store
                .manifest(&app(), &release.id)
                .await
                .expect("a manifest");
            for blob in manifest.blobs() {
                store.check_blob(&blob).await.expect("a whole release");
            }
        }
    }

    async fn step(&mut self, step: &Step) {
        let must_stay = self.must_stay().await;
        match step {
            Step::Publish { text, dies } => {
                let result = publish(self.publish(*text, *dies, 0), &()).await;
                assert!(result.is_ok() || dies.is_some(), "{result:?}");
            }
            Step::Deploy { edge, which, pin } => self.deploy(*edge, *which, *pin).await,
            Step::Collect { dies } => {
                let result = gc(self.gc(*dies, 0)).await;
                let fine = match &result {
                    // Before the first publish, and before the first deploy.
                    Err(GcError::Store(error)) => error.is_missing() || dies.is_some(),
                    Err(GcError::NoEdge(_)) => true,
                    Err(_) => dies.is_some(),
                    Ok(_) => true,
                };
                assert!(fine, "{result:?}");
                // A killed one is waited for.
                self.pass(Duration::from_secs(660));
            }
            Step::Race { text, seed, dies } => {
                let collection = gc(self.gc(None, *seed));
                let publishing = self.publish(*text, *dies, seed.rotate_left(3));
                let (collected, published) = tokio::join!(collection, publish(publishing, &()));
                assert!(
                    published.is_ok() || dies.is_some(),
                    "{published:?} {collected:?}"
                );
            }
            Step::Wait { hours } => {
                self.pass(Duration::from_secs(u64::from(*hours) * 3600));
                self.report().await;
            }
        }
        self.check(&must_stay).await;
    }

    /// With nobody at work, all that is needed by nothing goes.
    async fn settle(&mut self) {
        for _ in 0..4 {
            self.pass(Duration::from_secs(30 * 24 * 3600));
            self.report().await;
            let must_stay = self.must_stay().await;
            let mut last = self.gc(None, 0);
            last.no_edge = true;
            match gc(last).await {
                Ok(_) => {}
                Err(GcError::Store(error)) if error.is_missing() => return,
                Err(error) => panic!("{error}"),
            }
            self.check(&must_stay).await;
        }
        let store = self.store(None, 0);
        let visible: BTreeSet<_> = self.visible().await.into_iter().map(|r| r.id).collect();
        assert_eq!(visible, self.must_stay().await);
        let survey = Survey::read(&store).await.expect("a store");
        let things = store.things().await.expect("a store");
        let unneeded = survey.needed(|_| true).not(&store, &things).await;
        assert_eq!(unneeded.expect("a store"), Vec::<&Listed>::new());
        for work in [Work::Publish, Work::Collect] {
            assert_eq!(store.leases(work, self.now).await.expect("a store"), []);
        }
    }
}

fn app() -> AppId {
    "learn".parse().expect("a name")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_stays_or_is_in_use_ever_misses_a_blob(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.step(step).await;
            }
            world.settle().await;
        });
    }
}

/// What a proptest run may miss: each point at which a publish can meet a collection.
#[tokio::test]
async fn a_collection_at_each_point_of_a_publish_takes_nothing_from_it() {
    for dies in 0..45 {
        let mut world = World::new();
        publish(world.publish(1, None, 0), &())
            .await
            .expect("published");
        world.deploy(true, 0, false).await;
        // The second one's blobs are there, marked long ago, and named by no release.
        let second = publish(world.publish(2, Some(30), 0), &()).await;
        assert!(second.is_err());
        world.pass(Duration::from_secs(4000));
        gc(world.gc(None, 0)).await.expect("marked");
        world.pass(Duration::from_secs(13 * 3600));
        world.report().await;
        let third = world.publish(2, Some(dies), 0);
        let published = publish(third, &()).await.is_ok();
        gc(world.gc(None, 0)).await.expect("collected");
        world.check(&BTreeSet::new()).await;
        world.pass(Duration::from_secs(4000));
        gc(world.gc(None, 0)).await.expect("collected");
        let stays = if published { "r003" } else { "r001" };
        world.check(&[stays.parse().expect("a name")].into()).await;
    }
}
