//! Commands of rollouts, and the live view of one.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::super::api::{RolloutCommand, RolloutReport, RolloutRequest};
use super::super::show;
use super::call::call;
use super::{encoded, post, say};

/// How often the live view is drawn: as often as there is news.
const LOOK: Duration = Duration::from_secs(1);

/// To the top left corner, and away with what was there.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What `rollout` is given.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum RolloutArgs {
    /// Starts one.
    Start {
        app: String,
        request: RolloutRequest,
    },
    /// Shows the last one.
    Status { app: String },
    /// `pause`, `resume`, `promote` or `abort`.
    Steer {
        app: String,
        command: &'static str,
        request: RolloutCommand,
    },
}

/// Starts, shows or steers a rollout.
pub fn rollout(socket: &Path, args: &RolloutArgs, json: bool) -> ExitCode {
    let path = |app: &str| format!("/v1/apps/{}/rollout", encoded(app));
    let answer = match args {
        RolloutArgs::Start { app, request } => post(socket, &path(app), request),
        RolloutArgs::Status { app } if !json && io::stdout().is_terminal() => {
            return watch(socket, &path(app));
        }
        RolloutArgs::Status { app } => call(socket, "GET", &path(app), None),
        RolloutArgs::Steer {
            app,
            command,
            request,
        } => post(socket, &format!("{}/{command}", path(app)), request),
    };
    say(answer, json, |report: &RolloutReport| {
        show::rollout::rollout(report)
    })
}

/// Draws it anew each second until it has ended, or somebody has seen enough.
fn watch(socket: &Path, path: &str) -> ExitCode {
    loop {
        let answer = call(socket, "GET", path, None);
        let mut under_way = false;
        let said = say(answer, false, |report: &RolloutReport| {
            under_way = matches!(report.status.as_str(), "running" | "paused");
            let clear = if under_way { CLEAR } else { "" };
            format!("{clear}{}", show::rollout::rollout(report))
        });
        if !under_way {
            return said;
        }
        if io::stdout().flush().is_err() {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(LOOK);
    }
}
