//! What is remembered of an answer beside what clients are sent, so that the origin can be asked whether it still
//! holds, and what becomes of the two when it says yes.

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, TRANSFER_ENCODING,
};

use super::{Answer, CACHE_TAG, CDN_CACHE_CONTROL, CONSENT, SURROGATE_KEY};
use crate::group::CACHE_GROUPS;

/// What clients are not sent, or sent otherwise, and what a later judgement needs.
static REMEMBERED: [HeaderName; 8] = [
    ETAG,
    LAST_MODIFIED,
    CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    CONSENT,
    SURROGATE_KEY,
    CACHE_TAG,
    CACHE_GROUPS,
];

/// What a 304 does not change: it speaks of the stored bytes, and these are what they were (RFC 9111, 3.2).
static UNCHANGED: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

/// The origin's words to the edge in a stored answer. Empty without a validator: then there is nothing to ask.
#[derive(Debug, Clone, Default)]
pub struct Memory(Box<[(HeaderName, HeaderValue)]>);

/// A stored answer and the 304 that renewed it, as one.
#[derive(Debug)]
pub struct Merged {
    /// All fields of the merged answer, as if the origin had sent them with the bytes.
    pub headers: HeaderMap,
    /// Whether it may be kept: what the rules would say had the origin sent it so.
    pub answer: Answer,
}

impl Memory {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let has_one = |name: &HeaderName| headers.get_all(name).iter().count() == 1;
        if !has_one(&ETAG) && !has_one(&LAST_MODIFIED) {
            return Self::default();
        }
        let lines = REMEMBERED.iter().flat_map(|name| {
            let lines = headers.get_all(name).iter();
            lines.map(|line| (name.clone(), line.clone()))
        });
        Self(lines.collect())
    }

    /// The conditions under which the origin need not send the bytes again; empty when it has to.
    pub fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let of =
            |name, condition: HeaderName| self.only(&name).map(|value| (condition, value.clone()));
        let tag = of(ETAG, IF_NONE_MATCH);
        tag.into_iter().chain(of(LAST_MODIFIED, IF_MODIFIED_SINCE))
    }

    pub(crate) fn lines(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0
    }

    pub(crate) fn reopened(lines: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self(lines.into())
    }

    fn only(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let mut lines = self.0.iter().filter(|(have, _)| have == name);
        let (_, value) = lines.next()?;
        lines.next().is_none().then_some(value)
    }

    /// What the 304 makes of the stored fields; none when it speaks of other bytes.
    pub(crate) fn merged(&self, sent: &HeaderMap, update: &HeaderMap) -> Option<HeaderMap> {
        if self.0.is_empty() || !self.same_bytes(update) {
            return None;
        }
        let mut merged = sent.clone();
        // How old the stored answer was says nothing of this one.
        for name in [AGE, DATE].iter().chain(&REMEMBERED) {
            merged.remove(name);
        }
        for (name, value) in &self.0 {
            merged.append(name.clone(), value.clone());
        }
        for name in update.keys().filter(|name| !UNCHANGED.contains(name)) {
            merged.remove(name);
            for value in update.get_all(name) {
                merged.append(name.clone(), value.clone());
            }
        }
        // The stored fields have none; those that this one nominates are its own connection's.
        for line in update.get_all(CONNECTION) {
            merged.append(CONNECTION, line.clone());
        }
        Some(merged)
    }

    fn same_bytes(&self, update: &HeaderMap) -> bool {
        let opaque = |value: &HeaderValue| {
            let bytes = value.as_bytes();
            bytes.strip_prefix(b"W/").unwrap_or(bytes).to_vec()
        };
        let stored = self.only(&ETAG).map(opaque);
        let mut lines = update.get_all(ETAG).iter();
        lines.all(|line| stored.as_ref() == Some(&opaque(line)))
    }
}
