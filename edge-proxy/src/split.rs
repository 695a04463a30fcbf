//! Which colour answers: the room between route and rule, without I/O.
//!
//! The first of these that says something decides: the operator's order, the deployment id of the
//! page, the client's pin, the weight. Ids and pins count only for a release that is live or
//! draining and not unsafe; what a request says of itself is [`claims`].
//!
//! `bucket = siphash(salt, unit) % 10000`, and green iff `bucket < weight_bp`: raising green's
//! weight moves units one way only, and a unit's colour is the same on every edge.

use std::hash::Hasher;
use std::net::IpAddr;

use asset_pipeline::id::ReleaseId;
use cache_rules::tenant::TenantId;
use siphasher::sip::SipHasher24;

use crate::colour::{Colour, Split, WHOLE_BP};
use crate::listener::Network;

pub mod claims;
pub mod keys;
pub mod order;
pub mod pins;

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
    /// The operator's signed order says so.
    Order,
    /// The page that asks was made by a deployment of this release.
    Deployment,
    /// The client is bound to this release.
    Pin,
    /// Its school is in a ring that goes first.
    Ring,
    /// By its weight: the bucket of the unit, in basis points.
    Weight {
        /// 0 to 9,999; green iff below green's weight.
        bucket: u16,
    },
}

/// What moves as one between colours: an app's config says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SplitBy {
    /// A whole school, without a cookie.
    #[default]
    Tenant,
    /// Each browser, known by its cookie.
    Client,
    /// Each request, for what keeps no state at all.
    Request,
}

/// Somebody who is on one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'a> {
    /// A school.
    Tenant(&'a TenantId),
    /// A browser: the number in its cookie.
    Client(u32),
    /// Whoever has no cookie yet, in one network of a school.
    Network(&'a TenantId, IpAddr),
    /// One request: a number that was drawn for it.
    Request(u64),
}

impl Unit<'_> {
    fn feed(&self, hasher: &mut SipHasher24) {
        // No tenant's id begins with a byte that is not ASCII.
        match self {
            Self::Tenant(tenant) => hasher.write(tenant.as_str().as_bytes()),
            Self::Client(number) => {
                hasher.write(&[0xff, 1]);
                hasher.write(&number.to_be_bytes());
            }
            Self::Network(tenant, address) => {
                hasher.write(&[0xff, 2]);
                hasher.write(&Network::of(*address).to_be_bytes());
                hasher.write(tenant.as_str().as_bytes());
            }
            Self::Request(number) => {
                hasher.write(&[0xff, 3]);
                hasher.write(&number.to_be_bytes());
            }
        }
    }
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

    /// 0 to 9,999, the same for a unit as long as the salt is.
    pub fn bucket(&self, unit: &Unit<'_>) -> u16 {
        let mut hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        unit.feed(&mut hasher);
        (hasher.finish() % u64::from(WHOLE_BP)) as u16
    }

    /// The colour of a unit by weight.
    pub fn choose(&self, unit: &Unit<'_>) -> (Colour, Reason) {
        let bucket = self.bucket(unit);
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
mod tests;
