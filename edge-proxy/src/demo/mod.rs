//! `edge-proxy demo`: two schools, two releases, two colours and the edge, all on loopback.
//!
//! [`stage`] sets it up, [`tour`] walks through it and says what it saw, [`origin`] is the platform
//! behind the edge, [`site`] its files, [`ca`] makes the certificates. Nothing here is part of a
//! production build: the crate's feature `demo` holds it.

#[cfg(test)]
mod art;
mod ca;
mod client;
mod notice;
mod origin;
mod school;
mod site;
mod stage;
mod tour;

use std::io;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

pub use self::ca::CaError;
pub use self::site::SiteError;
pub use self::stage::StageError;
use self::stage::{Ports, Stage};
use self::tour::{Step, Tour};

/// Why the demo ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It could not be set up.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The terminal or the signal handler is gone.
    #[error("the demo cannot go on: {0}")]
    Io(#[from] io::Error),
}

/// Shows the edge until Ctrl-C.
///
/// # Errors
/// When a part cannot start.
pub async fn show() -> Result<ExitCode, DemoError> {
    let stage = Stage::set(Ports::Known).await?;
    {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", notice::text(&stage))?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    stage.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Walks through everything and says what was seen; fails with exit code 1 at the first surprise.
///
/// # Errors
/// When a part cannot start.
pub async fn check(as_json: bool) -> Result<ExitCode, DemoError> {
    let stage = Stage::set(Ports::Free).await?;
    let mut tour = Tour::new(&stage);
    let mut told = Vec::new();
    let mut all_seen = true;
    for (number, step) in (1..).zip(Step::ALL) {
        let seen = tour.take(step).await;
        all_seen = seen.is_ok();
        let (word, text) = match &seen {
            Ok(text) => ("ok", text.clone()),
            Err(surprise) => ("FAILED", surprise.to_string()),
        };
        if as_json {
            told.push(json!({ "step": step.title(), "ok": all_seen, "seen": text }));
        } else {
            let mut out = io::stdout().lock();
            writeln!(
                out,
                "{number:>2} {word:<6} {}\n          {text}",
                step.title()
            )?;
        }
        if !all_seen {
            break;
        }
    }
    stage.end().await;
    {
        let mut out = io::stdout().lock();
        if as_json {
            writeln!(out, "{:#}", json!({ "ok": all_seen, "steps": told }))?;
        } else if all_seen {
            writeln!(out, "\nAll {} steps were as promised.", Step::ALL.len())?;
        }
    }
    Ok(match all_seen {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_tour_sees_what_is_promised_and_nothing_is_left_behind() {
        let stage = Stage::set(Ports::Free).await.expect("a running demo");
        let config = stage.config_file();
        let mut tour = Tour::new(&stage);
        for step in Step::ALL {
            if let Err(surprise) = tour.take(step).await {
                panic!("{}: {surprise}", step.title());
            }
        }
        assert!(notice::text(&stage).contains(&config.display().to_string()));
        stage.end().await;
        assert!(!config.exists(), "the folder is gone");
    }
}
