//! What an answer is, told by its header: an event stream, a WebSocket, or something that is left alone.

use super::events::{Events, Framing};
use super::frames::{CLOSE_RESTART, Frames};

/// A header that is longer says nothing to us.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Clients come back spread over this time, so that they do not come at once.
const RETRY_MS: std::ops::Range<u32> = 500..3_500;

/// Follows an answer from its first byte.
#[derive(Debug)]
pub(super) enum Answer {
    /// The header so far.
    Head(Vec<u8>),
    /// An event stream.
    Events(Events),
    /// Frames from the origin.
    WebSocket(Frames),
    /// Passed as it is to its end.
    Other,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    Events,
    WebSocket,
}

impl Default for Answer {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Answer {
    /// Takes the next bytes; where the last event or message in them ends, if one does.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Other => None,
            Self::Events(events) => events.read(bytes),
            Self::WebSocket(frames) => frames.read(bytes),
            Self::Head(head) => {
                let before = head.len();
                head.extend_from_slice(bytes);
                let from = before.saturating_sub(3);
                let Some(end) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
                    if head.len() > HEAD_BYTES_MAX {
                        *self = Self::Other;
                    }
                    return None;
                };
                let end = from + end + 4;
                let next = told(&head[..end]);
                // A header that ends in these bytes began to end in them.
                let rest = end - before;
                *self = next;
                let within = self.read(&bytes[rest..]);
                let between = self.is_between() && bytes.len() == rest;
                within.map(|at| rest + at).or(between.then_some(rest))
            }
        }
    }

    /// Whether it may end here.
    pub(super) fn is_between(&self) -> bool {
        match self {
            Self::Head(_) | Self::Other => false,
            Self::Events(events) => events.is_between(),
            Self::WebSocket(frames) => frames.is_between(),
        }
    }

    /// The bytes that end it well, if it is one that can be ended.
    pub(super) fn farewell(&self) -> Option<(Vec<u8>, Farewell)> {
        match self {
            Self::Head(_) | Self::Other => None,
            Self::Events(events) => {
                let retry_ms = rand::random_range(RETRY_MS);
                Some((events.farewell(retry_ms), Farewell::Events))
            }
            Self::WebSocket(_) => Some((CLOSE_RESTART.to_vec(), Farewell::WebSocket)),
        }
    }
}

/// What follows a header.
fn told(head: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let fields: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let field = |wanted: &str| {
        let mut found = fields.iter().filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| *value)
    };
    let encoded = field("content-encoding").is_some_and(|coding| coding != "identity");
    match status {
        Some("101") if field("upgrade") == Some("websocket") => {
            Answer::WebSocket(Frames::default())
        }
        Some("101") => Answer::Other,
        // Another header follows.
        Some(status) if status.starts_with('1') => Answer::default(),
        Some("200") if !encoded => {
            let kind = field("content-type").unwrap_or_default();
            let framing = match (field("transfer-encoding"), field("content-length")) {
                (Some("chunked"), _) => Some(Framing::Chunked),
                (None, None) => Some(Framing::Close),
                _ => None,
            };
            match framing {
                Some(framing) if kind.starts_with("text/event-stream") => {
                    Answer::Events(Events::new(framing))
                }
                _ => Answer::Other,
            }
        }
        _ => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    const SOCKET: &str =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";

    #[test]
    fn a_header_says_what_follows_however_it_comes() {
        let head = format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{STREAM}");
        for step in [1, 5, head.len()] {
            let mut answer = Answer::default();
            let mut last = None;
            for piece in head.as_bytes().chunks(step) {
                last = answer.read(piece).map(|end| end == piece.len());
            }
            assert!(matches!(answer, Answer::Events(_)), "{answer:?}");
            assert_eq!(
                last,
                Some(true),
                "an event stream may end before its first event"
            );
            assert!(answer.is_between());
        }
        let mut answer = Answer::default();
        let bytes = [SOCKET.as_bytes(), &[0x81, 1, b'x', 0x81]].concat();
        assert_eq!(answer.read(&bytes), Some(SOCKET.len() + 3));
        assert!(!answer.is_between());
    }

    #[test]
    fn what_is_neither_is_left_alone() {
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/event-stream\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: tus\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let mut answer = Answer::default();
            assert_eq!(answer.read(head.as_bytes()), None, "{head}");
            assert!(matches!(answer, Answer::Other), "{head}: {answer:?}");
            assert!(answer.farewell().is_none());
        }
        let mut answer = Answer::default();
        answer.read(&vec![b'a'; HEAD_BYTES_MAX + 1]);
        assert!(matches!(answer, Answer::Other));
    }
}
