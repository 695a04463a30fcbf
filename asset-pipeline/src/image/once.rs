//! One encoding of a quality that somebody chose, for whoever waits for it: nothing is searched or judged.

use image::codecs::jpeg::JpegEncoder;

use super::{Picture, Unfit, webp};

/// What is made at once: AVIF takes seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnceFormat {
    /// For clients that show nothing better.
    Jpeg,
    /// `image/webp`.
    Webp,
}

/// What to make at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Once {
    /// Not more than the picture's own: nothing is enlarged.
    pub width: u32,
    /// The format.
    pub format: OnceFormat,
    /// What the encoder is asked for, of 100.
    pub quality: u8,
}

impl OnceFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Jpeg, Self::Webp];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

impl Picture {
    /// The picture as it is now, in this format and quality; without anything but its pixels.
    ///
    /// # Errors
    /// The encoder refused.
    pub fn once(&self, format: OnceFormat, quality: u8) -> Result<Vec<u8>, Unfit> {
        match format {
            OnceFormat::Webp => webp::bytes(self, quality, webp::Effort::Once),
            OnceFormat::Jpeg => {
                let mut bytes = Vec::new();
                let pixels = self.flat_on(255);
                JpegEncoder::new_with_quality(&mut bytes, quality).encode(
                    &pixels,
                    self.width,
                    self.height,
                    image::ExtendedColorType::Rgb8,
                )?;
                Ok(bytes)
            }
        }
    }
}
