//! Members that answer badly are set aside for a while, whatever their probes say.
//!
//! The rules are those of Envoy's outlier detection: several failures in a row, or a success rate far
//! below the others'. Half of a pool is never set aside: when most members fail, the fault is not
//! theirs, and those that are left would fall next. Who comes back begins with little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

/// Failures in a row that set a member aside.
const IN_A_ROW: u32 = 5;

/// How long the first time; each further time it is so much longer, up to the bound.
const ASIDE: Duration = Duration::from_secs(30);
const ASIDE_MAX: Duration = Duration::from_secs(300);

/// After so long without trouble the next time counts as the first.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Success rates are compared this often, between so many members with so many requests each. Envoy
/// wants five members; the pools of a school platform are smaller.
pub(super) const COMPARED_EVERY: Duration = Duration::from_secs(10);
const COMPARED_MIN: usize = 3;
const REQUESTS_MIN: u32 = 100;

/// Below the mean by so many standard deviations, and by no less than this share, is far below.
const DEVIATIONS: f64 = 1.9;
const SHARE_MIN: f64 = 0.05;

/// A member that comes back gets its full share after this long, and at first so much of it.
const WARM_UP: Duration = Duration::from_secs(30);
const COLD_SHARE: f64 = 0.1;

/// How a request to a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer, whatever the origin says in it.
    Answered,
    /// Without one, or with one by which a gateway says that it has none.
    Failed,
}

impl From<StatusCode> for Outcome {
    fn from(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Failed,
            _ => Self::Answered,
        }
    }
}

/// How a member has behaved. Times are since the pool began.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Set aside until then, in milliseconds.
    aside_until: AtomicU64,
    /// Came back then, in milliseconds; 0: it was never away.
    back_at: AtomicU64,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    failed_in_a_row: u32,
    requests: u32,
    failures: u32,
    times_aside: u32,
}

/// What a member's requests since the last comparison came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    requests: u32,
    failures: u32,
}

impl Conduct {
    /// Takes an outcome in; true: it is time to set the member aside.
    pub(super) fn note(&self, outcome: Outcome) -> bool {
        let mut past = self.past.lock();
        past.requests = past.requests.saturating_add(1);
        match outcome {
            Outcome::Answered => past.failed_in_a_row = 0,
            Outcome::Failed => {
                past.failures = past.failures.saturating_add(1);
                past.failed_in_a_row = past.failed_in_a_row.saturating_add(1);
            }
        }
        past.failed_in_a_row >= IN_A_ROW
    }

    /// Whether it is set aside.
    pub(super) fn is_aside(&self, now: Duration) -> bool {
        millis(now) < self.aside_until.load(Ordering::Relaxed)
    }

    /// Sets it aside, for longer each time.
    pub(super) fn set_aside(&self, now: Duration) {
        let mut past = self.past.lock();
        let until = Duration::from_millis(self.aside_until.load(Ordering::Relaxed));
        if past.times_aside > 0 && now > until + FORGIVEN_AFTER {
            past.times_aside = 0;
        }
        past.times_aside = past.times_aside.saturating_add(1);
        past.failed_in_a_row = 0;
        let until = now + (ASIDE * past.times_aside).min(ASIDE_MAX);
        self.aside_until.store(millis(until), Ordering::Relaxed);
        self.back_at.store(millis(until), Ordering::Relaxed);
    }

    /// It was unhealthy and is not any more: what it did before says nothing now.
    pub(super) fn came_back(&self, now: Duration) {
        let mut past = self.past.lock();
        past.failed_in_a_row = 0;
        self.aside_until.store(0, Ordering::Relaxed);
        self.back_at.store(millis(now).max(1), Ordering::Relaxed);
    }

    /// Its share of the requests: less than 1 while it warms up.
    pub(super) fn share(&self, now: Duration) -> f64 {
        let back_at = Duration::from_millis(self.back_at.load(Ordering::Relaxed));
        if back_at.is_zero() {
            return 1.0;
        }
        let warm = now.saturating_sub(back_at).as_secs_f64() / WARM_UP.as_secs_f64();
        warm.clamp(COLD_SHARE, 1.0)
    }

    /// What was seen since the last time this was asked.
    pub(super) fn take_rate(&self) -> Rate {
        let mut past = self.past.lock();
        Rate {
            requests: std::mem::take(&mut past.requests),
            failures: std::mem::take(&mut past.failures),
        }
    }
}

impl Rate {
    fn success(self) -> f64 {
        1.0 - f64::from(self.failures) / f64::from(self.requests)
    }
}

/// Which of these members succeed far less than the others, by their places.
pub(super) fn far_below(rates: &[Rate]) -> Vec<usize> {
    let judged: Vec<(usize, f64)> = rates
        .iter()
        .enumerate()
        .filter(|(_, rate)| rate.requests >= REQUESTS_MIN)
        .map(|(place, rate)| (place, rate.success()))
        .collect();
    if judged.len() < COMPARED_MIN {
        return Vec::new();
    }
    // Each against the others: with few members one bad rate would hide in its own deviation.
    let far = |place: usize, rate: f64| {
        let others = judged.iter().filter(|(other, _)| *other != place);
        let others: Vec<f64> = others.map(|(_, rate)| *rate).collect();
        let count = others.len() as f64;
        let mean = others.iter().sum::<f64>() / count;
        let variance = others.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
        rate < mean - (DEVIATIONS * variance.sqrt()).max(SHARE_MIN)
    };
    let far = judged.iter().filter(|(place, rate)| far(*place, *rate));
    far.map(|(place, _)| *place).collect()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_count_and_an_answer_ends_the_row() {
        let conduct = Conduct::default();
        for _ in 0..3 {
            for _ in 0..IN_A_ROW - 1 {
                assert!(!conduct.note(Outcome::Failed));
            }
            assert!(!conduct.note(Outcome::Answered));
        }
        for n in 1..=IN_A_ROW {
            assert_eq!(conduct.note(Outcome::Failed), n == IN_A_ROW);
        }
    }

    #[test]
    fn each_time_aside_is_longer_until_it_is_forgiven() {
        let conduct = Conduct::default();
        let mut now = at(1);
        for times in 1..20 {
            conduct.set_aside(now);
            let length = (30 * times).min(300);
            assert!(conduct.is_aside(now + at(length - 1)));
            now += at(length);
            assert!(!conduct.is_aside(now));
        }
        now += FORGIVEN_AFTER + at(1);
        conduct.set_aside(now);
        assert!(!conduct.is_aside(now + ASIDE));
    }

    #[test]
    fn who_comes_back_begins_with_little() {
        let conduct = Conduct::default();
        assert!(
            (conduct.share(at(5)) - 1.0).abs() < f64::EPSILON,
            "never away"
        );
        conduct.came_back(at(100));
        for (now, share) in [(100, 0.1), (103, 0.1), (115, 0.5), (130, 1.0), (900, 1.0)] {
            assert!((conduct.share(at(now)) - share).abs() < 1e-9, "{now}");
        }
    }

    #[test]
    fn a_rate_far_below_the_others_is_found_and_a_common_one_is_not() {
        let rates = |failures: &[u32]| {
            let rate = |&failures: &u32| Rate {
                requests: 200,
                failures,
            };
            far_below(&failures.iter().map(rate).collect::<Vec<_>>())
        };
        assert_eq!(rates(&[0, 1, 40]), [2]);
        assert_eq!(rates(&[40, 41, 42, 39]), [] as [usize; 0]);
        assert_eq!(
            rates(&[0, 0, 4]),
            [] as [usize; 0],
            "two per cent are not far"
        );
        assert_eq!(rates(&[0, 100]), [] as [usize; 0], "too few to compare");
        let few = Rate {
            requests: REQUESTS_MIN - 1,
            failures: 90,
        };
        let well = Rate {
            requests: 500,
            failures: 0,
        };
        assert_eq!(far_below(&[few, well, well]), [] as [usize; 0]);
    }
}
