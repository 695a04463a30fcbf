//! The tables of the state file, and what is read and written in one transaction.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::super::event::{Entry, Event};
use super::super::store::{Change, Key, Note, Record, Sequence, Snapshot, StoreError};

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const NOTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notes");

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
            return Ok((
                number("format")?.unwrap_or(0),
                number("sequence")?.unwrap_or(0),
            ));
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let write = database.begin_write()?;
    write.open_table(META)?.insert("format", FORMAT)?;
    write.open_table(RECORDS)?;
    write.open_table(EVENTS)?;
    write.open_table(NOTES)?;
    write.commit()?;
    Ok((FORMAT, 0))
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

pub(super) fn notes(database: &Database, count_max: usize) -> Result<Vec<(Sequence, Note)>, Fault> {
    let read = database.begin_read()?;
    let table = read.open_table(NOTES)?;
    let newest = table.iter()?.rev().take(count_max);
    newest
        .map(|item| {
            let (sequence, note) = item?;
            Ok((Sequence(sequence.value()), from_json(note.value())?))
        })
        .collect()
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
        let mut notes = write.open_table(NOTES)?;
        notes.insert(sequence, to_json::<Note>(note)?.as_slice())?;
        drop_oldest(&mut notes, keep.notes)?;
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
    use redb::ReadableTableMetadata as _;
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
