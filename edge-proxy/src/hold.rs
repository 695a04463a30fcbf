//! Requests that wait while their app is paused: bounded by number, by what they hold in memory, and by time.
//!
//! What waits has sent its header alone: its body stays where it is, in the client or in the window that its
//! connection was given. Who has waited is led to a colour anew: while it waited, the split may have moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use crate::config::checked::Limits;
use crate::error::Refusal;

/// Who waits for one app.
#[derive(Debug)]
pub struct Hold {
    paused: watch::Sender<bool>,
    count: AtomicU64,
    bytes: AtomicU64,
}

/// One place in the queue, until it is dropped.
struct Place<'a> {
    hold: &'a Hold,
    bytes: u64,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            paused: watch::Sender::new(false),
            count: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Hold {
    /// From now on requests wait, or go on.
    pub fn set(&self, paused: bool) {
        self.paused
            .send_if_modified(|now| std::mem::replace(now, paused) != paused);
    }

    /// How many wait.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until the app goes on, at the latest until `until`; `bytes` is what the request holds in memory.
    ///
    /// # Errors
    /// When too many wait, they hold too much, or the time is over.
    pub async fn wait(&self, bytes: u64, until: Instant, limits: &Limits) -> Result<(), Refusal> {
        let _place = self.take(bytes, limits).ok_or(Refusal::Paused)?;
        let mut paused = self.paused.subscribe();
        let goes_on = paused.wait_for(|paused| !*paused);
        match tokio::time::timeout_at(until.into(), goes_on).await {
            Ok(Ok(_)) => Ok(()),
            // The sender is here; only the time can be over.
            Ok(Err(_)) | Err(_) => Err(Refusal::Paused),
        }
    }

    fn take(&self, bytes: u64, limits: &Limits) -> Option<Place<'_>> {
        // Counted first and looked at then: two that come at once cannot both be the last.
        let place = Place { hold: self, bytes };
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = count <= limits.held_max as u64 && all <= limits.held_bytes_max;
        fits.then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.hold.count.fetch_sub(1, Ordering::Relaxed);
        self.hold.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            held_max: 2,
            held_bytes_max: 100,
            ..Limits::default()
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_with_the_app_or_is_told_in_time() {
        let hold = Arc::new(Hold::default());
        assert_eq!(
            hold.wait(1, soon(), &limits()).await,
            Ok(()),
            "nothing is paused"
        );
        hold.set(true);
        let waiting = Arc::clone(&hold);
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        let waiter =
            tokio::spawn(async move { waiting.wait(1, until.into_std(), &limits()).await });
        while hold.count() == 0 {
            tokio::task::yield_now().await;
        }
        hold.set(false);
        assert_eq!(waiter.await.expect("no panic"), Ok(()));
        hold.set(true);
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        let late = hold.wait(1, until.into_std(), &limits()).await;
        assert_eq!(late, Err(Refusal::Paused));
        assert_eq!(hold.count(), 0);
    }

    #[tokio::test]
    async fn too_many_and_too_large_ones_do_not_wait() {
        let hold = Hold::default();
        hold.set(true);
        let limits = limits();
        assert!(hold.take(101, &limits).is_none());
        let first = hold.take(60, &limits).expect("there is room");
        assert!(hold.take(60, &limits).is_none(), "both would hold too much");
        let second = hold.take(40, &limits).expect("there is room");
        assert!(hold.take(0, &limits).is_none(), "they would be three");
        drop(first);
        assert!(hold.take(60, &limits).is_some());
        drop(second);
        assert_eq!((hold.count(), hold.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
