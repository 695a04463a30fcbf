//! What requests came to: counted on the request path, told to control once a second.
//!
//! Each value is what happened since the one before it, so those of several processes are added up.
//! Only what a version's members were asked for is in it: files and stored answers are not their doing.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use asset_pipeline::id::AppId;
use serde::{Deserialize, Serialize};

use crate::colour::{Colour, PerColour};

/// Kinds of durations that are told apart: eight to each doubling.
pub const LATENCIES: usize = 144;

/// The first kind ends here, so that the last one ends after two minutes.
const FIRST_US: f64 = 560.0;

/// What one process has counted in one second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By app; one without requests is left out.
    pub apps: BTreeMap<AppId, AppCounters>,
}

/// What one app's requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCounters {
    /// By school; one without requests is left out.
    pub tenants: BTreeMap<String, PerColour<Count>>,
    /// Until answers began.
    pub latency: PerColour<Latency>,
}

/// Requests that a version was asked, and what was wrong with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All.
    pub requests: u64,
    /// Answered with 5xx, cut off, or not answered in time.
    pub failures: u64,
    /// Failures, at most one for each client bucket.
    pub bad: u64,
    /// Answered much later than is usual, at most one for each client bucket.
    pub slow: u64,
}

/// How many answers took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency(BTreeMap<u8, u64>);

impl Counters {
    /// Adds what another process counted, or what was counted later.
    pub fn add(&mut self, other: &Self) {
        for (app, of_app) in &other.apps {
            self.apps.entry(app.clone()).or_default().add(of_app);
        }
    }
}

impl AppCounters {
    /// Adds what was counted elsewhere or later.
    pub fn add(&mut self, other: &Self) {
        for (tenant, counts) in &other.tenants {
            let sum = self.tenants.entry(tenant.clone()).or_default();
            for colour in Colour::BOTH {
                *sum.get_mut(colour) += *counts.get(colour);
            }
        }
        for colour in Colour::BOTH {
            self.latency.get_mut(colour).add(other.latency.get(colour));
        }
    }

    /// Of all schools together.
    pub fn of(&self, colour: Colour) -> Count {
        let mut sum = Count::default();
        for counts in self.tenants.values() {
            sum += *counts.get(colour);
        }
        sum
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.bad += other.bad;
        self.slow += other.slow;
    }
}

impl Latency {
    /// The kind of a duration.
    pub fn kind(took: Duration) -> usize {
        let doublings = (took.as_micros() as f64 / FIRST_US)
            .max(f64::MIN_POSITIVE)
            .log2();
        // What is negative becomes 0.
        ((doublings * 8.0).ceil() as usize).min(LATENCIES - 1)
    }

    /// The longest duration of a kind.
    pub fn end(kind: usize) -> Duration {
        Duration::from_micros((FIRST_US * (kind as f64 / 8.0).exp2()) as u64)
    }

    /// Counts `count` durations of a kind.
    pub fn count(&mut self, kind: usize, count: u64) {
        if let (Ok(kind), 1..) = (u8::try_from(kind), count) {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Adds what was counted elsewhere or later.
    pub fn add(&mut self, other: &Self) {
        for (&kind, &count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// No longer than this is a share of all; none: there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts = self
            .0
            .iter()
            .map(|(&kind, &count)| (kind.into(), count as f64));
        quantile(counts, share)
    }
}

/// The longest duration of the kind that ends a share of all.
pub fn quantile(
    counts: impl Iterator<Item = (usize, f64)> + Clone,
    share: f64,
) -> Option<Duration> {
    let all: f64 = counts.clone().map(|(_, count)| count).sum();
    let mut before = 0.0;
    let mut within = counts.filter(|(_, count)| *count > 0.0);
    within
        .find(|(_, count)| {
            before += count;
            before >= all * share
        })
        .map(|(kind, _)| Latency::end(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_tenth_above_what_was_measured() {
        for us in [1, 560, 561, 1_000, 48_000, 1_500_000, 100_000_000] {
            let took = Duration::from_micros(us);
            let mut latency = Latency::default();
            latency.count(Latency::kind(took), 100);
            let p95 = latency.quantile(0.95).expect("there are some");
            assert!(p95 + Duration::from_micros(1) >= took, "{us}: {p95:?}");
            assert!(
                p95.as_secs_f64() <= took.as_secs_f64().max(0.000_56) * 1.1,
                "{us}: {p95:?}"
            );
        }
        assert_eq!(Latency::kind(Duration::from_secs(10_000)), LATENCIES - 1);
        assert_eq!(Latency::default().quantile(0.5), None);
    }

    #[test]
    fn two_processes_are_added_up() {
        let one: Counters = serde_json::from_str(
            r#"{"apps":{"learn":{"tenants":{"oak":{"blue":{"requests":3,"failures":1,"bad":1,"slow":0},
                "green":{"requests":0,"failures":0,"bad":0,"slow":0}}},"latency":{"blue":{"7":3},"green":{}}}}}"#,
        )
        .expect("as it is sent");
        let mut sum = one.clone();
        sum.add(&one);
        let app = sum.apps.values().next().expect("an app");
        assert_eq!(app.of(Colour::Blue).requests, 6);
        assert_eq!(app.of(Colour::Blue).bad, 2);
        assert_eq!(app.latency.blue.quantile(0.5), Some(Latency::end(7)));
        let sent = serde_json::to_vec(&sum).expect("it can be sent");
        assert_eq!(
            serde_json::from_slice::<Counters>(&sent).expect("and read"),
            sum
        );
    }
}
