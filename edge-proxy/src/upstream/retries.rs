//! How much of an app's traffic may be tried a second time.
//!
//! One budget for an app: when an origin is in trouble, trying everything twice is what it needs least.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Second tries for each hundred requests under way, and those that are always allowed (Envoy's).
const PER_HUNDRED: u32 = 20;
const ALWAYS: u32 = 3;

/// Requests of an app under way, and the second tries among them.
#[derive(Debug, Default)]
pub struct Budget {
    active: AtomicU32,
    retrying: AtomicU32,
}

/// A second try; counted while it lives.
#[derive(Debug)]
pub struct Retry(Arc<Budget>);

impl Budget {
    pub(super) fn began(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A second try, if there may be one more.
    pub fn retry(self: &Arc<Self>) -> Option<Retry> {
        let active = self.active.load(Ordering::Relaxed);
        let allowed = (active / 100 * PER_HUNDRED + active % 100 * PER_HUNDRED / 100).max(ALWAYS);
        let counted = Retry(Arc::clone(self));
        (self.retrying.fetch_add(1, Ordering::Relaxed) < allowed).then_some(counted)
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_under_way_may_be_tried_again_and_a_few_always() {
        for (active, allowed) in [(0, 3), (10, 3), (20, 4), (99, 19), (1000, 200)] {
            let budget = Arc::new(Budget::default());
            (0..active).for_each(|_| budget.began());
            let taken: Vec<Retry> = std::iter::from_fn(|| budget.retry()).take(500).collect();
            assert_eq!(taken.len(), allowed, "{active}");
            drop(taken);
            assert!(budget.retry().is_some(), "what has ended is free again");
            (0..active).for_each(|_| budget.ended());
            assert_eq!(budget.active.load(Ordering::Relaxed), 0);
        }
    }
}
