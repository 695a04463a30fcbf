//! What is known of a connection's other end, shared between its bytes and its requests.
//!
//! The request side says what it waits for ([`Await`]), the byte side holds the deadline for it.
//! Requests find it in `session.digest().proxy_digest`, the one place where pingora carries data of
//! ours from a connection to its requests, for HTTP/1.1 and HTTP/2 alike.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::header::{DATE, HeaderMap};
use parking_lot::Mutex;
use pingora_core::protocols::http::ServerSession;

use super::arrivals::Arrival;
use super::frames::FrameLimits;
use crate::metrics::Metrics;

/// What may come in one read behind a header: a body's beginning. A header that goes on for longer
/// than its bound and this is not read to its end.
const BEHIND_HEADER_BYTES: usize = 64 * 1024;

/// Which surface a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// TLS.
    Public,
    /// Plain HTTP that is only sent on to `https`.
    Redirect,
    /// Plain HTTP that is served: loopback only.
    DangerPlain,
}

/// What the edge waits for the client to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Await {
    /// Nothing with a deadline here: pingora's keep-alive bounds an idle connection.
    Nothing,
    /// The rest of a request header.
    Header,
    /// More of a request body.
    Body,
}

impl Await {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_awaited",
            Self::Header => "header_too_slow",
            Self::Body => "body_stalled",
        }
    }
}

/// Deadlines for what a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    pub(super) header: Duration,
    pub(super) header_bytes_max: usize,
    pub(super) body_idle: Duration,
    pub(super) body_bytes_per_s_min: u32,
    pub(super) frames: FrameLimits,
}

/// What bytes that came in mean for the deadline of what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// It goes on as it was.
    Same,
    /// It starts anew.
    Anew,
    /// A header that never ends: nothing more is read.
    TooLarge,
}

/// What a handshake agreed on; nothing on a plain surface.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) sni: Option<Box<str>>,
    pub(super) h2: bool,
    pub(super) version: Option<&'static str>,
}

/// One end of a connection.
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// By which surface.
    pub surface: Surface,
    /// The name that the client asked a certificate for, in lower case.
    pub sni: Option<Box<str>>,
    /// Whether HTTP/2 was agreed.
    pub h2: bool,
    /// The version of TLS; none: plain.
    pub tls: Option<&'static str>,
    limits: ReadLimits,
    metrics: Arc<Metrics>,
    /// Until the first request.
    arrival: Mutex<Option<Arrival>>,
    header_bytes: AtomicUsize,
    /// The header of some request is on its way: from its first byte until the request begins.
    in_header: AtomicBool,
    /// Requests that are being answered.
    active: AtomicU32,
    /// Requests whose bodies are still awaited.
    bodies: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    reader: AtomicWaker,
    /// HTTP/1.1: when the answer that is sent next was made.
    date: Mutex<Option<Date>>,
}

/// A time as HTTP writes it (RFC 9110, 5.6.7): always as long.
pub(super) type Date = [u8; 29];

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        surface: Surface,
        agreed: Agreed,
        limits: ReadLimits,
        arrival: Arrival,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            address,
            surface,
            sni: agreed.sni,
            h2: agreed.h2,
            tls: agreed.version,
            limits,
            metrics,
            arrival: Mutex::new(Some(arrival)),
            header_bytes: AtomicUsize::new(0),
            in_header: AtomicBool::new(true),
            active: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            date: Mutex::new(None),
        }
    }

    /// The next answer was made then, says the origin; none: now. pingora writes the time of sending over it.
    pub fn date_answer(&self, header: &HeaderMap) {
        // The frames of HTTP/2 are packed: nothing can be put right in them.
        if self.h2 {
            return;
        }
        let mut lines = header.get_all(DATE).iter();
        let date = match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().filter(|text| is_date(text)),
            _ => None,
        };
        *self.date.lock() = date.and_then(|text| text.as_bytes().try_into().ok());
    }

    /// Said once.
    pub(super) fn take_date(&self) -> Option<Date> {
        self.date.lock().take()
    }

    /// The peer of a request.
    pub fn of(session: &ServerSession) -> Option<&Arc<Self>> {
        let digest = session.digest()?.proxy_digest.as_ref()?;
        digest.user_data.as_ref()?.downcast_ref()
    }

    /// A request's header has arrived; `body`: more is to come.
    pub fn request_began(&self, body: bool) {
        if !self.h2 {
            self.in_header.store(false, Ordering::Relaxed);
            self.header_bytes.store(0, Ordering::Relaxed);
        }
        if let Some(arrival) = self.arrival.lock().take() {
            arrival.asked();
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        if body {
            self.bodies.fetch_add(1, Ordering::Relaxed);
            // An HTTP/2 connection may be parked in a read that has no deadline yet.
            self.reader.wake();
        }
    }

    /// A request that began with a body has read it, or needs no more of it.
    pub fn body_ended(&self) {
        self.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request that began has been answered.
    pub fn request_ended(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn awaited(&self) -> Await {
        let body = self.bodies.load(Ordering::Relaxed) > 0;
        let header = self.in_header.load(Ordering::Relaxed);
        match (body, header) {
            // On HTTP/2 the header of a request may come between the pieces of another's body.
            (_, true) if self.h2 => Await::Header,
            (true, _) => Await::Body,
            (false, true) => Await::Header,
            (false, false) => Await::Nothing,
        }
    }

    pub(super) fn limits(&self) -> &ReadLimits {
        &self.limits
    }

    /// Whether a body of a request is awaited.
    pub(super) fn has_bodies(&self) -> bool {
        self.bodies.load(Ordering::Relaxed) > 0
    }

    /// Whether a request is being answered.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Bytes of a header are here, and it is not whole.
    pub(super) fn header_began(&self) -> bool {
        self.header_bytes.load(Ordering::Relaxed) > 0
    }

    /// HTTP/2: a header is, or is not, half here.
    pub(super) fn set_in_header(&self, half: bool) {
        self.in_header.store(half, Ordering::Relaxed);
    }

    /// Counts bytes that came in, and says what that means for the deadline.
    pub(super) fn received(&self, n: usize) -> Received {
        self.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
        match self.awaited() {
            // Each piece of a body earns more time.
            Await::Body => return Received::Anew,
            // On HTTP/2 frames of other kinds come and go between requests.
            _ if self.h2 => return Received::Same,
            // The header's deadline runs from its first byte and does not move: a drip earns nothing.
            Await::Header => {}
            // What comes during a request belongs to it (a WebSocket).
            Await::Nothing if self.active.load(Ordering::Relaxed) > 0 => return Received::Anew,
            Await::Nothing => {
                self.in_header.store(true, Ordering::Relaxed);
            }
        }
        let before = self.header_bytes.fetch_add(n, Ordering::Relaxed);
        if before + n > self.limits.header_bytes_max + BEHIND_HEADER_BYTES {
            Received::TooLarge
        } else if before == 0 {
            Received::Anew
        } else {
            Received::Same
        }
    }

    pub(super) fn sent(&self, n: usize) {
        self.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn register(&self, waker: &Waker) {
        if self.h2 {
            self.reader.register(waker);
        }
    }

    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Counts why the edge gave up on what this client sends or takes.
    pub(super) fn faulted(&self, reason: &'static str) {
        self.metrics.malformed(reason);
    }
}

fn is_date(text: &str) -> bool {
    httpdate::parse_http_date(text).is_ok()
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No address: this ends up in error texts.
        f.debug_struct("Peer")
            .field("surface", &self.surface)
            .field("h2", &self.h2)
            .finish_non_exhaustive()
    }
}
