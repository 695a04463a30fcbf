//! One request from its first byte to its record: what the rooms have found out so far.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::sync::{Notify, oneshot};

use crate::cache::epochs::Moment;
use crate::error::Refusal;
use crate::listener::Peer;
use crate::metrics::labels::Cache as Source;
use crate::mirror::Ending;
use crate::rate::TooMany;
use crate::response::compress::Encoder;
use crate::route::Route;
use crate::session::Request;
use crate::split::Choice;
use crate::upstream::ledger::Entry;
use crate::upstream::pool::{Lease, Pool};
use crate::upstream::retries::Retry;
use crate::world::World;

/// The state of one request; pingora carries it from phase to phase.
pub struct Exchange {
    /// When it began.
    pub began: Instant,
    /// When it was last led to a colour: what it waited before is no colour's doing.
    pub led: Instant,
    /// Its connection, and what is counted there until it ends.
    pub presence: Option<Presence>,
    /// What it saw of files and state: the same from beginning to end.
    pub world: Option<Arc<World>>,
    /// Set by the session room.
    pub request: Option<Request>,
    /// Set by the route room.
    pub route: Option<Arc<Route>>,
    /// Set by the split room.
    pub choice: Option<Choice>,
    /// The cookie that its answer binds the browser with, if it is a page.
    pub pin: Option<HeaderValue>,
    /// Where its answer comes from.
    pub source: Source,
    /// The rule that covers it.
    pub rule: Option<String>,
    /// Its rule asks for no more than the RFCs: conformance runs only.
    pub as_sent: bool,
    /// Why it was passed on or what the cache refused, as a word.
    pub reason: Option<&'static str>,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
    /// Which rate had no token left, when that is why.
    pub too_many: Option<TooMany>,
    /// Until the colour's answer began; none: it was not asked, or has not answered.
    pub answered: Option<Duration>,
    /// Who compares its end with that of its copy.
    pub mirrored: Option<oneshot::Sender<Ending>>,
    /// Until when it may wait, once its app was paused.
    pub held_until: Option<Instant>,
    /// Set when it is passed to an origin.
    pub passing: Option<Passing>,
    /// Bytes of its body so far.
    pub body_bytes: u64,
    /// Set while its answer is compressed.
    pub encoder: Option<Encoder>,
}

/// A request on its way to an origin.
pub struct Passing {
    /// Whose members may answer.
    pub pool: Arc<Pool>,
    /// Its place in the book of its colour.
    pub entry: Entry,
    /// Who is answering.
    pub lease: Option<Lease>,
    /// Who could not be connected to.
    pub failed: Option<SocketAddr>,
    /// How often a member was picked.
    pub tries: u32,
    /// Counted against the app's budget while it is tried again.
    pub retry: Option<Retry>,
    /// When the first was.
    pub began: Option<Instant>,
    /// When it was passed on, where the origin may say whose request it is.
    pub born: Option<Moment>,
}

impl Exchange {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            led: Instant::now(),
            presence: None,
            world: None,
            request: None,
            route: None,
            choice: None,
            pin: None,
            source: Source::Pass,
            rule: None,
            as_sent: false,
            reason: None,
            refusal: None,
            too_many: None,
            answered: None,
            mirrored: None,
            held_until: None,
            passing: None,
            body_bytes: 0,
            encoder: None,
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// Requests under way; a drain waits for none.
#[derive(Debug, Default)]
pub struct InFlight {
    count: AtomicUsize,
    ended: Notify,
}

impl InFlight {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns when there is none.
    pub async fn none_left(&self) {
        loop {
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A request counted with the edge and its connection while it lives.
pub struct Presence {
    /// Its connection.
    pub peer: Arc<Peer>,
    in_flight: Arc<InFlight>,
    body_awaited: bool,
}

impl Presence {
    /// Its header is here; `body`: more is to come.
    pub fn begin(peer: &Arc<Peer>, in_flight: &Arc<InFlight>, body: bool) -> Self {
        in_flight.count.fetch_add(1, Ordering::Relaxed);
        peer.request_began(body);
        Self {
            peer: Arc::clone(peer),
            in_flight: Arc::clone(in_flight),
            body_awaited: body,
        }
    }

    /// Its body is here.
    pub fn body_ended(&mut self) {
        if std::mem::take(&mut self.body_awaited) {
            self.peer.body_ended();
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.body_ended();
        self.peer.request_ended();
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.ended.notify_waiters();
    }
}
