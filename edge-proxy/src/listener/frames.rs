//! What goes by on an HTTP/2 connection, frame by frame, without a look into what frames hold.
//!
//! The `h2` crate and pingora speak the protocol. This stands before them for what they do not tell
//! or bound: whether the header of a request is half here (so that it has a deadline), how many
//! frames come that cost work and bring no request (resets, PING, SETTINGS, empty DATA, CONTINUATION),
//! and the plain rules of RFC 9113, 6, so that each breach has a reason that is counted. Towards the
//! client it reads which errors the edge itself tells ([`Outgoing`]).

use std::time::{Duration, Instant};

/// `PRI * HTTP/2.0` and what belongs to it (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
/// The edge announces no other (RFC 9113, 6.5.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// A header that is over its bound is refused with 431, so more than the bound must be let through;
/// this is where reading it ends.
const BLOCK_BYTES_MAX: u32 = 128 * 1024;
/// Frames of one header: eight full ones hold the largest. Small pieces are no way to send a header.
const BLOCK_FRAMES_MAX: u8 = 16;
/// Over which the budgets are meant.
const BUDGET: Duration = Duration::from_secs(10);
/// A request may reprioritise a few times for free.
const CONTROL_PER_REQUEST: u32 = 4;
/// Window updates that are free, and what has to be sent to a client for each one after these.
const WINDOW_UPDATES_FREE: u64 = 1000;
const WINDOW_UPDATE_BYTES: u64 = 512;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// RFC 9113, 7.
pub(super) const PROTOCOL_ERROR: u8 = 0x1;
pub(super) const ENHANCE_YOUR_CALM: u8 = 0xb;

/// Why a connection ends: as it is counted, and as the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// As it is counted.
    pub reason: &'static str,
    /// Of RFC 9113, 7.
    pub code: u8,
}

/// How often a client may do what brings no request, in ten seconds.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// RST_STREAM.
    pub resets: u32,
    /// PING, SETTINGS, PRIORITY, empty DATA, unknown types.
    pub control: u32,
}

/// The frames of a client.
pub struct Incoming {
    limits: FrameLimits,
    resets: Budget,
    control: Budget,
    window_updates: u64,
    preface: usize,
    head: [u8; HEAD_BYTES],
    had: usize,
    /// Of the payload of the frame that is under way.
    left: u32,
    /// The frame under way is part of a header.
    of_header: bool,
    settled: bool,
    block: Option<Block>,
    headers: u32,
}

/// A header that is not whole yet.
struct Block {
    stream: u32,
    frames: u8,
    bytes: u32,
}

struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Incoming {
    /// Nothing came yet.
    pub fn new(limits: FrameLimits, now: Instant) -> Self {
        Self {
            limits,
            resets: Budget::new(limits.resets, now),
            control: Budget::new(limits.control, now),
            window_updates: 0,
            preface: 0,
            head: [0; HEAD_BYTES],
            had: 0,
            left: 0,
            of_header: false,
            settled: false,
            block: None,
            headers: 0,
        }
    }

    /// Bytes that came, in the order in which they came; `sent`: bytes that went out so far.
    ///
    /// # Errors
    /// When they break the rules, or are too many.
    pub fn read(&mut self, mut bytes: &[u8], now: Instant, sent: u64) -> Result<(), Breach> {
        while !bytes.is_empty() {
            if self.preface < PREFACE.len() {
                let n = bytes.len().min(PREFACE.len() - self.preface);
                if bytes[..n] != PREFACE[self.preface..self.preface + n] {
                    return broken("h2_bad_preface");
                }
                self.preface += n;
                bytes = &bytes[n..];
            } else if self.left > 0 {
                let n = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= u32::try_from(n).unwrap_or(self.left);
                bytes = &bytes[n..];
            } else {
                let n = bytes.len().min(HEAD_BYTES - self.had);
                self.head[self.had..self.had + n].copy_from_slice(&bytes[..n]);
                self.had += n;
                bytes = &bytes[n..];
                if self.had == HEAD_BYTES {
                    self.had = 0;
                    let head = Head::of(&self.head);
                    self.begin(&head, now, sent)?;
                    self.left = head.length;
                }
            }
            self.end_block();
        }
        Ok(())
    }

    /// Headers that are here whole, one after the other.
    pub fn headers(&self) -> u32 {
        self.headers
    }

    /// The connection's beginning or the header of a request is half here.
    pub fn in_header(&self) -> bool {
        !self.settled || self.block.is_some()
    }

    /// A frame has begun and is not whole.
    pub fn in_frame(&self) -> bool {
        self.had > 0 || self.left > 0
    }

    fn begin(&mut self, head: &Head, now: Instant, sent: u64) -> Result<(), Breach> {
        if head.length > FRAME_BYTES_MAX {
            return broken("h2_frame_too_large");
        }
        if !self.settled && (head.kind != 4 || head.flags & ACK != 0) {
            return broken("h2_no_settings_first");
        }
        self.settled = true;
        if let Some(block) = &mut self.block {
            if head.kind != 9 || head.stream != block.stream {
                return broken("h2_header_interrupted");
            }
            block.frames += 1;
            block.bytes = block.bytes.saturating_add(head.length);
            if block.frames >= BLOCK_FRAMES_MAX || block.bytes > BLOCK_BYTES_MAX {
                return calm("h2_continuation_flood");
            }
            self.of_header = head.flags & END_HEADERS != 0;
            return Ok(());
        }
        let of_client = head.stream % 2 == 1;
        match head.kind {
            0 if !of_client => broken("h2_bad_stream"),
            0 if head.length == 0 && head.flags & END_STREAM == 0 => {
                self.control
                    .take(1, self.limits.control, now, "h2_empty_data_flood")
            }
            0 => Ok(()),
            1 if !of_client => broken("h2_bad_stream"),
            1 => {
                self.control.give(CONTROL_PER_REQUEST, self.limits.control);
                self.of_header = head.flags & END_HEADERS != 0;
                self.block = Some(Block {
                    stream: head.stream,
                    frames: 0,
                    bytes: head.length,
                });
                Ok(())
            }
            2 if head.length != 5 => broken("h2_bad_frame_length"),
            2 if head.stream == 0 => broken("h2_bad_stream"),
            2 => self
                .control
                .take(1, self.limits.control, now, "h2_priority_flood"),
            3 if head.length != 4 => broken("h2_bad_frame_length"),
            3 if !of_client => broken("h2_bad_stream"),
            3 => self
                .resets
                .take(1, self.limits.resets, now, "h2_reset_flood"),
            4 | 6 | 7 if head.stream != 0 => broken("h2_bad_stream"),
            4 if head.flags & ACK != 0 && head.length != 0 => broken("h2_bad_frame_length"),
            4 if !head.length.is_multiple_of(6) => broken("h2_bad_frame_length"),
            4 => self
                .control
                .take(1, self.limits.control, now, "h2_settings_flood"),
            5 => broken("h2_push_from_client"),
            6 if head.length != 8 => broken("h2_bad_frame_length"),
            6 => self
                .control
                .take(1, self.limits.control, now, "h2_ping_flood"),
            7 if head.length < 8 => broken("h2_bad_frame_length"),
            7 => Ok(()),
            8 if head.length != 4 => broken("h2_bad_frame_length"),
            8 => {
                self.window_updates += 1;
                if self.window_updates > WINDOW_UPDATES_FREE + sent / WINDOW_UPDATE_BYTES {
                    return calm("h2_window_flood");
                }
                Ok(())
            }
            9 => broken("h2_header_interrupted"),
            _ => self
                .control
                .take(1, self.limits.control, now, "h2_unknown_frame_flood"),
        }
    }

    /// After the last byte of a header's last frame.
    fn end_block(&mut self) {
        if self.of_header && self.had == 0 && self.left == 0 {
            self.of_header = false;
            self.block = None;
            self.headers = self.headers.wrapping_add(1);
        }
    }
}

impl Head {
    fn of(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l1, l2, l3]),
            kind,
            flags,
            stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]),
        }
    }
}

fn broken(reason: &'static str) -> Result<(), Breach> {
    Err(Breach {
        reason,
        code: PROTOCOL_ERROR,
    })
}

fn calm(reason: &'static str) -> Result<(), Breach> {
    Err(Breach {
        reason,
        code: ENHANCE_YOUR_CALM,
    })
}

/// So many at once, and as many again in ten seconds.
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(max: u32, now: Instant) -> Self {
        Self {
            left: max,
            since: now,
        }
    }

    fn take(&mut self, n: u32, max: u32, now: Instant, reason: &'static str) -> Result<(), Breach> {
        if self.left < n {
            let earned =
                u128::from(max) * now.duration_since(self.since).as_millis() / BUDGET.as_millis();
            if earned > 0 {
                self.give(u32::try_from(earned).unwrap_or(max), max);
                self.since = now;
            }
        }
        match self.left.checked_sub(n) {
            Some(left) => {
                if self.left == max {
                    // Nothing was earned while it was full.
                    self.since = now;
                }
                self.left = left;
                Ok(())
            }
            None => calm(reason),
        }
    }

    fn give(&mut self, n: u32, max: u32) {
        self.left = self.left.saturating_add(n).min(max);
    }
}

/// The frames of the edge: which errors it tells a client.
#[derive(Default)]
pub(super) struct Outgoing {
    head: [u8; HEAD_BYTES],
    had: usize,
    left: u32,
    /// The first bytes of an error's payload; the code is the last four of what is wanted.
    payload: [u8; 8],
    payload_had: usize,
    payload_wanted: usize,
}

impl Outgoing {
    /// Bytes that go out, in their order; `told` gets a word for each error.
    pub(super) fn wrote(&mut self, mut bytes: &[u8], mut told: impl FnMut(&'static str)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let of_code = n.min(self.payload_wanted - self.payload_had);
                let end = self.payload_had + of_code;
                self.payload[self.payload_had..end].copy_from_slice(&bytes[..of_code]);
                self.payload_had = end;
                if of_code > 0 && end == self.payload_wanted {
                    let mut code = [0; 4];
                    code.copy_from_slice(&self.payload[end - 4..end]);
                    if let Some(word) = word(u32::from_be_bytes(code)) {
                        told(word);
                    }
                }
                self.left -= u32::try_from(n).unwrap_or(self.left);
                bytes = &bytes[n..];
            } else {
                let n = bytes.len().min(HEAD_BYTES - self.had);
                self.head[self.had..self.had + n].copy_from_slice(&bytes[..n]);
                self.had += n;
                bytes = &bytes[n..];
                if self.had == HEAD_BYTES {
                    self.had = 0;
                    let head = Head::of(&self.head);
                    self.left = head.length;
                    self.payload_had = 0;
                    self.payload_wanted = match head.kind {
                        3 => 4,
                        7 => 8,
                        _ => 0,
                    };
                }
            }
        }
    }

    /// A frame of ours may be put here.
    pub(super) fn between_frames(&self) -> bool {
        self.left == 0 && self.had == 0
    }
}

/// The last frame of a connection that the edge ends.
pub(super) fn goodbye(code: u8) -> [u8; 17] {
    let mut frame = [0; 17];
    frame[2] = 8;
    frame[3] = 7;
    frame[16] = code;
    frame
}

/// The errors that are the client's fault (RFC 9113, 7). Others end streams every day.
fn word(code: u32) -> Option<&'static str> {
    Some(match code {
        0x1 => "h2_protocol_error",
        0x3 => "h2_flow_control_error",
        0x5 => "h2_stream_closed",
        0x6 => "h2_frame_size_error",
        0x7 => "h2_too_many_streams",
        0x9 => "h2_compression_error",
        0xb => "h2_enhance_your_calm",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
