//! What a version would have answered: copies of requests that went to the other colour, and how the two compare.
//!
//! The copy's answer is read as far as a bound and thrown away. Nobody waits for it, and when too many are under way,
//! or one would not fit, none is made: that is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use asset_pipeline::id::ReleaseId;
use http::Request;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::upstream::client::{Client, ClientError};
use crate::upstream::pool::Pool;

/// Copies under way at once: a mirror must not become the load that it looks for.
const COPIES_MAX: usize = 32;

/// How much of an answer is read: enough to know that it is whole, for a page.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The longest that a copy and the request that it was made of may take.
const COPY_MAX: Duration = Duration::from_secs(60);

/// Sends copies.
#[derive(Debug)]
pub struct Mirror {
    client: Client,
    permits: Arc<Semaphore>,
}

/// How a request ended: its status, 0 for none, and how long it took.
pub type Ending = (u16, Duration);

/// How the answers of a version compare to those that the other one gave to the same requests.
#[derive(Debug, Default)]
pub struct Comparison(Mutex<Compared>);

#[derive(Debug, Default)]
struct Compared {
    /// The version that this is about: another one begins anew.
    release: Option<ReleaseId>,
    same: u64,
    differ: u64,
    failed: u64,
    left_out: u64,
    given: Times,
    copied: Times,
}

/// What is known of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Copies whose answer had the same status.
    pub same: u64,
    /// Copies whose answer had another one.
    pub differ: u64,
    /// Copies that got no whole answer.
    pub failed: u64,
    /// Copies that were not made, because too many were under way.
    pub left_out: u64,
    /// How long the answers took that clients got: half of them, and 95 of 100.
    pub given: [Duration; 2],
    /// How long the answers to the copies took.
    pub copied: [Duration; 2],
}

impl Mirror {
    /// Copies are sent by this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            permits: Arc::new(Semaphore::new(COPIES_MAX)),
        }
    }

    /// Sends a copy to a version; who asked is told how the original ended by what is returned.
    pub fn send(
        &self,
        pool: &Arc<Pool>,
        release: &ReleaseId,
        request: Request<()>,
    ) -> Option<oneshot::Sender<Ending>> {
        let comparison = Arc::clone(&pool.kept().comparison);
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            comparison.change(release, |compared| compared.left_out += 1);
            return None;
        };
        let (original, ended) = oneshot::channel();
        let (client, pool, release) = (self.client.clone(), Arc::clone(pool), release.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let copy = async {
                let answer = client.get(&pool, request).await?;
                let status = answer.head.status.as_u16();
                answer.whole(ANSWER_BYTES_MAX).await?;
                Ok::<_, ClientError>((status, began.elapsed()))
            };
            let both = async { (copy.await, ended.await) };
            let both = tokio::time::timeout(COPY_MAX, both).await;
            drop(permit);
            // A client that left, or waited for too long, is no measure.
            if let Ok((copy, Ok(original))) = both {
                comparison.note(&release, original, copy.ok());
            }
        });
        Some(original)
    }
}

impl Comparison {
    /// What there is of a version; none: no copy was sent to it.
    pub fn summary(&self, release: &ReleaseId) -> Option<Summary> {
        let compared = self.0.lock();
        if compared.release.as_ref() != Some(release) {
            return None;
        }
        Some(Summary {
            same: compared.same,
            differ: compared.differ,
            failed: compared.failed,
            left_out: compared.left_out,
            given: [compared.given.share(50), compared.given.share(95)],
            copied: [compared.copied.share(50), compared.copied.share(95)],
        })
    }

    fn note(&self, release: &ReleaseId, (status, took): Ending, copy: Option<Ending>) {
        self.change(release, |compared| {
            let Some((copied_status, copied_took)) = copy else {
                compared.failed += 1;
                return;
            };
            match status == copied_status {
                true => compared.same += 1,
                false => compared.differ += 1,
            }
            compared.given.note(took);
            compared.copied.note(copied_took);
        });
    }

    fn change(&self, release: &ReleaseId, change: impl FnOnce(&mut Compared)) {
        let mut compared = self.0.lock();
        if compared.release.as_ref() != Some(release) {
            *compared = Compared {
                release: Some(release.clone()),
                ..Compared::default()
            };
        }
        change(&mut compared);
    }
}

/// Times by size, four steps to each doubling: what is said of them is right within a fifth.
#[derive(Debug)]
struct Times([u32; 160]);

impl Default for Times {
    fn default() -> Self {
        Self([0; 160])
    }
}

impl Times {
    fn note(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
        let octave = micros.ilog2();
        let step = (micros >> (octave - 2)) & 3;
        let place = (octave as usize - 2) * 4 + step as usize;
        let count = &mut self.0[place.min(159)];
        *count = count.saturating_add(1);
    }

    /// The time that so many of a hundred did not exceed; zero: nothing was noted.
    fn share(&self, percent: u64) -> Duration {
        let all: u64 = self.0.iter().map(|&count| u64::from(count)).sum();
        let wanted = (all * percent).div_ceil(100);
        let mut so_far = 0;
        for (place, &count) in self.0.iter().enumerate() {
            so_far += u64::from(count);
            if so_far >= wanted && all > 0 {
                let (octave, step) = (place / 4, place as u64 % 4);
                return Duration::from_micros((4 + step + 1) << octave);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str) -> ReleaseId {
        name.parse().expect("an id")
    }

    #[test]
    fn a_version_is_compared_by_status_and_time_and_another_one_begins_anew() {
        let comparison = Comparison::default();
        let (r1, r2) = (release("r1"), release("r2"));
        assert_eq!(comparison.summary(&r1), None);
        let millis = Duration::from_millis;
        for n in 0..100 {
            let status = if n % 10 == 0 { 500 } else { 200 };
            comparison.note(&r1, (200, millis(10)), Some((status, millis(20 + n))));
        }
        comparison.note(&r1, (200, millis(10)), None);
        comparison.change(&r1, |compared| compared.left_out += 1);
        let summary = comparison.summary(&r1).expect("there is one");
        let Summary {
            same,
            differ,
            failed,
            left_out,
            given,
            copied,
        } = summary;
        assert_eq!((same, differ, failed, left_out), (90, 10, 1, 1));
        let about = |time: Duration, wanted: u64| {
            let range = millis(wanted)..=millis(wanted * 13 / 10);
            assert!(range.contains(&time), "{time:?}, not about {wanted} ms");
        };
        about(given[0], 10);
        about(given[1], 10);
        about(copied[0], 69);
        about(copied[1], 114);
        comparison.note(&r2, (200, millis(1)), Some((200, millis(1))));
        assert_eq!(comparison.summary(&r1), None);
        assert_eq!(comparison.summary(&r2).map(|of| of.same), Some(1));
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let mut times = Times::default();
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            times.note(took);
        }
        assert!(times.share(1) <= Duration::from_micros(5));
        assert!(times.share(100) > Duration::from_secs(3600));
    }
}
