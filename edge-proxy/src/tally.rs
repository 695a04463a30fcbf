//! Counts what requests came to, by app, school and colour, for whoever judges versions.
//!
//! It outlives worlds: a shift forgets nothing. The request path only adds to atomics; once a second
//! [`Tallies::take`] empties them. Memory is bounded by the schools of the config.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use asset_pipeline::id::AppId;
use cache_rules::tenant::TenantId;
use parking_lot::Mutex;

use crate::colour::{Colour, PerColour};
use crate::config::checked::Config;
use crate::control::counters::{AppCounters, Count, Counters, LATENCIES, Latency, quantile};

/// Buckets of clients, of which each is one witness a second at most: a device in a loop is not a
/// thousand of them.
const CLIENTS: usize = 4096;

/// An answer is slow that takes so many times what nearly all answers of the standing version take.
const SLOW: f64 = 1.25;

/// The share of answers that is nearly all.
const NEARLY_ALL: f64 = 0.95;

/// Below so many answers nobody knows what is usual.
const USUAL_ANSWERS_MIN: f64 = 200.0;

/// Of what was usual, half is forgotten in five minutes with traffic.
const FORGET: f64 = 1.0 - std::f64::consts::LN_2 / 300.0;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// It was answered with 5xx, cut off, or not answered in time.
    pub failed: bool,
    /// Until its answer began, or until its client had waited enough; none: there was no answer.
    pub took: Option<Duration>,
}

/// The tallies of every app.
#[derive(Debug, Default)]
pub struct Tallies(BTreeMap<AppId, Arc<Tally>>);

impl Tallies {
    /// Those of a config: what was counted so far for what it still names is kept.
    pub fn of(config: &Config, old: &Self) -> Self {
        let tally = |app: &AppId| {
            let old = old.0.get(app);
            let tenants = config.tenants.iter().map(|(tenant, _)| {
                let cells = old.and_then(|old| old.tenants.get(tenant));
                (tenant.clone(), cells.cloned().unwrap_or_default())
            });
            Arc::new(Tally {
                tenants: tenants.collect(),
                app: old.map(|old| Arc::clone(&old.app)).unwrap_or_default(),
            })
        };
        let apps = config.apps.keys();
        Self(apps.map(|app| (app.clone(), tally(app))).collect())
    }

    /// Of one app.
    pub fn get(&self, app: &AppId) -> Option<&Arc<Tally>> {
        self.0.get(app)
    }

    /// What was counted since the last call. `standing`: the colour of an app whose answers say what
    /// is usual.
    pub fn take(&self, standing: impl Fn(&AppId) -> Colour) -> Counters {
        let taken = self.0.iter().filter_map(|(app, tally)| {
            let counters = tally.take(standing(app));
            (!counters.tenants.is_empty()).then(|| (app.clone(), counters))
        });
        Counters {
            apps: taken.collect(),
        }
    }
}

/// One app's.
#[derive(Debug)]
pub struct Tally {
    tenants: HashMap<TenantId, Arc<PerColour<Cell>>>,
    app: Arc<Shared>,
}

/// What the schools of an app share.
#[derive(Debug)]
struct Shared {
    colours: PerColour<OfColour>,
    /// Microseconds after which an answer is slow; `u64::MAX`: nobody knows yet.
    slow_us: AtomicU64,
    usual: Mutex<PerColour<Usual>>,
}

#[derive(Debug, Default)]
struct Cell {
    requests: AtomicU32,
    failures: AtomicU32,
    bad: AtomicU32,
    slow: AtomicU32,
}

#[derive(Debug)]
struct OfColour {
    latency: [AtomicU32; LATENCIES],
    failing: Witnesses,
    slow: Witnesses,
}

/// Which buckets of clients have said something in this second.
#[derive(Debug)]
struct Witnesses([AtomicU64; CLIENTS / 64]);

/// How many answers took how long, the older ones counting less.
type Usual = [f64; LATENCIES];

impl Default for Shared {
    fn default() -> Self {
        let zero = || [0.0; LATENCIES];
        Self {
            colours: PerColour::each(|_| OfColour {
                latency: [const { AtomicU32::new(0) }; LATENCIES],
                failing: Witnesses::default(),
                slow: Witnesses::default(),
            }),
            slow_us: AtomicU64::new(u64::MAX),
            usual: Mutex::new(PerColour::each(|_| zero())),
        }
    }
}

impl Default for Witnesses {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CLIENTS / 64])
    }
}

impl Witnesses {
    /// Whether this one is the first of its bucket.
    fn hear(&self, client: u64) -> bool {
        let bucket = (client % CLIENTS as u64) as usize;
        let bit = 1 << (bucket % 64);
        self.0[bucket / 64].fetch_or(bit, Relaxed) & bit == 0
    }

    fn forget(&self) {
        for buckets in &self.0 {
            buckets.store(0, Relaxed);
        }
    }
}

impl Tally {
    /// Counts a request that a version was asked. `client` tells devices apart; it is asked for only
    /// when something was wrong.
    pub fn count(
        &self,
        tenant: &TenantId,
        colour: Colour,
        outcome: Outcome,
        client: impl FnOnce() -> u64,
    ) {
        let Some(cells) = self.tenants.get(tenant) else {
            return; // A school that the config no longer names.
        };
        let (cell, of_colour) = (cells.get(colour), self.app.colours.get(colour));
        cell.requests.fetch_add(1, Relaxed);
        let mut slow = false;
        if let Some(took) = outcome.took {
            of_colour.latency[Latency::kind(took)].fetch_add(1, Relaxed);
            slow = took.as_micros() > self.app.slow_us.load(Relaxed).into();
        }
        if outcome.failed {
            cell.failures.fetch_add(1, Relaxed);
            if of_colour.failing.hear(client()) {
                cell.bad.fetch_add(1, Relaxed);
            }
        } else if slow && of_colour.slow.hear(client()) {
            cell.slow.fetch_add(1, Relaxed);
        }
    }

    fn take(&self, standing: Colour) -> AppCounters {
        let mut taken = AppCounters::default();
        for (tenant, cells) in &self.tenants {
            let counts = PerColour::each(|colour| cells.get(colour).take());
            if counts != PerColour::default() {
                taken.tenants.insert(tenant.to_string(), counts);
            }
        }
        let mut usual = self.app.usual.lock();
        for colour in Colour::BOTH {
            let (of_colour, usual) = (self.app.colours.get(colour), usual.get_mut(colour));
            of_colour.failing.forget();
            of_colour.slow.forget();
            for (kind, count) in of_colour.latency.iter().enumerate() {
                let count = count.swap(0, Relaxed);
                taken.latency.get_mut(colour).count(kind, count.into());
                usual[kind] += f64::from(count);
            }
            if *taken.latency.get(colour) != Latency::default() {
                usual.iter_mut().for_each(|count| *count *= FORGET);
            }
        }
        let slow = slow_after(usual.get(standing)).map_or(u64::MAX, |slow| {
            u64::try_from(slow.as_micros()).unwrap_or(u64::MAX)
        });
        self.app.slow_us.store(slow, Relaxed);
        taken
    }
}

/// After this long an answer is slow; none: too few have been seen.
fn slow_after(usual: &Usual) -> Option<Duration> {
    if usual.iter().sum::<f64>() < USUAL_ANSWERS_MIN {
        return None;
    }
    let p95 = quantile(usual.iter().copied().enumerate(), NEARLY_ALL)?;
    Some(p95.mul_f64(SLOW))
}

impl Cell {
    fn take(&self) -> Count {
        let take = |counter: &AtomicU32| counter.swap(0, Relaxed).into();
        Count {
            requests: take(&self.requests),
            failures: take(&self.failures),
            bad: take(&self.bad),
            slow: take(&self.slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let tenants = ["oak", "maple"].map(|id| id.parse::<TenantId>().expect("an id"));
        Tally {
            tenants: tenants.map(|tenant| (tenant, Arc::default())).into(),
            app: Arc::default(),
        }
    }

    fn outcome(failed: bool, ms: u64) -> Outcome {
        Outcome {
            failed,
            took: Some(Duration::from_millis(ms)),
        }
    }

    #[test]
    fn a_device_in_a_loop_is_one_witness_a_second() {
        let (tally, oak) = (tally(), "oak".parse().expect("an id"));
        for n in 0..100 {
            tally.count(&oak, Colour::Green, outcome(true, 5), || 7);
            tally.count(&oak, Colour::Blue, outcome(true, 5), || n);
        }
        let taken = tally.take(Colour::Blue);
        let green = taken.of(Colour::Green);
        assert_eq!((green.requests, green.failures, green.bad), (100, 100, 1));
        assert_eq!(taken.of(Colour::Blue).bad, 100);
        assert_eq!(tally.take(Colour::Blue), AppCounters::default());
        tally.count(&oak, Colour::Green, outcome(true, 5), || 7);
        assert_eq!(tally.take(Colour::Blue).of(Colour::Green).bad, 1);
    }

    #[test]
    fn slow_is_what_takes_longer_than_the_standing_version_takes() {
        let (tally, oak) = (tally(), "oak".parse().expect("an id"));
        let count = |ms, colour, client| tally.count(&oak, colour, outcome(false, ms), || client);
        for n in 0..150 {
            count(900, Colour::Green, n);
        }
        assert_eq!(
            tally.take(Colour::Blue).of(Colour::Green).slow,
            0,
            "nobody knows"
        );
        for n in 0..300 {
            count(20, Colour::Blue, n);
        }
        tally.take(Colour::Blue);
        count(22, Colour::Green, 1);
        count(40, Colour::Green, 2);
        count(40, Colour::Blue, 3);
        let taken = tally.take(Colour::Blue);
        assert_eq!(taken.of(Colour::Green).slow, 1);
        assert_eq!(taken.of(Colour::Blue).slow, 1, "the same bound for both");
        let p50 = taken.latency.green.quantile(0.5).expect("some");
        assert!(p50 < Duration::from_millis(25), "{p50:?}");
    }

    #[test]
    fn what_is_no_schools_is_not_counted() {
        let tally = tally();
        let gone = "gone".parse().expect("an id");
        tally.count(&gone, Colour::Blue, outcome(true, 1), || 1);
        assert_eq!(tally.take(Colour::Blue), AppCounters::default());
    }
}
