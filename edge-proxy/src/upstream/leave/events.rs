//! The body of an event stream, in chunks or until the connection ends, as far as one must know where events end.

/// How the body says that it ends (RFC 9112, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In chunks.
    Chunked,
    /// With the connection.
    Close,
}

/// Follows the body of an event stream.
#[derive(Debug)]
pub(super) struct Events {
    chunk: Chunk,
    /// Nothing has begun after the last blank line.
    fresh: bool,
    /// Bytes of the line so far; a line end of two bytes is one.
    line_empty: bool,
    after_cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// There are none: every byte is text.
    None,
    /// The line with the size; its digits so far.
    Size {
        bytes: u64,
        begun: bool,
        skip: bool,
    },
    Data {
        left: u64,
    },
    /// The line end after the data; how much of it is there.
    End(u8),
    /// The last chunk or what is none was seen: it ends by itself.
    Over,
}

const SIZE: Chunk = Chunk::Size {
    bytes: 0,
    begun: false,
    skip: false,
};

impl Events {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            chunk: match framing {
                Framing::Chunked => SIZE,
                Framing::Close => Chunk::None,
            },
            fresh: true,
            line_empty: true,
            after_cr: false,
        }
    }

    /// Takes the next bytes; where the last event in them ends, if one does.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut end = None;
        for (at, &byte) in bytes.iter().enumerate() {
            self.take(byte);
            if self.is_between() {
                end = Some(at + 1);
            }
        }
        end
    }

    /// Whether the stream may end here, with no event cut in two.
    pub(super) fn is_between(&self) -> bool {
        self.fresh && matches!(self.chunk, Chunk::None | SIZE)
    }

    /// Says when to come back, and ends the body.
    pub(super) fn farewell(&self, retry_ms: u32) -> Vec<u8> {
        let said = format!("retry: {retry_ms}\n\n");
        match self.chunk {
            Chunk::None => said.into_bytes(),
            _ => format!("{:x}\r\n{said}\r\n0\r\n\r\n", said.len()).into_bytes(),
        }
    }

    fn take(&mut self, byte: u8) {
        self.chunk = match self.chunk {
            Chunk::None => {
                self.take_text(byte);
                Chunk::None
            }
            Chunk::Size { bytes, begun, skip } => match byte {
                b'\n' if bytes > 0 => Chunk::Data { left: bytes },
                b'\n' => Chunk::Over,
                b'\r' => Chunk::Size { bytes, begun, skip },
                _ if skip => Chunk::Size { bytes, begun, skip },
                b';' => Chunk::Size {
                    bytes,
                    begun,
                    skip: true,
                },
                _ => match (byte as char).to_digit(16) {
                    Some(digit) if bytes < 1 << 56 => Chunk::Size {
                        bytes: bytes << 4 | u64::from(digit),
                        begun: true,
                        skip,
                    },
                    _ => Chunk::Over,
                },
            },
            Chunk::Data { left } => {
                self.take_text(byte);
                match left {
                    1 => Chunk::End(0),
                    _ => Chunk::Data { left: left - 1 },
                }
            }
            Chunk::End(0) if byte == b'\r' => Chunk::End(1),
            Chunk::End(1) if byte == b'\n' => SIZE,
            Chunk::End(_) | Chunk::Over => Chunk::Over,
        };
    }

    fn take_text(&mut self, byte: u8) {
        let second = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
        match byte {
            b'\n' if second => {}
            b'\r' | b'\n' => {
                self.fresh = self.line_empty;
                self.line_empty = true;
            }
            _ => {
                self.fresh = false;
                self.line_empty = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(framing: Framing, pieces: &[&str]) -> Vec<bool> {
        let mut events = Events::new(framing);
        let mut between = vec![events.is_between()];
        for piece in pieces {
            let end = events.read(piece.as_bytes());
            assert_eq!(end == Some(piece.len()), events.is_between(), "{piece:?}");
            between.push(events.is_between());
        }
        between
    }

    #[test]
    fn an_event_ends_with_a_blank_line_in_any_spelling() {
        for line in ["\n", "\r\n", "\r"] {
            let event = format!("data: a{line}{line}");
            let open = format!("data: b{line}");
            let blank = line;
            let comment = format!(": ping{line}{line}");
            assert_eq!(
                ends(Framing::Close, &[&event, &open, blank, &comment, "d"]),
                [true, true, false, true, true, false],
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_stream_in_chunks_ends_only_between_chunks() {
        assert_eq!(
            ends(
                Framing::Chunked,
                &[
                    "9\r\ndata: a\n\n",
                    "\r\n",
                    "8;x=1\r\ndata: b\n\r\n",
                    "1\r\n\n\r\n",
                    "0",
                    "\r\n\r\n",
                ]
            ),
            [true, false, true, false, true, false, false],
        );
        let mut events = Events::new(Framing::Chunked);
        let two = "9\r\ndata: a\n\n\r\n9\r\ndata";
        assert_eq!(events.read(two.as_bytes()), Some(14));
        // What is no chunk is left alone.
        assert_eq!(
            ends(Framing::Chunked, &["zz", "\r\n\r\n"]),
            [true, false, false]
        );
    }

    #[test]
    fn the_farewell_is_an_event_and_the_end() {
        let chunked = Events::new(Framing::Chunked).farewell(1_500);
        assert_eq!(chunked, b"d\r\nretry: 1500\n\n\r\n0\r\n\r\n");
        let plain = Events::new(Framing::Close).farewell(1_500);
        assert_eq!(plain, b"retry: 1500\n\n");
    }
}
