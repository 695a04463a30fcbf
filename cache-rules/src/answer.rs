//! Whether the origin's answer may be kept, and what is kept of its head.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::reason::PassReason;
use crate::tag::Tag;

/// What the rules say of an answer of the origin.
#[derive(Debug)]
pub enum Answer {
    /// Rule and origin agree.
    Store(Storable),
    /// Sent to the client that asked, and to nobody else.
    Pass(PassReason),
}

/// An answer that may be kept and shared. Only the rules make one; the cache takes nothing else.
#[derive(Debug)]
pub struct Storable {
    received: SystemTime,
    age: Duration,
    fresh_for: Duration,
    tags: Vec<Tag>,
    headers: HeaderMap,
}

impl Storable {
    /// When the answer came.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// How old it was then. `Age` of a hit is this and the time since [`Self::received`].
    pub fn age(&self) -> Duration {
        self.age
    }

    /// How long it may be served after [`Self::received`].
    pub fn fresh_for(&self) -> Duration {
        self.fresh_for
    }

    /// When it may no longer be served.
    pub fn expires(&self) -> SystemTime {
        self.received + self.fresh_for
    }

    /// What purges it: the rule's tags and the origin's, each once.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// What is sent with it: without connection headers, those that the edge consumes, and those of one exchange.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Tags and headers by value.
    pub fn into_parts(self) -> (Vec<Tag>, HeaderMap) {
        (self.tags, self.headers)
    }
}
