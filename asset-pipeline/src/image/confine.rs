//! Limits that the kernel holds a process to which decodes what somebody made up.
//!
//! Decoders may panic, loop or take all memory. In a process of its own what breaks is one picture.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, nice, setrlimit};

/// CPU time until a picture is decoded: a camera's largest takes a tenth.
const DECODE_CPU_S: u64 = 5;

/// What a process may take. Only one that does nothing else takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// CPU time in all.
    pub cpu_s: u64,
    /// Address space.
    pub memory_bytes: u64,
    /// How far it steps back for others.
    pub niceness: i32,
}

impl Confined {
    /// From now on, for what is to be decoded.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin(&self) -> Result<(), Errno> {
        limit(Resource::As, self.memory_bytes, self.memory_bytes)?;
        limit(Resource::Cpu, DECODE_CPU_S.min(self.cpu_s), self.cpu_s)?;
        nice(self.niceness).map(|_| ())
    }

    /// It is decoded: the rest of the time is for what is made of it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn decoded(&self) -> Result<(), Errno> {
        limit(Resource::Cpu, self.cpu_s, self.cpu_s)
    }
}

fn limit(what: Resource, now: u64, most: u64) -> Result<(), Errno> {
    let limits = Rlimit {
        current: Some(now),
        maximum: Some(most),
    };
    setrlimit(what, limits)
}
