//! Commands that take their time: what is waited for is said while it is.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::super::api::{DeployReport, DeployRequest, DeployStage, Problem, Reason};
use super::super::show;
use super::call::{CallError, call};
use super::{failed, out, post};

/// How often is asked: often enough for somebody who looks on.
const LOOK: Duration = Duration::from_millis(250);

/// Begins a deploy and follows it to its end; the edge bounds how long that takes.
pub(super) fn deploy(socket: &Path, path: &str, request: &DeployRequest, json: bool) -> ExitCode {
    let mut said = Said::default();
    let mut answer = post(socket, path, request);
    loop {
        let report: DeployReport = match read(answer) {
            Ok(report) => report,
            Err(problem) => return failed(&problem, json),
        };
        match report.stage {
            _ if report.dry_run => {}
            DeployStage::Draining | DeployStage::Checking => {
                if !json {
                    said.waits_for(&report.lacks);
                }
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", path, None);
                continue;
            }
            DeployStage::Undone => return failed(&undone(&report), json),
            DeployStage::Ready => {}
        }
        if json {
            out(&serde_json::to_string(&report).expect("a report always has a JSON form"));
        } else {
            out(&show::deploy(&report));
        }
        return ExitCode::SUCCESS;
    }
}

fn read(answer: Result<Vec<u8>, CallError>) -> Result<DeployReport, Problem> {
    let unreadable = |error: serde_json::Error| {
        Problem::unreachable(format!(
            "the edge's answer cannot be read: {error}; are both of one version?"
        ))
    };
    match answer {
        Ok(body) => serde_json::from_slice(&body).map_err(unreadable),
        Err(CallError::Problem(problem)) => Err(*problem),
        Err(other) => Err(Problem::unreachable(other.to_string())),
    }
}

fn undone(report: &DeployReport) -> Problem {
    let DeployReport {
        app,
        colour,
        release,
        seconds,
        ..
    } = report;
    Problem::undone(
        format!(
            "{app}: {colour} was not whole and healthy as release {release} within {seconds} s; it is again what it was"
        ),
        report.lacks.clone(),
    )
}

/// What was said already: the same is not said twice.
#[derive(Default)]
struct Said(Vec<Reason>);

impl Said {
    /// For people alone: what a script reads is the end.
    fn waits_for(&mut self, lacks: &[Reason]) {
        if self.0 == lacks || !std::io::stderr().is_terminal() {
            return;
        }
        for reason in lacks.iter().filter(|reason| !self.0.contains(reason)) {
            eprintln!("waiting: {reason}");
        }
        self.0 = lacks.to_vec();
    }
}
