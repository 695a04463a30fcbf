//! `edge-proxy picture`: one form of one picture, in a process of its own.

use std::process::ExitCode;

use asset_pipeline::image::{Once, OnceFormat, Recipe};
use asset_pipeline::manifest::{ImageFormat, Tier};
use clap::Args;
use edge_proxy::assets::images::child::{self, Order};

#[derive(Debug, Args)]
pub(crate) struct Picture {
    /// In pixels; nothing is enlarged.
    width: u32,
    /// `avif` or `webp` as good as `full` or `lean` ask for, `webp` or `jpeg` of a quality.
    format: String,
    /// `full`, `lean`, or a quality such as `q75`.
    #[arg(value_name = "HOW")]
    how: String,
}

pub(crate) fn make(typed: &Picture) -> anyhow::Result<ExitCode> {
    let Some(order) = order(typed) else {
        eprintln!("error: no form that is made");
        return Ok(ExitCode::from(2));
    };
    child::make(&order)?;
    Ok(ExitCode::SUCCESS)
}

fn order(typed: &Picture) -> Option<Order> {
    let Picture { width, format, how } = typed;
    let width = *width;
    if let Some(quality) = how.strip_prefix('q') {
        let quality = quality.parse().ok().filter(|q| (1..=100).contains(q))?;
        let format = OnceFormat::named(format)?;
        return Some(Order::Once(Once {
            width,
            format,
            quality,
        }));
    }
    let (format, tier) = (ImageFormat::named(format)?, Tier::named(how)?);
    Some(Order::Search(Recipe {
        width,
        format,
        tier,
    }))
}
