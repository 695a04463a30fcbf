//! `edge-proxy images sign`: signs with the key of the config, and asks no edge.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use cache_rules::host::Authority;
use clap::{Args, Subcommand};
use edge_proxy::config;
use edge_proxy::config::checked::covers;
use edge_proxy::pictures::address::{Format, Terms, admit};
use http::Uri;
use serde_json::json;

use super::{out, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum Images {
    /// Prints the signed address of a school's picture, as the app makes them: to see whether pictures work.
    Sign(Sign),
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// Of the file, such as `https://maple.school.example/media/2026/hill.jpg`.
    url: Uri,
    /// In pixels.
    #[arg(long, short, default_value_t = 640)]
    width: u32,
    /// Of 100.
    #[arg(long, short, default_value_t = 75)]
    quality: u8,
    /// `auto`, `webp` or `jpeg`.
    #[arg(long, short, default_value = "auto")]
    format: Format,
    /// How long it is good, such as `10m`.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    hold_s: u32,
}

pub(crate) fn run(typed: &Images, path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let Images::Sign(typed) = typed;
    let config = config::load(path)?;
    let url = &typed.url;
    let authority = url.authority().context("the URL needs a host")?;
    ensure!(url.query().is_none(), "the URL has a query already");
    let host = Authority::parse(authority.as_str())?.host;
    let tenant = config
        .tenants
        .of_host(&host)
        .context("no school of tenants.toml has this host")?;
    let of_file = url.path();
    let mut pictures = config.apps.values().filter_map(|app| app.pictures.as_ref());
    let pictures = pictures.find(|pictures| covers(&pictures.path, of_file));
    let Some(pictures) = pictures else {
        bail!("no app has a `pictures` part for this path");
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let terms = Terms {
        width: typed.width,
        quality: typed.quality,
        format: typed.format,
        expires_s: now.as_secs() + u64::from(typed.hold_s),
    };
    let address = terms.address(&pictures.keys, tenant, of_file);
    let address = address.context("there is no key to sign with")?;
    // Better said here than by a 403 later.
    let query = address.split_once('?').map(|(_, query)| query);
    if let Err(refusal) = admit(pictures, tenant, of_file, query, now.as_secs()) {
        bail!("the edge would refuse that: {refusal}");
    }
    let scheme = url.scheme_str().unwrap_or("https");
    let address = format!("{scheme}://{authority}{address}");
    if json {
        out(json!({ "url": address, "expires_s": terms.expires_s }));
    } else {
        out(address);
    }
    Ok(ExitCode::SUCCESS)
}
