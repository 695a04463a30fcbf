//! Encodes at publish time, as small as the formats get, and reads every encoding back.

use std::io::{self, Write};

use brotli::enc::BrotliEncoderParams;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

use crate::digest::Digest;
use crate::manifest::Coding;

/// The codings that are tried, the better one first.
pub(super) const CODINGS: [Coding; 2] = [Coding::Br, Coding::Gzip];

const BR_QUALITY: i32 = 11;
/// 16 MiB: the largest window that every browser accepts.
const BR_LGWIN: i32 = 24;
const GZIP_LEVEL: i32 = 12;

/// What makes the bytes: another encoder or setting is another recipe, and its results lie elsewhere.
/// A test holds the versions to those of `Cargo.lock`.
fn recipe(coding: Coding) -> &'static str {
    match coding {
        Coding::Br => "br quality=11 lgwin=24 portable-float brotli=9.1.1",
        Coding::Gzip => "gzip level=12 libdeflater=1.26.1",
    }
}

/// Where an encoding of the bytes named by `source` is remembered.
pub(super) fn key(source: &Digest, coding: Coding) -> Digest {
    let mut framed = source.as_bytes().to_vec();
    framed.extend_from_slice(recipe(coding).as_bytes());
    Digest::of(&framed)
}

/// Encodes `bytes`; `None` when that would not be smaller.
///
/// # Errors
///
/// The encoder failed, or its output does not decode to the same bytes.
pub(super) fn encode(coding: Coding, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let encoded = match coding {
        Coding::Br => brotli(bytes)?,
        Coding::Gzip => match gzip(bytes)? {
            Some(encoded) => encoded,
            None => return Ok(None),
        },
    };
    if encoded.len() >= bytes.len() {
        return Ok(None);
    }
    decodes_to(coding, &encoded, bytes.len(), &Digest::of(bytes))?;
    Ok(Some(encoded))
}

/// Fails unless `encoded` decodes to the bytes of this length and digest.
pub(super) fn decodes_to(
    coding: Coding,
    encoded: &[u8],
    length: usize,
    digest: &Digest,
) -> Result<(), String> {
    let decoded = match coding {
        Coding::Br => {
            let mut sink = Capped::new(length);
            brotli::BrotliDecompress(&mut &*encoded, &mut sink)
                .map_err(|error| format!("it does not decode: {error}"))?;
            sink.bytes
        }
        Coding::Gzip => {
            let mut decoded = vec![0; length];
            let count = Decompressor::new()
                .gzip_decompress(encoded, &mut decoded)
                .map_err(|error| format!("it does not decode: {error}"))?;
            decoded.truncate(count);
            decoded
        }
    };
    if decoded.len() != length || Digest::of(&decoded) != *digest {
        return Err("it decodes to other bytes".to_owned());
    }
    Ok(())
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let params = BrotliEncoderParams {
        quality: BR_QUALITY,
        lgwin: BR_LGWIN,
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let mut encoded = Vec::with_capacity(bytes.len() / 3);
    brotli::BrotliCompress(&mut &*bytes, &mut encoded, &params)
        .map_err(|error| error.to_string())?;
    Ok(encoded)
}

/// One buffer of the source's size is all that a useful result needs.
fn gzip(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let level = CompressionLvl::new(GZIP_LEVEL).map_err(|_| "level 12 is unknown".to_owned())?;
    let mut encoded = vec![0; bytes.len()];
    match Compressor::new(level).gzip_compress(bytes, &mut encoded) {
        Ok(count) => {
            encoded.truncate(count);
            Ok(Some(encoded))
        }
        Err(libdeflater::CompressionError::InsufficientSpace) => Ok(None),
    }
}

/// Decoded bytes, of which there can be no more than there should be.
pub(super) struct Capped {
    pub(super) bytes: Vec<u8>,
    length: usize,
}

impl Capped {
    pub(super) fn new(length: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(length),
            length,
        }
    }
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.length {
            return Err(io::Error::other("it decodes to more bytes than it should"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_encoding_is_smaller_and_decodes_or_there_is_none(
            bytes in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..3000)
        ) {
            for coding in CODINGS {
                let first = encode(coding, &bytes).expect("it encodes");
                prop_assert_eq!(&first, &encode(coding, &bytes).expect("it encodes"));
                if let Some(encoded) = first {
                    prop_assert!(encoded.len() < bytes.len());
                    let digest = Digest::of(&bytes);
                    prop_assert!(decodes_to(coding, &encoded, bytes.len(), &digest).is_ok());
                }
            }
        }

        #[test]
        fn junk_is_an_error_and_no_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in CODINGS {
                prop_assert!(decodes_to(coding, &junk, 10, &Digest::of(b"0123456789")).is_err());
            }
        }
    }

    #[test]
    fn a_longer_or_shorter_text_is_another_one() {
        let text = "to and fro ".repeat(100);
        for coding in CODINGS {
            let encoded = encode(coding, text.as_bytes())
                .expect("it encodes")
                .expect("it is smaller");
            let digest = Digest::of(text.as_bytes());
            for length in [0, text.len() - 1, text.len() + 1] {
                assert!(decodes_to(coding, &encoded, length, &digest).is_err());
            }
        }
    }

    #[test]
    fn a_recipe_names_the_version_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        for coding in CODINGS {
            let (name, version) = recipe(coding)
                .rsplit_once(' ')
                .and_then(|(_, encoder)| encoder.split_once('='))
                .expect("a recipe ends with its encoder");
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} {version} is not locked");
        }
    }
}
