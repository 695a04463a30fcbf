//! The codings of a stored answer: made once, in the background, and only kept where smaller.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::response::negotiate::Coding;

/// Below this the header costs more than is saved.
pub(super) const BYTES_MIN: usize = 1024;
/// An entry lives for seconds to minutes: more effort would cost more than the hits save.
const BR_QUALITY: u32 = 5;
const BR_WINDOW: u32 = 22;
const BR_BUFFER: usize = 4096;
const GZIP_LEVEL: u32 = 6;

pub(super) fn all(body: &Bytes) -> Vec<(Coding, u64, Bytes)> {
    [(Coding::Br, br(body)), (Coding::Gzip, gzip(body))]
        .into_iter()
        .filter_map(|(coding, encoded)| {
            let encoded = encoded.ok().filter(|encoded| encoded.len() < body.len())?;
            Some((coding, encoded.len() as u64, Bytes::from(encoded)))
        })
        .collect()
}

fn br(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), BR_BUFFER, BR_QUALITY, BR_WINDOW);
    encoder.write_all(body)?;
    Ok(encoder.into_inner())
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish()
}
