//! The supervisor becomes another version of itself: its process executes another program (execve), and what it keeps
//! goes along.
//!
//! Sockets and the pipes of workers are descriptors that stay open over that. Their numbers, and all else that must not
//! be lost, are in a file without a name whose descriptor `EDGE_CARRIED` names. The new program takes copies, and closes
//! the originals when all of its own has started. If something does not start, it executes the program before, which
//! finds the originals as it left them. A program that dies before it can say so takes the service with it: only one
//! with which a worker serves already is executed.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::Binary;
use super::shared::Shared;
use super::worker::Worker;
use crate::control::api::{UpgradeReport, UpgradeStage};
use crate::listener::{Sockets, close_passed, copy_of_passed};

/// Names the file's descriptor.
const CARRIED: &str = "EDGE_CARRIED";

/// What was passed on at the start is passed on in the file.
const PASSED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What a supervisor got from the program that it was before.
#[derive(Debug, Serialize, Deserialize)]
pub struct Carried {
    sockets: Vec<(String, RawFd)>,
    /// The one in charge first, if there is one.
    pub(super) workers: Vec<CarriedWorker>,
    pub(super) in_charge: bool,
    /// What workers counted that have ended.
    pub(super) ended: String,
    program: Program,
    /// Where an upgrade looks for the next version.
    pub(super) path: PathBuf,
    pub(super) report: Option<UpgradeReport>,
    /// To go back to; none: this is the way back.
    former: Option<Program>,
    arguments: Vec<Vec<u8>>,
    #[serde(skip)]
    file: RawFd,
    #[serde(skip)]
    settled: Cell<bool>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Program {
    path: PathBuf,
    fd: Option<RawFd>,
}

/// A worker that goes on serving meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedWorker {
    pub(super) pid: u32,
    pub(super) desk: PathBuf,
    pub(super) lifeline: Option<RawFd>,
    pub(super) stderr: Option<RawFd>,
    pub(super) counters: String,
}

/// Everything that goes along, held until the other program is executed.
#[derive(Debug)]
pub struct Going {
    carried: Carried,
    file: File,
    program: Arc<Binary>,
    _held: Vec<OwnedFd>,
    /// Their sockets' files must not be removed.
    _workers: Vec<Arc<Worker>>,
}

impl Carried {
    /// What the program before left for this one, if there was one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take() -> io::Result<Option<Self>> {
        let Ok(file) = std::env::var(CARRIED) else {
            return Ok(None);
        };
        let number: RawFd = file.parse().map_err(io::Error::other)?;
        let mut file = File::from(copy_of_passed(number)?);
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let carried: Self = serde_json::from_slice(&text).map_err(io::Error::other)?;
        Ok(Some(Self {
            file: number,
            ..carried
        }))
    }

    /// The sockets, to be taken by their names and addresses.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn sockets(&self) -> io::Result<Sockets> {
        let copies = self.sockets.iter().map(|(name, fd)| {
            let socket = copy_of_passed(*fd)?;
            Ok((name.clone(), socket))
        });
        Ok(Sockets::of(copies.collect::<io::Result<_>>()?))
    }

    /// What workers run.
    ///
    /// # Errors
    /// When its descriptor is not there.
    pub fn program(&self) -> io::Result<Binary> {
        let held = self.program.fd.map(copy_of_passed).transpose()?;
        Binary::held(self.program.path.clone(), held)
    }

    /// Everything has started: the originals are not needed any more.
    pub(super) fn settle(&self) {
        self.settled.set(true);
        let workers = self.workers.iter();
        let pipes = workers.flat_map(|worker| [worker.lifeline, worker.stderr]);
        let programs = [Some(&self.program), self.former.as_ref()];
        let programs = programs.into_iter().flatten().map(|program| program.fd);
        let sockets = self.sockets.iter().map(|(_, fd)| Some(*fd));
        let all = pipes
            .chain(programs)
            .chain(sockets)
            .chain([Some(self.file)]);
        for fd in all.flatten() {
            close_passed(fd);
        }
    }

    /// Executes the program before, because this one did not start. Returns only why that is not possible.
    pub fn back(mut self, why: &str) -> Option<io::Error> {
        if self.settled.get() {
            return None;
        }
        let former = self.former.take()?;
        tracing::error!("the new supervisor did not start, the one before goes on: {why}");
        if let Some(report) = &mut self.report {
            report.stage = UpgradeStage::WorkerAlone;
            report.why = Some(why.to_owned());
        }
        let written = copy_of_passed(self.file).and_then(|file| self.write(&mut File::from(file)));
        let program = match former.fd {
            Some(fd) => format!("/proc/self/fd/{fd}").into(),
            None => former.path.clone(),
        };
        Some(
            written
                .err()
                .unwrap_or_else(|| execute(program, &former.path, &self.arguments, self.file)),
        )
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

impl Going {
    /// Everything that `shared` and its process keep.
    pub(super) fn of(shared: &Shared, observe: Option<OwnedFd>) -> io::Result<Self> {
        let mut held = Vec::new();
        let mut keep = |fd: io::Result<OwnedFd>| -> io::Result<RawFd> {
            let fd = fd?;
            rustix::io::fcntl_setfd(&fd, FdFlags::empty())?;
            held.push(fd);
            Ok(held.last().map_or(-1, AsRawFd::as_raw_fd))
        };
        let mut sockets = Vec::new();
        for (name, socket) in shared.sockets() {
            sockets.push((name.clone(), keep(socket.try_clone())?));
        }
        if let Some(observe) = observe {
            sockets.push((crate::edge::OBSERVE.to_owned(), keep(Ok(observe))?));
        }
        let (in_charge, workers) = shared.living();
        let mut carried = Vec::new();
        for worker in &workers {
            let [lifeline, stderr] = worker.pipes();
            let mut pipe = |pipe: Option<&OwnedFd>| -> io::Result<Option<RawFd>> {
                pipe.map(|pipe| keep(pipe.try_clone())).transpose()
            };
            carried.push(CarriedWorker {
                pid: worker.pid,
                desk: worker.desk().to_owned(),
                lifeline: pipe(lifeline)?,
                stderr: pipe(stderr)?,
                counters: worker.counted(),
            });
        }
        let mut program = |binary: &Binary| -> io::Result<Program> {
            let fd = binary
                .descriptor()
                .map(|held| keep(held.try_clone_to_owned()));
            Ok(Program {
                path: binary.path().to_owned(),
                fd: fd.transpose()?,
            })
        };
        let next = Arc::clone(&shared.binary.lock());
        let now = Binary::of_this_process().map_err(io::Error::other)?;
        let (next_carried, former) = (program(&next)?, program(&now)?);
        let mut file = tempfile::tempfile()?;
        rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
        let arguments = std::env::args_os().skip(1);
        let carried = Carried {
            sockets,
            workers: carried,
            in_charge,
            ended: shared.ended_text(),
            program: next_carried,
            path: shared.path.clone(),
            report: shared
                .progress
                .lock()
                .as_ref()
                .map(|report| report.borrow().clone()),
            former: Some(former),
            arguments: arguments.map(|word| word.as_bytes().to_vec()).collect(),
            file: file.as_raw_fd(),
            settled: Cell::new(false),
        };
        carried.write(&mut file)?;
        Ok(Self {
            carried,
            file,
            program: next,
            _held: held,
            _workers: workers,
        })
    }

    /// Executes the other program. Returns only why that is not possible.
    pub fn go(self) -> io::Error {
        let (arguments, file) = (&self.carried.arguments, self.file.as_raw_fd());
        let error = execute(self.program.program(), self.program.path(), arguments, file);
        self.carried.back(&error.to_string()).unwrap_or(error)
    }
}

fn execute(
    program: PathBuf,
    name: &std::path::Path,
    arguments: &[Vec<u8>],
    file: RawFd,
) -> io::Error {
    let mut command = Command::new(program);
    command
        .arg0(name)
        .args(
            arguments
                .iter()
                .map(|word| OsString::from_vec(word.clone())),
        )
        .env(CARRIED, file.to_string());
    for passed in PASSED {
        command.env_remove(passed);
    }
    command.exec()
}
