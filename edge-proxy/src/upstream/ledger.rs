//! Who is still with a version: requests under way by what they are and for how long, and when an id or a pin last
//! led somebody here. Counted where requests are passed on; asked when a version is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// What a request under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody goes to a page, or a page asks for its next one.
    Page,
    /// Everything else that is short.
    Api,
    /// Below a stream route.
    Stream,
    /// An upgraded connection.
    WebSocket,
    /// It brings a body.
    Upload,
    /// It fetches a large one.
    Download,
}

impl Class {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Page,
        Self::Api,
        Self::Stream,
        Self::WebSocket,
        Self::Upload,
        Self::Download,
    ];

    /// As `status` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Api => "api",
            Self::Stream => "stream",
            Self::WebSocket => "websocket",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// One colour's book. It outlives pools and worlds, so that nobody is forgotten by a shift.
#[derive(Debug)]
pub struct Ledger {
    began: Instant,
    classes: [Mutex<Slots>; Class::ALL.len()],
    /// Milliseconds after `began` at which an id or a pin last led here, and one; 0: never.
    bound_at: AtomicU64,
    /// Streams and WebSockets that were asked to end, and did.
    parted: AtomicU64,
    leaving: watch::Sender<bool>,
}

/// When those under way began; places are used again.
#[derive(Debug, Default)]
struct Slots {
    began: Vec<Option<Instant>>,
    free: Vec<usize>,
}

/// One request under way, counted while this lives.
#[derive(Debug)]
pub struct Entry {
    ledger: Arc<Ledger>,
    class: Class,
    slot: usize,
    began: Instant,
}

/// Those of one class that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What they are.
    pub class: Class,
    /// How many.
    pub count: u64,
    /// How long the oldest has taken.
    pub oldest: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            classes: Default::default(),
            bound_at: AtomicU64::new(0),
            parted: AtomicU64::new(0),
            leaving: watch::Sender::new(false),
        }
    }
}

impl Ledger {
    /// Counts a request that begins.
    pub fn enter(self: &Arc<Self>, class: Class) -> Entry {
        self.enter_at(class, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, class: Class, began: Instant) -> Entry {
        let mut slots = self.classes[class as usize].lock();
        let slot = match slots.free.pop() {
            Some(slot) => {
                slots.began[slot] = Some(began);
                slot
            }
            None => {
                slots.began.push(Some(began));
                slots.began.len() - 1
            }
        };
        Entry {
            ledger: Arc::clone(self),
            class,
            slot,
            began,
        }
    }

    /// Those under way, of the classes that have any.
    pub fn lines(&self) -> Vec<Line> {
        let now = Instant::now();
        let line = |class: Class| {
            let slots = self.classes[class as usize].lock();
            let oldest = slots.began.iter().flatten().min()?;
            Some(Line {
                class,
                count: (slots.began.len() - slots.free.len()) as u64,
                oldest: now.saturating_duration_since(*oldest),
            })
        };
        Class::ALL.into_iter().filter_map(line).collect()
    }

    /// An id or a pin led somebody here.
    pub fn bound(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        // Every second is enough: a line of memory that all requests write is not free.
        if millis >= self.bound_at.load(Ordering::Relaxed).saturating_add(1_000)
            || self.bound_at.load(Ordering::Relaxed) == 0
        {
            self.bound_at.store(millis + 1, Ordering::Relaxed);
        }
    }

    /// How long ago an id or a pin last led somebody here; none: never since the edge started.
    pub fn bound_ago(&self) -> Option<Duration> {
        let at = self.bound_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.began
                .elapsed()
                .saturating_sub(Duration::from_millis(at)),
        )
    }

    /// Whether streams and WebSockets are asked to end.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving
            .send_if_modified(|now| std::mem::replace(now, leaving) != leaving);
    }

    /// Tells when they are.
    pub(super) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    pub(super) fn parted(&self) {
        self.parted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many streams and WebSockets were asked to end, and did, since the edge started.
    pub fn parted_so_far(&self) -> u64 {
        self.parted.load(Ordering::Relaxed)
    }
}

impl Entry {
    /// It is something else than it seemed: its answer says so.
    pub fn becomes(&mut self, class: Class) {
        if class != self.class {
            *self = self.ledger.enter_at(class, self.began);
        }
    }

    /// What it is.
    pub fn class(&self) -> Class {
        self.class
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut slots = self.ledger.classes[self.class as usize].lock();
        slots.began[self.slot] = None;
        slots.free.push(self.slot);
        if slots.free.len() == slots.began.len() {
            // A morning's crowd is not remembered all day.
            *slots = Slots::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_under_way_are_counted_by_class_with_the_age_of_the_oldest() {
        let ledger = Arc::new(Ledger::default());
        assert!(ledger.lines().is_empty());
        let long_ago = Instant::now() - Duration::from_secs(60);
        let mut old = ledger.enter_at(Class::Api, long_ago);
        let young = ledger.enter(Class::Api);
        let page = ledger.enter(Class::Page);
        let counts = || -> Vec<_> {
            let lines = ledger.lines().into_iter();
            lines.map(|line| (line.class, line.count)).collect()
        };
        assert_eq!(counts(), [(Class::Page, 1), (Class::Api, 2)]);
        assert!(ledger.lines()[1].oldest >= Duration::from_secs(60));
        old.becomes(Class::Download);
        assert_eq!(
            counts(),
            [(Class::Page, 1), (Class::Api, 1), (Class::Download, 1)]
        );
        assert!(ledger.lines()[1].oldest < Duration::from_secs(60));
        assert!(
            ledger.lines()[2].oldest >= Duration::from_secs(60),
            "its age stays"
        );
        drop((old, young));
        let again = ledger.enter(Class::Api);
        assert_eq!(counts(), [(Class::Page, 1), (Class::Api, 1)]);
        drop((again, page));
        assert!(ledger.lines().is_empty());
    }

    #[test]
    fn who_was_bound_here_is_known_by_time_alone() {
        let ledger = Ledger::default();
        assert_eq!(ledger.bound_ago(), None);
        ledger.bound();
        assert!(
            ledger
                .bound_ago()
                .is_some_and(|ago| ago < Duration::from_secs(60))
        );
    }
}
