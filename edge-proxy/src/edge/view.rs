//! The running edge as control asks about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use arc_swap::ArcSwap;
use asset_pipeline::id::AppId;
use async_trait::async_trait;
use cache_rules::host::HostName;
use cache_rules::tenant::TenantId;
use certs::acme::{Act, Keeper, NotNow, NotRekeyed, Stage};
use certs::{CertStore, Urgency};
use http::{Method, Uri};
use jiff::Timestamp;

use super::issuing::is_below;
use super::papers;
use crate::assets::catalog::{Catalog, Incomplete};
use crate::cache::Cache;
use crate::colour::Colour;
use crate::control::api;
use crate::control::edge::{ColourFacts, Edge, Estimate, Facts, MemberFacts, ReleaseFacts};
use crate::control::event::Purge;
use crate::control::rollout::Unit;
use crate::explain::{self, Asker};
use crate::listener::Connections;
use crate::metrics::Metrics;
use crate::pictures::Pictures;
use crate::split::{self, SplitBy};
use crate::upstream::pool::Health;
use crate::world::{AppWorld, ColourWorld, World};

/// Answers questions about the parts that are running.
pub(super) struct View {
    pub(super) world: Arc<ArcSwap<World>>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) cache: Arc<Cache>,
    pub(super) pictures: Arc<Pictures>,
    pub(super) certificates: Arc<CertStore>,
    pub(super) keeper: Option<Arc<Keeper>>,
    pub(super) connections: Arc<Connections>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
    pub(super) draining: AtomicBool,
}

impl View {
    /// Why this edge should get no new clients; empty: it should.
    pub(super) fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("the edge is draining".to_owned());
        }
        reasons.extend(self.unfit(|weight_bp| weight_bp > 0));
        reasons
    }

    /// What keeps colours with such a weight from taking traffic.
    pub(super) fn unfit(&self, counts: impl Fn(u16) -> bool) -> Vec<String> {
        let mut reasons = Vec::new();
        for app in self.world.load().apps() {
            let split = app.splitter().split();
            for colour in Colour::BOTH
                .into_iter()
                .filter(|colour| counts(split.weight_bp(*colour)))
            {
                let facts = self.colour_of(app, colour);
                reasons.extend(
                    facts
                        .reasons()
                        .iter()
                        .map(|reason| format!("{} {colour}: {reason}", app.app.id)),
                );
            }
        }
        reasons
    }

    /// Sets the gauges that nobody keeps up to date.
    pub(super) fn show(&self, metrics: &Metrics) {
        let (entries, bytes) = self.cache.size();
        metrics
            .cache_entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics
            .cache_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let bytes = self.pictures.bytes();
        metrics
            .picture_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let world = self.world.load();
        let colours = |app: &'_ AppWorld| {
            Colour::BOTH.map(|colour| app.colour(colour).map(|of| of.pools().to_vec()))
        };
        for pool in world.apps().iter().flat_map(colours).flatten().flatten() {
            pool.show();
        }
        let certificates = self.certificates.list();
        let problems = self.certificates.problems().len();
        metrics
            .certificate_problems
            .set(i64::try_from(problems).unwrap_or(i64::MAX));
        let handshakes = self.connections.handshakes();
        metrics
            .handshakes_open
            .set(i64::try_from(handshakes).unwrap_or(i64::MAX));
        for urgency in Urgency::ALL {
            let count = certificates
                .iter()
                .filter(|info| info.urgency == urgency)
                .count();
            metrics.certificates_of(urgency.as_str(), count);
        }
        if let Some(keeper) = &self.keeper {
            metrics.managed(&keeper.list(), &keeper.paused());
        }
        metrics.certificates(certificates.iter().map(|info| {
            let not_after = info
                .not_after
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            (
                info.name.as_str(),
                i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX),
            )
        }));
    }

    fn colour_of(&self, app: &AppWorld, colour: Colour) -> ColourFacts {
        let Some(of_colour) = app.colour(colour) else {
            return ColourFacts::default();
        };
        let services = app
            .app
            .services
            .keys()
            .zip(of_colour.pools())
            .map(|(service, pool)| {
                let members = pool.members().iter().map(|member| {
                    let aside = pool
                        .is_aside(member)
                        .then_some("it was set aside for failing");
                    MemberFacts {
                        address: member.address,
                        healthy: member.health() == Health::Healthy && aside.is_none(),
                        why: member.why().or(aside).map(str::to_owned),
                    }
                });
                (service.clone(), members.collect())
            });
        let mut release = ReleaseFacts {
            id: of_colour.release.clone(),
            known: true,
            present: 0,
            missing: 0,
            missing_first: Vec::new(),
        };
        match self.catalog.complete(&app.app.id, &of_colour.release) {
            // What the catalog has published reaches requests a moment later.
            Ok(()) => release.known = app.files.holds(&of_colour.release),
            Err(Incomplete::Unknown(_)) => release.known = false,
            Err(Incomplete::Pending { files, path, .. })
            | Err(Incomplete::Missing { files, path, .. }) => {
                release.missing = files;
                release.missing_first = vec![path];
            }
            Err(Incomplete::Conflict(conflict)) => {
                release.missing = 1;
                release.missing_first = vec![conflict.to_string()];
            }
        }
        ColourFacts {
            services: services.collect(),
            release: Some(release),
            mirror: mirror(of_colour),
            held: app.hold().map_or(0, |hold| hold.count()),
            ..there(of_colour)
        }
    }
}

/// Who is with a colour.
fn there(of_colour: &ColourWorld) -> ColourFacts {
    let members = of_colour.pools().iter().flat_map(|pool| pool.members());
    let ledger = of_colour.ledger();
    let lines = ledger.map(|ledger| ledger.lines()).unwrap_or_default();
    let lines = lines.into_iter().map(|line| api::InFlight {
        class: line.class.as_str().to_owned(),
        count: line.count,
        oldest_s: line.oldest.as_secs(),
    });
    ColourFacts {
        in_flight: members.map(|member| u64::from(member.in_flight())).sum(),
        lines: lines.collect(),
        bound_s: ledger
            .and_then(|ledger| ledger.bound_ago())
            .map(|ago| ago.as_secs()),
        parted: ledger.map_or(0, |ledger| ledger.parted_so_far()),
        ..ColourFacts::default()
    }
}

/// How a colour's version does with copies of what the other one is asked.
fn mirror(colour: &ColourWorld) -> Option<api::Mirror> {
    let comparison = &colour.pools().first()?.kept().comparison;
    let summary = comparison.summary(&colour.release)?;
    let millis = |times: [Duration; 2]| times.map(|time| time.as_secs_f64() * 1_000.0);
    let ([given_p50_ms, given_p95_ms], [copied_p50_ms, copied_p95_ms]) =
        (millis(summary.given), millis(summary.copied));
    Some(api::Mirror {
        same: summary.same,
        differ: summary.differ,
        failed: summary.failed,
        left_out: summary.left_out,
        given_p50_ms,
        given_p95_ms,
        copied_p50_ms,
        copied_p95_ms,
    })
}

#[async_trait]
impl Edge for View {
    async fn colour(&self, app: &AppId, colour: Colour) -> ColourFacts {
        let world = self.world.load();
        let app = world.apps().iter().find(|world| world.app.id == *app);
        app.map_or_else(ColourFacts::default, |app| self.colour_of(app, colour))
    }

    fn there(&self, app: &AppId, colour: Colour) -> ColourFacts {
        let world = self.world.load();
        let app = world.apps().iter().find(|world| world.app.id == *app);
        let colour = app.and_then(|app| app.colour(colour));
        colour.map_or_else(ColourFacts::default, there)
    }

    async fn facts(&self) -> Facts {
        let (entries, bytes) = self.cache.size();
        let (hits, misses) = self.metrics.cache_totals();
        Facts {
            uptime: self.began.elapsed(),
            not_ready: self.not_ready(),
            connections: self.connections.open() as u64,
            cache: api::Cache {
                off: self.world.load().cache_off,
                entries,
                bytes,
                bytes_max: self.world.load().config.limits.cache_bytes_max,
                hits,
                misses,
            },
            certificates: papers::certificates(&self.certificates, self.keeper.as_deref()),
            certificate_problems: papers::problems(&self.certificates, self.keeper.as_deref()),
        }
    }

    fn services(&self, app: &AppId) -> Vec<String> {
        let world = self.world.load();
        let app = world.apps().iter().find(|world| world.app.id == *app);
        app.map_or_else(Vec::new, |app| app.app.services.keys().cloned().collect())
    }

    fn units(&self, app: &AppId) -> Option<Vec<Unit>> {
        let world = self.world.load();
        let app = world.apps().iter().find(|world| world.app.id == *app)?;
        if app.app.split_by != SplitBy::Tenant {
            return None;
        }
        let units = world.config.tenants.iter().map(|(tenant, _)| Unit {
            tenant: tenant.to_string(),
            bucket: app.splitter().bucket(&split::Unit::Tenant(tenant)),
            ring: world.config.rings.of(tenant).to_owned(),
        });
        Some(units.collect())
    }

    fn has_ring(&self, ring: &str) -> bool {
        self.world.load().config.rings.has(ring)
    }

    fn frozen(&self, ring: &str, now: Timestamp) -> Option<Timestamp> {
        self.world.load().config.rings.frozen(ring, now)
    }

    fn tenant_of(&self, host: &HostName) -> Option<TenantId> {
        self.world.load().config.tenants.of_host(host).cloned()
    }

    fn is_tenant(&self, tenant: &TenantId) -> bool {
        self.world
            .load()
            .config
            .tenants
            .iter()
            .any(|(id, _)| id == tenant)
    }

    fn tenant_below(&self, parent: &HostName) -> Option<TenantId> {
        let world = self.world.load();
        let mut tenants = world.config.tenants.iter();
        let below = |hosts: &[HostName]| hosts.iter().any(|host| is_below(host, parent.as_str()));
        let found = tenants.find(|(_, hosts)| below(hosts));
        found.map(|(tenant, _)| tenant.clone())
    }

    fn begin_certificate(
        &self,
        act: Act,
        name: &str,
        tenant: &TenantId,
    ) -> Option<Result<(), NotNow>> {
        let keeper = self.keeper.as_ref()?;
        Some(keeper.begin(act, name, tenant.as_str()))
    }

    fn certificate_stage(&self, name: &str) -> Option<Stage> {
        self.keeper.as_ref()?.stage(name)
    }

    async fn rekey(&self, authority: &str) -> Option<Result<(), NotRekeyed>> {
        Some(self.keeper.as_ref()?.rekey(authority).await)
    }

    fn covered(&self, purge: &Purge) -> Estimate {
        let of_reads = self.cache.covered(purge);
        Estimate {
            objects: of_reads.objects + self.pictures.covered(purge),
            ..of_reads
        }
    }

    async fn explain(
        &self,
        method: &Method,
        url: &Uri,
        asker: Option<&Asker>,
    ) -> Result<api::Explanation, String> {
        explain::explain(&self.world.load_full(), &self.cache, method, url, asker)
    }
}
