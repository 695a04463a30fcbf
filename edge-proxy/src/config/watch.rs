//! Notices that the files changed.
//!
//! By polling: it sees a swapped symbolic link and a network folder like any edit, and a few
//! kilobytes read each second cost nothing. The caller keeps the old config when the new is bad.

use std::path::{Path, PathBuf};
use std::time::Duration;

use asset_pipeline::digest::Digest;
use tokio::time::{Interval, MissedTickBehavior};

use super::check::check;
use super::checked::Config;
use super::mistake::Mistakes;
use super::source::Sources;

/// Yields what the files mean each time they say something else.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    ticks: Interval,
    seen: Seen,
}

/// Watches the files of a config that was loaded from `path`, looking every `poll`.
///
/// # Panics
/// Outside of a Tokio runtime, and when `poll` is zero.
pub fn watch(path: &Path, poll: Duration, loaded: &Config) -> Watch {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Watch {
        path: path.to_owned(),
        ticks,
        seen: Seen {
            judged: loaded.fingerprint,
            settling: None,
        },
    }
}

impl Watch {
    /// Waits for the next change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What is wrong with the changed files; they are not looked at again until they change again.
    pub async fn changed(&mut self) -> Result<Config, Mistakes> {
        loop {
            self.ticks.tick().await;
            let path = self.path.clone();
            let look = tokio::task::spawn_blocking(move || Sources::read(&path));
            // A read that was cancelled by the end of the runtime saw nothing.
            let Ok(sources) = look.await else { continue };
            if self.seen.settled(sources.fingerprint()) {
                return check(&sources);
            }
        }
    }
}

/// What was seen of the files so far.
#[derive(Debug)]
struct Seen {
    judged: Digest,
    settling: Option<Digest>,
}

impl Seen {
    /// Whether these contents are new and were the same the last time: a file that is being written
    /// is not judged half-way.
    fn settled(&mut self, now: Digest) -> bool {
        if now == self.judged {
            self.settling = None;
            return false;
        }
        if self.settling.replace(now) != Some(now) {
            return false;
        }
        self.settling = None;
        self.judged = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_judged_once_and_only_when_they_hold_still() {
        let [old, half, new] = ["old", "half", "new"].map(|text| Digest::of(text.as_bytes()));
        let mut seen = Seen {
            judged: old,
            settling: None,
        };
        for (now, expected) in [
            (old, false),
            (half, false),
            (new, false),
            (new, true),
            (new, false),
            (half, false),
            (new, false),
            (old, false),
            (old, true),
        ] {
            assert_eq!(seen.settled(now), expected);
        }
    }
}
