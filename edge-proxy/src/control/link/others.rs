//! What workers tell each other, on its way: who is with versions in each of them, and what writes ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use asset_pipeline::id::AppId;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::colour::{Colour, PerColour};
use crate::control::beside::{Ended, Presence, There};
use crate::control::store::Sequence;

/// Endings that wait for the slowest worker: one that has missed some ends all that it has.
const ENDINGS_MAX: usize = 4096;

/// All workers that are connected, and what is remembered of those that were.
#[derive(Debug)]
pub(super) struct Others {
    next: AtomicU64,
    known: Mutex<Known>,
    endings: broadcast::Sender<Ending>,
}

#[derive(Debug, Default)]
struct Known {
    there: BTreeMap<u64, (Instant, Presence)>,
    /// When an id or a pin last led somebody to a colour in a worker that has ended.
    bound: BTreeMap<AppId, PerColour<Option<Instant>>>,
}

/// What a write through one worker ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    from: u64,
    ended: Arc<Ended>,
}

/// One worker's place, for as long as it is connected.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    others: Arc<Others>,
}

impl Default for Others {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            known: Mutex::default(),
            endings: broadcast::Sender::new(ENDINGS_MAX),
        }
    }
}

impl Others {
    /// A worker has come.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Until it says more: it has seen no change, and nobody knows who is with it.
        let unheard = (Instant::now(), Presence::default());
        self.known.lock().there.insert(number, unheard);
        Place {
            number,
            others: Arc::clone(self),
        }
    }

    /// What is ended from now on.
    pub(super) fn endings(&self) -> broadcast::Receiver<Ending> {
        self.endings.subscribe()
    }
}

impl Ending {
    pub(super) fn ended(&self) -> Ended {
        Ended::clone(&self.ended)
    }
}

impl Place {
    /// Who is with versions in this worker.
    pub(super) fn present(&self, presence: Presence) {
        let heard = (Instant::now(), presence);
        self.others.known.lock().there.insert(self.number, heard);
    }

    /// A write through this worker ended something.
    pub(super) fn end(&self, ended: Ended) {
        let ending = Ending {
            from: self.number,
            ended: Arc::new(ended),
        };
        // There may be no other worker.
        let _unheard = self.others.endings.send(ending);
    }

    /// Whether it came from this worker.
    pub(super) fn is_own(&self, ending: &Ending) -> bool {
        ending.from == self.number
    }

    /// What this worker is told of the others.
    pub(super) fn beside(&self) -> Vec<Presence> {
        let known = self.others.known.lock();
        let others = known.there.iter().filter(|(at, _)| **at != self.number);
        let mut beside: Vec<_> = others.map(|(_, (_, presence))| presence.clone()).collect();
        if !known.bound.is_empty() {
            beside.push(remembered(&known.bound));
        }
        beside
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.others.known.lock();
        let Some((heard, presence)) = known.there.remove(&self.number) else {
            return;
        };
        for (app, there) in presence.apps {
            let bound = known.bound.entry(app).or_default();
            for colour in Colour::BOTH {
                let ago = there.get(colour).bound_s;
                let ago = ago.map(std::time::Duration::from_secs);
                let at = ago.and_then(|ago| heard.checked_sub(ago));
                let last = bound.get_mut(colour);
                *last = (*last).max(at);
            }
        }
        known
            .bound
            .retain(|_, bound| *bound != PerColour::default());
    }
}

/// Nobody is with a worker that has ended, but who was led there may come again.
fn remembered(bound: &BTreeMap<AppId, PerColour<Option<Instant>>>) -> Presence {
    let of = |at: &Option<Instant>| There {
        bound_s: at.map(|at| at.elapsed().as_secs()),
        ..There::default()
    };
    let apps = bound.iter().map(|(app, bound)| {
        let there = PerColour::each(|colour| of(bound.get(colour)));
        (app.clone(), there)
    });
    Presence {
        settled: Sequence(u64::MAX),
        apps: apps.collect(),
    }
}
