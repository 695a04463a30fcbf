//! What is known of a connection's other end, shared between its bytes and its requests.
//!
//! The request side says what it waits for ([`Pace`]), the byte side holds the deadline for it.
//! Requests find it in `session.digest().proxy_digest`, the one place where pingora carries data of
//! ours from a connection to its requests, for HTTP/1.1 and HTTP/2 alike.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::header::{DATE, HeaderMap};
use parking_lot::Mutex;
use pingora_core::protocols::http::ServerSession;

use super::arrivals::Arrival;
use super::frames::FrameLimits;
use super::pace::{Pace, Received};
use crate::metrics::Metrics;

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

/// Deadlines for what a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    pub(super) header: Duration,
    pub(super) header_bytes_max: usize,
    pub(super) body_idle: Duration,
    pub(super) body_bytes_per_s_min: u32,
    pub(super) frames: FrameLimits,
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
    pace: Pace,
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
            pace: Pace::new(agreed.h2, limits.header_bytes_max),
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
        self.pace.request_began(body);
        if let Some(arrival) = self.arrival.lock().take() {
            arrival.asked();
        }
        if body {
            // An HTTP/2 connection may be parked in a read that has no deadline yet.
            self.reader.wake();
        }
    }

    /// A request that began with a body has read it, or needs no more of it.
    pub fn body_ended(&self) {
        self.pace.body_ended();
    }

    /// A request that began has been answered.
    pub fn request_ended(&self) {
        self.pace.request_ended();
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn limits(&self) -> &ReadLimits {
        &self.limits
    }

    /// Counts bytes that came in, and says what that means for the deadline.
    pub(super) fn received(&self, n: usize) -> Received {
        self.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
        self.pace.received(n)
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
