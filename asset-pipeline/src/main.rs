//! `asset-pipeline publish|plan|diff|report|verify|releases|gc|keygen`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a rule (the id is taken, a hashed URL has
//! two contents, references are broken, pages are over budget; no edge was ever seen). Results go to standard output, all else to standard error.

mod arguments;
mod bar;
mod releases;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use asset_pipeline::gc::{Gc, GcError, gc};
use asset_pipeline::publish::{Apart, PublishError, plan, publish, serve, verify};
use asset_pipeline::signature::{PublicKey, SecretKey};
use asset_pipeline::weigh;
use clap::Parser as _;
use serde::Serialize;

use arguments::{Arguments, Command};
use bar::Bar;

/// What `keygen` says.
#[derive(Serialize)]
struct Keygen {
    public_key: PublicKey,
}

/// By this name it is the running one, whatever has its path now.
const OWN_PROGRAM: &str = "/proc/self/exe";

const FAILED: u8 = 1;
const REFUSED: u8 = 3;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, json } = Arguments::parse();
    Ok(match run(command, json).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            let refused = match error.downcast_ref::<PublishError>() {
                Some(error) => error.is_refusal(),
                None => error
                    .downcast_ref::<GcError>()
                    .is_some_and(GcError::is_refusal),
            };
            ExitCode::from(if refused { REFUSED } else { FAILED })
        }
    })
}

async fn run(command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Publish {
            what,
            deltas,
            dictionary,
            no_images,
            budget,
            key,
        } => {
            let mut what = what.publish();
            what.delta_releases = deltas;
            what.dictionary = dictionary;
            what.images = !no_images;
            what.apart = Apart::Process(OWN_PROGRAM.into());
            what.budget = budget;
            what.key = key;
            let bar = Bar::new(json);
            let report = publish(what, &bar).await?;
            drop(bar);
            print(json, &report, &report)?;
        }
        Command::Picture { job } => serve(&job)?,
        Command::Keygen { file } => {
            let key = Keygen {
                public_key: SecretKey::create(&file)?.public(),
            };
            print(json, &key, &key.public_key)?;
        }
        Command::Plan { what } => {
            let bar = Bar::new(json);
            let found = plan(what.publish(), &bar).await?;
            drop(bar);
            print(json, &found, &found)?;
        }
        Command::Diff {
            from,
            to,
            app,
            store,
        } => {
            let (from, to) = (
                store.manifest(&app, &from).await?,
                store.manifest(&app, &to).await?,
            );
            let found = weigh::diff(&from, &to);
            print(json, &found, &found)?;
        }
        Command::Report {
            release,
            app,
            store,
            since,
            html,
            budget,
        } => {
            let weights = releases::weights(&store, &app, &release, since).await?;
            if let Some(file) = html {
                let page = weigh::chart(&weights);
                std::fs::write(&file, page)
                    .with_context(|| format!("{} could not be written", file.display()))?;
            }
            print(json, &weights, &weights)?;
            let over = budget
                .map(|budget| budget.exceeded(&weights))
                .unwrap_or_default();
            if !over.is_empty() {
                return Err(PublishError::OverBudget(over).into());
            }
        }
        Command::Verify {
            store,
            app,
            release,
            trusted,
        } => {
            let bar = Bar::new(json);
            let found = verify(&store, app.as_ref(), release.as_ref(), &trusted, &bar).await?;
            drop(bar);
            print(json, &found, &found)?;
            if !found.damaged.is_empty() {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Command::Gc {
            store,
            keep,
            younger_than,
            grace,
            no_edge,
            dry_run,
        } => {
            let usual = Gc::new(store);
            let found = gc(Gc {
                keep,
                younger_than: younger_than.unwrap_or(usual.younger_than),
                grace: grace.unwrap_or(usual.grace),
                no_edge,
                dry_run,
                ..usual
            });
            let found = found.await?;
            print(json, &found, &found)?;
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
