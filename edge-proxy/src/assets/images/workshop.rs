//! Where forms of pictures are made: by processes of their own ([`super::child`]), few at a time.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::child::Order;

/// Starts processes, at most for half of the cores.
#[derive(Debug)]
pub struct Workshop {
    program: PathBuf,
    turns: Semaphore,
    within: Duration,
}

/// Why nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMade {
    /// The process ended badly or took too long: another one would too.
    Failed,
    /// None could be started: the machine is at its limits.
    NoProcess,
}

impl Workshop {
    /// By this program, which has the command `picture`; `within`: how long one may take by the clock, beside its
    /// process' own limits of CPU time.
    pub fn new(program: PathBuf, within: Duration) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            program,
            turns: Semaphore::new((cores / 2).max(1)),
            within,
        }
    }

    /// Waits for one.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// What a process makes of a picture, in at most so many bytes: nothing, where it says that there is nothing.
    ///
    /// # Errors
    /// It makes nothing.
    pub async fn make(
        &self,
        order: &Order,
        source: Bytes,
        bytes_max: u64,
        _turn: &SemaphorePermit<'_>,
    ) -> Result<Vec<u8>, NotMade> {
        let mut child = Command::new(&self.program)
            .arg("picture")
            .args(order.words())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                tracing::warn!(%error, "no process for a picture can be started");
                NotMade::NoProcess
            })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut stdin, stdout) = pipes.ok_or(NotMade::NoProcess)?;
        let told = async move {
            // A process that ends early breaks the pipe; what it says counts.
            let _broken = stdin.write_all(&source).await;
        };
        let mut form = Vec::new();
        let mut heard = stdout.take(bytes_max);
        let all = async {
            let ((), read) = tokio::join!(told, heard.read_to_end(&mut form));
            read.ok()?;
            child.wait().await.ok()
        };
        let status = timeout(self.within, all).await.ok().flatten();
        match status {
            Some(status) if status.success() => Ok(form),
            _ => Err(NotMade::Failed),
        }
    }
}
