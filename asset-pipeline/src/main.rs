//! `asset-pipeline publish|verify|releases`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a rule (the id is taken, a hashed URL has
//! two contents, references are broken). Results go to standard output, all else to standard error.

mod bar;
mod releases;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::publish::{DELTA_RELEASES, Input, Publish, PublishError, publish, verify};
use asset_pipeline::store::Store;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use bar::Bar;

/// Publishes immutable releases of a site, and reads them back.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a rule."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Write the result as one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a folder as a release. To repeat it is quick and changes nothing.
    Publish {
        /// The folder: a project of Next.js, Vite or Rails after its build, or files as they are.
        dir: PathBuf,
        /// What the release is of.
        #[arg(long)]
        app: AppId,
        /// The release's id, which is never used again for other content.
        #[arg(long)]
        release: ReleaseId,
        /// Where to: `file:///srv/assets`, or the path of a folder.
        #[arg(long, value_parser = store)]
        store: Store,
        /// What made the folder.
        #[arg(long, value_enum, default_value_t = From::Auto)]
        from: From,
        /// Publish although files refer to files that are not in the folder.
        #[arg(long)]
        allow_broken: bool,
        /// How many of the last releases to make deltas against, for returning visitors; 0: none.
        #[arg(long, value_name = "RELEASES", default_value_t = DELTA_RELEASES)]
        deltas: usize,
    },
    /// Read everything that releases name, check every digest and decode every encoding.
    Verify {
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// Only this app.
        #[arg(long)]
        app: Option<AppId>,
        /// Only this release of it.
        #[arg(long, requires = "app")]
        release: Option<ReleaseId>,
    },
    /// List the releases of a store.
    Releases {
        /// The store.
        #[arg(long, value_parser = store)]
        store: Store,
        /// Only this app.
        #[arg(long)]
        app: Option<AppId>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// Found out.
    Auto,
    /// Next.js.
    Next,
    /// `vite build` with `build.manifest`.
    Vite,
    /// Rails' `assets:precompile` with Propshaft.
    Rails,
    /// Files that are their own source.
    Plain,
}

const FAILED: u8 = 1;
const REFUSED: u8 = 3;

fn store(url: &str) -> Result<Store, String> {
    Store::open(url).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, json } = Arguments::parse();
    Ok(match run(command, json).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<PublishError>() {
                Some(error) if error.is_refusal() => ExitCode::from(REFUSED),
                _ => ExitCode::from(FAILED),
            }
        }
    })
}

async fn run(command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Publish {
            dir,
            app,
            release,
            store,
            from,
            allow_broken,
            deltas,
        } => {
            let mut what = Publish::new(dir, app, release, store);
            what.from = match from {
                From::Auto => Input::Auto,
                From::Next => Input::Next,
                From::Vite => Input::Vite,
                From::Rails => Input::Propshaft,
                From::Plain => Input::Plain,
            };
            what.allow_broken = allow_broken;
            what.delta_releases = deltas;
            let bar = Bar::new(json);
            let report = publish(what, &bar).await?;
            drop(bar);
            print(json, &report, &report)?;
        }
        Command::Verify {
            store,
            app,
            release,
        } => {
            let bar = Bar::new(json);
            let found = verify(&store, app.as_ref(), release.as_ref(), &bar).await?;
            drop(bar);
            print(json, &found, &found)?;
            if !found.damaged.is_empty() {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Command::Releases { store, app } => {
            let found = releases::list(&store, app).await?;
            print(json, &found, &found)?;
            if found.has_damage() {
                return Ok(ExitCode::from(FAILED));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(json: bool, data: &impl Serialize, text: &impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(data)?)?;
    } else {
        writeln!(out, "{text}")?;
    }
    Ok(())
}
