//! WebSocket frames (RFC 6455, 5.2) as far as one must know where they end.

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The header so far.
    head: Vec<u8>,
    /// Bytes of the payload that are still to come.
    left: u64,
    /// Inside a message of several frames.
    open: bool,
    /// A close frame was sent: nothing may follow.
    closed: bool,
}

impl Frames {
    /// Takes the next bytes; where the last message in them ends, if one does.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut end = None;
        let mut at = 0;
        while at < bytes.len() {
            if self.left > 0 {
                let some = self.left.min((bytes.len() - at) as u64);
                self.left -= some;
                at += usize::try_from(some).unwrap_or(usize::MAX);
            } else {
                self.head.push(bytes[at]);
                at += 1;
                self.take_head();
            }
            if self.is_between() {
                end = Some(at);
            }
        }
        end
    }

    /// Whether a close frame may come next, with no message cut in two.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0 && !self.open && !self.closed
    }

    /// Reads the header, if all of it is there.
    fn take_head(&mut self) {
        let [first, second, ..] = *self.head.as_slice() else {
            return;
        };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.head.len() < 2 + extended + mask {
            return;
        }
        let extra = self.head[2..2 + extended].iter();
        self.left = match extended {
            0 => u64::from(second & 0x7f),
            _ => extra.fold(0, |all, &byte| all << 8 | u64::from(byte)),
        };
        let last = first & 0x80 != 0;
        match first & 0x0f {
            0..=2 => self.open = !last,
            8 => self.closed = true,
            // Control frames may stand between those of a message.
            _ => {}
        }
        self.head.clear();
    }
}

/// What tells a client that the service restarts (RFC 6455, 5.5.1; 1012 is in IANA's registry).
pub(super) const CLOSE_RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame from a server.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..=125 => frame.push(payload as u8),
            126..=0xffff => {
                frame.push(126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + payload, b'x');
        frame
    }

    #[test]
    fn messages_end_where_they_end_however_the_bytes_come() {
        let frames = [
            frame(0x81, 5),
            frame(0x82, 0),
            frame(0x89, 3),
            frame(0x01, 200),
            frame(0x89, 0), // A ping between the pieces.
            frame(0x80, 70_000),
            frame(0x81, 126),
        ];
        let ends_here = [true, true, true, false, false, true, true];
        let all = frames.concat();
        let mut expected = Vec::new();
        let mut at = 0;
        for (frame, ends) in frames.iter().zip(ends_here) {
            at += frame.len();
            if ends {
                expected.push(at);
            }
        }
        for step in [1, 2, 3, 7, 1_000, all.len()] {
            let mut reader = Frames::default();
            assert!(reader.is_between());
            let mut found = Vec::new();
            for (n, piece) in all.chunks(step).enumerate() {
                found.extend(reader.read(piece).map(|end| n * step + end));
            }
            // One piece tells of its last end alone.
            let told: Vec<usize> = expected
                .iter()
                .copied()
                .filter(|end| {
                    !expected
                        .iter()
                        .any(|other| other > end && (other - 1) / step == (end - 1) / step)
                })
                .collect();
            assert_eq!(found, told, "{step}");
        }
    }

    #[test]
    fn masked_frames_are_followed_and_nothing_comes_after_a_close() {
        let mut reader = Frames::default();
        assert_eq!(reader.read(&[0x81, 0x83, 1, 2, 3, 4, 9, 9, 9]), Some(9));
        assert_eq!(reader.read(&CLOSE_RESTART), None);
        assert!(!reader.is_between());
    }
}
