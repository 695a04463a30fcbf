//! One line of JSON for each request, without personal data.
//!
//! What may be in it is what [`Record`] has fields for: no path, no query, no header, no address of
//! a person. The request's thread writes its line into a shared buffer (no allocation, one short
//! lock) and one thread of ours writes the buffer out, many lines at a time. The buffer is bounded:
//! behind a slow or full disk lines are dropped and counted, and no request waits.

mod line;
mod sink;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

use self::sink::Sink;
use crate::colour::Colour;
use crate::config::checked::AccessLog;
use crate::metrics::labels::{Cache, Method};

/// About ten thousand lines.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// A batch that is written without waiting for more: small enough to stay in a core's cache.
const BATCH_BYTES: usize = 128 << 10;

/// How long a line may wait for others.
const BATCH_WAIT: Duration = Duration::from_millis(50);

/// How long a stop waits for the last lines to be written.
const CLOSE: Duration = Duration::from_secs(5);

/// What is said of one request. Strings come from the config or from the edge itself.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request's head had been read.
    pub at: SystemTime,
    /// Made by the edge, and told to the client and the origin.
    pub request_id: &'a str,
    /// The school; none: the host is nobody's.
    pub tenant: Option<&'a str>,
    /// The app; none: refused before it was known.
    pub app: Option<&'a str>,
    /// The route's prefix or template from the config, never the path.
    pub route: &'a str,
    /// The rule that matched.
    pub rule: Option<&'a str>,
    /// As a label: an unknown method is `other`.
    pub method: Method,
    /// The status that was sent; 0: none was.
    pub status: u16,
    /// Where the answer came from.
    pub cache: Cache,
    /// Why it did not come from the cache, or why the request was refused.
    pub reason: Option<&'static str>,
    /// The colour chosen.
    pub colour: Option<Colour>,
    /// Its release.
    pub release: Option<&'a str>,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// From the head until the last byte was handed to the connection.
    pub duration: Duration,
    /// How much of it was spent on a member.
    pub upstream: Option<Duration>,
    /// The client's protocol.
    pub http: http::Version,
    /// The version of TLS, such as `1.3`; none: plain.
    pub tls: Option<&'static str>,
    /// Written as its network only: /24 or /48.
    pub client: Option<IpAddr>,
}

/// Why records cannot be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RecordError {
    #[error("access log {}: {source}; `access_log` in the config names it", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the access log's thread could not be started: {0}")]
    Thread(io::Error),
}

/// Where requests leave their records.
#[derive(Debug)]
pub struct Records {
    shared: Option<Arc<Shared>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Records {
    /// Opens the log and starts its thread. `dropped` counts the lines that are lost.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(log: &AccessLog, dropped: Counter) -> Result<Self, RecordError> {
        match log {
            AccessLog::Off => Ok(Self {
                shared: None,
                thread: Mutex::new(None),
            }),
            AccessLog::Stdout => Self::start(Box::new(io::stdout()), dropped),
            AccessLog::File(path) => {
                let file = sink::File::open(path).map_err(|source| RecordError::Open {
                    path: path.clone(),
                    source,
                })?;
                Self::start(Box::new(file), dropped)
            }
        }
    }

    fn start(sink: Box<dyn Sink>, dropped: Counter) -> Result<Self, RecordError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            closed: Condvar::new(),
            dropped,
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run(sink))
            .map_err(RecordError::Thread)?;
        Ok(Self {
            shared: Some(shared),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Leaves a record; never waits for a disk.
    pub fn write(&self, record: &Record<'_>) {
        if let Some(shared) = &self.shared {
            line::with(record, |line| shared.push(line));
        }
    }

    /// Opens the file by its name again, after a rotation moved it away. Lines left before go to
    /// the old file.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.queue.lock().reopen = true;
            shared.wake.notify_one();
        }
    }

    /// Writes what is left, and waits for it a few seconds. Later records are dropped and counted.
    pub fn close(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        let mut queue = shared.queue.lock();
        queue.closing = true;
        shared.wake.notify_one();
        let ended = |queue: &mut Queue| !queue.ended;
        let wait = shared.closed.wait_while_for(&mut queue, ended, CLOSE);
        drop(queue);
        if wait.timed_out() {
            tracing::warn!("the last access records could not be written within {CLOSE:?}");
        } else if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's thread ended in a panic");
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines.
    bytes: Vec<u8>,
    lines: u64,
    reopen: bool,
    closing: bool,
    /// The writer has gone.
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something to write.
    wake: Condvar,
    /// Everything is written.
    closed: Condvar,
    dropped: Counter,
}

impl Shared {
    fn push(&self, line: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.closing || queue.bytes.len() + line.len() > BUFFER_BYTES_MAX {
            drop(queue);
            self.dropped.inc();
            return;
        }
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let after = queue.bytes.len();
        drop(queue);
        // The first line wakes the writer, which then waits for more; a full batch ends that wait.
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.wake.notify_one();
        }
    }

    fn run(&self, mut sink: Box<dyn Sink>) {
        let mut batch = Vec::new();
        loop {
            let mut queue = self.queue.lock();
            while queue.bytes.is_empty() && !queue.reopen && !queue.closing {
                self.wake.wait(&mut queue);
            }
            let fills = |queue: &mut Queue| {
                queue.bytes.len() < BATCH_BYTES && !queue.reopen && !queue.closing
            };
            self.wake.wait_while_for(&mut queue, fills, BATCH_WAIT);
            std::mem::swap(&mut batch, &mut queue.bytes);
            let lines = std::mem::take(&mut queue.lines);
            let reopen = std::mem::take(&mut queue.reopen);
            let closing = queue.closing;
            drop(queue);

            if !batch.is_empty()
                && let Err(error) = sink.write_lines(&batch)
            {
                self.dropped.inc_by(lines);
                sink::warn(&error, lines);
            }
            batch.clear();
            if reopen && let Err(error) = sink.reopen() {
                tracing::error!(
                    "the access log could not be opened again and goes on in the old file: {error}"
                );
            }
            if closing {
                self.queue.lock().ended = true;
                self.closed.notify_all();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
