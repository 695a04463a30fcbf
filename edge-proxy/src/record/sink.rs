//! Where lines go.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that takes whole lines.
pub(super) trait Sink: Send {
    /// Writes all of them; after an error some of them may have been written.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Opens it again under its name.
    fn reopen(&mut self) -> io::Result<()>;
}

impl Sink for io::Stdout {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = self.lock();
        out.write_all(lines)?;
        out.flush()
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is appended to.
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
    /// The last write stopped inside a line.
    torn: bool,
}

impl File {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append(path)?,
            torn: false,
        })
    }
}

fn append(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640) // the group may ship it
        .open(path)
}

impl Sink for File {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let written = lines.len() - rest.len();
                    self.torn = written > 0 && lines[written - 1] != b'\n';
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.torn = false;
        Ok(())
    }
}

/// Says once a minute that lines are lost: a full disk must not fill the other log too.
pub(super) fn warn(error: &io::Error, lines: u64) {
    static NEXT_S: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    const EVERY: Duration = Duration::from_secs(60);

    let now_s = START.get_or_init(Instant::now).elapsed().as_secs();
    if now_s >= NEXT_S.load(Ordering::Relaxed) {
        NEXT_S.store(now_s + EVERY.as_secs(), Ordering::Relaxed);
        tracing::error!(
            "{lines} access records were lost: {error}; edge_records_dropped_total counts them"
        );
    }
}
