//! `edge-proxy override`: signs with the key of the config, and asks no edge.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use edge_proxy::colour::Colour;
use edge_proxy::config;
use serde_json::json;

use super::{out, seconds};

/// The field's name, as every edge reads it.
const HEADER: &str = "X-Edge-Override";

#[derive(Debug, Args)]
pub(crate) struct Override {
    /// The app.
    app: String,
    /// The colour that answers.
    colour: Colour,
    /// How long it holds, such as `10m`; at most `24h`.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    hold_s: u32,
}

pub(crate) fn print(typed: &Override, path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = config::load(path)?;
    let app = config.apps.keys().find(|id| id.as_str() == typed.app);
    let Some(app) = app else {
        bail!("no app of {} is called `{}`", path.display(), typed.app);
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let hold_s = u64::from(typed.hold_s);
    let value = config
        .orders
        .order(app, typed.colour, now.as_secs(), hold_s)?;
    if json {
        out(json!({ "name": HEADER, "value": value }));
    } else {
        out(format_args!("{HEADER}: {value}"));
    }
    Ok(ExitCode::SUCCESS)
}
