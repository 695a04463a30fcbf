//! Which colour answers: the room between route and rule, without I/O.
//!
//! `bucket = siphash(salt, unit) % 10000`, and green iff `bucket < weight_bp`: raising green's
//! weight moves units one way only, and a unit's colour is the same on every edge.

use std::hash::Hasher;

use asset_pipeline::id::ReleaseId;
use cache_rules::tenant::TenantId;
use siphasher::sip::SipHasher24;

use crate::colour::{Colour, Split, WHOLE_BP};

/// The colour of a request and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Who answers.
    pub colour: Colour,
    /// The files of that colour.
    pub release: ReleaseId,
    /// Why this colour.
    pub reason: Reason,
}

/// Why a colour was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// By its weight: the bucket of the tenant, in basis points.
    Weight {
        /// 0 to 9,999; green iff below green's weight.
        bucket: u16,
    },
}

/// Splits the units of one app.
#[derive(Debug, Clone)]
pub struct Splitter {
    keys: (u64, u64),
    split: Split,
}

impl Splitter {
    /// Two salts give unrelated orders, so that two apps do not move the same schools first.
    pub fn new(salt: &str, split: Split) -> Self {
        // The salt is not a secret: fixed keys make the same buckets on every edge and release.
        let half = |key| {
            let mut hasher = SipHasher24::new_with_keys(key, 0);
            hasher.write(salt.as_bytes());
            hasher.finish()
        };
        Self {
            keys: (half(0), half(1)),
            split,
        }
    }

    /// 0 to 9,999, the same for a tenant as long as the salt is.
    pub fn bucket(&self, tenant: &TenantId) -> u16 {
        let mut hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(tenant.as_str().as_bytes());
        (hasher.finish() % u64::from(WHOLE_BP)) as u16
    }

    /// The colour of a tenant by weight.
    pub fn choose(&self, tenant: &TenantId) -> (Colour, Reason) {
        let bucket = self.bucket(tenant);
        let colour = if bucket < self.split.weight_bp(Colour::Green) {
            Colour::Green
        } else {
            Colour::Blue
        };
        (colour, Reason::Weight { bucket })
    }

    /// The weights in force.
    pub fn split(&self) -> Split {
        self.split
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenants() -> Vec<TenantId> {
        (0..1000)
            .map(|n| format!("school-{n}").parse().expect("a valid id"))
            .collect()
    }

    #[test]
    fn no_weight_and_all_weight_are_exact() {
        for tenant in tenants() {
            for colour in Colour::BOTH {
                assert_eq!(
                    Splitter::new("s", Split::all(colour)).choose(&tenant).0,
                    colour
                );
            }
        }
    }

    #[test]
    fn a_share_of_the_tenants_follows_the_weight() {
        let splitter = Splitter::new(
            "s",
            Split::with(Colour::Green, 1000).expect("within the whole"),
        );
        let green = tenants()
            .iter()
            .filter(|t| splitter.choose(t).0 == Colour::Green)
            .count();
        assert!((70..=130).contains(&green), "{green} of 1000 at 10 %");
    }

    proptest! {
        #[test]
        fn raising_a_weight_moves_tenants_one_way(low in 0u16..=10_000, high in 0u16..=10_000, salt: String) {
            let (low, high) = (low.min(high), low.max(high));
            let at = |bp| Splitter::new(&salt, Split::with(Colour::Green, bp).expect("within the whole"));
            let (low, high) = (at(low), at(high));
            for tenant in tenants().iter().take(50) {
                if low.choose(tenant).0 == Colour::Green {
                    prop_assert_eq!(high.choose(tenant).0, Colour::Green);
                }
            }
        }
    }
}
