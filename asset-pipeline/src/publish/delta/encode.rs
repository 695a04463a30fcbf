//! Writes a file as what differs from another one, and reads every difference back (RFC 9842).
//!
//! ```text
//! dcb   ff 44 43 42                + 32 bytes: SHA-256 of the dictionary + Brotli stream
//! dcz   5e 2a 4d 18 20 00 00 00    + 32 bytes: SHA-256 of the dictionary + Zstandard frame
//! ```

use std::io::{self, Read as _, Write as _};

use brotli::enc::{BrotliCompressCustomIoCustomDict, BrotliEncoderParams, StandardAlloc};
use brotli::{IoReaderWrapper, IoWriterWrapper};
use zstd::zstd_safe::CParameter;

use crate::digest::Digest;
use crate::manifest::{Blob, DeltaCoding};
use crate::publish::compress::Capped;

const DCB_MAGIC: [u8; 4] = [0xff, 0x44, 0x43, 0x42];
/// A skippable frame of 32 bytes, so that the whole is a legal Zstandard stream.
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];

const BR_QUALITY: i32 = 11;
/// The largest window that every browser accepts; the dictionary and the file must fit into it.
const BR_LGWIN_MAX: i32 = 24;
const BR_LGWIN_MIN: i32 = 16;
const ZSTD_LEVEL: i32 = 19;
/// 8 MiB: what every client of `dcz` must be able to hold.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const ZSTD_WINDOW_LOG_MIN: u32 = 10;

/// The dictionary and the file, together: half of the largest window, so that both codings reach
/// back to the dictionary's first byte from the file's last one.
pub(super) const BYTES_MAX: u64 = 1 << ZSTD_WINDOW_LOG_MAX;

/// What makes the bytes: another encoder or setting is another recipe.
fn recipe(coding: DeltaCoding) -> &'static str {
    match coding {
        DeltaCoding::Dcb => "dcb quality=11 portable-float brotli=9.1.1",
        DeltaCoding::Dcz => "dcz level=19 zstd-sys=2.1.2+zstd.1.5.7",
    }
}

/// Where a delta is remembered, or that it is larger than `bytes_max`.
pub(super) fn key(source: &Digest, from: &Blob, coding: DeltaCoding, bytes_max: u64) -> Digest {
    let mut framed = source.as_bytes().to_vec();
    framed.extend_from_slice(from.digest.as_bytes());
    framed.extend_from_slice(&bytes_max.to_le_bytes());
    framed.extend_from_slice(recipe(coding).as_bytes());
    Digest::of(&framed)
}

/// Writes `bytes` as what differs from `from`; `None` when that takes more than `bytes_max`, or when
/// what the encoder wrote does not decode to the same bytes. Brotli's now and then does not: it
/// copies across the dictionary's end into the file's beginning, which no decoder follows.
///
/// # Errors
///
/// The encoder failed.
pub(super) fn encode(
    coding: DeltaCoding,
    from: &[u8],
    bytes: &[u8],
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, String> {
    let mut encoded = head(coding, &Digest::of(from));
    match coding {
        DeltaCoding::Dcb => dcb(from, bytes, &mut encoded),
        DeltaCoding::Dcz => dcz(from, bytes, &mut encoded),
    }
    .map_err(|error| error.to_string())?;
    if encoded.len() as u64 > bytes_max {
        return Ok(None);
    }
    let decodes = decodes_to(coding, from, &encoded, bytes.len(), &Digest::of(bytes));
    Ok(decodes.is_ok().then_some(encoded))
}

/// Fails unless `encoded`, with `from`, is bytes of this length and digest.
pub(in crate::publish) fn decodes_to(
    coding: DeltaCoding,
    from: &[u8],
    encoded: &[u8],
    length: usize,
    digest: &Digest,
) -> Result<(), String> {
    let stream = encoded
        .strip_prefix(head(coding, &Digest::of(from)).as_slice())
        .ok_or("it does not begin with the digest of its dictionary")?;
    // One more than there should be is enough to see that there are too many.
    let mut sink = Capped::new(length);
    let limit = length as u64 + 1;
    let copied = match coding {
        DeltaCoding::Dcb => {
            let mut decoder = brotli::Decompressor::new(stream, 4096);
            if !decoder.attach_dictionary(from.to_vec().into()) {
                return Err("the decoder takes no dictionary".to_owned());
            }
            io::copy(&mut decoder.take(limit), &mut sink)
        }
        DeltaCoding::Dcz => zstd::stream::read::Decoder::with_ref_prefix(stream, from)
            .and_then(|decoder| io::copy(&mut decoder.take(limit), &mut sink)),
    };
    copied.map_err(|error| format!("it does not decode: {error}"))?;
    if sink.bytes.len() != length || Digest::of(&sink.bytes) != *digest {
        return Err("it decodes to other bytes".to_owned());
    }
    Ok(())
}

fn head(coding: DeltaCoding, from: &Digest) -> Vec<u8> {
    let mut head = match coding {
        DeltaCoding::Dcb => DCB_MAGIC.to_vec(),
        DeltaCoding::Dcz => DCZ_MAGIC.to_vec(),
    };
    head.extend_from_slice(from.as_bytes());
    head
}

/// The bits of a window that holds the dictionary and the file.
fn window_log(from: &[u8], bytes: &[u8]) -> u32 {
    (from.len() + bytes.len()).next_power_of_two().ilog2()
}

fn dcb(from: &[u8], bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let window = i32::try_from(window_log(from, bytes)).unwrap_or(BR_LGWIN_MAX);
    let params = BrotliEncoderParams {
        quality: BR_QUALITY,
        // One more than needed: a window of 2^n reaches 16 bytes less than that.
        lgwin: (window + 1).clamp(BR_LGWIN_MIN, BR_LGWIN_MAX),
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let (mut input, mut output) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    BrotliCompressCustomIoCustomDict(
        &mut IoReaderWrapper(&mut &*bytes),
        &mut IoWriterWrapper(out),
        &mut input,
        &mut output,
        &params,
        StandardAlloc::default(),
        &mut |_, _, _, _| (),
        from,
        io::Error::from(io::ErrorKind::UnexpectedEof),
    )?;
    Ok(())
}

fn dcz(from: &[u8], bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // As a prefix: never looked at for the magic number of a trained dictionary.
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(out, ZSTD_LEVEL, from)?;
    let window = window_log(from, bytes).clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
    encoder.set_parameter(CParameter::WindowLog(window))?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    encoder.write_all(bytes)?;
    encoder.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODINGS: [DeltaCoding; 2] = [DeltaCoding::Dcb, DeltaCoding::Dcz];

    fn text(words: &str) -> String {
        (0..400)
            .map(|line| format!("{words} {}, ", line * line))
            .collect()
    }

    #[test]
    fn a_small_edit_is_a_small_delta() {
        let (old, new) = (text("export"), text("export").replace("2500", "two"));
        for coding in CODINGS {
            let delta = encode(coding, old.as_bytes(), new.as_bytes(), 200)
                .expect("it encodes")
                .expect("it is small");
            let digest = Digest::of(new.as_bytes());
            let decodes = |from: &str, delta: &[u8]| {
                decodes_to(coding, from.as_bytes(), delta, new.len(), &digest)
            };
            assert_eq!(decodes(&old, &delta), Ok(()));
            // Another dictionary, a cut and a changed stream are noticed.
            assert!(decodes(&new, &delta).is_err());
            assert!(decodes(&old, &delta[..delta.len() - 1]).is_err());
            assert!(decodes(&old, &[&delta[..], b"x"].concat()[1..]).is_err());
            for length in [0, new.len() - 1, new.len() + 1] {
                assert!(decodes_to(coding, old.as_bytes(), &delta, length, &digest).is_err());
            }
            assert_eq!(encode(coding, old.as_bytes(), new.as_bytes(), 20), Ok(None));
        }
    }

    #[test]
    fn the_head_is_that_of_the_rfc() {
        for (coding, magic) in [
            (DeltaCoding::Dcb, "ff444342"),
            (DeltaCoding::Dcz, "5e2a4d1820000000"),
        ] {
            let delta = encode(coding, b"old bytes", b"new bytes", 1000)
                .expect("it encodes")
                .expect("it is there");
            let expected = format!("{magic}{}", Digest::of(b"old bytes"));
            assert!(hex::encode(delta).starts_with(&expected));
        }
    }

    #[test]
    fn a_recipe_names_the_version_that_is_built_in() {
        let lock = include_str!("../../../../Cargo.lock");
        for coding in CODINGS {
            let (name, version) = recipe(coding)
                .rsplit_once(' ')
                .and_then(|(_, encoder)| encoder.split_once('='))
                .expect("a recipe ends with its encoder");
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} {version} is not locked");
        }
    }

    #[test]
    fn a_stream_that_no_decoder_follows_is_not_kept() {
        // The new file repeats what stands where the old one ends and the new one begins.
        let words = text("words");
        let (old, new) = (
            format!("{words}end"),
            format!("begin{words}endbegin{words}endbegin"),
        );
        for coding in CODINGS {
            let delta =
                encode(coding, old.as_bytes(), new.as_bytes(), u64::MAX).expect("it encodes");
            if let Some(delta) = delta {
                let digest = Digest::of(new.as_bytes());
                let decoded = decodes_to(coding, old.as_bytes(), &delta, new.len(), &digest);
                assert_eq!(decoded, Ok(()));
            } else {
                assert_eq!(coding, DeltaCoding::Dcb);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_two_files_make_a_delta_that_decodes(
            old in proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 1..2000),
            cut in 0_usize..2000,
            new in proptest::collection::vec(any::<u8>(), 1..500),
        ) {
            let new = [&old[cut.min(old.len())..], &new, &old].concat();
            for coding in CODINGS {
                let delta = encode(coding, &old, &new, u64::MAX).expect("it encodes");
                prop_assert_eq!(&delta, &encode(coding, &old, &new, u64::MAX).expect("it encodes"));
                if let Some(delta) = &delta {
                    let digest = Digest::of(&new);
                    let decoded = decodes_to(coding, &old, delta, new.len(), &digest);
                    prop_assert_eq!(decoded, Ok(()));
                }
                // Of Zstandard's there always is one.
                prop_assert!(delta.is_some() || coding == DeltaCoding::Dcb);
            }
        }

        #[test]
        fn junk_is_an_error_and_no_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in CODINGS {
                let stream = [head(coding, &Digest::of(b"from")), junk.clone()].concat();
                let digest = Digest::of(b"0123456789");
                prop_assert!(decodes_to(coding, b"from", &stream, 10, &digest).is_err());
                prop_assert!(decodes_to(coding, b"from", &junk, 10, &digest).is_err());
            }
        }
    }
}
