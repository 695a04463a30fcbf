//! A program that workers run, held open: a worker that crashes is replaced by the same version, even when a package
//! manager has put another one in its place meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::SupervisorError;

/// Above the numbers that a worker's sockets get.
const NUMBER_MIN: i32 = 256;

/// A program.
#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    /// None: a script, which its interpreter opens by its name.
    held: Option<OwnedFd>,
}

impl Binary {
    /// The program of this process.
    ///
    /// # Errors
    /// When the system does not say which it is.
    pub fn of_this_process() -> Result<Self, SupervisorError> {
        let failed = |source| SupervisorError::Binary {
            path: "/proc/self/exe".into(),
            source,
        };
        let path = std::env::current_exe().map_err(failed)?;
        // By this name it is the running one, whatever has its path now.
        let file = File::open("/proc/self/exe").map_err(failed)?;
        let held = hold(&file).map_err(failed)?;
        Ok(Self {
            path,
            held: Some(held),
        })
    }

    /// The program at `path`, as it is there now.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub fn at(path: &Path) -> Result<Self, SupervisorError> {
        let failed = |source| SupervisorError::Binary {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut head = [0; 2];
        let script = file.read_exact(&mut head).is_ok() && head == *b"#!";
        let held = (!script).then(|| hold(&file)).transpose().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            held,
        })
    }

    /// The program at `path`, which `open` is unless it is a script.
    pub(super) fn held(path: PathBuf, open: Option<OwnedFd>) -> io::Result<Self> {
        let held = open.map(|open| rustix::io::fcntl_dupfd_cloexec(open, NUMBER_MIN));
        Ok(Self {
            path,
            held: held.transpose()?,
        })
    }

    /// By what it is held open.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(AsFd::as_fd)
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to execute.
    pub(super) fn program(&self) -> PathBuf {
        match &self.held {
            Some(held) => format!("/proc/self/fd/{}", held.as_raw_fd()).into(),
            None => self.path.clone(),
        }
    }
}

fn hold(file: &File) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(file, NUMBER_MIN)?)
}
