//! Makes an image smaller: the bytes of a picture and a recipe in, other bytes out.
//!
//! decode (limits, orientation, colour) -> resize -> search over quality -> AVIF or WebP without metadata.
//! Nothing here reads a file, a clock or a setting. Decoders may panic on bytes that somebody made up: the
//! caller runs this on a worker of its own and takes a panic for an error of that picture.

mod avif;
mod confine;
mod decode;
mod once;
mod resize;
mod search;
#[cfg(test)]
mod tests;
mod text;
mod webp;

pub use confine::Confined;
pub use decode::{Head, Picture, look};
pub use once::{Once, OnceFormat};
pub use search::{Hint, Rendered};

use crate::digest::Digest;
use crate::manifest::{ImageFormat, Tier};

/// Smaller files are not made smaller: their heads would be most of what is left.
pub const BYTES_MIN: u64 = 512;

/// Pixels of a side, of a picture that is decoded.
pub const SIDE_PX_MAX: u32 = 12_000;
/// Pixels of a picture that is decoded: those of most cameras.
pub const PIXELS_MAX: u64 = 40_000_000;
/// Bytes of a picture that is decoded.
pub const SOURCE_BYTES_MAX: u64 = 20_000_000;
/// What a decoder may allocate.
const DECODER_BYTES_MAX: u64 = 192 << 20;

/// SSIMULACRA2 of most pictures: who does not see the original misses nothing.
const TARGET: f64 = 75.0;
/// Of those for clients that ask to save data.
const TARGET_LEAN: f64 = 60.0;
/// Of pictures with text, which has to stay legible.
const TARGET_TEXT: f64 = 82.0;
/// Butteraugli of pictures with text, at the worst place: a few letters that smear move the score of a page
/// hardly at all. Below 1.0 most people see nothing, above 2.0 all do.
const WORST_TEXT: f64 = 1.5;

/// What to make of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipe {
    /// Not more than the picture's own: nothing is enlarged.
    pub width: u32,
    /// The format.
    pub format: ImageFormat,
    /// How much may be lost.
    pub tier: Tier,
}

impl Recipe {
    /// Under which a form of the picture named by `source` is found again.
    pub fn key(&self, source: &Digest) -> Digest {
        let mut framed = source.as_bytes().to_vec();
        framed.extend_from_slice(self.text().as_bytes());
        Digest::of(&framed)
    }

    /// All that decides the bytes, besides the source: another encoder or setting is another text.
    pub fn text(&self) -> String {
        let Self {
            width,
            format,
            tier,
        } = self;
        let encoder = match format {
            ImageFormat::Avif => avif::ENCODER,
            ImageFormat::Webp => webp::ENCODER,
        };
        let target = match tier {
            Tier::Full => TARGET,
            Tier::Lean => TARGET_LEAN,
        };
        format!(
            "image 3 width={width} {} ssimulacra2={target} text={TARGET_TEXT}/{WORST_TEXT} {encoder}",
            format.as_str()
        )
    }
}

/// Whether bytes begin as those of a picture that is decoded; nothing of them is.
pub fn is_any(bytes: &[u8]) -> bool {
    use ::image::ImageFormat::{Gif, Jpeg, Png, WebP};
    matches!(::image::guess_format(bytes), Ok(Png | Jpeg | WebP | Gif))
}

/// Why a picture is sent as it is.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// None of PNG, JPEG, WebP and GIF, whatever its name says.
    #[error("its bytes are no PNG, JPEG, WebP or GIF")]
    Format,
    /// Larger than what is decoded.
    #[error("it is too large to be decoded: {0}")]
    Large(String),
    /// It cannot be decoded.
    #[error("it cannot be decoded: {0}")]
    Damaged(#[from] image::ImageError),
    /// Its colours are of a printer, or its profile is none.
    #[error("its colours cannot be converted: {0}")]
    Colours(String),
    /// An encoder refused.
    #[error("it cannot be encoded: {0}")]
    Encoder(String),
}

/// The widths that are made of a picture as wide as `own`: those of the ladder below it, and its own
/// where the ladder goes as far.
pub fn rungs(ladder: &[u32], own: u32) -> Vec<u32> {
    let mut rungs: Vec<u32> = ladder.iter().map(|width| (*width).min(own)).collect();
    rungs.sort_unstable();
    rungs.dedup();
    rungs.retain(|width| *width > 0);
    rungs
}
