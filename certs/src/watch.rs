//! The thread that looks at the folder again and again.
//!
//! Looking beats notification here: it sees through swapped links, works on network file systems, and a missed event
//! would be a certificate that nobody renewed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::store::{CertStore, Report};

/// A look at very many files takes a while: the thread rests for so many times as long, whatever it was told.
const REST: u32 = 50;

/// A watch that is under way; dropping it stops it and waits for the look that it may be at.
#[derive(Debug)]
#[must_use = "a watch stops when it is dropped"]
pub struct Watch {
    /// Closed to stop the thread at once, whatever its wait.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(
        store: Arc<CertStore>,
        every: Duration,
        mut changed: impl FnMut(&Report) + Send + 'static,
    ) -> io::Result<Self> {
        Self::every("certs-watch", every, move || {
            if let Some(report) = store.look() {
                changed(&report);
            }
        })
    }

    /// Calls `look` again and again from a thread with a name.
    pub(crate) fn every(
        name: &str,
        every: Duration,
        mut look: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut wait = every;
                while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    let began = Instant::now();
                    look();
                    wait = every.max(began.elapsed() * REST);
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of `changed` was printed by its thread; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}
