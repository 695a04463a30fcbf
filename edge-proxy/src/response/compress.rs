//! Compression of answers that pass through.
//!
//! Files and cached reads never come here: their codings are made once. Each piece is flushed as it
//! comes, since nobody can tell whether the origin pauses after it. HTML and JSON may hold a secret
//! beside what an attacker can choose (BREACH), so their length is blurred: with a name of random
//! length in gzip's header (RFC 1952, 2.3.1) or a metadata block in brotli (RFC 7932, 9.2). zstd
//! could hold a skippable frame, but browsers take its end for the end of the answer, so it is not
//! used where length must be blurred.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, VARY,
};
use pingora_http::ResponseHeader;

use super::negotiate::Coding;

/// Below this the header costs more than is saved.
const BYTES_MIN: u64 = 1024;
/// Quality 4 costs about what gzip 6 does and saves about a seventh of its bytes.
const BR_QUALITY: u32 = 4;
const BR_WINDOW: u32 = 20;
const BR_BUFFER: usize = 4096;
const GZIP_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 3;
/// Guessing a byte of a secret then takes about this many times squared as many requests.
const PAD_BYTES_MAX: u8 = 128;

/// What of an answer may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressible {
    /// No secrets: any coding.
    Plain,
    /// May hold a secret: the length is blurred.
    Secret,
}

impl Compressible {
    /// Whether an answer may be compressed at all.
    pub fn of(header: &ResponseHeader) -> Option<Self> {
        let fields = &header.headers;
        let whole = header.status.is_success()
            && !matches!(
                header.status,
                StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT
            )
            && !fields.contains_key(CONTENT_ENCODING)
            && !fields.contains_key(CONTENT_RANGE);
        let text = |name| fields.get(name).and_then(|value| value.to_str().ok());
        let untouchable = fields.get_all(CACHE_CONTROL).iter().any(|value| {
            value.to_str().map_or(true, |text| {
                text.to_ascii_lowercase().contains("no-transform")
            })
        });
        let long = text(CONTENT_LENGTH)
            .is_none_or(|length| length.parse().is_ok_and(|n: u64| n >= BYTES_MIN));
        if !whole || untouchable || !long {
            return None;
        }
        let essence = text(CONTENT_TYPE)?
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "text/html" | "application/json" | "application/problem+json" | "text/x-component" => {
                Some(Self::Secret)
            }
            "text/javascript" | "application/javascript" | "text/css" | "image/svg+xml" => {
                Some(Self::Plain)
            }
            _ => None,
        }
    }

    /// The codings that suit, best first.
    pub fn codings(self) -> &'static [Coding] {
        match self {
            Self::Plain => &[Coding::Br, Coding::Zstd, Coding::Gzip],
            Self::Secret => &[Coding::Br, Coding::Gzip],
        }
    }
}

/// Says in the header that the body is encoded.
///
/// # Errors
/// Never: all values are plain text.
pub fn announce(header: &mut ResponseHeader, coding: Coding) -> pingora_core::Result<()> {
    header.insert_header(CONTENT_ENCODING, coding.as_str())?;
    header.remove_header(&CONTENT_LENGTH);
    header.remove_header(&ACCEPT_RANGES);
    // The bytes are no longer those that a strong validator names (RFC 9110, 8.8.1).
    let strong = header
        .headers
        .get(ETAG)
        .filter(|etag| etag.as_bytes().starts_with(b"\""))
        .cloned();
    if let Some(etag) = strong {
        header.insert_header(ETAG, [b"W/", etag.as_bytes()].concat())?;
    }
    Ok(())
}

/// Says that the answer depends on what the client accepts, whether or not it was encoded.
///
/// # Errors
/// Never: all values are plain text.
pub fn vary(header: &mut ResponseHeader) -> pingora_core::Result<()> {
    let named = header.headers.get_all(VARY).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',').any(|name| {
                matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("accept-encoding")
            })
        })
    });
    if !named {
        header.append_header(VARY, "accept-encoding")?;
    }
    Ok(())
}

/// Encodes one answer, piece by piece.
pub struct Encoder {
    sink: Sink,
    pad: Option<usize>,
}

enum Sink {
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// Starts an answer.
    ///
    /// # Errors
    /// When the encoder cannot be made.
    pub fn new(coding: Coding, compressible: Compressible) -> io::Result<Self> {
        let pad = (compressible == Compressible::Secret)
            .then(|| usize::from(rand::random_range(1..=PAD_BYTES_MAX)));
        let sink = match coding {
            Coding::Br => Sink::Br(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BR_BUFFER,
                BR_QUALITY,
                BR_WINDOW,
            ))),
            Coding::Gzip => {
                let name = vec![b'-'; pad.unwrap_or(0)];
                let header = if pad.is_some() {
                    GzBuilder::new().filename(name)
                } else {
                    GzBuilder::new()
                };
                Sink::Gzip(Box::new(
                    header.write(Vec::new(), Compression::new(GZIP_LEVEL)),
                ))
            }
            Coding::Zstd => Sink::Zstd(Box::new(zstd::stream::write::Encoder::new(
                Vec::new(),
                ZSTD_LEVEL,
            )?)),
            Coding::Identity | Coding::Dcb | Coding::Dcz => {
                return Err(io::Error::other(
                    "no encoder makes this while an answer passes",
                ));
            }
        };
        Ok(Self { sink, pad })
    }

    /// Takes a piece and gives what can be sent now, which decodes to all that was taken.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        let out = match &mut self.sink {
            Sink::Br(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Sink::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Sink::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
        };
        Ok(self.padded(out).into())
    }

    /// Takes the last piece and gives the rest.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn finish(mut self, piece: &[u8]) -> io::Result<Bytes> {
        let mut out = Vec::new();
        if self.pad.is_some() && matches!(self.sink, Sink::Br(_)) {
            // The metadata block needs a flush in front of it.
            out.extend_from_slice(&self.push(piece)?);
        } else {
            match &mut self.sink {
                Sink::Br(encoder) => encoder.write_all(piece)?,
                Sink::Gzip(encoder) => encoder.write_all(piece)?,
                Sink::Zstd(encoder) => encoder.write_all(piece)?,
            }
        }
        out.extend(match self.sink {
            Sink::Br(encoder) => encoder.into_inner(),
            Sink::Gzip(encoder) => encoder.finish()?,
            Sink::Zstd(encoder) => encoder.finish()?,
        });
        Ok(out.into())
    }

    /// After brotli's first flush, which ends on a whole byte, a metadata block of random length.
    fn padded(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        if matches!(self.sink, Sink::Br(_))
            && !out.is_empty()
            && let Some(pad) = self.pad.take()
        {
            // ISLAST 0, MNIBBLES 3 (metadata), reserved 0, MSKIPBYTES 1, then the length less one.
            let head = 0b01_0110 | ((pad as u16 - 1) << 6);
            out.extend_from_slice(&head.to_le_bytes());
            out.resize(out.len() + pad, 0);
        }
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use super::*;

    pub(crate) fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Br => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Coding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).and_then(|mut d| d.read_to_end(&mut out))
            }
            Coding::Identity | Coding::Dcb | Coding::Dcz => panic!("nothing to decode"),
        }
        .expect("what was encoded decodes");
        out
    }

    /// Decodes what is there so far: a stream that is not yet at its end.
    fn decode_so_far(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reader: Box<dyn Read> = match coding {
            Coding::Br => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
            Coding::Identity | Coding::Dcb | Coding::Dcz => panic!("nothing to decode"),
        };
        let mut buf = [0; 512];
        while let Ok(n) = reader.read(&mut buf) {
            if n == 0 {
                break;
            }
            out.extend_from_slice(&buf[..n]);
        }
        out
    }

    const ALL: [Coding; 3] = [Coding::Br, Coding::Gzip, Coding::Zstd];

    #[test]
    fn every_piece_can_be_read_as_soon_as_it_was_sent() {
        for coding in ALL {
            for compressible in [Compressible::Plain, Compressible::Secret] {
                let mut encoder = Encoder::new(coding, compressible).expect("an encoder");
                let mut sent = Vec::new();
                let mut taken = Vec::new();
                for n in 0..20 {
                    let piece = format!("<p>piece {n} of an answer that streams</p>\n").repeat(n);
                    taken.extend_from_slice(piece.as_bytes());
                    sent.extend_from_slice(&encoder.push(piece.as_bytes()).expect("a flush"));
                    assert_eq!(
                        decode_so_far(coding, &sent),
                        taken,
                        "{coding:?} after piece {n}"
                    );
                }
                sent.extend_from_slice(&encoder.finish(b"the end").expect("an end"));
                taken.extend_from_slice(b"the end");
                assert_eq!(decode(coding, &sent), taken);
            }
        }
    }

    #[test]
    fn the_length_of_a_secret_is_blurred() {
        for coding in [Coding::Br, Coding::Gzip] {
            let lengths: std::collections::BTreeSet<usize> = (0..64)
                .map(|_| {
                    let encoder = Encoder::new(coding, Compressible::Secret).expect("an encoder");
                    let whole = encoder
                        .finish(b"the same answer each time")
                        .expect("an end");
                    assert_eq!(decode(coding, &whole), b"the same answer each time");
                    whole.len()
                })
                .collect();
            assert!(
                lengths.len() > 10,
                "{coding:?} had {} lengths",
                lengths.len()
            );
        }
    }

    #[test]
    fn only_whole_texts_of_some_length_are_compressed() {
        let header = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut header = ResponseHeader::build(status, None).expect("a header");
            for (name, value) in fields {
                header.append_header(*name, *value).expect("a field");
            }
            Compressible::of(&header)
        };
        let html = ("content-type", "text/HTML; charset=utf-8");
        assert_eq!(header(200, &[html]), Some(Compressible::Secret));
        assert_eq!(
            header(200, &[html, ("content-length", "1024")]),
            Some(Compressible::Secret)
        );
        assert_eq!(
            header(200, &[("content-type", "text/css")]),
            Some(Compressible::Plain)
        );
        for fields in [
            vec![html, ("content-length", "1023")],
            vec![html, ("content-encoding", "gzip")],
            vec![html, ("cache-control", "private, No-Transform")],
            vec![html, ("content-range", "bytes 0-1/2")],
            vec![("content-type", "text/event-stream")],
            vec![("content-type", "image/png")],
            vec![],
        ] {
            assert_eq!(header(200, &fields), None, "{fields:?}");
        }
        assert_eq!(header(206, &[html]), None);
        assert_eq!(header(204, &[html]), None);
    }
}
