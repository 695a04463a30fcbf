//! What a publish tells while it runs.

/// Hears how far a publish is. `()` hears nothing.
pub trait Progress: Send + Sync {
    /// A stage begins, with that many steps.
    fn begin(&self, stage: Stage, steps: u64);
    /// One step of the stage is done; `what` is the file.
    fn step(&self, what: &str);
    /// A stage begins whose steps are files with so many bytes in all: how far it is they say better
    /// than the number of files.
    fn begin_bytes(&self, stage: Stage, steps: u64, bytes: u64) {
        let _ = bytes;
        self.begin(stage, steps);
    }
    /// One step of such a stage is done; the file has so many bytes.
    fn step_bytes(&self, what: &str, bytes: u64) {
        let _ = bytes;
        self.step(what);
    }
}

impl Progress for () {
    fn begin(&self, _: Stage, _: u64) {}
    fn step(&self, _: &str) {}
}

/// The parts of a publish that take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Files are read and hashed.
    Read,
    /// URLs are rewritten.
    Rewrite,
    /// A collection is under way in the store.
    Wait,
    /// Files are encoded and stored.
    Store,
    /// Smaller pictures are made: the search for the fewest bytes may take minutes, once.
    Images,
    /// Files are told by what differs from those of earlier releases.
    Delta,
    /// What is stored is read back.
    Verify,
}

impl Stage {
    /// What is done, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Rewrite => "rewriting",
            Self::Wait => "waiting for a collection",
            Self::Store => "encoding and storing",
            Self::Images => "making smaller pictures",
            Self::Delta => "comparing with earlier releases",
            Self::Verify => "verifying",
        }
    }
}
