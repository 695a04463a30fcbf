//! The store of another process: a worker reads and changes what its supervisor keeps.
//!
//! One unix socket, one connection per worker. A message is its length (4 bytes, big endian), and
//! JSON. The worker begins with the protocol that it speaks; then it asks, by number, and the
//! supervisor answers under that number, tells every change in its order and what all workers
//! counted, and sends a beat each second. Who hears nothing for two seconds, reads too slowly, or sends what is too long or not
//! understood, loses the connection. A worker connects again by itself, and reads again what it may
//! have missed: sequence numbers say where it was.

mod frame;
mod remote;
mod serve;

use std::time::Duration;

use asset_pipeline::digest::Digest;
use serde::{Deserialize, Serialize};

pub use self::frame::{FRAME_BYTES_MAX, FrameError};
pub use self::remote::{ConnectError, Remote};
pub use self::serve::serve;
use super::counters::Counters;
use super::event::Entry;
use super::store::{Audit, Change, Committed, Key, Note, Record, Sequence, Snapshot, StoreError};

/// What this version speaks. It changes when an older peer would misunderstand, not when something
/// is added that it never asks for.
const PROTOCOL: u32 = 1;

/// A peer that is alive is heard this often.
const BEAT: Duration = Duration::from_secs(1);

/// A connection on which nothing was heard for so long is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// For the first message of each side, and for a peer to take what is written to it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToStore {
    /// First of all.
    Hello { protocol: u32 },
    /// A question, answered under the same number.
    Ask { id: u64, ask: Ask },
    /// What requests came to in the last second.
    Report(Counters),
}

/// The calls of the trait.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Record(Key),
    Commit(Change, Note),
    Events {
        after: Sequence,
        count_max: usize,
    },
    Audit {
        count_max: usize,
        seen: Option<(Sequence, Digest)>,
    },
    Snapshot,
}

/// What a supervisor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToWorker {
    /// After a hello that it understands; from here on every change is told.
    Welcome,
    /// After one that it does not understand, which ends the connection.
    Refused { protocol: u32 },
    /// What was asked under a number.
    Answer {
        id: u64,
        answer: Result<Answer, StoreError>,
    },
    /// What requests of all workers came to, as they report it.
    Reported(Counters),
    /// A change was made.
    Changed(Committed),
    /// A change may have been made that was not told: read again.
    Unsure,
    /// Still there.
    Beat,
}

/// What the calls return.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Record(Option<Record>),
    Committed(Sequence),
    Events(Vec<Entry>),
    Audit(Audit),
    Snapshot(Snapshot),
}

#[cfg(test)]
mod tests;
