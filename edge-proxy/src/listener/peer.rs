//! What is known of a connection's other end, shared between its bytes and its requests.
//!
//! The request side says what it waits for ([`Await`]), the byte side holds the deadline for it.
//! Requests find it in `session.digest().proxy_digest`, the one place where pingora carries data of
//! ours from a connection to its requests, for HTTP/1.1 and HTTP/2 alike.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pingora_core::protocols::http::ServerSession;

use crate::metrics::Metrics;

/// `PRI * HTTP/2.0` and what belongs to it (RFC 9113, 3.4).
const H2_PREFACE_BYTES: u64 = 24;

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
    pub(super) body_idle: Duration,
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
    /// The header of some request is on its way: from its first byte until the request begins.
    in_header: AtomicBool,
    /// Requests that are being answered.
    active: AtomicU32,
    /// Requests whose bodies are still awaited.
    bodies: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    reader: AtomicWaker,
}

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        surface: Surface,
        sni: Option<Box<str>>,
        h2: bool,
        tls: Option<&'static str>,
        limits: ReadLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            address,
            surface,
            sni,
            h2,
            tls,
            limits,
            metrics,
            in_header: AtomicBool::new(true),
            active: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            reader: AtomicWaker::new(),
        }
    }

    /// The peer of a request.
    pub fn of(session: &ServerSession) -> Option<&Arc<Self>> {
        let digest = session.digest()?.proxy_digest.as_ref()?;
        digest.user_data.as_ref()?.downcast_ref()
    }

    /// A request's header has arrived; `body`: more is to come.
    pub fn request_began(&self, body: bool) {
        self.in_header.store(false, Ordering::Relaxed);
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
        if self.bodies.load(Ordering::Relaxed) > 0 {
            Await::Body
        } else if self.in_header.load(Ordering::Relaxed) {
            Await::Header
        } else {
            Await::Nothing
        }
    }

    pub(super) fn limit(&self, awaited: Await) -> Option<Duration> {
        match awaited {
            Await::Nothing => None,
            Await::Header => Some(self.limits.header),
            Await::Body => Some(self.limits.body_idle),
        }
    }

    /// Counts bytes that came in; true: what was awaited starts anew.
    pub(super) fn received(&self, n: usize) -> bool {
        let before = self.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
        match self.awaited() {
            // Each piece of a body earns more time.
            Await::Body => true,
            // The header's deadline runs from its first byte and does not move: a drip earns nothing.
            Await::Header => {
                // After its preface an HTTP/2 connection may be idle: browsers connect ahead.
                if self.h2 && before + n as u64 >= H2_PREFACE_BYTES {
                    self.in_header.store(false, Ordering::Relaxed);
                }
                false
            }
            Await::Nothing => {
                // On HTTP/2 frames of other kinds come and go between requests; on HTTP/1.1 what
                // comes during a request belongs to it (a WebSocket).
                if !self.h2 && self.active.load(Ordering::Relaxed) == 0 {
                    self.in_header.store(true, Ordering::Relaxed);
                }
                true
            }
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

    pub(super) fn timed_out(&self, awaited: Await) {
        self.metrics.malformed(awaited.as_str());
    }
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
