//! What control asks of the running edge, and what it tells it.
//!
//! Two traits, because they are two directions: [`Follower`] is told what was decided and makes
//! requests see it; [`Edge`] is asked how things are. Control never reaches into rooms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::{AppId, ReleaseId};
use async_trait::async_trait;
use cache_rules::host::HostName;
use cache_rules::tenant::TenantId;
use certs::acme::{Act, NotNow, NotRekeyed, Stage};
use jiff::Timestamp;

use super::api::{Cache, Certificate, Explanation, InFlight, Mirror, Reason};
use super::event::Purge;
use super::rollout::Unit;
use super::state::State;
use super::store::Sequence;
use crate::colour::Colour;
use crate::explain::Asker;

/// The request path, told of changes in their order. Both calls return when the next request sees
/// the change, so they must not wait for anything.
pub trait Follower: Send + Sync + 'static {
    /// From now on requests are split by this state.
    fn adopt(&self, state: &Arc<State>, sequence: Sequence);

    /// What was stored, or asked of an origin, before `sequence` and is covered by `purge` is not
    /// served again. The same purge may be told twice.
    fn purge(&self, purge: &Purge, sequence: Sequence);

    /// As [`Self::purge`], but what everyone may see is only stale from then on.
    fn soften(&self, purge: &Purge, sequence: Sequence);

    /// Whether changes may have been made that were not told. While that is so nothing stored may
    /// be served: it could have been purged.
    fn cut_off(&self, cut_off: bool);
}

/// The running edge as the admin listener asks about it.
#[async_trait]
pub trait Edge: Send + Sync + 'static {
    /// How one colour of an app is on this edge. The services are those of the config, so one
    /// without members is listed with none.
    async fn colour(&self, app: &AppId, colour: Colour) -> ColourFacts;

    /// Who is with one colour, and nothing else of it: asked every second.
    fn there(&self, app: &AppId, colour: Colour) -> ColourFacts;

    /// Everything about the process that is not about a colour.
    async fn facts(&self) -> Facts;

    /// The services of an app's config.
    fn services(&self, app: &AppId) -> Vec<String>;

    /// Every school and where an app's split has it; none where something else than schools is split.
    fn units(&self, app: &AppId) -> Option<Vec<Unit>>;

    /// Whether the config has such a ring.
    fn has_ring(&self, ring: &str) -> bool;

    /// Until when no school of a ring gets a newer version; none: it may.
    fn frozen(&self, ring: &str, now: Timestamp) -> Option<Timestamp>;

    /// Which school a host belongs to.
    fn tenant_of(&self, host: &HostName) -> Option<TenantId>;

    /// Whether a school of that name is configured.
    fn is_tenant(&self, tenant: &TenantId) -> bool;

    /// Some school that has a host directly below this one.
    fn tenant_below(&self, parent: &HostName) -> Option<TenantId>;

    /// Begins what an operator asks of a certificate; none: no authority is configured.
    fn begin_certificate(
        &self,
        act: Act,
        name: &str,
        tenant: &TenantId,
    ) -> Option<Result<(), NotNow>>;

    /// How far the last try of a host is.
    fn certificate_stage(&self, name: &str) -> Option<Stage>;

    /// Gives the account at an authority another key; none: no authority is configured.
    async fn rekey(&self, authority: &str) -> Option<Result<(), NotRekeyed>>;

    /// How many stored answers a purge would end.
    fn covered(&self, purge: &Purge) -> Estimate;

    /// What would happen to a request, and why, without making one; as `asker`, if one is given.
    ///
    /// # Errors
    /// When the URL is not one that the edge could be asked for; the text says why.
    async fn explain(
        &self,
        method: &http::Method,
        url: &http::Uri,
        asker: Option<&Asker>,
    ) -> Result<Explanation, String>;
}

/// How many stored answers something covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// As far as was counted, brought up to the whole.
    pub objects: u64,
    /// Whether every stored answer was looked at.
    pub exact: bool,
}

/// One colour on this edge.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColourFacts {
    /// Members by service, of every service of the config.
    pub services: BTreeMap<String, Vec<MemberFacts>>,
    /// The release it names; none: the colour was never deployed.
    pub release: Option<ReleaseFacts>,
    /// Requests that its members are answering now.
    pub in_flight: u64,
    /// Requests of clients under way, by what they are.
    pub lines: Vec<InFlight>,
    /// Seconds since an id or a pin last led somebody here; none: never since the edge started.
    pub bound_s: Option<u64>,
    /// Streams and WebSockets that were asked to end, and did, since the edge started.
    pub parted: u64,
    /// Requests of the app that wait while it is paused.
    pub held: u64,
    /// How it does with copies of what the other colour is asked; none: there were none.
    pub mirror: Option<Mirror>,
}

/// One member as this edge sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it gets requests.
    pub healthy: bool,
    /// What the last check said when it does not, such as `connection refused`.
    pub why: Option<String>,
}

/// A release's files on this edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// Its id.
    pub id: ReleaseId,
    /// Whether its manifest is known.
    pub known: bool,
    /// Files whose blobs are here and checked.
    pub present: usize,
    /// Files whose blobs are missing.
    pub missing: usize,
    /// Some of the missing, by file name, for the message.
    pub missing_first: Vec<String>,
}

impl ColourFacts {
    /// Those who are with the colour: requests of clients, and those of the edge's own (for its cache, or to learn who
    /// somebody is), of which only the members know.
    pub fn still_there(&self) -> Vec<InFlight> {
        let counted: u64 = self.lines.iter().map(|line| line.count).sum();
        let mut lines = self.lines.clone();
        if let Some(count @ 1..) = self.in_flight.checked_sub(counted) {
            lines.push(InFlight {
                class: "fetch".to_owned(),
                count,
                oldest_s: 0,
            });
        }
        lines
    }

    /// Why this colour cannot take traffic on this edge; empty: it can.
    ///
    /// A service is healthy while at least half of its members are, and never with none: one
    /// member that restarts must not stand in the way of leaving a bad version.
    pub fn reasons(&self) -> Vec<Reason> {
        self.reasons_unless(|healthy, all| healthy * 2 >= all)
    }

    /// What a new version still lacks: every member and every file.
    pub fn lacks(&self) -> Vec<Reason> {
        self.reasons_unless(|healthy, all| healthy == all)
    }

    fn reasons_unless(&self, enough: impl Fn(usize, usize) -> bool) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (service, members) in &self.services {
            let healthy = members.iter().filter(|member| member.healthy).count();
            if members.is_empty() {
                reasons.push(Reason::NoMember {
                    service: service.clone(),
                });
            } else if !enough(healthy, members.len()) {
                reasons.extend(members.iter().filter(|m| !m.healthy).map(|member| {
                    Reason::Unhealthy {
                        service: service.clone(),
                        member: member.address.to_string(),
                        why: member.why.clone(),
                    }
                }));
            }
        }
        match &self.release {
            Some(release) if !release.known => reasons.push(Reason::ReleaseUnknown {
                release: release.id.to_string(),
            }),
            Some(release) if release.missing > 0 => reasons.push(Reason::FilesMissing {
                release: release.id.to_string(),
                missing: release.missing,
                first: release.missing_first.clone(),
            }),
            Some(_) | None => {}
        }
        reasons
    }
}

/// The process as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// How long it has run.
    pub uptime: Duration,
    /// Why it should get no new clients; empty: it should.
    pub not_ready: Vec<String>,
    /// Open client connections.
    pub connections: u64,
    /// The cache of reads.
    pub cache: Cache,
    /// The certificates that are served.
    pub certificates: Vec<Certificate>,
    /// Files of certificates that could not be used.
    pub certificate_problems: Vec<String>,
}
