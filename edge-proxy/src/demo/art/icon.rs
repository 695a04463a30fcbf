//! The bell: as a drawing for tabs, as pixels for home screens.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

const GROUND: [f64; 3] = [35.0, 60.0, 168.0];
const BRASS: [f64; 3] = [240.0, 180.0, 41.0];

/// The bell in a square of 64.
pub(super) fn svg() -> String {
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\" width=\"64\" height=\"64\"><rect width=\"64\" height=\"64\" rx=\"14\" fill=\"#233ca8\"/>\
     <path fill=\"#f0b429\" d=\"M32 11c2 0 3.5 1.5 3.5 3.600C43 16.4 47 23 47 30v7.500c0 2.5 5 4 5 7.500H12c0-3.5 5-5 5-7.500V30c0-7 4-13.6 11.5-15.400C28.5 12.5 30 11 32 11z\"/><circle cx=\"32\" cy=\"49\" r=\"5\" fill=\"#f0b429\"/></svg>\n"
        .to_owned()
}

/// Whether a point of the unit square is brass.
fn is_brass(x: f64, y: f64) -> bool {
    let x = (x - 0.5).abs();
    let half = match y {
        0.17..0.24 => 0.05,
        0.24..0.47 => 0.235 * (1.0 - ((0.47 - y) / 0.25).powi(2)).max(0.0).sqrt(),
        0.47..0.59 => 0.235,
        0.59..0.70 => 0.235 + 0.08 * ((y - 0.59) / 0.11).powi(2),
        _ => 0.0,
    };
    x < half || x.hypot(y - 0.76) < 0.075
}

/// The icon as rows of RGB, each behind its filter byte, as PNG wants them.
pub(super) fn rows(side: u32) -> Vec<u8> {
    const FINE: u32 = 4; // samples per pixel and direction
    let mut rows = Vec::new();
    for y in 0..side {
        rows.push(0);
        for x in 0..side {
            let at =
                |pixel: u32, sample: u32| f64::from(pixel * FINE + sample) / f64::from(side * FINE);
            let hits = (0..FINE * FINE)
                .filter(|s| is_brass(at(x, s % FINE), at(y, s / FINE)))
                .count();
            let share = hits as f64 / f64::from(FINE * FINE);
            rows.extend((0..3).map(|i| (GROUND[i] + (BRASS[i] - GROUND[i]) * share).round() as u8));
        }
    }
    rows
}

/// The icon as a PNG.
pub(super) fn png(side: u32) -> io::Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&rows(side))?;
    let mut head = Vec::new();
    head.extend(side.to_be_bytes());
    head.extend(side.to_be_bytes());
    head.extend([8, 2, 0, 0, 0]); // 8 bits, RGB, nothing fancy
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, b"IHDR", &head)?;
    chunk(&mut png, b"IDAT", &packed.finish()?)?;
    chunk(&mut png, b"IEND", &[])?;
    Ok(png)
}

/// The rows of a PNG that [`png`] made.
pub(super) fn unpack(png: &[u8]) -> io::Result<Vec<u8>> {
    // The signature and IHDR take 33 bytes, the head of IDAT 8; the decoder stops at its end.
    let packed = png.get(41..).unwrap_or_default();
    let mut rows = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut rows)?;
    Ok(rows)
}

fn chunk(png: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    png.extend(length.to_be_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(name);
    sum.update(data);
    png.extend(name);
    png.extend(data);
    png.extend(sum.sum().to_be_bytes());
    Ok(())
}
