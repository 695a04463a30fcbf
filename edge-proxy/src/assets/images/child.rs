//! What makes one form of a picture: a process of its own, which ends with it.
//!
//! Decoders may panic, loop or take all memory on bytes that somebody made up. Here the kernel holds the
//! limits, and what breaks is one form of one picture: the picture is then sent as it is.

use std::io::{self, Read as _, Write as _};

use asset_pipeline::image::{Hint, Picture, Recipe, SOURCE_BYTES_MAX, Unfit, look};
use asset_pipeline::manifest::ImageFormat;
use rustix::process::{Resource, Rlimit, nice, setrlimit};

/// CPU time until the picture is decoded: a camera's largest takes a tenth.
const DECODE_CPU_S: u64 = 5;
/// CPU time in all: a search among AVIF files of the most pixels takes half.
const CPU_S: u64 = 120;
/// Address space: the picture in a few copies, and what its encoder and its judge keep of it.
const MEMORY_BYTES_MAX: u64 = 3 << 30;
/// Whoever waits for a request goes first.
const NICENESS: i32 = 5;
/// Larger forms are not searched for: the judge would need gigabytes.
const SEARCH_PIXELS_MAX: u64 = 6_000_000;
/// WebP of larger forms: what image servers take, and a little more.
const QUALITY_LARGE: u8 = 80;

/// Why no form was made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ChildError {
    #[error("the limits of this process cannot be set: {0}")]
    Limits(#[from] rustix::io::Errno),
    #[error("the picture cannot be read, or its form not written: {0}")]
    Pipe(#[from] io::Error),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Reads a picture from standard input and writes the form to standard output; nothing where this format
/// is not made of such a picture. For a process that does nothing else: it limits itself.
///
/// # Errors
/// The picture is none, or beyond the limits.
pub fn make(recipe: &Recipe) -> Result<(), ChildError> {
    limit(Resource::As, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)?;
    limit(Resource::Cpu, DECODE_CPU_S, CPU_S)?;
    nice(NICENESS)?;
    let mut bytes = Vec::new();
    io::stdin()
        .take(SOURCE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if let Some(form) = form(&bytes, recipe)? {
        io::stdout().write_all(&form)?;
    }
    Ok(())
}

fn form(bytes: &[u8], recipe: &Recipe) -> Result<Option<Vec<u8>>, ChildError> {
    // What moves is sent as it is.
    if look(bytes)?.animated {
        return Ok(None);
    }
    let picture = Picture::decode(bytes)?.resized(recipe.width)?;
    limit(Resource::Cpu, CPU_S, CPU_S)?;
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    if pixels <= SEARCH_PIXELS_MAX {
        let rendered = picture.render(recipe, Hint::default())?;
        return Ok(rendered.map(|rendered| rendered.bytes));
    }
    match recipe.format {
        ImageFormat::Webp => Ok(Some(picture.unjudged(QUALITY_LARGE)?)),
        ImageFormat::Avif => Ok(None),
    }
}

fn limit(what: Resource, now: u64, most: u64) -> Result<(), rustix::io::Errno> {
    setrlimit(
        what,
        Rlimit {
            current: Some(now),
            maximum: Some(most),
        },
    )
}
