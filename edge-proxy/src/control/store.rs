//! What a place that keeps commands must do, whether it is one file or a fleet's log.
//!
//! Every change, of a record or an event, takes the next number of one sequence. A record's
//! revision is the number of its last change, so "what I read is still what is there" is one
//! comparison, and a purge is ordered against every fill. The sequence never goes back, not even
//! by a restart. Nothing on the request path waits for a store.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::AppId;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::beside::{Ended, Hear, Presence};
use super::counters::Counters;
use super::event::{Entry, Event};
use super::receipts::Receipt;

/// The largest value of one record: an app's state is far below it.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// The place of a change in the one order of all changes; the first change is 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before every change: the revision of a record that does not exist.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Key(Arc<str>);

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.as_ref().into()
    }
}

impl Key {
    const APP: &str = "app/";
    const CACHE: &str = "cache";
    const CHALLENGES: &str = "challenges";

    /// The record of the version that serves.
    pub fn worker() -> Self {
        Self("worker".into())
    }

    /// The record that says whether reads are cached.
    pub fn cache() -> Self {
        Self(Self::CACHE.into())
    }

    /// Whether it is the one of [`Self::cache`].
    pub fn is_cache(&self) -> bool {
        &*self.0 == Self::CACHE
    }

    /// The record of what is answered to certificate authorities.
    pub fn challenges() -> Self {
        Self(Self::CHALLENGES.into())
    }

    /// Whether it is the one of [`Self::challenges`].
    pub fn is_challenges(&self) -> bool {
        &*self.0 == Self::CHALLENGES
    }

    /// The record of what an operator last asked of a certificate.
    pub fn certificate(name: &str) -> Self {
        Self(format!("certificate/{name}").into())
    }

    /// The record of the last change of an account at a certificate authority.
    pub fn authority(name: &str) -> Self {
        Self(format!("authority/{name}").into())
    }

    /// The record that holds an app's [`super::state::AppState`].
    pub fn app(app: &AppId) -> Self {
        Self(format!("{}{app}", Self::APP).into())
    }

    /// The app whose state this record holds; none: it is a record of another kind.
    pub fn as_app(&self) -> Option<AppId> {
        self.0.strip_prefix(Self::APP)?.parse().ok()
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and the change that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The number of its last change.
    pub revision: Sequence,
    /// JSON.
    #[serde(with = "text")]
    pub value: Vec<u8>,
}

/// A change that a command asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Writes a record if its revision is still the expected one.
    Put {
        /// Which record.
        key: Key,
        /// The revision that was read; [`Sequence::ZERO`]: the record must not exist.
        expected: Sequence,
        /// The new value.
        #[serde(with = "text")]
        value: Vec<u8>,
    },
    /// Appends to the event log.
    Append(Event),
}

/// Who changed what and why: no change is made without one. It holds no personal data and no query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When the command came.
    pub at: Timestamp,
    /// The account that gave it, such as `uid 1000`, or `edge` for what the edge did by itself.
    pub who: String,
    /// The command, such as `shift learn`.
    pub what: String,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// The operator's reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of the platform's event that it was, so that it is known when it is told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Receipt>>,
}

/// A note in its place in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The change that it is of.
    pub sequence: Sequence,
    /// Of this record and of all before it.
    pub hash: Digest,
    /// Who, what and why; none: the record cannot be read.
    pub note: Option<Note>,
}

/// The audit log: each record carries a hash of itself and of the record before it, so that none
/// can be changed, added or left out without changing all that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Newest first.
    pub newest: Vec<Noted>,
    /// How many records are kept.
    pub records: u64,
    /// The first record that is not what its hash says, and what is wrong there.
    pub broken: Option<(Sequence, Cow<'static, str>)>,
}

/// The hash of a record, given that of the record before it.
pub(super) fn chained(before: Option<Digest>, sequence: Sequence, record: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(40 + record.len());
    bytes.extend(before.unwrap_or(Digest::from_bytes([0; 32])).as_bytes());
    bytes.extend(sequence.0.to_be_bytes());
    bytes.extend(record);
    Digest::of(&bytes)
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its place.
    pub sequence: Sequence,
    /// What was changed.
    pub change: Change,
}

/// What a reader of the tail hears.
#[derive(Debug, Clone)]
pub enum News {
    /// A change, in order.
    Committed(Arc<Committed>),
    /// A change may have been made that was not told, because a write failed half-way: read again.
    Unsure,
}

/// All records at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last change that is in it.
    pub sequence: Sequence,
    /// By key.
    pub records: Vec<(Key, Record)>,
}

/// Keeps records, events and notes. Implementations are told apart only by where they keep them.
#[async_trait]
pub trait ControlStore: Send + Sync + 'static {
    /// A record, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// Makes a change and its note durable together, or neither.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the record was changed in between; others when it could not be written.
    async fn commit(&self, change: Change, note: Note) -> Result<Sequence, StoreError>;

    /// The oldest events after a change, at most `count_max`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when events after that change were already dropped from the log.
    async fn events(&self, after: Sequence, count_max: usize) -> Result<Vec<Entry>, StoreError>;

    /// The audit log, checked from its first record to its last, with the newest `count_max` notes.
    /// `seen`: a record and its hash as they once were.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn audit(
        &self,
        count_max: usize,
        seen: Option<(Sequence, Digest)>,
    ) -> Result<Audit, StoreError>;

    /// All records at one moment.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// What requests came to in the last second, for whoever judges versions. Nothing is kept of it:
    /// what nobody hears is lost.
    fn report(&self, counters: Counters);

    /// Who is with versions in this process, for processes that serve beside it.
    fn present(&self, presence: Presence) {
        // Nobody serves beside a process that keeps the store itself.
        drop(presence);
    }

    /// What the processes that serve beside this one said last.
    fn beside(&self) -> Vec<Presence> {
        Vec::new()
    }

    /// Ends stored answers in the processes that serve beside this one. Waits for nothing.
    fn end(&self, ended: Ended) {
        drop(ended);
    }

    /// From now on what others end is heard.
    fn hear_ended(&self, hear: Hear) {
        drop(hear);
    }

    /// Every change from now on. A reader that lags too far behind is told so and reads again.
    fn tail(&self) -> broadcast::Receiver<News>;
}

/// Why a store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error(
        "record `{key}` was changed by someone else: expected revision {expected}, found {found}; read it again"
    )]
    Conflict {
        key: Key,
        expected: Sequence,
        found: Sequence,
    },
    #[error("events after {after} are no longer kept (the oldest kept is {oldest})")]
    Compacted { after: Sequence, oldest: Sequence },
    #[error("the value of record `{key}` has {bytes} bytes, more than {RECORD_BYTES_MAX}")]
    TooLarge { key: Key, bytes: usize },
    #[error("too many commands are waiting for the state file; try again")]
    Busy,
    #[error("the state is closed: the edge is shutting down")]
    Closed,
    #[error(
        "the process that keeps the state does not answer; `status` shows whether a command was done"
    )]
    CutOff,
    #[error("state file {path}: {why}")]
    Failed { path: String, why: String },
}

/// A value as JSON carries it: it is JSON itself, so it is text.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer, de, ser};

    pub(super) fn serialize<S: Serializer>(value: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let text = str::from_utf8(value).map_err(|_| ser::Error::custom("a value is text"))?;
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(from)
            .map(String::into_bytes)
            .map_err(de::Error::custom)
    }
}
