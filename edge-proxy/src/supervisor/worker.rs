//! One worker process: started with the sockets, asked and told over its desk, and what it said last.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use command_fds::{CommandFdExt as _, FdMapping};
use http::{Method, Request, Response, header};
use http_body_util::Full;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Binary;
use super::carry::CarriedWorker;
use super::duty::{DESK, Facts, INHERIT, Inherit, PROMISE, Stage};
use crate::control::client::{CallError, send};
use crate::control::socket::{AdminSocket, SocketError};
use crate::edge::{Probe, Secret, Taken};
use crate::listener::{LISTEN_FDS_START, copy_of_passed};

/// The lines that a failed upgrade shows.
const LINES_MAX: usize = 20;

/// Of one line, so that a broken program cannot fill the memory.
const LINE_BYTES_MAX: u64 = 2000;

/// For what a process said before it ended to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// For an answer that needs no waiting.
const ANSWER: Duration = Duration::from_secs(5);

/// For entries to come: the worker's own limits are shorter.
const INHERITING: Duration = Duration::from_secs(10);

/// For a walk through the whole stack: its own steps have smaller limits.
const PROBE: Duration = Duration::from_secs(60);

/// Why a worker is not one.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WorkerError {
    #[error("{}: {source}", path.display())]
    Spawn { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Desk(#[from] SocketError),
    #[error("it ended ({0}) before it was ready")]
    Ended(String),
    #[error("it was not ready within {0:?}")]
    Late(Duration),
    #[error("it does not answer: {0}")]
    Silent(String),
}

/// What a worker needs to start.
pub(super) struct Start<'a> {
    pub(super) binary: &'a Binary,
    pub(super) config: &'a Path,
    pub(super) control: &'a Path,
    pub(super) desk: PathBuf,
    pub(super) sockets: &'a [(String, OwnedFd)],
}

/// A worker process. It is not ended when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: u32,
    desk: AdminSocket,
    /// When this end of its standard input is gone, so is the supervisor.
    lifeline: Option<OwnedFd>,
    /// What it says, for whoever this supervisor becomes.
    stderr: Option<OwnedFd>,
    said: Arc<Mutex<VecDeque<String>>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    kill: Arc<Notify>,
    counters: Mutex<String>,
}

impl Worker {
    /// Starts the process.
    pub(super) fn start(start: &Start<'_>) -> Result<Self, WorkerError> {
        let path = start.binary.path();
        let failed = |source| WorkerError::Spawn {
            path: path.to_owned(),
            source,
        };
        let mut desk = AdminSocket::bind(&start.desk)?;
        let listener = desk.listener().map(tokio::net::UnixListener::into_std);
        let listener = listener.ok_or_else(|| failed(io::ErrorKind::NotConnected.into()))?;
        let mut names = vec![DESK];
        let mut passed = vec![OwnedFd::from(listener.map_err(failed)?)];
        for (name, socket) in start.sockets {
            names.push(name);
            passed.push(socket.try_clone().map_err(failed)?);
        }
        let mappings = (LISTEN_FDS_START..)
            .zip(passed)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        let mut command = Command::new(start.binary.program());
        command
            .arg0(path)
            .args(["worker", "--config"])
            .arg(start.config)
            .arg("--control")
            .arg(start.control)
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        for ours in [
            "LISTEN_PID",
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
            "EDGE_CARRIED",
        ] {
            command.env_remove(ours);
        }
        command
            .fd_mappings(mappings.collect())
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(failed)?;
        let lifeline = child.stdin.take().map(ChildStdin::into_owned_fd);
        let stderr = child.stderr.take().map(ChildStderr::into_owned_fd);
        let pid = child.id().unwrap_or_default();
        let (lifeline, stderr) = (
            lifeline.transpose().map_err(failed)?,
            stderr.transpose().map_err(failed)?,
        );
        let worker = Self::of(pid, desk, lifeline, stderr, Process::Child(Box::new(child)));
        worker.map_err(failed)
    }

    /// A worker that the program before has started.
    pub(super) fn adopt(carried: &CarriedWorker) -> io::Result<Self> {
        let copy = |fd: Option<RawFd>| fd.map(copy_of_passed).transpose();
        let (lifeline, stderr) = (copy(carried.lifeline)?, copy(carried.stderr)?);
        let pid = i32::try_from(carried.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let desk = AdminSocket::of_another(&carried.desk)?;
        let worker = Self::of(carried.pid, desk, lifeline, stderr, Process::Adopted(pid))?;
        worker.counters.lock().clone_from(&carried.counters);
        Ok(worker)
    }

    fn of(
        pid: u32,
        desk: AdminSocket,
        lifeline: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        process: Process,
    ) -> io::Result<Self> {
        let said = Arc::default();
        let saying = match &stderr {
            Some(stderr) => Some(pipe::Receiver::from_owned_fd(stderr.try_clone()?)?),
            None => None,
        };
        let saying = tokio::spawn(pass_on(saying, Arc::clone(&said)));
        let kill = Arc::new(Notify::new());
        let (sender, ended) = watch::channel(None);
        tokio::spawn(attend(process, Arc::clone(&kill), saying, sender));
        Ok(Self {
            pid,
            desk,
            lifeline,
            stderr,
            said,
            ended,
            kill,
            counters: Mutex::default(),
        })
    }

    /// This process' ends of its standard input and error.
    pub(super) fn pipes(&self) -> [Option<&OwnedFd>; 2] {
        [self.lifeline.as_ref(), self.stderr.as_ref()]
    }

    /// Where its desk is.
    pub(super) fn desk(&self) -> &Path {
        self.desk.path()
    }

    /// The counters that it gave last.
    pub(super) fn counted(&self) -> String {
        self.counters.lock().clone()
    }

    /// Whether its process is still there.
    pub(super) fn lives(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Waits until it has checked everything; it accepts nothing yet.
    pub(super) async fn prepared(&self, within: Duration) -> Result<Facts, WorkerError> {
        let asked = async {
            tokio::select! {
                status = self.ended() => Err(WorkerError::Ended(how(status))),
                facts = self.ask(Method::GET, "/worker", within.saturating_mul(2)) => facts,
            }
        };
        match timeout(within, asked).await {
            // It went before it had answered: how it ended says more.
            Ok(Err(WorkerError::Silent(why))) => match timeout(ANSWER, self.ended()).await {
                Ok(status) => Err(WorkerError::Ended(how(status))),
                Err(_) => Err(WorkerError::Silent(why)),
            },
            Ok(facts) => facts,
            Err(_) => Err(WorkerError::Late(within)),
        }
    }

    /// How it is.
    pub(super) async fn facts(&self) -> Result<Facts, WorkerError> {
        self.ask(Method::GET, "/worker", ANSWER).await
    }

    /// What a request through its whole stack meets.
    pub(super) async fn probe(&self) -> Result<Vec<Probe>, WorkerError> {
        self.ask(Method::POST, "/worker/probe", PROBE).await
    }

    /// Tells it to accept, retire, drain, leave or reload.
    pub(super) async fn order(&self, stage: Stage) -> Result<(), WorkerError> {
        let path = format!("/worker/{stage}");
        self.ask(Method::POST, &path, ANSWER).await
    }

    /// Takes the hottest entries of the worker before; that it does not is no reason to stop.
    pub(super) async fn inherit(&self, before: &Self) -> Result<Taken, WorkerError> {
        let silent = |error: getrandom::Error| WorkerError::Silent(error.to_string());
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(silent)?;
        let secret = Secret(secret);
        let () = before.tell(PROMISE, &secret, ANSWER).await?;
        let desk = before.desk().to_owned();
        self.tell(INHERIT, &Inherit { desk, secret }, INHERITING)
            .await
    }

    /// Its counters; if it does not answer, those that it gave last.
    pub(super) async fn counters(&self) -> String {
        let request = Request::get("/worker/metrics").body(Full::default());
        if let Ok(request) = request
            && let Ok(Ok(answer)) = timeout(ANSWER, self.send(request)).await
            && answer.status().is_success()
        {
            *self.counters.lock() = String::from_utf8_lossy(answer.body()).into_owned();
        }
        self.counters.lock().clone()
    }

    /// One request to its desk.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, CallError> {
        send(self.desk.path(), request).await
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        // Who would tell is gone only with the runtime.
        let ended = ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.kill.notify_one();
    }

    /// Its last lines, oldest first.
    pub(super) fn said(&self) -> Vec<String> {
        self.said.lock().iter().cloned().collect()
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<T, WorkerError> {
        let request = Request::builder().method(method).uri(path);
        self.answered(request.body(Full::default()), within).await
    }

    async fn tell<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        what: &impl serde::Serialize,
        within: Duration,
    ) -> Result<T, WorkerError> {
        let told =
            serde_json::to_vec(what).map_err(|error| WorkerError::Silent(error.to_string()))?;
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.answered(request.body(Full::from(told)), within).await
    }

    async fn answered<T: serde::de::DeserializeOwned>(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
        within: Duration,
    ) -> Result<T, WorkerError> {
        let silent = |why: String| WorkerError::Silent(why);
        let request = request.map_err(|error| silent(error.to_string()))?;
        let answer = match timeout(within, self.send(request)).await {
            Ok(answer) => answer.map_err(|error| silent(error.to_string()))?,
            Err(_) => return Err(silent(format!("nothing within {within:?}"))),
        };
        if !answer.status().is_success() {
            return Err(silent(format!("status {}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|error| silent(error.to_string()))
    }
}

/// How a process ended, in words.
pub(super) fn how(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
}

/// A process that this one has to wait for.
enum Process {
    Child(Box<Child>),
    /// Of the program that this process was before: still its child.
    Adopted(Pid),
}

async fn attend(
    process: Process,
    kill: Arc<Notify>,
    saying: JoinHandle<()>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    let status = match process {
        Process::Child(mut child) => tokio::select! {
            status = child.wait() => status,
            () = kill.notified() => match child.kill().await {
                Ok(()) => child.wait().await,
                Err(error) => Err(error),
            },
        },
        Process::Adopted(pid) => {
            let mut waited = waited(pid);
            tokio::select! {
                status = &mut waited => status.unwrap_or_else(|_| Err(io::ErrorKind::NotFound.into())),
                () = kill.notified() => {
                    // It was not waited for yet, so the number is still its own.
                    let _gone = kill_process(pid, Signal::KILL);
                    waited.await.unwrap_or_else(|_| Err(io::ErrorKind::NotFound.into()))
                }
            }
        }
    };
    // Its last words belong to its end. What it started itself may hold the pipe open.
    let _late = timeout(LAST_WORDS, saying).await;
    ended.send_replace(status.ok());
}

/// Waits in a thread of its own, which ends with the process.
fn waited(pid: Pid) -> oneshot::Receiver<io::Result<ExitStatus>> {
    let (sender, receiver) = oneshot::channel();
    let waiting = std::thread::Builder::new().name("worker".to_owned());
    let started = waiting.spawn(move || {
        let status = loop {
            match waitpid(Some(pid), WaitOptions::empty()) {
                Err(Errno::INTR) | Ok(None) => {}
                Ok(Some((_, status))) => break Ok(ExitStatus::from_raw(status.as_raw())),
                Err(error) => break Err(error.into()),
            }
        };
        // Nobody may wait any more.
        let _unheard = sender.send(status);
    });
    if let Err(error) = started {
        tracing::warn!(%error, "a worker's end will not be seen");
    }
    receiver
}

/// What it says is said by the supervisor, and the last of it is kept.
async fn pass_on(stderr: Option<pipe::Receiver>, said: Arc<Mutex<VecDeque<String>>>) {
    use std::io::Write as _;
    let Some(stderr) = stderr else { return };
    let mut stderr = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        let mut rest = (&mut stderr).take(LINE_BYTES_MAX);
        if !matches!(rest.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        // Standard error may be closed: the worker must not wait for that.
        let _closed = writeln!(io::stderr(), "{text}");
        let mut said = said.lock();
        if said.len() == LINES_MAX {
            said.pop_front();
        }
        said.push_back(text);
    }
}
