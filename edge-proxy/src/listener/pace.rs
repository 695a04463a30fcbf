//! What a connection waits for its client to send, and what bytes that come mean for the deadline.
//!
//! Knows no clock and no bytes, only how many came and where requests begin and end: the request side
//! says that, the byte side asks. The header of a request has one deadline from its first byte to its
//! end, which no drip moves; a body earns time with each piece.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What may come in one read behind a header: a body's beginning. A header that goes on for longer
/// than its bound and this is not read to its end.
pub const BEHIND_HEADER_BYTES: usize = 64 * 1024;

/// What the edge waits for the client to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Await {
    /// Nothing with a deadline here: keep-alive bounds an idle connection.
    Nothing,
    /// The rest of a request header.
    Header,
    /// More of a request body.
    Body,
}

impl Await {
    /// Why a connection ends that waited for this in vain, as it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_awaited",
            Self::Header => "header_too_slow",
            Self::Body => "body_stalled",
        }
    }
}

/// What bytes that came in mean for the deadline of what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It goes on as it was.
    Same,
    /// It starts anew.
    Anew,
    /// A header that never ends: nothing more is read.
    TooLarge,
}

/// Of one connection; its bytes and its requests share it.
#[derive(Debug)]
pub struct Pace {
    h2: bool,
    header_bytes_max: usize,
    header_bytes: AtomicUsize,
    /// The header of some request is on its way: from its first byte until the request begins.
    in_header: AtomicBool,
    /// Requests that are being answered.
    active: AtomicU32,
    /// Requests whose bodies are still awaited.
    bodies: AtomicU32,
}

impl Pace {
    /// Of a connection on which the first request is awaited.
    pub fn new(h2: bool, header_bytes_max: usize) -> Self {
        Self {
            h2,
            header_bytes_max,
            header_bytes: AtomicUsize::new(0),
            in_header: AtomicBool::new(true),
            active: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
        }
    }

    /// A request's header has arrived; `body`: more is to come.
    pub fn request_began(&self, body: bool) {
        if !self.h2 {
            self.in_header.store(false, Ordering::Relaxed);
            self.header_bytes.store(0, Ordering::Relaxed);
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        if body {
            self.bodies.fetch_add(1, Ordering::Relaxed);
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

    /// What is awaited now.
    pub fn awaited(&self) -> Await {
        let header = self.in_header.load(Ordering::Relaxed);
        match (self.has_bodies(), header) {
            // On HTTP/2 the header of a request may come between the pieces of another's body.
            (_, true) if self.h2 => Await::Header,
            (true, _) => Await::Body,
            (false, true) => Await::Header,
            (false, false) => Await::Nothing,
        }
    }

    /// Whether a body of a request is awaited.
    pub fn has_bodies(&self) -> bool {
        self.bodies.load(Ordering::Relaxed) > 0
    }

    /// Whether a request is being answered.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Bytes of a header are here, and it is not whole.
    pub fn header_began(&self) -> bool {
        self.header_bytes.load(Ordering::Relaxed) > 0
    }

    /// HTTP/2: a header is, or is not, half here.
    pub fn set_in_header(&self, half: bool) {
        self.in_header.store(half, Ordering::Relaxed);
    }

    /// Counts bytes that came in, and says what that means for the deadline.
    pub fn received(&self, n: usize) -> Received {
        match self.awaited() {
            // Each piece of a body earns more time.
            Await::Body => return Received::Anew,
            // On HTTP/2 frames of other kinds come and go between requests.
            _ if self.h2 => return Received::Same,
            // The header's deadline runs from its first byte and does not move: a drip earns nothing.
            Await::Header => {}
            // What comes during a request belongs to it (a WebSocket).
            Await::Nothing if self.is_active() => return Received::Anew,
            Await::Nothing => self.set_in_header(true),
        }
        let before = self.header_bytes.fetch_add(n, Ordering::Relaxed);
        if before + n > self.header_bytes_max + BEHIND_HEADER_BYTES {
            Received::TooLarge
        } else if before == 0 {
            Received::Anew
        } else {
            Received::Same
        }
    }
}
