//! What is counted, under which names, and the text that a scrape gets.
//!
//! Labels come from the config and from fixed lists, never from requests. What every request
//! touches is in [`requests`]; handles of the rest are taken once, when config is loaded.

pub(crate) mod exposition;
pub mod labels;
mod requests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use asset_pipeline::manifest::ImageFormat;
use cache_rules::reason::PassReason;
use cache_rules::rules::Scope;
use certs::acme::Managed;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use self::labels::{Fill, Handshake, Identity, Miss, Picture};
use self::requests::Requests;
pub use self::requests::{Counted, RouteMetrics};
use crate::colour::{Colour, Split};
use crate::response::negotiate::Coding;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    app: String,
    service: String,
    colour: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Share {
    app: String,
    colour: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfApp {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRollout {
    app: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Left {
    left: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Order {
    authority: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ManagedBy {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    authority: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tls {
    result: &'static str,
    resumed: &'static str,
}

/// The requests that went to one service of one colour.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    /// Requests sent, retries included.
    pub requests: Counter,
    /// Those without a usable answer: refused, reset, timed out, 5xx of a gateway.
    pub failures: Counter,
    /// How often a member was set aside.
    pub ejections: Counter,
    /// Members that get requests.
    pub healthy: Gauge,
    /// Members in all.
    pub members: Gauge,
}

/// The scopes by their numbers.
const SCOPES: [Scope; 3] = Scope::ALL;

/// The formats in their order, then what is none.
const IMAGES_MADE: [&str; 4] = ["made", "nothing", "failed", "busy"];
const IMAGE_ANSWERS: [&str; 4] = ["avif", "webp", "whole", "refused"];

/// What became of a form of a picture that was to be made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageMade {
    /// It is there.
    Made,
    /// The picture as it is has no more bytes, or moves.
    Nothing,
    /// It cannot be decoded within the limits, or not be kept.
    Failed,
    /// Too many were waiting.
    Busy,
}

type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Every metric of the edge.
pub struct Metrics {
    registry: Registry,
    refresh: Mutex<Vec<Refresh>>,
    requests: Arc<Requests>,
    /// Entries of the cache of reads.
    pub cache_entries: Gauge,
    /// Bytes of the cache of reads.
    pub cache_bytes: Gauge,
    /// Entries that made room for others.
    pub cache_evictions: Counter,
    /// Entries that the process before left to this one.
    pub cache_inherited: Counter,
    asset_answers: Each,
    asset_bytes_saved: Counter,
    image_answers: Each,
    images_made: Each,
    pictures: Each,
    /// Bytes of pictures of schools that are kept.
    pub picture_bytes: Gauge,
    /// Open client connections.
    pub connections: Gauge,
    /// Connections that waited for a request and made room for others.
    pub connections_shed: Counter,
    /// TLS handshakes under way.
    pub handshakes_open: Gauge,
    /// Files of certificates that could not be used.
    pub certificate_problems: Gauge,
    /// `Set-Cookie` headers of identity answers that were dropped.
    pub identity_cookies_dropped: Counter,
    /// What the asset store was told of the releases in use.
    pub store_reports: Counter,
    /// What it could not be told: nothing but its collection suffers.
    pub store_report_failures: Counter,
    /// Usable keys of the issuer of tokens.
    pub identity_keys: Gauge,
    identity_keys_read: Each,
    /// Access records that were not written because the writer was behind or the disk full.
    pub records_dropped: Counter,
    cache_hits: Each,
    cache_misses: Each,
    cache_fills: Each,
    identity_checks: Each,
    purges: Family<Kind, Counter>,
    upstream_requests: Family<Pool, Counter>,
    upstream_failures: Family<Pool, Counter>,
    upstream_ejections: Family<Pool, Counter>,
    upstream_healthy: Family<Pool, Gauge>,
    upstream_members: Family<Pool, Gauge>,
    split_weight: Family<Share, Gauge>,
    rollouts: Family<OfRollout, Gauge>,
    evidence: Family<OfApp, Gauge<f64, AtomicU64>>,
    tls_handshakes: Family<Tls, Counter>,
    certificate_expiry: Family<File, Gauge>,
    certificates: Family<Left, Gauge>,
    certificate_orders: Family<Order, Counter>,
    certificate_managed: Family<ManagedBy, Gauge>,
    certificate_paused: Family<Asked, Gauge>,
    passes: Family<Because, Counter>,
    malformed: Family<Because, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut names = Names(Registry::default());
        let requests = Arc::new(Requests::default());
        names.0.register_collector(Box::new(requests.clone()));
        let info: Family<Vec<(&'static str, &'static str)>, Gauge> = names.add(
            "edge_build_info",
            "Always 1; the label says which version runs",
        );
        info.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        let passes: Family<Because, Counter> = names.add(
            "edge_pass",
            "Requests that were not answered from the cache, by the verdict's reason",
        );
        for reason in PassReason::ALL {
            // From zero on: a series that begins with its first event hides that event from rates.
            drop(passes.get_or_create(&Because {
                reason: reason.as_str(),
            }));
        }
        Self {
            requests,
            refresh: Mutex::default(),
            cache_entries: names.add("edge_cache_entries", "Entries in the cache of reads"),
            cache_bytes: names.add("edge_cache_bytes", "Bytes in the cache of reads"),
            cache_evictions: names.add("edge_cache_evictions", "Entries that made room for others"),
            cache_inherited: names.add(
                "edge_cache_inherited",
                "Entries that the process before left to this one",
            ),
            cache_hits: names.each(
                "edge_cache_hits",
                "Reads answered from the cache, by the rule's scope",
                "scope",
                SCOPES.iter().map(|l| l.as_str()),
            ),
            cache_misses: names.each(
                "edge_cache_misses",
                "Reads that a stored answer did not suit, by reason",
                "reason",
                Miss::ALL.iter().map(|l| l.as_str()),
            ),
            cache_fills: names.each(
                "edge_cache_fills",
                "Fetches for the cache, by how they ended",
                "result",
                Fill::ALL.iter().map(|l| l.as_str()),
            ),
            identity_checks: names.each(
                "edge_identity_checks",
                "Credentials that were to be proven, by how it ended",
                "result",
                Identity::ALL.iter().map(|l| l.as_str()),
            ),
            identity_cookies_dropped: names.add(
                "edge_identity_cookies_dropped",
                "Set-Cookie headers of identity answers that were dropped",
            ),
            identity_keys: names.add(
                "edge_identity_keys",
                "Public keys that tokens may be signed with",
            ),
            identity_keys_read: names.each(
                "edge_identity_keys_read",
                "Readings of the keys that tokens are signed with, by how they ended",
                "result",
                ["done", "failed"],
            ),
            purges: names.add("edge_purges", "Purges applied, by kind"),
            upstream_requests: names.add(
                "edge_upstream_requests",
                "Requests sent to members, retries included",
            ),
            upstream_failures: names.add(
                "edge_upstream_failures",
                "Requests to members without a usable answer",
            ),
            upstream_ejections: names.add(
                "edge_upstream_ejections",
                "Members that were set aside for failing",
            ),
            upstream_healthy: names.add("edge_upstream_healthy", "Members that get requests"),
            upstream_members: names.add("edge_upstream_members", "Members in all"),
            split_weight: names.add("edge_split_weight", "Share of the traffic in basis points"),
            rollouts: names.add(
                "edge_rollouts",
                "1 for how the last rollout of an app stands: a `rolled_back` is somebody's to look at",
            ),
            evidence: names.add(
                "edge_rollout_evidence",
                "How much likelier what was seen of a rollout under way is if the new version is worse: 100 is a verdict",
            ),
            tls_handshakes: names.add("edge_tls_handshakes", "TLS handshakes, by how they ended"),
            certificate_expiry: names.add(
                "edge_tls_certificate_expiry_seconds",
                "Last moment of a served certificate, in seconds since 1970",
            ),
            connections: names.add("edge_connections", "Open client connections"),
            asset_answers: names.each(
                "edge_asset_answers",
                "Files of releases sent whole, by coding; dcb and dcz tell them by what a returning visitor holds",
                "coding",
                Coding::ALL.iter().map(|coding| coding.as_str()),
            ),
            connections_shed: names.add(
                "edge_connections_shed",
                "Connections that waited longest for a request and made room at the bound",
            ),
            handshakes_open: names.add("edge_tls_handshakes_open", "TLS handshakes under way"),
            certificate_problems: names.add(
                "edge_tls_certificate_problems",
                "Files of certificates that could not be used",
            ),
            certificates: names.add(
                "edge_tls_certificates",
                "Served certificates, by what is left of their lives: soon is a quarter or less, now a tenth",
            ),
            certificate_orders: names.add(
                "edge_certificate_orders",
                "Tries to have a certificate issued, by authority and what came of them",
            ),
            certificate_managed: names.add(
                "edge_certificate_managed",
                "Hosts whose certificates renew themselves: good, failing, or unwanted since no school has them any more",
            ),
            certificate_paused: names.add(
                "edge_certificate_authority_paused",
                "Whether an authority is left alone for a while because it failed",
            ),
            asset_bytes_saved: names.add(
                "edge_asset_bytes_saved",
                "Bytes of files that clients did not have to download because of coding",
            ),
            store_reports: names.add(
                "edge_store_reports",
                "Reports to the asset store of the releases in use",
            ),
            store_report_failures: names.add(
                "edge_store_report_failures",
                "Reports to the asset store that it did not take: what is collected there is not told of this edge",
            ),
            image_answers: names.each(
                "edge_image_answers",
                "Requests for a smaller picture, by the format of the answer; whole: the picture as it was published",
                "format",
                IMAGE_ANSWERS,
            ),
            images_made: names.each(
                "edge_images_made",
                "Forms of pictures that were to be made here; nothing: none is smaller; busy: too many were waiting",
                "outcome",
                IMAGES_MADE,
            ),
            pictures: names.each(
                "edge_pictures",
                "Requests for pictures of schools by an address that was good, by what came of them",
                "outcome",
                Picture::ALL.iter().map(|l| l.as_str()),
            ),
            picture_bytes: names.add(
                "edge_picture_bytes",
                "Bytes of pictures of schools that are kept",
            ),
            passes,
            malformed: names.add(
                "edge_malformed",
                "Requests that were refused for their form, by reason",
            ),
            records_dropped: names.add(
                "edge_records_dropped",
                "Access records that were not written",
            ),
            registry: names.0,
        }
    }

    /// The numbers of one route; the same ones each time the config names it.
    pub fn route(&self, app: &str, route: &str) -> Arc<RouteMetrics> {
        self.requests.route(app, route)
    }

    /// The numbers of one service of one colour.
    pub fn upstream(&self, app: &str, service: &str, colour: Colour) -> UpstreamMetrics {
        let pool = Pool {
            app: app.to_owned(),
            service: service.to_owned(),
            colour: colour.as_str(),
        };
        UpstreamMetrics {
            requests: self.upstream_requests.get_or_create_owned(&pool),
            failures: self.upstream_failures.get_or_create_owned(&pool),
            ejections: self.upstream_ejections.get_or_create_owned(&pool),
            healthy: self.upstream_healthy.get_or_create_owned(&pool),
            members: self.upstream_members.get_or_create_owned(&pool),
        }
    }

    /// Shows what requests of an app see now.
    pub fn split(&self, app: &str, split: Split) {
        for colour in Colour::BOTH {
            let share = Share {
                app: app.to_owned(),
                colour: colour.as_str(),
            };
            let gauge = self.split_weight.get_or_create_owned(&share);
            gauge.set(split.weight_bp(colour).into());
        }
    }

    /// Shows how the last rollout of an app stands; `now`: one of `all`.
    pub fn rollout(&self, app: &str, all: &[&'static str], now: &'static str) {
        for &status in all {
            let of_rollout = OfRollout {
                app: app.to_owned(),
                status,
            };
            let gauge = self.rollouts.get_or_create_owned(&of_rollout);
            gauge.set((status == now).into());
        }
    }

    /// Shows the judge's evidence against the new versions of rollouts under way; others are forgotten.
    pub fn evidence(&self, apps: impl Iterator<Item = (String, f64)>) {
        self.evidence.clear();
        for (app, evidence) in apps {
            self.evidence
                .get_or_create_owned(&OfApp { app })
                .set(evidence);
        }
    }

    /// Shows the served certificates and their last moments, in seconds since 1970; others are forgotten.
    pub fn certificates<'a>(&self, served: impl Iterator<Item = (&'a str, i64)>) {
        self.certificate_expiry.clear();
        for (file, not_after) in served {
            let file = File {
                file: file.to_owned(),
            };
            self.certificate_expiry
                .get_or_create_owned(&file)
                .set(not_after);
        }
    }

    /// Shows how many of the served certificates have so much left.
    pub fn certificates_of(&self, left: &'static str, count: usize) {
        let gauge = self.certificates.get_or_create_owned(&Left { left });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A read answered from the cache.
    pub fn cache_hit(&self, scope: Scope) {
        let scope = SCOPES.iter().position(|&known| known == scope);
        if let Some(counter) = scope.and_then(|number| self.cache_hits.get(number)) {
            counter.inc();
        }
    }

    /// A read that no stored answer suited.
    pub fn cache_miss(&self, why: Miss) {
        self.cache_misses[why as usize].inc();
    }

    /// Hits and misses so far, for `status`.
    pub fn cache_totals(&self) -> (u64, u64) {
        let sum = |each: &Each| each.iter().map(Counter::get).sum();
        (sum(&self.cache_hits), sum(&self.cache_misses))
    }

    /// A fetch for the cache ended.
    pub fn cache_fill(&self, end: Fill) {
        self.cache_fills[end as usize].inc();
    }

    /// A file was sent whole, in so many bytes less than it has.
    pub fn asset_sent(&self, coding: Coding, saved: u64) {
        self.asset_answers[coding as usize].inc();
        self.asset_bytes_saved.inc_by(saved);
    }

    /// A picture was sent in this format, or as it was published.
    pub fn image_sent(&self, format: Option<ImageFormat>) {
        let number = format.map_or(ImageFormat::ALL.len(), |format| format as usize);
        self.image_answers[number].inc();
    }

    /// A form of a picture was to be made.
    pub fn image_made(&self, outcome: ImageMade) {
        self.images_made[outcome as usize].inc();
    }

    /// A school's picture was asked for.
    pub fn picture(&self, outcome: Picture) {
        self.pictures[outcome as usize].inc();
    }

    /// A picture was asked for in a way that none is made in.
    pub fn image_refused(&self) {
        self.image_answers[IMAGE_ANSWERS.len() - 1].inc();
    }

    /// Credentials were to be proven.
    pub fn identity(&self, end: Identity) {
        self.identity_checks[end as usize].inc();
    }

    /// The keys of tokens were read, or not.
    pub fn identity_keys_read(&self, good: bool) {
        self.identity_keys_read[usize::from(!good)].inc();
    }

    /// A purge was applied.
    pub fn purged(&self, kind: &'static str) {
        self.purges.get_or_create(&Kind { kind }).inc();
    }

    /// A handshake ended.
    pub fn handshake(&self, end: Handshake, resumed: bool) {
        let tls = Tls {
            result: end.as_str(),
            resumed: if resumed { "true" } else { "false" },
        };
        self.tls_handshakes.get_or_create(&tls).inc();
    }

    /// A certificate was to be issued.
    pub fn certificate_order(&self, authority: &str, outcome: &'static str) {
        let authority = authority.to_owned();
        let order = Order { authority, outcome };
        self.certificate_orders.get_or_create(&order).inc();
    }

    /// How hosts that are looked after are, and which authorities are paused.
    pub fn managed(&self, hosts: &[Managed], paused: &[(&str, bool)]) {
        let state = |host: &Managed| match host {
            Managed { wanted: false, .. } => "unwanted",
            Managed {
                failed: Some(_), ..
            } => "failing",
            Managed { .. } => "good",
        };
        for known in ["good", "failing", "unwanted"] {
            let count = hosts.iter().filter(|host| state(host) == known).count();
            let gauge = self
                .certificate_managed
                .get_or_create(&ManagedBy { state: known });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (authority, paused) in paused {
            let authority = (*authority).to_owned();
            let gauge = self.certificate_paused.get_or_create(&Asked { authority });
            gauge.set(i64::from(*paused));
        }
    }

    /// A verdict was Pass.
    pub fn pass(&self, reason: &'static str) {
        self.passes.get_or_create(&Because { reason }).inc();
    }

    /// A request was refused for its form.
    pub fn malformed(&self, reason: &'static str) {
        self.malformed.get_or_create(&Because { reason }).inc();
    }

    /// Called before each scrape, to set gauges that nobody keeps up to date.
    pub fn on_scrape(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        self.refresh.lock().push(Box::new(refresh));
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        for refresh in self.refresh.lock().iter() {
            refresh(self);
        }
        exposition::text(&self.registry)
    }
}

/// Registers under a name and gives the handle back.
struct Names(Registry);

impl Names {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// One counter for each value of a fixed list, found by its number and there from the start.
    fn each(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Each {
        let family: Family<[(&'static str, &'static str); 1], Counter> = self.add(name, help);
        values
            .into_iter()
            .map(|value| family.get_or_create_owned(&[(label, value)]))
            .collect()
    }
}

type Each = Box<[Counter]>;

#[cfg(test)]
mod tests;
