//! One stored answer: what is sent, until when, and what a purge must name to end it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asset_pipeline::digest::Digest;
use bytes::Bytes;
use cache_rules::answer::Storable;
use cache_rules::tenant::TenantId;
use http::header::{AGE, ETAG};
use http::{HeaderMap, HeaderValue, Method};

use super::encode;
use super::epochs::{Depends, Epochs, path_tag};
use crate::clock::Clock;
use crate::control::store::Sequence;
use crate::response::conditional::ETag;
use crate::response::negotiate::Coding;
use crate::response::represent::{Answer, Representation, Source};

/// An answer that several clients may read.
#[derive(Debug)]
pub struct Entry {
    representation: Representation<Bytes>,
    /// The age it had when it came, and when that was.
    age: Duration,
    received: Instant,
    fresh_until: Instant,
    depends: Depends,
    bytes: usize,
    encoding: AtomicBool,
}

/// What an entry costs beside its body: headers per coding, keys, counters.
const OVERHEAD_BYTES: usize = 2048;

impl Entry {
    /// From what the rules allowed to be stored. `born`: the log before the origin was asked.
    pub fn new(
        storable: Storable,
        body: Bytes,
        tenant: &TenantId,
        path: &str,
        born: Sequence,
        epochs: &Epochs,
        clock: &Clock,
    ) -> Self {
        let now = clock.now();
        let (age, fresh_for) = (storable.age(), storable.fresh_for());
        // Time has passed since its head came: the body took it.
        let since = clock
            .wall()
            .duration_since(storable.received())
            .unwrap_or_default();
        let depends = depends(&storable, tenant, path, born, epochs);
        let (_, headers) = storable.into_parts();
        // The origin's own tag where it names these very bytes; a weak one does not.
        let strong = |etag: &HeaderValue| {
            etag.as_bytes()
                .starts_with(b"\"")
                .then(|| ETag::parse(etag))
                .flatten()
        };
        let etag = headers
            .get(ETAG)
            .and_then(strong)
            .unwrap_or_else(|| ETag::of_digest(&Digest::of(&body), Coding::Identity));
        let source = Source {
            etag: Some(etag),
            bytes: body.len() as u64,
            at: body.clone(),
        };
        let bytes = body.len();
        Self {
            representation: Representation::growing(headers, source),
            age,
            received: now.checked_sub(since).unwrap_or(now),
            fresh_until: now.checked_sub(since).unwrap_or(now) + fresh_for,
            depends,
            bytes,
            encoding: AtomicBool::new(false),
        }
    }

    /// Whether it is not too old.
    pub fn fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    /// Whether nothing that it depends on was purged.
    pub fn valid(&self, epochs: &Epochs) -> bool {
        epochs.valid(&self.depends)
    }

    /// The answer to a GET or HEAD.
    pub fn answer(&self, method: &Method, headers: &HeaderMap, now: Instant) -> Answer<Bytes> {
        let mut answer = self.representation.answer(method, headers);
        let age = self.age + now.saturating_duration_since(self.received);
        // A number is a header value.
        let _ = answer.header.insert_header(AGE, age.as_secs());
        answer
    }

    /// How much memory it is counted with: its codings are about half of it.
    pub fn weight(&self) -> u32 {
        let codings = if self.bytes >= encode::BYTES_MIN {
            self.bytes / 2
        } else {
            0
        };
        u32::try_from(self.bytes + codings + OVERHEAD_BYTES).unwrap_or(u32::MAX)
    }

    /// Whether its codings are made or being made, or it is too short to have any.
    pub(super) fn is_encoded(&self) -> bool {
        self.bytes < encode::BYTES_MIN || self.encoding.load(Ordering::Relaxed)
    }

    /// True once, for whoever is to make its codings.
    pub(super) fn begin_encoding(&self) -> bool {
        !self.encoding.swap(true, Ordering::Relaxed)
    }

    /// Makes its codings; takes milliseconds.
    pub(super) fn encode(&self) {
        self.representation
            .add_encoded(encode::all(self.representation.identity()));
    }
}

/// What an answer depends on: its tags, and its path, so that a purge can name that too.
fn depends(
    storable: &Storable,
    tenant: &TenantId,
    path: &str,
    born: Sequence,
    epochs: &Epochs,
) -> Depends {
    let path = path_tag(path);
    let tags = storable
        .tags()
        .iter()
        .map(|tag| tag.as_str())
        .chain([path.as_str()]);
    epochs.depends(tenant, tags, born)
}
