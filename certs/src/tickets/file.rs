//! Ticket keys on disk: one small text file, for its owner alone, replaced whole.
//!
//! ```text
//! bellwether ticket keys 1
//! turn_at 1800000000
//! next NAME SECRET
//! current NAME SECRET
//! previous NAME SECRET
//! ```
//!
//! Names and secrets are in hex; the last line is left out until the first turn. Edges that share the file may turn at
//! the same moment: the last one to write wins and the others take its keys over, so at worst a few sessions begin anew.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{KEY_BYTES, NAME_BYTES};
use crate::seal::{replace, unhex};

const HEAD: &str = "bellwether ticket keys 1";
/// Five short lines.
const FILE_BYTES_MAX: u64 = 1024;

/// Ticket keys that cannot be kept, and the file to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ticket keys: {}: {fault}", file.display())]
pub struct TicketProblem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: TicketFault,
}

/// What is wrong with a file of ticket keys. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketFault {
    /// The system refused to open or read it.
    #[error("cannot be read: {0}; check owner and mode")]
    Unreadable(io::ErrorKind),
    /// The system refused to write it, or its folder.
    #[error("cannot be written: {0}; keys turn in memory alone until it can")]
    Unwritable(io::ErrorKind),
    /// Who has the keys can read what was recorded of resumed sessions.
    #[error("can be read by everybody; chmod 0600, and delete it if others may have read it")]
    ReadableByOthers,
    /// Something else is in it.
    #[error("holds no ticket keys; delete it, and new ones are made")]
    NotTicketKeys,
    /// The system gave no random numbers.
    #[error("no keys can be made: the system gives no randomness")]
    NoRandomness,
}

/// The keys as they are written.
pub(super) struct Saved {
    pub(super) next: SavedKey,
    pub(super) current: SavedKey,
    pub(super) previous: Option<SavedKey>,
    pub(super) turn_at: SystemTime,
}

pub(super) struct SavedKey {
    pub(super) name: [u8; NAME_BYTES],
    pub(super) secret: [u8; KEY_BYTES],
}

/// Which file it was, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    file: (u64, u64),
    changed: (i64, i64),
}

impl Look {
    fn of(seen: &fs::Metadata) -> Self {
        Self {
            file: (seen.dev(), seen.ino()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        }
    }
}

/// None: it is not there.
pub(super) fn look(path: &Path) -> Result<Option<Look>, TicketFault> {
    match fs::metadata(path) {
        Ok(seen) => Ok(Some(Look::of(&seen))),
        Err(error) => Err(TicketFault::Unreadable(error.kind())),
    }
}

pub(super) fn read(path: &Path) -> Result<(Look, Saved), TicketFault> {
    let unreadable = |error: io::Error| TicketFault::Unreadable(error.kind());
    let file = File::open(path).map_err(unreadable)?;
    let seen = file.metadata().map_err(unreadable)?;
    if seen.mode() & 0o007 != 0 {
        return Err(TicketFault::ReadableByOthers);
    }
    let mut text = String::new();
    match file.take(FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(TicketFault::NotTicketKeys);
        }
        Err(error) => return Err(unreadable(error)),
    }
    let saved = parse(&text).ok_or(TicketFault::NotTicketKeys)?;
    Ok((Look::of(&seen), saved))
}

/// Replaces the file in one step, so that nobody reads half of it.
pub(super) fn write(path: &Path, saved: &Saved) -> Result<Look, TicketFault> {
    replace(path, text(saved).as_bytes())
        .and_then(|()| Ok(Look::of(&fs::metadata(path)?)))
        .map_err(|error| TicketFault::Unwritable(error.kind()))
}

fn text(saved: &Saved) -> String {
    let turn_at = saved.turn_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = format!("{HEAD}\nturn_at {}\n", turn_at.as_secs());
    let keys = [
        ("next", Some(&saved.next)),
        ("current", Some(&saved.current)),
        ("previous", saved.previous.as_ref()),
    ];
    for (word, key) in keys {
        if let Some(key) = key {
            text.push_str(&format!("{word} {} {}\n", hex(&key.name), hex(&key.secret)));
        }
    }
    text
}

fn parse(text: &str) -> Option<Saved> {
    let mut lines = text.lines();
    if lines.next()? != HEAD {
        return None;
    }
    let turn_at: u64 = lines.next()?.strip_prefix("turn_at ")?.parse().ok()?;
    let mut key = |word: &str| {
        let mut parts = lines.next()?.split(' ');
        (parts.next()? == word).then_some(())?;
        Some(SavedKey {
            name: unhex(parts.next()?)?,
            secret: unhex(parts.next()?)?,
        })
    };
    let (next, current) = (key("next")?, key("current")?);
    let previous = key("previous");
    Some(Saved {
        next,
        current,
        previous,
        turn_at: UNIX_EPOCH.checked_add(Duration::from_secs(turn_at))?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
