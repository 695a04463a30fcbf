//! A server as a process of its own, stopped by its id when it is dropped.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cores::Cores;
use crate::cpu;
use crate::error::BenchError;

/// How long a server gets to end by itself.
const END: Duration = Duration::from_secs(5);
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts a server on its core. What it prints goes to a file in `folder`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        cores: Cores,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let said = folder.join(format!("{name}.out"));
        let failed = || BenchError::io(format!("{name} cannot be started"));
        let out = File::create(&said).map_err(failed())?;
        let err = out.try_clone().map_err(failed())?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = cores.start_server(command).map_err(failed())?;
        Ok(Self { name, child, said })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time until now, its children's included.
    pub(crate) fn cpu(&self) -> Duration {
        cpu::used(self.child.id())
    }

    /// An error with its last words, if it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(BenchError::Ended {
                peer: self.name,
                said: self.said(),
            }),
        }
    }

    /// The end of what it printed.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked of the parent, which ends its children; if it does not, all are killed.
        let family = cpu::children(self.child.id());
        signal(self.child.id(), Signal::TERM);
        let until = Instant::now() + END;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        signal(self.child.id(), Signal::KILL);
        for child in family {
            signal(child, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn signal(process: u32, signal: Signal) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    // One that is gone already needs no signal.
    let _ = id.map(|id| kill_process(id, signal));
}

/// A free address on loopback. Peers cannot all be told to take any port and say which one it was.
pub(crate) fn free_address() -> Result<SocketAddr, BenchError> {
    let free = |listener: TcpListener| -> io::Result<SocketAddr> { listener.local_addr() };
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(free)
        .map_err(BenchError::io("no port is free on loopback"))
}
