//! Where entries stand: one shelf per school, so that one school cannot push out what the others have.
//!
//! Bounded in bytes. A shelf that is full makes room among its own; when all of them together are full,
//! the one that holds most does. Which entry goes is said by SIEVE (Zhang and others, NSDI 2024): a hand
//! walks from the oldest to the newest and takes the first that nobody read since it last came by. A
//! read sets a flag and moves nothing, so readers do not wait for each other. What can no longer be
//! served goes first, read or not.
//!
//! An answer that is large for its shelf is let in when it is asked for a second time: once is no reason
//! to push out a hundred others.

mod hottest;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cache_rules::key::CacheKey;
use cache_rules::tenant::TenantId;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

pub(super) use self::hottest::Hot;

/// Of a shelf's bytes: an answer above this part of it has to be asked for twice.
const LARGE_PART: u64 = 64;
/// Large answers of a school that are remembered as asked for once.
const ASKED_ONCE: usize = 256;
/// How far the hand walks for one entry that goes: beyond that it takes what it points at.
const STEPS_MAX: usize = 64;
/// Slots that are looked at while nobody can store: a tenth of a millisecond.
const LOOKED_AT_MAX: usize = 1024;

/// The entries of all schools.
#[derive(Debug)]
pub(crate) struct Shelves<V, K = CacheKey> {
    shelves: ArcSwap<HashMap<TenantId, Arc<Shelf<V, K>>>>,
    bytes: AtomicU64,
    bytes_max: u64,
    shelf_bytes_max: u64,
}

/// The entries of one school.
#[derive(Debug)]
struct Shelf<V, K> {
    inner: RwLock<Inner<V, K>>,
    bytes: AtomicU64,
    asked: Box<[AtomicU32]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Inner<V, K> {
    places: HashMap<K, Place<V>, RandomState>,
    slots: Vec<Option<Slot<V, K>>>,
    free: Vec<u32>,
    /// The newest and the oldest.
    head: u32,
    tail: u32,
    hand: u32,
}

/// The value stands here and in the slot: who looks it up among a million need not wait for the slot to come from memory.
#[derive(Debug)]
struct Place<V> {
    at: u32,
    value: Arc<V>,
}

#[derive(Debug)]
struct Slot<V, K> {
    key: K,
    value: Arc<V>,
    weight: u32,
    read: AtomicBool,
    /// How often it was read, roughly: readers do not wait for each other. What was read under its key before it counts
    /// half.
    reads: AtomicU32,
    newer: u32,
    older: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// What happened to an entry that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether it was let in: it goes at once where its school has most of what is too much, and nothing else there.
    pub(crate) kept: bool,
    /// How many others went.
    pub(crate) evicted: u64,
}

impl<V, K: Eq + Hash + Clone> Shelves<V, K> {
    /// Empty. No school has more than `shelf_bytes_max`, and all together not more than `bytes_max`.
    pub(crate) fn new(bytes_max: u64, shelf_bytes_max: u64) -> Self {
        Self {
            shelves: ArcSwap::default(),
            bytes: AtomicU64::new(0),
            bytes_max,
            shelf_bytes_max: shelf_bytes_max.min(bytes_max),
        }
    }

    /// What stands under a key.
    pub(crate) fn get(&self, tenant: &TenantId, key: &K) -> Option<Arc<V>> {
        let shelves = self.shelves.load();
        let inner = shelves.get(tenant)?.inner.read();
        let place = inner.places.get(key)?;
        let found = Arc::clone(&place.value);
        let slot = inner.slot(place.at)?;
        slot.read.store(true, Ordering::Relaxed);
        let reads = slot.reads.load(Ordering::Relaxed);
        slot.reads.store(reads.saturating_add(1), Ordering::Relaxed);
        Some(found)
    }

    /// Puts an entry in place of the one under its key. `dead` says of an entry that it can no longer be served.
    pub(crate) fn insert(
        &self,
        tenant: &TenantId,
        key: K,
        value: Arc<V>,
        weight: u32,
        dead: impl Fn(&V) -> bool,
    ) -> Kept {
        self.put(tenant, key, (value, weight), dead, None)
    }

    /// The same with what another process had, in the order of how often it was read there: it was let in.
    pub(super) fn inherit(
        &self,
        tenant: &TenantId,
        key: K,
        value: Arc<V>,
        weight: u32,
        reads: u32,
    ) -> Kept {
        self.put(tenant, key, (value, weight), |_| false, Some(reads))
    }

    fn put(
        &self,
        tenant: &TenantId,
        key: K,
        (value, weight): (Arc<V>, u32),
        dead: impl Fn(&V) -> bool,
        inherited: Option<u32>,
    ) -> Kept {
        let refused = Kept {
            kept: false,
            evicted: 0,
        };
        let shelf = self.shelf(tenant);
        let weight_bytes = u64::from(weight);
        if weight_bytes > self.shelf_bytes_max {
            self.took(&shelf, shelf.inner.write().remove(&key));
            return refused;
        }
        let mut inner = shelf.inner.write();
        let large = weight_bytes > self.shelf_bytes_max / LARGE_PART;
        let known = inherited.is_some() || inner.places.contains_key(&key);
        if large && !known && !shelf.asked_before(&key) {
            return refused;
        }
        let reads = inherited.unwrap_or_else(|| inner.reads(&key) / 2);
        self.took(&shelf, inner.remove(&key));
        let mut evicted = 0;
        while shelf.bytes.load(Ordering::Relaxed) + weight_bytes > self.shelf_bytes_max {
            let gone = inner.evict(&dead);
            if gone.is_none() {
                break;
            }
            self.took(&shelf, gone);
            evicted += 1;
        }
        inner.push(key, value, weight, reads);
        shelf.bytes.fetch_add(weight_bytes, Ordering::Relaxed);
        self.bytes.fetch_add(weight_bytes, Ordering::Relaxed);
        drop(inner);
        evicted += self.make_room(&dead);
        Kept {
            kept: true,
            evicted,
        }
    }

    /// Takes the entry under a key away.
    pub(crate) fn remove(&self, tenant: &TenantId, key: &K) {
        if let Some(shelf) = self.shelves.load().get(tenant) {
            let gone = shelf.inner.write().remove(key);
            self.took(shelf, gone);
        }
    }

    /// How many entries there are, and what they weigh.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.count(None), self.bytes.load(Ordering::Relaxed))
    }

    /// How many entries a school has, or all together.
    pub(crate) fn count(&self, tenant: Option<&TenantId>) -> u64 {
        let shelves = self.shelves.load();
        let of = |shelf: &Arc<Shelf<V, K>>| shelf.inner.read().places.len() as u64;
        match tenant {
            Some(tenant) => shelves.get(tenant).map_or(0, of),
            None => shelves.values().map(of).sum(),
        }
    }

    /// Looks at the entries of one school, or of all, until `look` has had enough. Readers wait for a part at
    /// most: what comes and goes meanwhile may be missed.
    pub(crate) fn each(&self, tenant: Option<&TenantId>, mut look: impl FnMut(&V) -> bool) {
        let shelves = self.shelves.load();
        let chosen = shelves
            .iter()
            .filter(|(id, _)| tenant.is_none_or(|tenant| tenant == *id));
        for (_, shelf) in chosen {
            for from in (0..).step_by(LOOKED_AT_MAX) {
                let inner = shelf.inner.read();
                let Some(rest) = inner.slots.get(from..).filter(|rest| !rest.is_empty()) else {
                    break;
                };
                let mut part = rest.iter().take(LOOKED_AT_MAX).flatten();
                if !part.all(|slot| look(&slot.value)) {
                    return;
                }
            }
        }
    }

    /// Everything that stands anywhere, and whose it is.
    pub(crate) fn all(&self) -> Vec<(TenantId, K, Arc<V>)> {
        let mut all = Vec::new();
        for (tenant, shelf) in self.shelves.load().iter() {
            let inner = shelf.inner.read();
            let slots = inner.slots.iter().flatten();
            all.extend(
                slots.map(|slot| (tenant.clone(), slot.key.clone(), Arc::clone(&slot.value))),
            );
        }
        all
    }

    /// While all together are too much, the school that has most gives.
    fn make_room(&self, dead: &impl Fn(&V) -> bool) -> u64 {
        let mut evicted = 0;
        while self.bytes.load(Ordering::Relaxed) > self.bytes_max {
            let shelves = self.shelves.load();
            let fullest = shelves
                .values()
                .max_by_key(|shelf| shelf.bytes.load(Ordering::Relaxed));
            let Some(shelf) = fullest else { break };
            let gone = shelf.inner.write().evict(dead);
            if gone.is_none() {
                break;
            }
            self.took(shelf, gone);
            evicted += 1;
        }
        evicted
    }

    fn took(&self, shelf: &Shelf<V, K>, weight: Option<u32>) {
        let weight = u64::from(weight.unwrap_or(0));
        shelf.bytes.fetch_sub(weight, Ordering::Relaxed);
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
    }

    fn shelf(&self, tenant: &TenantId) -> Arc<Shelf<V, K>> {
        if let Some(shelf) = self.shelves.load().get(tenant) {
            return Arc::clone(shelf);
        }
        // Tenants come from the config, so there are as many as it names.
        self.shelves.rcu(|shelves| {
            let mut shelves = HashMap::clone(shelves);
            shelves
                .entry(tenant.clone())
                .or_insert_with(|| Arc::new(Shelf::new()));
            shelves
        });
        Arc::clone(&self.shelves.load()[tenant])
    }
}

impl<V, K: Eq + Hash + Clone> Shelf<V, K> {
    fn new() -> Self {
        Self {
            inner: RwLock::new(Inner {
                places: HashMap::default(),
                slots: Vec::new(),
                free: Vec::new(),
                head: NONE,
                tail: NONE,
                hand: NONE,
            }),
            bytes: AtomicU64::new(0),
            asked: (0..ASKED_ONCE).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::default(),
        }
    }

    /// True from the second time on, unless others were asked for in between.
    fn asked_before(&self, key: &K) -> bool {
        let hash = self.hasher.hash_one(key);
        let mark = (hash >> 32) as u32 | 1;
        let place = hash as usize % ASKED_ONCE;
        self.asked[place].swap(mark, Ordering::Relaxed) == mark
    }
}

impl<V, K: Eq + Hash + Clone> Inner<V, K> {
    fn slot(&self, at: u32) -> Option<&Slot<V, K>> {
        self.slots.get(at as usize)?.as_ref()
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot<V, K>> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    fn push(&mut self, key: K, value: Arc<V>, weight: u32, reads: u32) {
        let slot = Slot {
            key: key.clone(),
            value: Arc::clone(&value),
            weight,
            read: AtomicBool::new(false),
            reads: AtomicU32::new(reads),
            newer: NONE,
            older: self.head,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = Some(slot);
                at
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() as u32 - 1
            }
        };
        let head = self.head;
        match self.slot_mut(head) {
            Some(newest) => newest.newer = at,
            None => self.tail = at,
        }
        self.head = at;
        self.places.insert(key, Place { at, value });
    }

    fn reads(&self, key: &K) -> u32 {
        let slot = self.places.get(key).and_then(|place| self.slot(place.at));
        slot.map_or(0, |slot| slot.reads.load(Ordering::Relaxed))
    }

    /// The weight of what was taken away.
    fn remove(&mut self, key: &K) -> Option<u32> {
        let at = self.places.get(key)?.at;
        self.take(at)
    }

    fn take(&mut self, at: u32) -> Option<u32> {
        let slot = self.slots.get_mut(at as usize)?.take()?;
        self.places.remove(&slot.key);
        self.free.push(at);
        match self.slot_mut(slot.newer) {
            Some(newer) => newer.older = slot.older,
            None => self.head = slot.older,
        }
        match self.slot_mut(slot.older) {
            Some(older) => older.newer = slot.newer,
            None => self.tail = slot.newer,
        }
        if self.hand == at {
            self.hand = slot.newer;
        }
        Some(slot.weight)
    }

    fn evict(&mut self, dead: &impl Fn(&V) -> bool) -> Option<u32> {
        let mut at = self.hand;
        for _ in 0..STEPS_MAX {
            if self.slot(at).is_none() {
                at = self.tail;
            }
            let slot = self.slot(at)?;
            if dead(&slot.value) || !slot.read.swap(false, Ordering::Relaxed) {
                break;
            }
            at = slot.newer;
        }
        if self.slot(at).is_none() {
            at = self.tail;
        }
        self.hand = self.slot(at)?.newer;
        self.take(at)
    }
}

#[cfg(test)]
mod tests;
