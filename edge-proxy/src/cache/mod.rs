//! The read cache: one store in memory, and the fetches that fill it.
//!
//! Holds no policy: what may be stored, under which key and for how long is said by `cache-rules`,
//! and nothing gets in without its [`Storable`](cache_rules::answer::Storable) and a key that only
//! a grant makes. An entry is served while it is fresh by time and valid by epochs. Where entries stand,
//! and which of them go when there is no room, is [`shelves`].

pub mod bequest;
mod encode;
pub mod entry;
pub mod epochs;
pub mod fill;
pub mod flights;
#[cfg(test)]
mod model;
pub(crate) mod shelves;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_rules::identity::Grant;
use cache_rules::key::CacheKey;
use cache_rules::plan::Plan;
use cache_rules::reason::PassReason;
use cache_rules::tenant::TenantId;
use cache_rules::wishes::Wishes;
use cache_rules::writes::Ended;
use http::HeaderName;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::entry::Entry;
use self::epochs::{Epochs, group_tag, path_tag};
use self::fill::{Fill, Job, Outcome, Stream};
use self::flights::{Boarded, Flights};
use self::shelves::Shelves;
use crate::clock::Clock;
use crate::config::checked::Limits;
use crate::control::edge::Estimate;
use crate::control::event::Purge;
use crate::error::Refusal;
use crate::metrics::Metrics;
use crate::metrics::labels::Miss;
use crate::upstream::client::Client;

/// Entries whose codings are made at once: the rest of the machine serves.
const ENCODERS_MAX: usize = 1;

/// Entries that are looked at to say what a purge ends: some tens of milliseconds.
const COUNTED_MAX: usize = 200_000;

/// Rules by reasons: more than any edge has of both.
const REFUSED_MAX: usize = 4096;

/// More URLs than a conformance run asks for.
const VARIES_MAX: u64 = 10_000;

/// Stored answers and the fetches under way.
pub struct Cache {
    entries: Shelves<Entry>,
    /// What the answers under a key vary on: only under `danger_rfc9111`, else the key says it all.
    varies: moka::sync::Cache<CacheKey, Arc<[HeaderName]>>,
    fills: Flights<CacheKey, Fill>,
    epochs: Arc<Epochs>,
    clock: Clock,
    client: Client,
    object_bytes_max: u64,
    fill_wait: Duration,
    fill_max: Duration,
    write_limit: Duration,
    metrics: Arc<Metrics>,
    encoders: Arc<Semaphore>,
    /// Why answers under a rule were not stored, for `explain`.
    refused: Mutex<BTreeMap<(Box<str>, &'static str), u64>>,
}

/// How a stored answer is.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// How old it is.
    pub age: Duration,
    /// For how long it may still be served; none: its time is over.
    pub fresh_for: Option<Duration>,
    /// The moment of its birth, and that of the last purge of anything that it depends on.
    pub moments: (u64, u64),
    /// Whether it was purged since.
    pub purged: bool,
}

/// What a read gets.
#[derive(Debug)]
pub enum Read {
    /// An entry that a fetch brought.
    Entry {
        /// What was stored.
        entry: Arc<Entry>,
        /// Whether this read asked the origin.
        started: bool,
    },
    /// The origin failed: an older entry that may stand in.
    Stale(Arc<Entry>),
    /// The answer streams to this read only.
    Stream(Box<Stream>),
    /// This read has to ask the origin alone.
    Alone(Alone),
    /// The origin gave no answer.
    Failed(Refusal),
}

/// What is stored.
#[derive(Debug)]
pub enum Found {
    /// It may be served.
    Fresh(Arc<Entry>),
    /// It may be served while a fresh one is fetched.
    Bridge(Arc<Entry>),
    /// The origin has to be asked whether it still holds.
    Old(Arc<Entry>),
    /// Nothing of use.
    Nothing,
}

/// Why an answer is not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// The rules say so.
    Rule(PassReason),
    /// It is longer than an entry may be.
    TooLong,
    /// It has no length, so nobody can tell whether it is whole.
    NoLength,
    /// As many fetches are under way as may be.
    Full,
    /// The fetch took longer than others may wait.
    Waited,
    /// What it depends on was purged again and again while it was fetched.
    Purged,
    /// Somebody acts as somebody else.
    Acting,
}

impl Alone {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule(reason) => reason.as_str(),
            Self::TooLong => "too_long",
            Self::NoLength => "no_length",
            Self::Full => "fills_full",
            Self::Waited => "fill_waited",
            Self::Purged => "purged_meanwhile",
            Self::Acting => "acting",
        }
    }
}

/// One stored answer, laid open.
pub struct Stored {
    /// The school on whose shelf it stands.
    pub tenant: TenantId,
    /// Under what.
    pub key: CacheKey,
    /// Its header, what is remembered beside, and its body.
    pub bytes: Vec<u8>,
}

/// A purge in the middle of a fetch makes it worthless to those who came after the purge.
const TRIES: usize = 3;

impl Cache {
    /// Empty, with the limits of the config.
    pub fn new(
        limits: &Limits,
        epochs: Arc<Epochs>,
        clock: Clock,
        client: Client,
        metrics: Arc<Metrics>,
    ) -> Self {
        let entries = Shelves::new(limits.cache_bytes_max, limits.tenant_cache_bytes_max);
        Self {
            entries,
            varies: moka::sync::Cache::new(VARIES_MAX),
            fills: Flights::new(limits.fills_max),
            epochs,
            clock,
            client,
            object_bytes_max: limits.object_bytes_max,
            fill_wait: limits.fill_wait,
            fill_max: limits.fill,
            write_limit: limits.write,
            metrics,
            refused: Mutex::default(),
            encoders: Arc::new(Semaphore::new(ENCODERS_MAX)),
        }
    }

    /// What is stored and not purged; counted under the scope of its rule.
    pub fn find(&self, plan: &Plan, grant: &Grant, key: &CacheKey, wishes: &Wishes) -> Found {
        let Some(entry) = self.stored(plan, grant, key) else {
            self.metrics.cache_miss(Miss::Absent);
            return Found::Nothing;
        };
        if !entry.valid(&self.epochs) {
            self.metrics.cache_miss(Miss::Purged);
            return Found::Nothing;
        }
        let now = self.clock.now();
        let fresh = entry.fresh(now, &self.epochs);
        if !entry.suits(wishes, now) {
            self.metrics.cache_miss(Miss::Unwanted);
            return Found::Old(entry);
        }
        if !fresh && !entry.may_bridge(now, &self.epochs) {
            self.metrics.cache_miss(Miss::Expired);
            return Found::Old(entry);
        }
        self.metrics.cache_hit(plan.scope());
        self.encode(&entry);
        if fresh {
            Found::Fresh(entry)
        } else {
            Found::Bridge(entry)
        }
    }

    /// Whether it may be served while the origin fails, or is not to be asked.
    pub fn may_stand_in(&self, entry: &Entry) -> bool {
        entry.may_stand_in(self.clock.now(), &self.epochs)
    }

    /// Fetches in the background what a stale answer bridges, unless that is under way.
    pub fn refresh(self: &Arc<Self>, job: Job) {
        let start = || Fill::begin(self, &job.plan, &job.grant);
        let boarded = self
            .fills
            .board(&job.key, |fill| fill.joinable(self), start);
        if let Boarded::Started(fill) = boarded {
            // Nobody waits for it: an answer that is not to be stored is read by nobody.
            let (starter, _) = oneshot::channel();
            tokio::spawn(fill::run(Arc::clone(self), fill, job, starter));
        }
    }

    /// Fetches, or waits for a fetch that is under way.
    pub async fn fetch(self: &Arc<Self>, wishes: &Wishes, job: impl Fn() -> Job) -> Read {
        let first = job();
        let key = &first.plan.flight(&first.key);
        for _ in 0..TRIES {
            let start = || Fill::begin(self, &first.plan, &first.grant);
            // A fetch that began before a purge of what it is known to depend on is not joined by a read
            // that came after it. What the origin's own tags say is seen when its answer is there.
            match self.fills.board(key, |fill| fill.joinable(self), start) {
                Boarded::Full => return Read::Alone(Alone::Full),
                Boarded::Started(fill) => {
                    // A fetch may have ended between the look-up and here: it stored first.
                    if let Some(entry) = self.usable(&first, wishes) {
                        let stored = Outcome::Stored(Arc::clone(&entry));
                        fill.outcome.send_replace(Some(stored));
                        self.fills.land(key, &fill);
                        return Read::Entry {
                            entry,
                            started: false,
                        };
                    }
                    let (starter, stream) = oneshot::channel();
                    tokio::spawn(fill::run(
                        Arc::clone(self),
                        Arc::clone(&fill),
                        job(),
                        starter,
                    ));
                    return self.as_starter(&fill, stream).await;
                }
                Boarded::Joined(fill) => match outcome_of(&fill, self.fill_wait).await {
                    Some(Outcome::Stored(entry)) if !entry.may_be_joined() => {
                        return Read::Alone(Alone::Rule(PassReason::NoCache));
                    }
                    Some(Outcome::Stored(entry)) if entry.valid(&self.epochs) => {
                        return Read::Entry {
                            entry,
                            started: false,
                        };
                    }
                    Some(Outcome::Stored(_)) => {}
                    Some(Outcome::Stale(entry)) if entry.valid(&self.epochs) => {
                        return Read::Stale(entry);
                    }
                    Some(Outcome::Stale(_)) => {}
                    Some(Outcome::Private(alone)) => return Read::Alone(alone),
                    Some(Outcome::Failed(refusal)) => return Read::Failed(refusal),
                    None => return Read::Alone(Alone::Waited),
                },
            }
        }
        Read::Alone(Alone::Purged)
    }

    /// What a write ended is not served again, from now on.
    pub fn end(&self, tenant: &TenantId, ended: &Ended) {
        let paths = ended.paths.iter().map(|path| path_tag(path));
        let groups = ended.groups.iter().map(|group| group_tag(group.as_str()));
        let tags = ended.tags.iter().map(|tag| tag.as_str().to_owned());
        let names: Vec<String> = paths.chain(groups).chain(tags).collect();
        self.epochs.end(tenant, names.iter().map(String::as_str));
        self.metrics.purged("write");
    }

    fn usable(&self, job: &Job, wishes: &Wishes) -> Option<Arc<Entry>> {
        let now = self.clock.now();
        let entry = self.stored(&job.plan, &job.grant, &job.key)?;
        let fresh = entry.valid(&self.epochs) && entry.fresh(now, &self.epochs);
        (fresh && entry.suits(wishes, now)).then_some(entry)
    }

    fn stored(&self, plan: &Plan, grant: &Grant, key: &CacheKey) -> Option<Arc<Entry>> {
        self.entries.get(grant.tenant_id(), &self.place(plan, key))
    }

    fn place<'k>(&self, plan: &Plan, key: &'k CacheKey) -> Cow<'k, CacheKey> {
        let names = plan
            .may_vary_on_anything()
            .then(|| self.varies.get(key))
            .flatten();
        names.map_or(Cow::Borrowed(key), |names| {
            Cow::Owned(plan.variant(key, &names))
        })
    }

    fn forget(&self, plan: &Plan, grant: &Grant, key: &CacheKey) {
        self.entries
            .remove(grant.tenant_id(), &self.place(plan, key));
    }

    /// How what is stored under a key is, without counting it as a read.
    pub fn standing(&self, plan: &Plan, grant: &Grant, key: &CacheKey) -> Option<Standing> {
        let entry = self.stored(plan, grant, key)?;
        let now = self.clock.now();
        Some(Standing {
            age: entry.age(now),
            fresh_for: entry
                .fresh_for(now)
                .filter(|_| entry.fresh(now, &self.epochs)),
            moments: self.epochs.moments(entry.depends()),
            purged: !entry.valid(&self.epochs),
        })
    }

    /// Why answers under a rule were not stored since the edge started, the most frequent reason first.
    pub fn refused(&self, rule: &str) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock();
        let of_rule = refused.iter().filter(|((name, _), _)| **name == *rule);
        let mut of_rule: Vec<_> = of_rule.map(|((_, why), times)| (*why, *times)).collect();
        of_rule.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        of_rule
    }

    fn note_refused(&self, rule: &str, why: Alone) {
        let mut refused = self.refused.lock();
        let key = (rule.into(), why.as_str());
        if refused.len() < REFUSED_MAX || refused.contains_key(&key) {
            *refused.entry(key).or_default() += 1;
        }
    }

    /// How many entries a purge would end. Looks at so many of them that an operator does not wait.
    pub fn covered(&self, purge: &Purge) -> Estimate {
        let (mut seen, mut covered) = (0_u64, 0_u64);
        let covers = self.epochs.covering(purge);
        self.entries.each(purge.tenant(), |entry| {
            seen += 1;
            let ends = covers(entry.depends()) && entry.valid(&self.epochs);
            covered += u64::from(ends);
            seen < COUNTED_MAX as u64
        });
        let exact = seen < COUNTED_MAX as u64;
        let all = match exact {
            true => seen,
            false => self.entries.count(purge.tenant()).max(seen),
        };
        Estimate {
            objects: (covered * all).checked_div(seen).unwrap_or(0),
            exact,
        }
    }

    /// How many entries there are and what they weigh.
    pub fn size(&self) -> (u64, u64) {
        self.entries.size()
    }

    /// Everything that is stored, for tests that look for what must not be there.
    pub fn dump(&self) -> Vec<Stored> {
        let all = self.entries.all().into_iter();
        all.map(|(tenant, key, entry)| Stored {
            tenant,
            key,
            bytes: entry.dump(),
        })
        .collect()
    }

    async fn as_starter(&self, fill: &Fill, stream: oneshot::Receiver<Stream>) -> Read {
        if let Ok(stream) = stream.await {
            return Read::Stream(Box::new(stream));
        }
        // No stream: it is collected, or there is none.
        match outcome_of(fill, self.fill_max).await {
            Some(Outcome::Stored(entry)) => Read::Entry {
                entry,
                started: true,
            },
            Some(Outcome::Stale(entry)) => Read::Stale(entry),
            Some(Outcome::Private(alone)) => Read::Alone(alone),
            Some(Outcome::Failed(refusal)) => Read::Failed(refusal),
            None => Read::Failed(Refusal::OriginTimedOut),
        }
    }

    /// Puts an answer that the rules let be stored under its key.
    pub fn keep(&self, plan: &Plan, grant: &Grant, key: &CacheKey, entry: &Arc<Entry>) {
        let names = entry.vary();
        if plan.may_vary_on_anything() {
            self.varies.insert(key.clone(), names.into());
        }
        let key = plan.variant(key, names);
        let weight = bequest::weight(entry, &key);
        let now = self.clock.now();
        let dead = |entry: &Entry| entry.dead(now, &self.epochs);
        let tenant = grant.tenant_id();
        let kept = self
            .entries
            .insert(tenant, key, Arc::clone(entry), weight, dead);
        self.metrics.cache_evictions.inc_by(kept.evicted);
        if kept.kept {
            self.encode(entry);
        }
    }

    /// Makes an entry's codings in the background, when nobody else's are being made.
    fn encode(&self, entry: &Arc<Entry>) {
        if entry.is_encoded() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.encoders).try_acquire_owned() else {
            return;
        };
        if entry.begin_encoding() {
            let entry = Arc::clone(entry);
            tokio::task::spawn_blocking(move || {
                entry.encode();
                drop(permit);
            });
        }
    }

    /// How long a fetch may stand still: on the origin's side the client has its own, shorter limit.
    fn fill_limit(&self, reading: bool) -> Duration {
        if reading {
            self.fill_max
        } else {
            self.write_limit
        }
    }
}

async fn outcome_of(fill: &Fill, limit: Duration) -> Option<Outcome> {
    let mut outcome = fill.outcome.subscribe();
    tokio::time::timeout(limit, outcome.wait_for(Option::is_some))
        .await
        .ok()?
        .ok()?
        .clone()
}
