//! Everything a request reads: files, state and release tables together, loaded once per request,
//! so that no two rooms see different versions of it. Epochs are atomics beside it: a purge must
//! be seen by requests that are under way.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use asset_pipeline::id::{AppId, ReleaseId};
use cache_rules::tenant::TenantId;

use crate::assets::release::ReleaseTable;
use crate::colour::{Colour, PerColour};
use crate::config::checked::{App, Config};
use crate::control::state::{AppState, ColourState, Phase, State};
use crate::hold::Hold;
use crate::metrics::Metrics;
use crate::route::{Route, Routes};
use crate::split::claims::Claims;
use crate::split::{Choice, Reason, SplitBy, Splitter, Unit};
use crate::tally::{Tallies, Tally};
use crate::upstream::ledger::Ledger;
use crate::upstream::pool::{Kept, Pool};

/// One consistent view.
#[derive(Debug)]
pub struct World {
    /// The files.
    pub config: Arc<Config>,
    /// The kill switch: no rule is read, and nobody's identity is asked for.
    pub cache_off: bool,
    /// What is answered to certificate authorities on port 80, by token.
    pub challenges: BTreeMap<String, String>,
    routes: Routes,
    apps: Vec<AppWorld>,
}

/// One app in the world.
#[derive(Debug)]
pub struct AppWorld {
    /// Its files part.
    pub app: Arc<App>,
    /// Its releases.
    pub files: Arc<ReleaseTable>,
    /// Where what its requests came to is counted.
    pub tally: Option<Arc<Tally>>,
    paused: bool,
    splitter: Splitter,
    /// Schools that go ahead of the weight, and where to.
    ahead: Option<(Colour, HashSet<TenantId>)>,
    colours: PerColour<Option<ColourWorld>>,
}

/// One colour in the world.
#[derive(Debug)]
pub struct ColourWorld {
    /// Its files.
    pub release: ReleaseId,
    /// What its pages say that they are of, where they do.
    deployment: Option<String>,
    /// Whether ids and pins reach it: it is live or draining, and not unsafe.
    open: bool,
    /// Whether it was left: nobody new comes to it, not even a copy.
    left: bool,
    pools: Vec<Arc<Pool>>,
}

/// Who asks, as far as the colour depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The school.
    pub tenant: &'a TenantId,
    /// Where from.
    pub client: IpAddr,
    /// What of the things that were said is true.
    pub claims: &'a Claims,
    /// Pins that end before this second are over.
    pub now_s: u64,
}

/// Pools by what they serve: they outlive a world, so that health is not forgotten by a shift.
pub type Pools = BTreeMap<(AppId, Colour, String), Arc<Pool>>;

impl World {
    /// Puts the parts together. `tables`, `pools` and `tallies` have what `config` and `state` name.
    pub fn of(
        config: Arc<Config>,
        state: &State,
        tables: &BTreeMap<AppId, Arc<ReleaseTable>>,
        pools: &Pools,
        tallies: &Tallies,
        metrics: &Metrics,
    ) -> Self {
        let routes = Routes::of(config.apps.values().map(|app| &**app), metrics);
        let apps = config
            .apps
            .values()
            .map(|app| {
                let of_app = state_of(state, app);
                let files = tables.get(&app.id).cloned().unwrap_or_default();
                let ahead = of_app.ahead().map(|(colour, rings)| {
                    let members = config.rings.members(&rings).cloned();
                    (colour, members.collect())
                });
                AppWorld {
                    app: Arc::clone(app),
                    files: Arc::clone(&files),
                    tally: tallies.get(&app.id).cloned(),
                    paused: of_app.paused,
                    splitter: Splitter::new(&app.salt, of_app.split),
                    ahead,
                    colours: PerColour::each(|colour| {
                        let state = of_app.colours.get(colour).as_ref()?;
                        Some(ColourWorld {
                            release: state.release.clone(),
                            deployment: files.deployment(&state.release).map(str::to_owned),
                            open: of_app.is_open(colour),
                            left: state.phase == Phase::Drained,
                            pools: app
                                .services
                                .keys()
                                .filter_map(|service| {
                                    pools
                                        .get(&(app.id.clone(), colour, service.clone()))
                                        .cloned()
                                })
                                .collect(),
                        })
                    }),
                }
            })
            .collect();
        Self {
            config,
            cache_off: state.cache.off,
            challenges: state.challenges.clone(),
            routes,
            apps,
        }
    }

    /// The route of a decoded path and its app.
    pub fn place(&self, path: &str) -> Option<(&Arc<Route>, &AppWorld)> {
        let route = self.routes.find(path)?;
        Some((route, &self.apps[route.app]))
    }

    /// Every app.
    pub fn apps(&self) -> &[AppWorld] {
        &self.apps
    }
}

impl AppWorld {
    /// The colour that answers somebody; none: the colour with the weight was never deployed.
    pub fn choose(&self, asking: &Asking<'_>) -> Option<(Choice, &ColourWorld)> {
        let (colour, reason) = self.decide(asking);
        let world = self.colours.get(colour).as_ref()?;
        let choice = Choice {
            colour,
            release: world.release.clone(),
            reason,
        };
        Some((choice, world))
    }

    /// The first that says something: the order, the page's deployment, the pin, the weight.
    fn decide(&self, asking: &Asking<'_>) -> (Colour, Reason) {
        let Asking {
            tenant,
            client,
            claims,
            now_s,
        } = *asking;
        if let Some(colour) = claims.order.filter(|&colour| self.colour(colour).is_some()) {
            return (colour, Reason::Order);
        }
        let unit = match (self.app.split_by, &claims.pins) {
            (SplitBy::Tenant, _) => Unit::Tenant(tenant),
            (SplitBy::Client, Some(pins)) => Unit::Client(pins.unit()),
            (SplitBy::Client, None) => Unit::Network(tenant, client),
            (SplitBy::Request, _) => Unit::Request(rand::random()),
        };
        let (weighed, reason) = self.splitter.choose(&unit);
        // Where both colours are what was asked for, the weight says which.
        let open = |wanted: &dyn Fn(&ColourWorld) -> bool| {
            let both = [weighed, weighed.other()].into_iter();
            both.into_iter().find(|&colour| {
                let world = self.colour(colour);
                world.is_some_and(|world| world.open && wanted(world))
            })
        };
        if let Some(id) = claims.deployment.as_deref()
            && let Some(colour) = open(&|world| world.deployment.as_deref() == Some(id))
        {
            return (colour, Reason::Deployment);
        }
        if self.app.split_by == SplitBy::Client
            && let Some(pins) = &claims.pins
            && let Some(release) = pins.release(&self.app.id, now_s)
            && let Some(colour) = open(&|world| world.release == *release)
        {
            return (colour, Reason::Pin);
        }
        // After what binds one browser, before what is left to chance.
        if let Some((colour, schools)) = &self.ahead
            && schools.contains(tenant)
        {
            return (*colour, Reason::Ring);
        }
        (weighed, reason)
    }

    /// Whether its requests wait.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Who waits while it is paused; none: nothing is deployed.
    pub fn hold(&self) -> Option<&Arc<Hold>> {
        let colours = Colour::BOTH
            .into_iter()
            .filter_map(|colour| self.colour(colour));
        let mut pools = colours.flat_map(ColourWorld::pools);
        pools.next().map(|pool| &pool.kept().hold)
    }

    /// How tenants are split.
    pub fn splitter(&self) -> &Splitter {
        &self.splitter
    }

    /// One colour, if it was ever deployed.
    pub fn colour(&self, colour: Colour) -> Option<&ColourWorld> {
        self.colours.get(colour).as_ref()
    }
}

impl ColourWorld {
    /// The members of a service, by its index in the app.
    pub fn pool(&self, service: usize) -> &Arc<Pool> {
        &self.pools[service]
    }

    /// Whether it was left: nobody new comes to it, not even a copy.
    pub fn is_left(&self) -> bool {
        self.left
    }

    /// Who is with it; none: the app has no service, which its config rules out.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.pools.first().map(|pool| pool.ledger())
    }

    /// All pools, in the order of the app's services.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }
}

/// What commands said of an app; before any command, what its config says.
fn state_of(state: &State, app: &App) -> AppState {
    state
        .apps
        .get(&app.id)
        .cloned()
        .unwrap_or_else(|| first_state(app))
}

/// What an app's config says of its colours: it seeds the state, and counts for nothing afterwards.
pub fn first_state(app: &App) -> AppState {
    let colours = PerColour::each(|colour| {
        app.first.get(colour).as_ref().map(|first| ColourState {
            release: first.release.clone(),
            members: first.members.clone(),
            phase: Phase::Idle,
            schema: first.schema,
            leaving: false,
        })
    });
    let split = app.first_split;
    AppState::new(colours, split).shifted(split)
}

/// The pools that `config` and `state` name: those of `old` where they are the same, else new ones,
/// which `begin` starts to watch.
pub fn pools(
    config: &Config,
    state: &State,
    old: &Pools,
    metrics: &Metrics,
    mut begin: impl FnMut(&Arc<Pool>),
) -> Pools {
    let mut pools = Pools::new();
    for app in config.apps.values() {
        let of_app = state_of(state, app);
        // One for the app, as long as one of its pools lives.
        let mut known = old.iter().filter(|((id, ..), _)| *id == app.id);
        let of_app_kept = known.next().map(|(_, pool)| pool.kept().clone());
        let of_app_kept = of_app_kept.unwrap_or_default();
        for colour in Colour::BOTH {
            let Some(of_colour) = of_app.colours.get(colour) else {
                continue;
            };
            // Of the colour, whatever its members are.
            let mut known = old
                .iter()
                .filter(|((id, of, _), _)| *id == app.id && *of == colour);
            let of_colour_kept = known.next().map(|(_, pool)| pool.kept().clone());
            let kept = of_colour_kept.unwrap_or_else(|| Kept {
                budget: Arc::clone(&of_app_kept.budget),
                hold: Arc::clone(&of_app_kept.hold),
                ..Kept::default()
            });
            kept.ledger.set_leaving(of_colour.leaving);
            for (name, service) in &app.services {
                let members = members(of_colour, name);
                let key = (app.id.clone(), colour, name.clone());
                let pool = match old.get(&key) {
                    Some(pool) if pool.serves(members, service) => Arc::clone(pool),
                    _ => {
                        let id = app.id.as_str();
                        let metrics = metrics.upstream(id, name, colour);
                        let kept = kept.clone();
                        let pool = Pool::new(id, name, colour, service, members, metrics, kept);
                        let pool = Arc::new(pool);
                        begin(&pool);
                        pool
                    }
                };
                pools.insert(key, pool);
            }
        }
    }
    pools
}

fn members<'a>(colour: &'a ColourState, service: &str) -> &'a [SocketAddr] {
    colour.members.get(service).map_or(&[], Vec::as_slice)
}
