//! The access logs of the peers: proof that what was measured was also recorded.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// Peers gather records for up to a second before they write them.
const SETTLED: Duration = Duration::from_secs(3);
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

    /// Waits until `expected` requests are recorded, or no more will come, and starts over.
    pub(crate) fn settle(&self, expected: u64) -> Result<u64, BenchError> {
        let until = Instant::now() + SETTLED;
        loop {
            let lines = self.lines().map_err(self.unreadable())?;
            if lines >= expected || Instant::now() > until {
                self.empty().map_err(self.unreadable())?;
                return Ok(lines);
            }
            std::thread::sleep(LOOK);
        }
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
