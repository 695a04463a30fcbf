//! What is read most, of each school as much as of the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cache_rules::key::CacheKey;

use super::{LOOKED_AT_MAX, Shelf, Shelves};

/// An entry that is read.
#[derive(Debug)]
pub(in crate::cache) struct Hot<V> {
    /// Under what.
    pub(in crate::cache) key: CacheKey,
    /// The entry.
    pub(in crate::cache) value: Arc<V>,
    /// How often it was read, roughly.
    pub(in crate::cache) reads: u32,
    weight: u32,
}

impl<V> Shelves<V> {
    /// What was read at all, hottest first, until it weighs `bytes_max`. Whose turn it is has least so far, so the
    /// loudest school takes no room from the others; what they do not need is for those who have more.
    pub(in crate::cache) fn hottest(&self, bytes_max: u64) -> Vec<Hot<V>> {
        let shelves = self.shelves.load();
        let mut shelves: Vec<_> = shelves.iter().collect();
        shelves.sort_by_key(|(tenant, _)| *tenant);
        let mut schools: Vec<Vec<Hot<V>>> =
            shelves.into_iter().map(|(_, shelf)| shelf.read()).collect();
        let turns = (0..schools.len()).map(|school| Reverse((0, school)));
        let mut turns: BinaryHeap<_> = turns.collect();
        let (mut hottest, mut bytes) = (Vec::new(), 0);
        while let Some(Reverse((taken, school))) = turns.pop() {
            let Some(next) = schools[school].pop() else {
                continue;
            };
            let weight = u64::from(next.weight);
            if bytes + weight > bytes_max {
                // What is smaller may still fit.
                turns.push(Reverse((taken, school)));
                continue;
            }
            bytes += weight;
            hottest.push(next);
            turns.push(Reverse((taken + weight, school)));
        }
        hottest
    }
}

impl<V> Shelf<V, CacheKey> {
    /// What was read, the hottest last. Who stores waits for a part at most.
    fn read(&self) -> Vec<Hot<V>> {
        let mut read = Vec::new();
        for from in (0..).step_by(LOOKED_AT_MAX) {
            let inner = self.inner.read();
            let Some(rest) = inner.slots.get(from..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            for slot in rest.iter().take(LOOKED_AT_MAX).flatten() {
                let reads = slot.reads.load(Ordering::Relaxed);
                if reads > 0 {
                    read.push(Hot {
                        key: slot.key.clone(),
                        value: Arc::clone(&slot.value),
                        reads,
                        weight: slot.weight,
                    });
                }
            }
        }
        read.sort_by_key(|hot| hot.reads);
        read
    }
}
