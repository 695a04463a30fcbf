//! One core for the server, another for everything that asks it.

use std::io;
use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::BenchError;

/// The two cores that are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The first core that this process may use for servers, the last for the load.
    pub(crate) fn choose() -> Result<Self, BenchError> {
        let allowed = sched_getaffinity(None).map_err(|error| BenchError::Io {
            what: "the cores of this process cannot be read".to_owned(),
            source: error.into(),
        })?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .collect();
        match cores.as_slice() {
            [server, .., load] => Ok(Self {
                server: *server,
                load: *load,
            }),
            few => Err(BenchError::Cores(few.len())),
        }
    }

    /// The core of the servers.
    pub(crate) fn server(self) -> usize {
        self.server
    }

    /// Moves this thread, and all that it starts from now on, to the core of the load.
    pub(crate) fn stay_with_load(self) -> Result<(), BenchError> {
        pin(self.load).map_err(BenchError::io("the load cannot be bound to its core"))
    }

    /// Starts a server on its core. A process begins on the cores of the thread that started it, so
    /// it is never anywhere else, not even while it counts cores to choose its number of workers.
    pub(crate) fn start_server(self, command: &mut Command) -> io::Result<Child> {
        std::thread::scope(|scope| {
            let start = || {
                pin(self.server)?;
                command.spawn()
            };
            let started = scope.spawn(start).join();
            started.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
        })
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
