//! The access logs of the peers: proof that what was measured was also recorded.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// Longer than any peer gathers records before it writes them.
const QUIET: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(50);

/// One peer's access log, which it appends to.
#[derive(Debug)]
pub(crate) struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no more records come, counts them, and starts over.
    pub(crate) fn settle(&self) -> Result<u64, BenchError> {
        let mut lines = 0;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            std::thread::sleep(LOOK);
            let now = self.lines().map_err(self.unreadable())?;
            if now != lines {
                lines = now;
                since = Instant::now();
            }
        }
        self.empty().map_err(self.unreadable())?;
        Ok(lines)
    }

    fn lines(&self) -> io::Result<u64> {
        let mut file = OpenOptions::new().read(true).open(&self.path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut lines = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(lines);
            }
            lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }

    /// A long run writes gigabytes. All peers append, so that what is cut off stays cut off.
    fn empty(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)
    }

    fn unreadable(&self) -> impl FnOnce(io::Error) -> BenchError {
        BenchError::io(format!("the access log {}", self.path.display()))
    }
}
