//! The worker's side: the store of its supervisor.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use asset_pipeline::digest::Digest;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::frame::{FrameError, framed, read, write};
use super::{Answer, Ask, PATIENCE, PROTOCOL, SILENCE, ToStore, ToWorker};
use crate::control::counters::Counters;
use crate::control::event::Entry;
use crate::control::store::{
    Audit, Change, ControlStore, Key, News, Note, RECORD_BYTES_MAX, Record, Sequence, Snapshot,
    StoreError,
};

/// Before the next try to connect.
const AGAIN: Duration = Duration::from_millis(250);

/// For an answer: the supervisor's disk may be slow, but no command waits longer.
const ANSWER: Duration = Duration::from_secs(10);

/// Questions at once, those whose answers nobody waits for any more included.
const ASKED_MAX: usize = 256;

/// Changes told to readers of the tail before the slowest of them must read again.
const TAIL_MAX: usize = 1024;

/// Reports that may wait for who adds them up.
const REPORTS_MAX: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConnectError {
    #[error("the control socket {}: {source}", path.display())]
    Absent { path: PathBuf, source: io::Error },
    #[error(
        "the running edge speaks protocol {theirs}, this version {PROTOCOL}: restart the service to change to it"
    )]
    Protocol { theirs: u32 },
    #[error("the control socket: {0}")]
    Frame(#[from] FrameError),
}

/// What a supervisor keeps. It ends with this.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    tail: broadcast::Sender<News>,
    reports: broadcast::Sender<Arc<Counters>>,
    /// To the supervisor; none while there is no connection.
    out: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Result<Answer, StoreError>>>>,
    next: AtomicU64,
}

impl Remote {
    /// Connects to the socket at `path`; later losses are made good by itself.
    ///
    /// # Errors
    /// When nobody answers there, or speaks another protocol.
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            tail: broadcast::Sender::new(TAIL_MAX),
            reports: broadcast::Sender::new(REPORTS_MAX),
            out: Mutex::default(),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let first = shared.open().await?;
        let running = Arc::clone(&shared);
        let task = tokio::spawn(async move { running.run(first).await });
        Ok(Self { shared, task })
    }

    /// What all workers report from now on.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Counters>> {
        self.shared.reports.subscribe()
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, StoreError> {
        let out = self.shared.out.lock().clone().ok_or(StoreError::CutOff)?;
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let message = framed(&ToStore::Ask { id, ask }).map_err(|_| StoreError::Busy)?;
        let (reply, answer) = oneshot::channel();
        {
            let mut asked = self.shared.asked.lock();
            asked.retain(|_, reply| !reply.is_closed());
            if asked.len() >= ASKED_MAX {
                return Err(StoreError::Busy);
            }
            asked.insert(id, reply);
        }
        if out.try_send(message).is_err() {
            self.shared.asked.lock().remove(&id);
            return Err(StoreError::Busy);
        }
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            // The connection ended before the answer, or there is none.
            Ok(Err(_)) | Err(_) => Err(StoreError::CutOff),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Halves = (OwnedReadHalf, OwnedWriteHalf, mpsc::Receiver<Vec<u8>>);

impl Shared {
    /// Connects and says hello; from its return on questions can be asked.
    async fn open(&self) -> Result<Halves, ConnectError> {
        let opened = UnixStream::connect(&self.path).await;
        let stream = opened.map_err(|source| ConnectError::Absent {
            path: self.path.clone(),
            source,
        })?;
        let (mut from, mut to) = stream.into_split();
        let hello = ToStore::Hello { protocol: PROTOCOL };
        write(&mut to, &hello).await?;
        let first = timeout(PATIENCE, read(&mut from)).await;
        match first.map_err(|_| FrameError::Slow)?? {
            ToWorker::Welcome => {}
            ToWorker::Refused { protocol } => {
                return Err(ConnectError::Protocol { theirs: protocol });
            }
            _ => return Err(FrameError::OutOfTurn.into()),
        }
        let (sender, out) = mpsc::channel(ASKED_MAX);
        *self.out.lock() = Some(sender);
        Ok((from, to, out))
    }

    async fn run(&self, first: Halves) {
        let mut halves = first;
        loop {
            let (from, to, out) = halves;
            let error = tokio::select! {
                error = self.hear(from) => error,
                error = speak(to, out) => error,
            };
            tracing::warn!(%error, "the connection to the supervisor was lost");
            *self.out.lock() = None;
            self.asked.lock().clear();
            // At once, so that readers count the time from here; and again below, when they can read.
            self.tell(News::Unsure);
            halves = loop {
                match self.open().await {
                    Ok(halves) => break halves,
                    Err(error) => tracing::debug!(%error, "no supervisor"),
                }
                sleep(AGAIN).await;
            };
            tracing::info!("connected to the supervisor again");
            self.tell(News::Unsure);
        }
    }

    /// Takes what the supervisor says, until it is silent for too long.
    async fn hear(&self, mut from: OwnedReadHalf) -> FrameError {
        loop {
            let message = match timeout(SILENCE, read(&mut from)).await {
                Ok(Ok(message)) => message,
                Ok(Err(error)) => return error,
                Err(_) => return FrameError::Slow,
            };
            match message {
                ToWorker::Answer { id, answer } => {
                    if let Some(reply) = self.asked.lock().remove(&id) {
                        // Who asked may have gone away.
                        let _gone = reply.send(answer);
                    }
                }
                ToWorker::Reported(counters) => {
                    // Nobody may judge here.
                    let _unheard = self.reports.send(Arc::new(counters));
                }
                ToWorker::Changed(change) => self.tell(News::Committed(Arc::new(change))),
                ToWorker::Unsure => self.tell(News::Unsure),
                ToWorker::Beat | ToWorker::Welcome | ToWorker::Refused { .. } => {}
            }
        }
    }

    fn tell(&self, news: News) {
        // Nobody listening is not a fault: the next reader begins with a snapshot.
        let _unheard = self.tail.send(news);
    }
}

async fn speak(mut to: OwnedWriteHalf, mut out: mpsc::Receiver<Vec<u8>>) -> FrameError {
    use tokio::io::AsyncWriteExt as _;
    while let Some(message) = out.recv().await {
        match timeout(PATIENCE, to.write_all(&message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return FrameError::Slow,
        }
    }
    FrameError::Gone(io::ErrorKind::BrokenPipe.into())
}

/// An answer to another question: the peer is broken.
fn other<T>(_: Answer) -> Result<T, StoreError> {
    Err(StoreError::CutOff)
}

#[async_trait]
impl ControlStore for Remote {
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        match self.ask(Ask::Record(key.clone())).await? {
            Answer::Record(record) => Ok(record),
            answer => other(answer),
        }
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
        match self.ask(Ask::Commit(change, note)).await? {
            Answer::Committed(sequence) => Ok(sequence),
            answer => other(answer),
        }
    }

    async fn events(&self, after: Sequence, count_max: usize) -> Result<Vec<Entry>, StoreError> {
        match self.ask(Ask::Events { after, count_max }).await? {
            Answer::Events(events) => Ok(events),
            answer => other(answer),
        }
    }

    async fn audit(
        &self,
        count_max: usize,
        seen: Option<(Sequence, Digest)>,
    ) -> Result<Audit, StoreError> {
        match self.ask(Ask::Audit { count_max, seen }).await? {
            Answer::Audit(audit) => Ok(audit),
            answer => other(answer),
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        match self.ask(Ask::Snapshot).await? {
            Answer::Snapshot(snapshot) => Ok(snapshot),
            answer => other(answer),
        }
    }

    fn report(&self, counters: Counters) {
        let out = self.shared.out.lock().clone();
        if let (Some(out), Ok(message)) = (out, framed(&ToStore::Report(counters))) {
            // Nobody hears it while the connection is down or full: a second's counts are lost.
            let _unheard = out.try_send(message);
        }
    }

    fn tail(&self) -> broadcast::Receiver<News> {
        self.shared.tail.subscribe()
    }
}
