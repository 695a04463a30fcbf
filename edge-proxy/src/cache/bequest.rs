//! What one process leaves to the next: its hottest entries.
//!
//! ```text
//! frame = length (4 bytes) || sealed (see `cache_rules::bequest`)
//! rest  = reads (4) || slots of a table (2) || count (2) || slots (2 each) || codings (1) || (coding (1) || length (4) || bytes)* || body
//! ```
//!
//! Numbers are big endian. An entry must not outlive a purge on its way. Who leaves it looks whether it is valid as the
//! last thing before it goes, and has applied everything that was ended before the next process began to listen. For who
//! takes it, it is born before anything else: whatever that process ever heard of, before or after the entry came,
//! ends it. Identities are not left to anybody: who somebody is, is asked again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use cache_rules::bequest::{NotOpened, Seal};
use cache_rules::rules::RuleSet;
use cache_rules::tenant::TenantId;

use super::Cache;
use super::entry::Entry;
use super::epochs::{Depends, SLOTS};
use super::shelves::Hot;
use crate::response::negotiate::Coding;

/// What is left to the next process, at most.
pub const BYTES_MAX: u64 = 64 << 20;

/// Why an entry that another process left is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// By the rules.
    #[error(transparent)]
    Rules(#[from] NotOpened),
    /// Of a school that is not there.
    #[error("its school is not in the config")]
    Tenant,
    /// Not what such an entry is made of.
    #[error("another version's entry")]
    Format,
    /// What it depends on was ended since.
    #[error("it was purged on its way")]
    Purged,
    /// There is no room for it.
    #[error("there is no room for it")]
    NoRoom,
}

/// What is left, in its order.
pub struct Bequest {
    cache: Arc<Cache>,
    seal: Seal,
    hottest: std::vec::IntoIter<Hot<Entry>>,
    bytes_left: u64,
}

impl Bequest {
    /// Looks for what is read most; takes some milliseconds.
    pub fn of(cache: Arc<Cache>, seal: Seal) -> Self {
        let hottest = cache.entries.hottest(BYTES_MAX).into_iter();
        Self {
            cache,
            seal,
            hottest,
            bytes_left: BYTES_MAX,
        }
    }
}

impl Iterator for Bequest {
    type Item = Bytes;

    /// The next frame, sealed now.
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let hot = self.hottest.next()?;
            let Some(frame) = frame(&self.cache, &self.seal, &hot) else {
                continue;
            };
            if let Some(left) = self.bytes_left.checked_sub(frame.len() as u64) {
                self.bytes_left = left;
                return Some(frame);
            }
        }
    }
}

fn frame(cache: &Cache, seal: &Seal, hot: &Hot<Entry>) -> Option<Bytes> {
    let entry = &hot.value;
    let body = entry.body();
    let mut rest = hot.reads.to_be_bytes().to_vec();
    let slots = entry.depends().slots();
    for number in [SLOTS, slots.len()] {
        rest.extend_from_slice(&u16::try_from(number).ok()?.to_be_bytes());
    }
    for slot in slots {
        rest.extend_from_slice(&slot.to_be_bytes());
    }
    let codings = entry.codings();
    rest.push(u8::try_from(codings.len()).ok()?);
    for (coding, _, bytes) in codings {
        let place = Coding::ALL.iter().position(|known| *known == coding)?;
        rest.push(u8::try_from(place).ok()?);
        rest.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
        rest.extend_from_slice(&bytes);
    }
    let now = cache.clock.now();
    let sealed = entry.sealed(seal, &hot.key, now, &cache.epochs, &[&rest, body])?;
    let mut frame = u32::try_from(sealed.len()).ok()?.to_be_bytes().to_vec();
    frame.extend_from_slice(&sealed);
    Some(frame.into())
}

impl Cache {
    /// Takes what another process left, if these rules and schools would have it: what follows a frame's length. It is
    /// as old as if it had been sealed at `asked`, which is before it was.
    ///
    /// # Errors
    /// When it is not to be served here.
    pub fn inherit(
        &self,
        sealed: &[u8],
        seal: &Seal,
        (rules, schools): (&RuleSet, &HashSet<TenantId>),
        asked: Instant,
    ) -> Result<(), NotTaken> {
        let opened = seal.open(rules, sealed)?;
        let tenant = opened.tenant.clone();
        if !schools.contains(&tenant) {
            return Err(NotTaken::Tenant);
        }
        let key = opened.key.clone();
        let Rest {
            reads,
            slots,
            codings,
            body,
        } = Rest::read(opened.rest).ok_or(NotTaken::Format)?;
        let depends: Option<Depends> = self.epochs.inherited(&tenant, &slots);
        let depends = depends.ok_or(NotTaken::Format)?;
        let entry = Arc::new(Entry::inherited(opened, body, codings, asked, depends));
        if !entry.valid(&self.epochs) {
            return Err(NotTaken::Purged);
        }
        let weight = weight(&entry, &key);
        let kept = self.entries.inherit(&tenant, key, entry, weight, reads);
        kept.kept.then_some(()).ok_or(NotTaken::NoRoom)
    }
}

/// What an entry weighs under a key.
pub(super) fn weight(entry: &Entry, key: &cache_rules::key::CacheKey) -> u32 {
    let key = u32::try_from(key.size()).unwrap_or(u32::MAX);
    entry.weight().saturating_add(key)
}

struct Rest {
    reads: u32,
    slots: Box<[u16]>,
    codings: Vec<(Coding, u64, Bytes)>,
    body: Bytes,
}

impl Rest {
    fn read(mut from: &[u8]) -> Option<Self> {
        let reads = from.try_get_u32().ok()?;
        if usize::from(from.try_get_u16().ok()?) != SLOTS {
            return None;
        }
        let count = from.try_get_u16().ok()?;
        let slots = (0..count).map(|_| from.try_get_u16().ok());
        let slots = slots.collect::<Option<_>>()?;
        let count = from.try_get_u8().ok()?;
        let coding = |_| {
            let coding = *Coding::ALL.get(usize::from(from.try_get_u8().ok()?))?;
            let len = usize::try_from(from.try_get_u32().ok()?).ok()?;
            let (bytes, after) = from.split_at_checked(len)?;
            from = after;
            Some((coding, len as u64, Bytes::copy_from_slice(bytes)))
        };
        let codings = (0..count).map(coding).collect::<Option<_>>()?;
        Some(Self {
            reads,
            slots,
            codings,
            body: Bytes::copy_from_slice(from),
        })
    }
}

#[cfg(test)]
mod tests;
