//! One stored answer: what is sent, until when, what a purge must name to end it, and what is needed
//! to ask the origin whether it still holds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asset_pipeline::digest::Digest;
use bytes::Bytes;
use cache_rules::answer::{Keeping, Kept, Memory, Storable};
use cache_rules::bequest::{Opened, Seal};
use cache_rules::key::CacheKey;
use cache_rules::rules::Scope;
use cache_rules::tenant::TenantId;
use cache_rules::wishes::Wishes;
use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::encode;
use super::epochs::{Depends, Epochs, Moment, group_tag, path_tag};
use crate::clock::Clock;
use crate::response::conditional::ETag;
use crate::response::negotiate::Coding;
use crate::response::represent::{Answer, Content, Cut, Representation, Source};

/// An answer that several clients may read.
// In this order in memory: what every look-up reads stands in the first lines, beside the counter of its readers.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    depends: Depends,
    fresh_until: Instant,
    received: Instant,
    bytes: usize,
    encoding: AtomicBool,
    /// For everyone: only then a soft purge is less than a hard one.
    public: bool,
    kept: Kept,
    /// When it was first seen that it was purged softly: stale from then on.
    softened: OnceLock<Instant>,
    /// The origin's own coding: only of what is kept as it was sent.
    coding: Option<HeaderValue>,
    representation: Representation<Bytes>,
}

/// Where a stored answer comes from: whose it is, and when its fetch began.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The school.
    pub tenant: &'a TenantId,
    /// The canonical path.
    pub path: &'a str,
    /// Who may share it.
    pub scope: Scope,
    /// Read before the origin was asked.
    pub born: Moment,
}

/// What an entry costs beside its body: headers per coding, keys, counters.
const OVERHEAD_BYTES: usize = 2048;

impl Entry {
    /// From what the rules allowed to be stored.
    pub fn new(
        storable: Storable,
        body: Bytes,
        origin: Origin<'_>,
        epochs: &Epochs,
        clock: &Clock,
    ) -> Self {
        // Time has passed since its head came: the body took it.
        let since = clock
            .wall()
            .duration_since(storable.received())
            .unwrap_or_default();
        let now = clock.now();
        let received = now.checked_sub(since).unwrap_or(now);
        let depends = depends(&storable, origin, epochs);
        let public = origin.scope == Scope::Public;
        let (headers, kept) = storable.into_parts();
        Self::of(headers, kept, body, received, depends, public)
    }

    /// From what another process left, which had it at `received`.
    pub(super) fn inherited(
        opened: Opened<'_>,
        body: Bytes,
        codings: Vec<(Coding, u64, Bytes)>,
        received: Instant,
        depends: Depends,
    ) -> Self {
        let public = opened.scope == Scope::Public;
        let entry = Self::of(opened.headers, opened.kept, body, received, depends, public);
        if !codings.is_empty() {
            entry.encoding.store(true, Ordering::Relaxed);
            entry.representation.add_encoded(codings);
        }
        entry
    }

    fn of(
        headers: HeaderMap,
        kept: Kept,
        body: Bytes,
        received: Instant,
        depends: Depends,
        public: bool,
    ) -> Self {
        let own = *kept.keeping() == Keeping::Own;
        let given = headers.get(ETAG).and_then(ETag::parse);
        let etag = if own {
            // The origin's own tag where it names these very bytes; a weak one does not.
            let strong = given.filter(|etag| !etag.weak());
            Some(strong.unwrap_or_else(|| ETag::of_digest(&Digest::of(&body), Coding::Identity)))
        } else {
            given
        };
        let source = Source {
            etag,
            bytes: body.len() as u64,
            at: body.clone(),
        };
        let coding = headers.get(CONTENT_ENCODING).filter(|_| !own).cloned();
        let representation = if own {
            Representation::growing(headers, source)
        } else {
            Representation::alone(headers, source)
        };
        Self {
            bytes: body.len(),
            representation,
            coding,
            received,
            fresh_until: received + kept.fresh_for(),
            kept,
            softened: OnceLock::new(),
            depends,
            public,
            encoding: AtomicBool::new(false),
        }
    }

    /// The same bytes, which the origin said still hold: with its codings, under the new header.
    pub fn renewed(
        &self,
        storable: Storable,
        origin: Origin<'_>,
        epochs: &Epochs,
        clock: &Clock,
    ) -> Self {
        let renewed = Self::new(storable, self.body().clone(), origin, epochs, clock);
        if let Some(codings) = self.representation.codings() {
            renewed.encoding.store(true, Ordering::Relaxed);
            renewed.representation.add_encoded(codings);
        }
        renewed
    }

    /// For another process, with what that one has to know beside; none: it is not to be served any more, or not to be
    /// left to anybody.
    pub(super) fn sealed(
        &self,
        seal: &Seal,
        key: &CacheKey,
        now: Instant,
        epochs: &Epochs,
        rest: &[&[u8]],
    ) -> Option<Vec<u8>> {
        let mut headers = self.representation.fields()?.clone();
        // What it was given, or what was made of its bytes: it is the same there.
        if let Some(etag) = self.representation.etag() {
            headers.insert(ETAG, etag.value().clone());
        }
        let since = now.saturating_duration_since(self.received);
        let sealed = seal.close(key, (&headers, &self.kept), since, rest)?;
        // Last: what was ended meanwhile is not told here.
        (self.fresh(now, epochs) && self.valid(epochs)).then_some(sealed)
    }

    /// Its codings, as far as they were made.
    pub(super) fn codings(&self) -> Vec<(Coding, u64, Bytes)> {
        self.representation.codings().unwrap_or_default()
    }

    /// Whether nothing that it depends on was purged.
    pub fn valid(&self, epochs: &Epochs) -> bool {
        epochs.valid(&self.depends) && (self.public || epochs.current(&self.depends))
    }

    /// Whether it is neither too old nor softly purged.
    pub fn fresh(&self, now: Instant, epochs: &Epochs) -> bool {
        let validate = matches!(self.kept.keeping(), Keeping::AsSent { validate: true, .. });
        !validate && now < self.fresh_until && epochs.current(&self.depends)
    }

    /// Whether it may be served while a fresh one is fetched.
    pub fn may_bridge(&self, now: Instant, epochs: &Epochs) -> bool {
        self.stale_for(now, epochs) < self.kept.stale().while_revalidate
    }

    /// Whether it may be served because the origin failed.
    pub fn may_stand_in(&self, now: Instant, epochs: &Epochs) -> bool {
        self.stale_for(now, epochs) < self.kept.stale().if_error
    }

    /// Whether it is of no more use: purged, or too old to be served and without a validator.
    pub(super) fn dead(&self, now: Instant, epochs: &Epochs) -> bool {
        let window = self
            .kept
            .stale()
            .while_revalidate
            .max(self.kept.stale().if_error);
        let over = now >= self.fresh_until + window;
        !self.valid(epochs) || (over && self.conditions().next().is_none())
    }

    /// For how long it has been stale.
    fn stale_for(&self, now: Instant, epochs: &Epochs) -> Duration {
        let since = if epochs.current(&self.depends) {
            self.fresh_until
        } else {
            self.fresh_until.min(*self.softened.get_or_init(|| now))
        };
        now.saturating_duration_since(since)
    }

    /// Whether a client that asks for this will take it.
    pub fn suits(&self, wishes: &Wishes, now: Instant) -> bool {
        let left = self.fresh_until.saturating_duration_since(now);
        wishes.accept(self.age(now).as_secs(), left.as_secs())
    }

    /// The conditions under which the origin need not send it again; empty: it has no validator.
    pub fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.kept.memory().conditions()
    }

    /// What clients are sent of its header, and what is remembered beside; none: it cannot be renewed.
    pub fn remembered(&self) -> Option<(&HeaderMap, &Memory)> {
        Some((self.representation.fields()?, self.kept.memory()))
    }

    /// Its bytes.
    pub fn body(&self) -> &Bytes {
        self.representation.identity()
    }

    /// All that is kept of it, as it is.
    pub(super) fn dump(&self) -> Vec<u8> {
        let fields = self.representation.fields();
        let mut bytes = format!("{fields:?} {:?}\n", self.kept).into_bytes();
        bytes.extend_from_slice(self.body());
        bytes
    }

    /// What it depends on.
    pub fn depends(&self) -> &Depends {
        &self.depends
    }

    /// The answer to a GET or HEAD.
    pub fn answer(&self, method: &Method, headers: &HeaderMap, now: Instant) -> Answer<Bytes> {
        let mut answer = match *self.kept.keeping() {
            Keeping::Own => self.representation.answer(method, headers),
            Keeping::AsSent { status, .. } => self.answer_as_sent(status, method, headers),
        };
        // A number is a header value.
        let _ = answer.header.insert_header(AGE, self.age(now).as_secs());
        answer
    }

    fn answer_as_sent(
        &self,
        status: StatusCode,
        method: &Method,
        headers: &HeaderMap,
    ) -> Answer<Bytes> {
        if status == StatusCode::OK {
            let mut answer = self.representation.answer(method, headers);
            let several = |content: &Content<Bytes>| matches!(content.cut, Cut::Parts(_));
            if self.coding.is_some() && answer.content.as_ref().is_some_and(several) {
                // The coding is that of the whole, and not of what frames its parts.
                let mut headers = headers.clone();
                headers.remove(RANGE);
                answer = self.representation.answer(method, &headers);
            }
            if let (Some(coding), true) = (&self.coding, answer.content.is_some()) {
                // A header value is one.
                let _ = answer.header.insert_header(CONTENT_ENCODING, coding);
            }
            return answer;
        }
        // Conditions and ranges are for what there is (RFC 9110, 13.2.1 and 14.2).
        let mut answer = self.representation.answer(method, &HeaderMap::new());
        // A status is one.
        let _ = answer.header.set_status(status);
        if status == StatusCode::NO_CONTENT {
            answer.header.remove_header(&CONTENT_LENGTH);
            answer.content = None;
        }
        answer
    }

    /// Whether those who waited for its fetch may read it: not when each use needs the origin's word.
    pub fn may_be_joined(&self) -> bool {
        match *self.kept.keeping() {
            Keeping::Own => true,
            Keeping::AsSent { validate, .. } => !validate && self.fresh_until > self.received,
        }
    }

    /// The request headers that select it, beside those of its key.
    pub fn vary(&self) -> &[HeaderName] {
        match self.kept.keeping() {
            Keeping::Own => &[],
            Keeping::AsSent { vary, .. } => vary,
        }
    }

    /// What is left of its lifetime.
    pub fn fresh_for(&self, now: Instant) -> Option<Duration> {
        self.fresh_until.checked_duration_since(now)
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        self.kept.age() + now.saturating_duration_since(self.received)
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
        self.bytes < encode::BYTES_MIN
            || *self.kept.keeping() != Keeping::Own
            || self.encoding.load(Ordering::Relaxed)
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

/// What an answer depends on: its tags and groups, and its path, so that a purge can name that too.
fn depends(storable: &Storable, origin: Origin<'_>, epochs: &Epochs) -> Depends {
    let path = path_tag(origin.path);
    let groups: Vec<String> = storable
        .groups()
        .iter()
        .map(|group| group_tag(group.as_str()))
        .collect();
    let names = storable
        .tags()
        .iter()
        .map(|tag| tag.as_str())
        .chain(groups.iter().map(String::as_str))
        .chain([path.as_str()]);
    epochs.depends(origin.tenant, names, origin.born)
}
