//! What a manifest says of pictures: how they are asked for, and what was made of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Blob;

/// How smaller pictures are asked for: `<path>?url=&w=&q=`, by Next.js' rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRules {
    /// The URL path, such as `/_next/image`.
    pub path: String,
    /// The widths that may be asked for, sorted.
    pub widths: Vec<u32>,
    /// The values of `q` that may be asked for, sorted. What is sent follows its looks, not this number.
    pub qualities: Vec<u8>,
    /// How long clients may keep what they get.
    pub max_age_s: u32,
}

impl Default for ImageRules {
    /// Those of Next.js without settings; 16 pixels, which Next.js 16 has no more, among them.
    fn default() -> Self {
        Self {
            path: "/_next/image".to_owned(),
            widths: vec![
                16, 32, 48, 64, 96, 128, 256, 384, 640, 750, 828, 1080, 1200, 1920, 2048, 3840,
            ],
            qualities: vec![75],
            max_age_s: 14_400,
        }
    }
}

/// The smaller forms of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Of the picture itself, upright.
    pub width: u32,
    /// Of the picture itself, upright.
    pub height: u32,
    /// By width, the forms that are smaller than the picture itself, the smallest first. A width without
    /// one was tried; one that is not listed was not.
    pub rungs: BTreeMap<u32, Vec<Rendition>>,
}

/// One smaller form of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// Its format.
    pub format: ImageFormat,
    /// For whom.
    pub tier: Tier,
    /// Its bytes.
    pub blob: Blob,
    /// What its encoder was asked for, of 100.
    pub quality: u8,
    /// How much it looks like the picture at that width: SSIMULACRA2, in hundredths.
    pub score: i32,
}

/// A format that pictures are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// `image/avif`.
    Avif,
    /// `image/webp`.
    Webp,
}

/// Who a picture is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Everybody.
    Full,
    /// Clients that ask to save data (`Save-Data: on`).
    Lean,
}

/// Whether smaller forms are made of files of this type.
pub fn is_picture(content_type: &str) -> bool {
    matches!(
        content_type,
        "image/png" | "image/jpeg" | "image/webp" | "image/gif"
    )
}

impl Image {
    /// What was made.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.rungs.values().flatten().map(|made| &made.blob)
    }
}

impl ImageFormat {
    /// All, the better one first.
    pub const ALL: [Self; 2] = [Self::Avif, Self::Webp];

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Avif => "image/avif",
            Self::Webp => "image/webp",
        }
    }

    /// Its name, which is its files' extension too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avif => "avif",
            Self::Webp => "webp",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Full, Self::Lean];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lean => "lean",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}
