//! What makes one form of a picture: a process of its own, which ends with it.
//!
//! The kernel holds its limits ([`Confined`]), and what breaks is one form of one picture: one of a release is then
//! sent as it is, one of a school not at all.

use std::io::{self, Read as _, Write as _};

use asset_pipeline::image::{
    Confined, Hint, Once, OnceFormat, Picture, Recipe, SOURCE_BYTES_MAX, Unfit, look,
};
use asset_pipeline::manifest::ImageFormat;

/// CPU time in all: a search among AVIF files of the most pixels takes half.
const CPU_S: u64 = 120;
/// Address space: the picture in a few copies, and what its encoder and its judge keep of it.
const MEMORY_BYTES_MAX: u64 = 3 << 30;
/// The same where somebody waits: decoded, narrowed and encoded once.
const ONCE_CPU_S: u64 = 15;
/// Whoever waits for a request goes first,
const NICENESS: i32 = 10;
/// then whoever waits for a picture.
const ONCE_NICENESS: i32 = 5;
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

/// What such a process makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The smallest that looks good enough: nobody waits for it.
    Search(Recipe),
    /// One encoding, for whoever waits.
    Once(Once),
}

impl Order {
    /// As the command is told.
    pub fn words(&self) -> [String; 3] {
        let (width, format, how) = match self {
            Self::Search(recipe) => {
                let how = recipe.tier.as_str().to_owned();
                (recipe.width, recipe.format.as_str(), how)
            }
            Self::Once(once) => {
                let how = format!("q{}", once.quality);
                (once.width, once.format.as_str(), how)
            }
        };
        [width.to_string(), format.to_owned(), how]
    }

    fn confined(&self) -> Confined {
        let (cpu_s, niceness) = match self {
            Self::Search(_) => (CPU_S, NICENESS),
            Self::Once(_) => (ONCE_CPU_S, ONCE_NICENESS),
        };
        Confined {
            cpu_s,
            memory_bytes: MEMORY_BYTES_MAX,
            niceness,
        }
    }
}

/// Reads a picture from standard input and writes the form to standard output; nothing where this format
/// is not made of such a picture. For a process that does nothing else: it limits itself.
///
/// # Errors
/// The picture is none, or beyond the limits.
pub fn make(order: &Order) -> Result<(), ChildError> {
    order.confined().begin()?;
    let mut bytes = Vec::new();
    io::stdin()
        .take(SOURCE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    let form = match order {
        Order::Search(recipe) => searched(&bytes, recipe, order)?,
        Order::Once(once) => {
            // Of what moves it is how it begins.
            let picture = decoded(&bytes, once.width, order)?;
            Some(picture.once(once.format, once.quality)?)
        }
    };
    if let Some(form) = form {
        io::stdout().write_all(&form)?;
    }
    Ok(())
}

/// Decoded within its own limit of time, and narrowed.
fn decoded(bytes: &[u8], width: u32, order: &Order) -> Result<Picture, ChildError> {
    let picture = Picture::decode(bytes)?.resized(width)?;
    order.confined().decoded()?;
    Ok(picture)
}

fn searched(bytes: &[u8], recipe: &Recipe, order: &Order) -> Result<Option<Vec<u8>>, ChildError> {
    // What moves is sent as it is.
    if look(bytes)?.animated {
        return Ok(None);
    }
    let picture = decoded(bytes, recipe.width, order)?;
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    if pixels <= SEARCH_PIXELS_MAX {
        let rendered = picture.render(recipe, Hint::default())?;
        return Ok(rendered.map(|rendered| rendered.bytes));
    }
    match recipe.format {
        ImageFormat::Webp => Ok(Some(picture.once(OnceFormat::Webp, QUALITY_LARGE)?)),
        ImageFormat::Avif => Ok(None),
    }
}
