//! A command that is sent again with the same key is answered again, not done again.
//!
//! Kept in memory: after a restart a repeated shift changes nothing and a repeated purge costs a
//! few fetches. Only what was done is kept, so a refused command can be tried again with its key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use asset_pipeline::digest::Digest;
use bytes::Bytes;
use parking_lot::Mutex;

/// Keys that are remembered; the oldest is forgotten first.
pub(super) const KEYS_MAX: usize = 512;

/// How long a key is remembered.
pub(super) const KEEP: Duration = Duration::from_secs(600);

const KEY_BYTES_MAX: usize = 128;

/// What a client sent to recognise its own request: visible ASCII, at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    pub(super) fn parse(value: &http::HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }
}

/// An answer that can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) body: Bytes,
}

/// What is known of a key.
pub(super) enum Begin {
    /// Nothing: do it, and say how it ended.
    Do(Claim),
    /// It was done.
    Again(Answer),
    /// It is being done.
    Running,
    /// The key was used for something else.
    Other,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<IdempotencyKey, Known>,
    /// In the order in which they began.
    order: VecDeque<(IdempotencyKey, Instant)>,
}

#[derive(Debug)]
struct Known {
    began: Instant,
    request: Digest,
    answer: Option<Answer>,
}

/// The keys of the last minutes.
#[derive(Debug, Default, Clone)]
pub(super) struct Keys(Arc<Mutex<Table>>);

impl Keys {
    /// Claims a key for a request, which its digest tells from others.
    pub(super) fn begin(&self, key: IdempotencyKey, request: Digest, now: Instant) -> Begin {
        let mut table = self.0.lock();
        table.forget(now);
        if let Some(known) = table.known.get(&key) {
            return match &known.answer {
                _ if known.request != request => Begin::Other,
                Some(answer) => Begin::Again(answer.clone()),
                None => Begin::Running,
            };
        }
        table.order.push_back((key.clone(), now));
        let known = Known {
            began: now,
            request,
            answer: None,
        };
        table.known.insert(key.clone(), known);
        Begin::Do(Claim {
            keys: self.clone(),
            key: Some((key, now)),
        })
    }
}

impl Table {
    fn forget(&mut self, now: Instant) {
        while let Some((key, began)) = self.order.front() {
            let old = now.duration_since(*began) > KEEP;
            if !old && self.order.len() < KEYS_MAX {
                return;
            }
            if self
                .known
                .get(key)
                .is_some_and(|known| known.began == *began)
            {
                self.known.remove(key);
            }
            self.order.pop_front();
        }
    }
}

/// The right to do what a key stands for; dropped without an end, the key is free again.
pub(super) struct Claim {
    keys: Keys,
    key: Option<(IdempotencyKey, Instant)>,
}

impl Claim {
    /// It was done: the same request gets this answer again.
    pub(super) fn done(mut self, answer: Answer) {
        if let Some((key, _)) = self.key.take()
            && let Some(known) = self.keys.0.lock().known.get_mut(&key)
        {
            known.answer = Some(answer);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((key, began)) = self.key.take() {
            let mut table = self.keys.0.lock();
            if table
                .known
                .get(&key)
                .is_some_and(|known| known.began == began)
            {
                table.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        let value = http::HeaderValue::from_str(text).expect("a header value");
        IdempotencyKey::parse(&value).expect("a key")
    }

    fn answer() -> Answer {
        Answer {
            status: http::StatusCode::OK,
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn what_was_done_is_answered_again_and_what_failed_may_be_tried_again() {
        let (keys, now) = (Keys::default(), Instant::now());
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let Begin::Do(claim) = keys.begin(key("a"), one, now) else {
            panic!("a new key is to be done");
        };
        assert!(matches!(keys.begin(key("a"), one, now), Begin::Running));
        assert!(matches!(keys.begin(key("a"), two, now), Begin::Other));
        drop(claim);
        let Begin::Do(claim) = keys.begin(key("a"), one, now) else {
            panic!("what was not done is to be done");
        };
        claim.done(answer());
        let Begin::Again(again) = keys.begin(key("a"), one, now) else {
            panic!("what was done is answered again");
        };
        assert_eq!(again, answer());
        assert!(matches!(keys.begin(key("a"), two, now), Begin::Other));
        let later = now + KEEP + Duration::from_secs(1);
        assert!(matches!(keys.begin(key("a"), two, later), Begin::Do(_)));
    }

    #[test]
    fn memory_is_bounded_whatever_clients_send() {
        let (keys, now) = (Keys::default(), Instant::now());
        for number in 0..10 * KEYS_MAX {
            if let Begin::Do(claim) = keys.begin(key(&number.to_string()), Digest::of(b""), now) {
                // Half of them are done, half are given up.
                if number % 2 == 0 {
                    claim.done(answer());
                }
            }
        }
        let table = keys.0.lock();
        assert!(table.known.len() <= KEYS_MAX && table.order.len() <= KEYS_MAX);
    }

    #[test]
    fn a_key_is_short_and_visible() {
        let long = "a".repeat(129);
        for bad in ["", "a b", "\t", "ä", &long] {
            let value = http::HeaderValue::from_bytes(bad.as_bytes()).expect("a header value");
            assert!(IdempotencyKey::parse(&value).is_none(), "{bad:?}");
        }
    }
}
