//! `edge-proxy picture`: one form of one picture, in a process of its own.

use asset_pipeline::image::Recipe;
use asset_pipeline::manifest::{ImageFormat, Tier};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Picture {
    /// In pixels; nothing is enlarged.
    width: u32,
    /// `avif` or `webp`.
    #[arg(value_parser = format)]
    format: ImageFormat,
    /// `full` or `lean`.
    #[arg(value_parser = tier)]
    tier: Tier,
}

impl From<&Picture> for Recipe {
    fn from(typed: &Picture) -> Self {
        Self {
            width: typed.width,
            format: typed.format,
            tier: typed.tier,
        }
    }
}

fn format(name: &str) -> Result<ImageFormat, &'static str> {
    ImageFormat::named(name).ok_or("no format that is made")
}

fn tier(name: &str) -> Result<Tier, &'static str> {
    Tier::named(name).ok_or("neither full nor lean")
}
