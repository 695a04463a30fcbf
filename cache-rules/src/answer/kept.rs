//! What is kept of an answer beside what clients are sent.

use std::time::Duration;

use super::{Keeping, Memory, Windows};
use crate::freshness::Freshness;

/// For how long an answer is kept, and how. Made of a [`Storable`](super::Storable), or of one that another process had
/// ([`crate::bequest`]); there is no other way.
#[derive(Debug, Clone)]
pub struct Kept {
    pub(super) freshness: Freshness,
    pub(super) stale: Windows,
    pub(super) memory: Memory,
    pub(super) keeping: Keeping,
}

impl Kept {
    /// How old the answer was when it came, to this process.
    pub fn age(&self) -> Duration {
        self.freshness.age
    }

    /// How long it may be served from then on.
    pub fn fresh_for(&self) -> Duration {
        self.freshness.fresh_for
    }

    /// For how long it may be served once it is stale.
    pub fn stale(&self) -> Windows {
        self.stale
    }

    /// What is needed to ask the origin whether it still holds.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How it is kept.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    pub(crate) fn reopened(
        (age, fresh_for): (Duration, Duration),
        stale: Windows,
        memory: Memory,
    ) -> Self {
        Self {
            freshness: Freshness { age, fresh_for },
            stale,
            memory,
            keeping: Keeping::Own,
        }
    }
}
