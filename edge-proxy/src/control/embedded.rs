//! The store of a single edge: one redb file, opened by one process, written by one thread.
//!
//! A commit returns when it is on the disk; redb blocks for that, so it has its own thread, fed by
//! a short queue. Tables: `meta` (name to number: `format`, `sequence`, `events_dropped`),
//! `records` (key to revision and value), `events` and `notes` (sequence to JSON), `chain` (sequence to
//! the hash of the note and of all before it). A change, its
//! note, the next sequence and the dropping of what is too old are one transaction, so a process
//! killed at any moment leaves the state before a command or after it.

mod tables;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use asset_pipeline::digest::Digest;
use async_trait::async_trait;
use redb::{Database, DatabaseError};
use tokio::sync::{broadcast, mpsc, oneshot};

use self::tables::{
    FORMAT, Fault, Keep, audit, commit, events, format_and_sequence, record, snapshot,
};
use super::counters::Counters;
use super::event::Entry;
use super::store::{
    Audit, Change, Committed, ControlStore, Key, News, Note, RECORD_BYTES_MAX, Record, Sequence,
    Snapshot, StoreError,
};

/// redb would take 1 GiB; the whole state is a few hundred kilobytes.
const CACHE_BYTES: usize = 8 << 20;

/// Commands that may wait while one is being written: far more than operators give at once.
const QUEUE_MAX: usize = 256;

/// Events told to readers of the tail before the slowest of them must read again.
const TAIL_MAX: usize = 1024;

/// Reports that may wait for who adds them up: what two processes say in half a minute.
const REPORTS_MAX: usize = 64;

/// Why a state file could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(
        "state file {} is in use by another process: stop that edge, or give this one its own `state` folder",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "state file {} was written by a newer version (format {found}, this one knows {FORMAT}): run that version",
        path.display()
    )]
    Newer { path: PathBuf, found: u64 },
    #[error(
        "state file {} cannot be read: {why}; restore it from a backup, or move it away to start from the config's first colours",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("state file {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The store of a single edge.
#[derive(Debug)]
pub struct Embedded {
    queue: Option<mpsc::Sender<Ask>>,
    tail: broadcast::Sender<News>,
    reports: broadcast::Sender<Arc<Counters>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file, or makes it, readable by this account only.
    ///
    /// # Errors
    /// When another process has it, or it is not what this version wrote.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Keep::default(), Box::new(open_file))
    }

    fn open_with(path: &Path, keep: Keep, open: Open) -> Result<Self, OpenError> {
        let database = open(path)?;
        let sequence = prepare(path, &database)?;
        let (queue, asks) = mpsc::channel(QUEUE_MAX);
        let (tail, _) = broadcast::channel(TAIL_MAX);
        let mut writer = Writer {
            path: path.to_owned(),
            open,
            database: Some(database),
            keep,
            sequence,
            tail: tail.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("control-store".into())
            .spawn(move || writer.run(asks))
            .map_err(|source| OpenError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            queue: Some(queue),
            tail,
            reports: broadcast::Sender::new(REPORTS_MAX),
            thread: Some(thread),
        })
    }

    /// What is reported from now on.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Counters>> {
        self.reports.subscribe()
    }

    async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Ask) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue
            .try_send(make(reply))
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Embedded {
    /// Finishes what is queued and lets go of the file.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the state file's thread ended in a panic");
        }
    }
}

#[async_trait]
impl ControlStore for Embedded {
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let key = key.clone();
        self.ask(|reply| Ask::Record(key, reply)).await
    }

    async fn commit(&self, change: Change, note: Note) -> Result<Sequence, StoreError> {
        if let Change::Put { key, value, .. } = &change
            && value.len() > RECORD_BYTES_MAX
        {
            return Err(StoreError::TooLarge {
                key: key.clone(),
                bytes: value.len(),
            });
        }
        self.ask(|reply| Ask::Commit(Box::new((change, note)), reply))
            .await
    }

    async fn events(&self, after: Sequence, count_max: usize) -> Result<Vec<Entry>, StoreError> {
        self.ask(|reply| Ask::Events(after, count_max, reply)).await
    }

    async fn audit(
        &self,
        count_max: usize,
        seen: Option<(Sequence, Digest)>,
    ) -> Result<Audit, StoreError> {
        self.ask(|reply| Ask::Audit(count_max, seen, reply)).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.ask(Ask::Snapshot).await
    }

    fn report(&self, counters: Counters) {
        // Nobody may judge anything yet.
        let _unheard = self.reports.send(Arc::new(counters));
    }

    fn tail(&self) -> broadcast::Receiver<News> {
        self.tail.subscribe()
    }
}

type Open = Box<dyn Fn(&Path) -> Result<Database, OpenError> + Send>;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
enum Ask {
    Record(Key, Reply<Option<Record>>),
    Commit(Box<(Change, Note)>, Reply<Sequence>),
    Events(Sequence, usize, Reply<Vec<Entry>>),
    Audit(usize, Option<(Sequence, Digest)>, Reply<Audit>),
    Snapshot(Reply<Snapshot>),
}

fn open_file(path: &Path) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| opening(path, error))
}

fn opening(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if source.kind() != std::io::ErrorKind::InvalidData =>
        {
            OpenError::Io { path, source }
        }
        other => OpenError::Damaged {
            path,
            why: other.to_string(),
        },
    }
}

/// Makes the tables of a new file and checks the format; answers the last sequence.
fn prepare(path: &Path, database: &Database) -> Result<Sequence, OpenError> {
    let path = || path.to_owned();
    match format_and_sequence(database) {
        Ok((FORMAT, sequence)) => Ok(Sequence(sequence)),
        Ok((found, _)) => Err(OpenError::Newer {
            path: path(),
            found,
        }),
        Err(redb::Error::Io(source)) => Err(OpenError::Io {
            path: path(),
            source,
        }),
        Err(other) => Err(OpenError::Damaged {
            path: path(),
            why: other.to_string(),
        }),
    }
}

struct Writer {
    path: PathBuf,
    open: Open,
    database: Option<Database>,
    keep: Keep,
    sequence: Sequence,
    tail: broadcast::Sender<News>,
}

impl Writer {
    fn run(&mut self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.blocking_recv() {
            match ask {
                Ask::Record(key, reply) => answer(reply, self.on_file(|db| record(db, &key))),
                Ask::Events(after, count_max, reply) => {
                    answer(reply, self.on_file(|db| events(db, after, count_max)));
                }
                Ask::Audit(count_max, seen, reply) => {
                    answer(reply, self.on_file(|db| audit(db, count_max, seen)));
                }
                Ask::Snapshot(reply) => answer(reply, self.on_file(snapshot)),
                Ask::Commit(asked, reply) => {
                    let (change, note) = *asked;
                    let keep = self.keep;
                    let done = self.on_file(|db| commit(db, &change, &note, keep));
                    if let Ok(sequence) = done {
                        self.sequence = sequence;
                        self.tell(News::Committed(Arc::new(Committed { sequence, change })));
                    }
                    answer(reply, done);
                }
            }
        }
    }

    /// Runs `work` on the open file. After a fault of the file redb refuses all further work, so
    /// the file is opened again, at once or with a later command: a disk that was full for a moment
    /// does not need a restart.
    fn on_file<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        if self.database.is_none() {
            self.reopen()?;
        }
        let Some(database) = &self.database else {
            return Err(self.failed("it is not open".into()));
        };
        work(database).map_err(|fault| match fault {
            Fault::Asked(error) => error,
            Fault::File(why) => {
                self.database = None;
                if let Err(error) = self.reopen() {
                    tracing::error!("{error}; it is tried again with the next command");
                }
                self.failed(why)
            }
        })
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let opened = (self.open)(&self.path).and_then(|database| {
            let sequence = prepare(&self.path, &database)?;
            Ok((database, sequence))
        });
        let (database, sequence) = opened.map_err(|error| self.failed(error.to_string()))?;
        self.database = Some(database);
        if sequence > self.sequence {
            // The commit that reported a fault had reached the disk all the same.
            self.sequence = sequence;
            self.tell(News::Unsure);
        }
        Ok(())
    }

    fn failed(&self, why: String) -> StoreError {
        StoreError::Failed {
            path: self.path.display().to_string(),
            why,
        }
    }

    fn tell(&self, news: News) {
        // Nobody listening is not a fault: the next reader begins with a snapshot.
        let _unheard = self.tail.send(news);
    }
}

fn answer<T>(reply: Reply<T>, value: Result<T, StoreError>) {
    // Who asked may have gone away; what was committed stays committed.
    let _gone = reply.send(value);
}

#[cfg(test)]
mod tests;
