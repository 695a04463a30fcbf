//! Several ranges in one answer: `multipart/byteranges` (RFC 9110, section 14.6).

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// The bytes of one answer with several ranges: what stands between them is made beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// What comes before each range, and the range.
    pub pieces: Vec<(Bytes, Range<u64>)>,
    /// What comes after the last one.
    pub end: Bytes,
    /// Of all together.
    pub bytes: u64,
    /// The value of `Content-Type` that says where one ends.
    pub content_type: HeaderValue,
}

impl Parts {
    /// Frames ranges of something of that type and length; none where the system gives no random
    /// numbers: a boundary must not be known before.
    pub fn of(
        ranges: Vec<Range<u64>>,
        content_type: Option<&HeaderValue>,
        length: u64,
    ) -> Option<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let boundary = hex::encode(random);
        let pieces: Vec<(Bytes, Range<u64>)> = ranges
            .into_iter()
            .map(|range| {
                let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
                if let Some(content_type) = content_type {
                    head.extend_from_slice(b"Content-Type: ");
                    head.extend_from_slice(content_type.as_bytes());
                    head.extend_from_slice(b"\r\n");
                }
                let last = range.end - 1;
                let of = format!(
                    "Content-Range: bytes {}-{last}/{length}\r\n\r\n",
                    range.start
                );
                head.extend_from_slice(of.as_bytes());
                (head.into(), range)
            })
            .collect();
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let framed = pieces
            .iter()
            .map(|(head, range)| head.len() as u64 + (range.end - range.start));
        let bytes = framed.sum::<u64>() + end.len() as u64;
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        Some(Self {
            pieces,
            end,
            bytes,
            content_type: HeaderValue::try_from(content_type).ok()?,
        })
    }
}
