//! Puts the world together anew whenever a part of it changes: files, state or releases.
//!
//! The parts come from different tasks; each change makes one new world from the newest of all and
//! swaps it in. Requests under way keep the world that they began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::assets::catalog::{Named, Tables};
use crate::cache::epochs::Epochs;
use crate::colour::Colour;
use crate::config::checked::Config;
use crate::control::counters::Counters;
use crate::control::edge::Follower;
use crate::control::event::Purge;
use crate::control::rollout::Status;
use crate::control::state::{AppState, State};
use crate::control::store::Sequence;
use crate::identity::Revoked;
use crate::metrics::Metrics;
use crate::tally::Tallies;
use crate::upstream::client::Client;
use crate::upstream::health;
use crate::world::{self, AppWorld, Pools, World};

/// The newest of every part, and the world made of them.
pub(super) struct Assembly {
    parts: Mutex<Parts>,
    world: Arc<ArcSwap<World>>,
    changed: watch::Sender<()>,
    epochs: Arc<Epochs>,
    revoked: Arc<Revoked>,
    client: Client,
    metrics: Arc<Metrics>,
}

struct Parts {
    config: Arc<Config>,
    state: Arc<State>,
    tables: Arc<Tables>,
    pools: Pools,
    tallies: Tallies,
    cut_off: bool,
}

impl Assembly {
    pub(super) fn new(
        config: Arc<Config>,
        epochs: Arc<Epochs>,
        revoked: Arc<Revoked>,
        client: Client,
        metrics: Arc<Metrics>,
    ) -> Self {
        let state = Arc::new(State::default());
        let world = World::of(
            Arc::clone(&config),
            &state,
            &Tables::new(),
            &Pools::new(),
            &Tallies::default(),
            &metrics,
        );
        Self {
            parts: Mutex::new(Parts {
                config,
                state,
                tables: Arc::default(),
                pools: Pools::new(),
                tallies: Tallies::default(),
                cut_off: false,
            }),
            world: Arc::new(ArcSwap::from_pointee(world)),
            changed: watch::Sender::new(()),
            epochs,
            revoked,
            client,
            metrics,
        }
    }

    /// Where requests find it.
    pub(super) fn world(&self) -> Arc<ArcSwap<World>> {
        Arc::clone(&self.world)
    }

    /// From now on requests see these files.
    pub(super) fn reload(&self, config: Arc<Config>) {
        self.change(|parts| parts.config = config);
    }

    /// From now on requests see these releases.
    pub(super) fn restock(&self, tables: Arc<Tables>) {
        self.change(|parts| parts.tables = tables);
    }

    /// The files that requests see.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.lock().config)
    }

    /// What requests came to since the last call.
    pub(super) fn counted(&self) -> Counters {
        let parts = self.parts.lock();
        parts.tallies.take(|app| {
            let state = parts.state.apps.get(app);
            state.map_or(Colour::Blue, AppState::standing)
        })
    }

    /// Told of each new world.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The releases that colours name, of every app of the config.
    pub(super) fn named(&self) -> Named {
        let world = self.world.load();
        let releases = |app: &AppWorld| {
            let colours = Colour::BOTH
                .into_iter()
                .filter_map(|colour| app.colour(colour));
            colours.map(|colour| colour.release.clone()).collect()
        };
        world
            .apps()
            .iter()
            .map(|app| (app.app.id.clone(), releases(app)))
            .collect()
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock();
        change(&mut parts);
        let Parts {
            config,
            state,
            tables,
            pools,
            tallies,
            cut_off,
        } = &mut *parts;
        *pools = world::pools(config, state, pools, &self.metrics, |pool| {
            health::watch(pool, self.client.clone())
        });
        *tallies = Tallies::of(config, tallies);
        let config = Arc::clone(config);
        let mut world = World::of(config, state, tables, pools, tallies, &self.metrics);
        world.cache_off |= *cut_off;
        for app in world.apps() {
            self.metrics
                .split(app.app.id.as_str(), app.splitter().split());
            let of_app = state.apps.get(&app.app.id);
            if let Some(rollout) = of_app.and_then(|of_app| of_app.rollout.as_ref()) {
                let id = app.app.id.as_str();
                self.metrics
                    .rollout(id, &Status::ALL, rollout.status.as_str());
            }
        }
        let world = Arc::new(world);
        let hold = |paused| {
            for app in world.apps().iter().filter(|app| app.is_paused() == paused) {
                if let Some(hold) = app.hold() {
                    hold.set(paused);
                }
            }
        };
        // Who comes to a queue finds it closed, and who is let out of it finds the new world.
        hold(true);
        self.world.store(Arc::clone(&world));
        hold(false);
        self.changed.send_replace(());
    }
}

impl Follower for Assembly {
    fn adopt(&self, state: &Arc<State>, _sequence: Sequence) {
        self.change(|parts| parts.state = Arc::clone(state));
    }

    fn purge(&self, purge: &Purge, _sequence: Sequence) {
        self.metrics.purged(purge.kind());
        // First who is signed out: what the epochs end is proven anew at once.
        self.revoked.purged(purge);
        self.epochs.purge(purge);
    }

    fn soften(&self, purge: &Purge, _sequence: Sequence) {
        self.metrics.purged("soft");
        self.revoked.purged(purge);
        self.epochs.soften(purge);
    }

    fn cut_off(&self, cut_off: bool) {
        self.change(|parts| parts.cut_off = cut_off);
    }
}
