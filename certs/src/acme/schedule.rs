//! When: pure functions of time and chance.

use std::time::{Duration, SystemTime};

/// A host that failed once is tried again soon; who fails for days is asked twice a day.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
const RETRY_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// An authority that fails is left alone for this long at first.
const PAUSE_FIRST: Duration = Duration::from_secs(5 * 60);
const PAUSE_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// A rate limit without a word of its end: those of authorities are counted by the hour.
const PAUSE_LIMITED: Duration = Duration::from_secs(60 * 60);
/// Failures in a row that end an authority's turn.
const FAILURES_MAX: u32 = 3;
/// So much of a life before two thirds of it: what was issued together is not renewed together.
const SPREAD: f64 = 1.0 / 30.0;

/// Two moments, the first one first.
pub(super) type Span = (SystemTime, SystemTime);

/// When a certificate is renewed: at a random point of the window that its authority suggests, else just before two
/// thirds of its life; in any case while it lives.
pub(super) fn renew_at(life: Span, window: Option<Span>, chance: f64) -> SystemTime {
    let chance = chance.clamp(0.0, 1.0);
    let whole = life.1.duration_since(life.0).unwrap_or_default();
    let usable = |window: &Span| window.0 < window.1 && window.0 < life.1;
    match window.filter(usable) {
        Some((from, to)) => {
            let width = to.min(life.1).duration_since(from).unwrap_or_default();
            from + width.mul_f64(chance)
        }
        None => life.0 + whole.mul_f64(2.0 / 3.0 - SPREAD * chance),
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn retry_after(failures: u32, chance: f64) -> Duration {
    doubled(RETRY_FIRST, failures, RETRY_MAX).mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0)
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    let times = 2_u32.saturating_pow(times.saturating_sub(1).min(20));
    first.saturating_mul(times).min(most)
}

/// Leaves an authority alone that fails, and lets one order through after a while.
#[derive(Debug, Default, Clone)]
pub(super) struct Breaker {
    failures: u32,
    paused_until: Option<SystemTime>,
}

impl Breaker {
    pub(super) fn is_paused(&self, now: SystemTime) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// It failed; a rate limit pauses it at once.
    pub(super) fn failed(&mut self, now: SystemTime, limited: bool, after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        if limited {
            let pause = after.unwrap_or(PAUSE_LIMITED);
            self.paused_until = Some(now + pause.clamp(Duration::from_secs(1), PAUSE_MAX));
        } else if self.failures >= FAILURES_MAX {
            let times = self.failures - FAILURES_MAX + 1;
            self.paused_until = Some(now + doubled(PAUSE_FIRST, times, PAUSE_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn day(n: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64((n + 100.0) * 86_400.0)
    }

    #[test]
    fn renewal_is_in_the_window_or_before_two_thirds_of_the_life() {
        let life = (day(0.0), day(90.0));
        assert_eq!(renew_at(life, None, 0.0), day(60.0));
        assert_eq!(renew_at(life, None, 1.0), day(57.0));
        let window = Some((day(30.0), day(34.0)));
        assert_eq!(renew_at(life, window, 0.0), day(30.0));
        assert_eq!(renew_at(life, window, 0.5), day(32.0));
        // A window in the past: at once. One that goes beyond the life: within it. One that is none: as without.
        assert_eq!(renew_at(life, Some((day(-2.0), day(-1.0))), 1.0), day(-1.0));
        assert_eq!(
            renew_at(life, Some((day(80.0), day(100.0))), 1.0),
            day(90.0)
        );
        assert_eq!(renew_at(life, Some((day(34.0), day(30.0))), 0.0), day(60.0));
        assert_eq!(renew_at(life, Some((day(91.0), day(92.0))), 0.0), day(60.0));
        assert_eq!(renew_at(life, window, 7.0), day(34.0));
    }

    #[test]
    fn a_host_that_fails_waits_longer_each_time_up_to_half_a_day() {
        assert_eq!(retry_after(1, 0.5), RETRY_FIRST);
        assert_eq!(retry_after(2, 0.5), 2 * RETRY_FIRST);
        assert_eq!(retry_after(1, 0.0), RETRY_FIRST.mul_f64(0.75));
        for failures in [9, 20, u32::MAX] {
            assert_eq!(retry_after(failures, 0.5), RETRY_MAX);
        }
    }

    #[test]
    fn an_authority_that_fails_three_times_is_paused_and_then_tried_once() {
        let mut breaker = Breaker::default();
        breaker.failed(day(0.0), false, None);
        breaker.failed(day(0.0), false, None);
        assert!(!breaker.is_paused(day(0.0)));
        breaker.failed(day(0.0), false, None);
        assert!(breaker.is_paused(day(0.0)));
        let later = day(0.0) + PAUSE_FIRST;
        assert!(!breaker.is_paused(later));
        // The one that is let through fails: the pause is twice as long.
        breaker.failed(later, false, None);
        assert!(breaker.is_paused(later + PAUSE_FIRST));
        assert!(!breaker.is_paused(later + 2 * PAUSE_FIRST));
        breaker.worked();
        breaker.failed(later, true, Some(Duration::from_secs(90)));
        assert!(breaker.is_paused(later + Duration::from_secs(89)));
        assert!(!breaker.is_paused(later + Duration::from_secs(90)));
        breaker.failed(later, true, Some(Duration::MAX));
        assert!(!breaker.is_paused(later + PAUSE_MAX));
    }
}
