//! Room at the bound on connections: who has waited longest for a request makes room for who comes.
//!
//! To refuse newcomers instead would let a few thousand connections that ask nothing lock a school out. A request under way
//! is never ended. A request costs two additions here; who has waited longest is looked for only at the bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// So many of a full house leave at once, so that the next newcomers need not look again.
const PART: usize = 128;

/// Every connection whose handshake is done.
#[derive(Debug)]
pub(super) struct Room {
    seats: Mutex<HashMap<u64, Arc<Presence>, foldhash::fast::RandomState>>,
    /// Counts arrivals and requests: who has the lowest number has waited longest.
    turn: AtomicU64,
    leaving: AtomicUsize,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Presence {
    /// The turn in which it last asked something.
    since: AtomicU64,
    asked: AtomicBool,
    leave: Notify,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    number: u64,
    presence: Arc<Presence>,
}

/// A request under way: while it lives its connection stays.
#[derive(Debug)]
pub(super) struct Busy {
    _presence: Arc<Presence>,
}

impl Room {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            seats: Mutex::default(),
            turn: AtomicU64::new(0),
            leaving: AtomicUsize::new(0),
        })
    }

    /// How many may be above the bound while others leave.
    pub(super) fn above(max: usize) -> usize {
        max / PART + 1
    }

    /// A place for a connection.
    pub(super) fn sit(self: &Arc<Self>) -> Seat {
        let number = self.turn();
        let presence = Arc::<Presence>::default();
        presence.since.store(number, Ordering::Relaxed);
        self.seats.lock().insert(number, Arc::clone(&presence));
        Seat {
            room: Arc::clone(self),
            number,
            presence,
        }
    }

    /// Asks those to leave that have waited longest, at most `most`; none: some are leaving already. Zero: everybody is
    /// being answered.
    pub(super) fn make(&self, most: usize) -> Option<usize> {
        if self.leaving.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let seats = self.seats.lock();
        let mut idle: Vec<_> = seats.values().filter(|seat| seat.is_idle()).collect();
        let since = |seat: &&Arc<Presence>| seat.since.load(Ordering::Relaxed);
        if idle.len() > most {
            idle.select_nth_unstable_by_key(most, since);
            idle.truncate(most);
        }
        for presence in &idle {
            presence.asked.store(true, Ordering::Relaxed);
            self.leaving.fetch_add(1, Ordering::Relaxed);
            presence.leave.notify_one();
        }
        Some(idle.len())
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl Presence {
    /// The room and the seat hold it, and nobody else.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= 2 && !self.asked.load(Ordering::Relaxed)
    }
}

impl Seat {
    /// A request begins.
    pub(super) fn busy(&self) -> Busy {
        let turn = self.room.turn();
        self.presence.since.store(turn, Ordering::Relaxed);
        Busy {
            _presence: Arc::clone(&self.presence),
        }
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.presence) <= 2
    }

    /// Returns when the connection is to leave.
    pub(super) async fn leave(&self) {
        self.presence.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.seats.lock().remove(&self.number);
        if self.presence.asked.load(Ordering::Relaxed) {
            self.room.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seat: &Seat) -> bool {
        seat.presence.asked.load(Ordering::Relaxed)
    }

    #[test]
    fn who_waited_longest_leaves_and_who_is_answered_stays() {
        let room = Room::new();
        let seats: Vec<Seat> = (0..5).map(|_| room.sit()).collect();
        for (seat, since) in seats.iter().zip([50, 10, 40, 20, 30]) {
            seat.presence.since.store(since, Ordering::Relaxed);
        }
        let busy = Busy {
            _presence: Arc::clone(&seats[1].presence),
        };
        assert!(!seats[1].is_idle() && seats[3].is_idle());
        assert_eq!(room.make(2), Some(2));
        let left: Vec<bool> = seats.iter().map(asked).collect();
        assert_eq!(left, [false, false, false, true, true]);
        assert_eq!(room.make(2), None, "two are leaving");
        drop(busy);
        drop(seats);
        assert!(room.seats.lock().is_empty());
        assert_eq!(room.make(2), Some(0), "nobody is there");
    }

    #[tokio::test]
    async fn a_word_to_leave_is_not_lost_while_nobody_listens() {
        let room = Room::new();
        let seat = room.sit();
        drop(seat.busy());
        assert_eq!(room.make(1), Some(1));
        seat.leave().await;
        let (one, other) = (room.sit(), room.sit());
        let _busy = (one.busy(), other.busy());
        drop(seat);
        assert_eq!(room.make(1), Some(0), "everybody is being answered");
    }
}
