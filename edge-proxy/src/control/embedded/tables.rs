//! The tables of the state file, and what is read and written in one transaction.

use asset_pipeline::digest::Digest;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata as _, TableDefinition,
};

use super::super::event::{Entry, Event};
use super::super::store::{
    Audit, Change, Key, Note, Noted, Record, Sequence, Snapshot, StoreError, chained,
};

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const NOTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notes");
const CHAIN: TableDefinition<'_, u64, [u8; 32]> = TableDefinition::new("chain");

/// What this version writes; a file of a later format is refused instead of misread.
pub(super) const FORMAT: u64 = 1;

/// Limits of what the file keeps; what is older is dropped in the transaction that exceeds them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Events: a reader that missed more than these treats everything as purged.
    pub(super) events: u64,
    /// Notes of the audit log.
    pub(super) notes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            events: 10_000,
            notes: 100_000,
        }
    }
}

/// What went wrong inside one command: the command's own fault, or the file's.
pub(super) enum Fault {
    Asked(StoreError),
    File(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::File(error.into().to_string())
    }
}

pub(super) fn format_and_sequence(database: &Database) -> Result<(u64, u64), redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => {
            let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|found| found.value()));
            let found = (
                number("format")?.unwrap_or(0),
                number("sequence")?.unwrap_or(0),
            );
            if found.0 == FORMAT {
                chain_older_notes(database)?;
            }
            return Ok(found);
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let write = database.begin_write()?;
    write.open_table(META)?.insert("format", FORMAT)?;
    write.open_table(RECORDS)?;
    write.open_table(EVENTS)?;
    write.open_table(NOTES)?;
    write.open_table(CHAIN)?;
    write.commit()?;
    Ok((FORMAT, 0))
}

/// Files of before the audit log was a chain get one over what is there.
fn chain_older_notes(database: &Database) -> Result<(), redb::Error> {
    match database.begin_read()?.open_table(CHAIN) {
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        other => return Ok(other.map(drop)?),
    }
    let write = database.begin_write()?;
    {
        let (notes, mut chain) = (write.open_table(NOTES)?, write.open_table(CHAIN)?);
        let mut before = None;
        for item in notes.iter()? {
            let (sequence, note) = item?;
            let hash = chained(before, Sequence(sequence.value()), note.value());
            chain.insert(sequence.value(), hash.as_bytes())?;
            before = Some(hash);
        }
    }
    write.commit()?;
    Ok(())
}

pub(super) fn record(database: &Database, key: &Key) -> Result<Option<Record>, Fault> {
    let read = database.begin_read()?;
    let found = read.open_table(RECORDS)?.get(key.as_str())?;
    Ok(found.map(|found| stored(found.value())))
}

fn stored((revision, value): (u64, &[u8])) -> Record {
    Record {
        revision: Sequence(revision),
        value: value.to_vec(),
    }
}

pub(super) fn snapshot(database: &Database) -> Result<Snapshot, Fault> {
    let read = database.begin_read()?;
    let sequence = read.open_table(META)?.get("sequence")?;
    let mut records = Vec::new();
    for item in read.open_table(RECORDS)?.iter()? {
        let (key, value) = item?;
        records.push((Key::stored(key.value()), stored(value.value())));
    }
    Ok(Snapshot {
        sequence: Sequence(sequence.map_or(0, |found| found.value())),
        records,
    })
}

pub(super) fn events(
    database: &Database,
    after: Sequence,
    count_max: usize,
) -> Result<Vec<Entry>, Fault> {
    let read = database.begin_read()?;
    let dropped = read.open_table(META)?.get("events_dropped")?;
    let dropped = dropped.map_or(0, |found| found.value());
    if after.0 < dropped {
        return Err(Fault::Asked(StoreError::Compacted {
            after,
            oldest: Sequence(dropped + 1),
        }));
    }
    let table = read.open_table(EVENTS)?;
    let range = table.range(after.0.saturating_add(1)..)?;
    range
        .take(count_max)
        .map(|item| {
            let (sequence, event) = item?;
            Ok(Entry {
                sequence: Sequence(sequence.value()),
                event: from_json(event.value())?,
            })
        })
        .collect()
}

/// Checks the whole log: a hundred thousand records take a tenth of a second, and nobody waits for it
/// but other commands.
pub(super) fn audit(
    database: &Database,
    count_max: usize,
    seen: Option<(Sequence, Digest)>,
) -> Result<Audit, Fault> {
    let read = database.begin_read()?;
    let (notes, chain) = (read.open_table(NOTES)?, read.open_table(CHAIN)?);
    let last = read.open_table(META)?.get("sequence")?;
    let last = last.map_or(0, |found| found.value());
    let mut audit = Audit {
        newest: Vec::new(),
        records: notes.len()?,
        broken: None,
    };
    let first = notes.first()?.map_or(0, |(sequence, _)| sequence.value());
    let anchor = chain.range(..first)?.next_back().transpose()?;
    let mut before = anchor.map(|(_, hash)| Digest::from_bytes(hash.value()));
    let mut expected = match before {
        Some(_) => first,
        None => 1, // Nothing was ever dropped.
    };
    for item in notes.iter()? {
        let (sequence, note) = item?;
        let (sequence, note) = (Sequence(sequence.value()), note.value());
        let kept = chain.get(sequence.0)?;
        let kept = kept.map(|hash| Digest::from_bytes(hash.value()));
        let wrong = match kept {
            _ if sequence.0 != expected => Some("the record before it is missing"),
            None => Some("it has no hash"),
            Some(hash) if hash != chained(before, sequence, note) => {
                Some("it, or a record before it, is not what it was")
            }
            Some(hash) if seen.is_some_and(|(at, seen)| at == sequence && seen != hash) => {
                Some("it is not the record that was seen")
            }
            Some(_) => None,
        };
        if audit.broken.is_none() {
            audit.broken = wrong.map(|why| (sequence, why.into()));
        }
        before = kept;
        expected = sequence.0 + 1;
    }
    if expected != last + 1 && audit.broken.is_none() {
        audit.broken = Some((Sequence(expected), "it is missing".into()));
    }
    if let Some((at, _)) = seen.filter(|(at, _)| at.0 < first || at.0 > last)
        && audit.broken.is_none()
    {
        audit.broken = Some((at, "it is not kept, or never was".into()));
    }
    for item in notes.iter()?.rev().take(count_max) {
        let (sequence, note) = item?;
        let hash = chain.get(sequence.value())?.map(|hash| hash.value());
        audit.newest.push(Noted {
            sequence: Sequence(sequence.value()),
            hash: Digest::from_bytes(hash.unwrap_or_default()),
            note: from_json(note.value()).ok(),
        });
    }
    Ok(audit)
}

pub(super) fn commit(
    database: &Database,
    change: &Change,
    note: &Note,
    keep: Keep,
) -> Result<Sequence, Fault> {
    let write = database.begin_write()?;
    let sequence = {
        let mut meta = write.open_table(META)?;
        let sequence = meta.get("sequence")?.map_or(0, |found| found.value()) + 1;
        match change {
            Change::Put {
                key,
                expected,
                value,
            } => {
                let mut records = write.open_table(RECORDS)?;
                let found = records
                    .get(key.as_str())?
                    .map_or(0, |found| found.value().0);
                if found != expected.0 {
                    return Err(Fault::Asked(StoreError::Conflict {
                        key: key.clone(),
                        expected: *expected,
                        found: Sequence(found),
                    }));
                }
                records.insert(key.as_str(), (sequence, value.as_slice()))?;
            }
            Change::Append(event) => {
                let mut events = write.open_table(EVENTS)?;
                events.insert(sequence, to_json::<Event>(event)?.as_slice())?;
                if let Some(dropped) = drop_oldest(&mut events, keep.events)? {
                    meta.insert("events_dropped", dropped)?;
                }
            }
        }
        let (mut notes, mut chain) = (write.open_table(NOTES)?, write.open_table(CHAIN)?);
        let note = to_json::<Note>(note)?;
        let before = chain.last()?;
        let before = before.map(|(_, hash)| Digest::from_bytes(hash.value()));
        let hash = chained(before, Sequence(sequence), &note);
        notes.insert(sequence, note.as_slice())?;
        chain.insert(sequence, hash.as_bytes())?;
        if let Some(dropped) = drop_oldest(&mut notes, keep.notes)? {
            // The hash of the last one dropped stays: what follows it is chained to it.
            chain.retain(|sequence, _| sequence >= dropped)?;
        }
        meta.insert("sequence", sequence)?;
        Sequence(sequence)
    };
    write.commit()?;
    Ok(sequence)
}

/// Removes the oldest items until at most `count_max` are left; answers the last one removed.
fn drop_oldest(
    table: &mut redb::Table<'_, u64, &[u8]>,
    count_max: u64,
) -> Result<Option<u64>, Fault> {
    let mut last = None;
    for _ in count_max..table.len()? {
        if let Some((sequence, _)) = table.pop_first()? {
            last = Some(sequence.value());
        }
    }
    Ok(last)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| Fault::File(error.to_string()))
}

fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::File(error.to_string()))
}

#[cfg(test)]
mod tests;
