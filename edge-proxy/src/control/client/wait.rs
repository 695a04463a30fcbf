//! Commands that take their time: what is waited for is said while it is.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::super::api::{
    DeployReport, DeployRequest, DeployStage, DrainReport, DrainRequest, DrainStage, Problem,
    UpgradeReport, UpgradeRequest, UpgradeStage,
};
use super::super::show;
use super::call::{CallError, call};
use super::{failed, out, post};

/// How often is asked: often enough for somebody who looks on.
const LOOK: Duration = Duration::from_millis(250);

/// A supervisor that becomes another version, and an edge that is started again after a crash, does not answer for so
/// long at most.
const AWAY: Duration = Duration::from_secs(15);

/// Begins a deploy and follows it to its end; the edge bounds how long that takes.
pub(super) fn deploy(socket: &Path, path: &str, request: &DeployRequest, json: bool) -> ExitCode {
    let mut said = Said::default();
    let mut answer = post(socket, path, request);
    let mut heard: Option<Instant> = None;
    loop {
        let report: DeployReport = match read(answer) {
            Ok(report) => report,
            // Who serves after a crash looks on.
            Err(problem) if problem.is_away() && heard.is_some_and(|at| at.elapsed() < AWAY) => {
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", path, None);
                continue;
            }
            Err(problem) => return failed(&problem, json),
        };
        heard = Some(Instant::now());
        match report.stage {
            _ if report.dry_run => {}
            DeployStage::Draining | DeployStage::Checking => {
                if !json {
                    said.waits_for(report.lacks.iter().map(ToString::to_string));
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

/// Begins a drain and follows it to its end; the edge bounds how long that takes.
pub(super) fn drain(socket: &Path, path: &str, request: &DrainRequest, json: bool) -> ExitCode {
    let mut said = Said::default();
    let mut answer = post(socket, path, request);
    loop {
        let report: DrainReport = match read(answer) {
            Ok(report) => report,
            Err(problem) => return failed(&problem, json),
        };
        match report.stage {
            _ if report.dry_run => {}
            DrainStage::Draining => {
                if !json {
                    let classes = report.in_flight.iter();
                    said.waits_for(classes.map(|line| format!("{} {}", line.count, line.class)));
                }
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", path, None);
                continue;
            }
            DrainStage::Late => return failed(&late(&report), json),
            DrainStage::Drained => {}
        }
        if json {
            out(&serde_json::to_string(&report).expect("a report always has a JSON form"));
        } else {
            out(&show::drain(&report));
        }
        return ExitCode::SUCCESS;
    }
}

fn late(report: &DrainReport) -> Problem {
    let DrainReport {
        app,
        colour,
        seconds,
        ..
    } = report;
    let left = show::in_flight(&report.in_flight).unwrap_or_default();
    Problem::cut_off(format!(
        "{app}: after {seconds} s {colour} is {left}; they are cut off if its members stop now. Nobody new comes to it: drain it again to wait longer"
    ))
}

/// Begins an upgrade and follows it to its end; the supervisor bounds how long that takes.
pub(super) fn upgrade(socket: &Path, request: &UpgradeRequest, json: bool) -> ExitCode {
    let path = "/v1/upgrade";
    let mut answer = post(socket, path, request);
    let mut heard: Option<Instant> = None;
    loop {
        let report: UpgradeReport = match read(answer) {
            Ok(report) => report,
            Err(_) if request.supervisor && heard.is_some_and(|at| at.elapsed() < AWAY) => {
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", path, None);
                continue;
            }
            Err(problem) => return failed(&problem, json),
        };
        heard = Some(Instant::now());
        match report.stage {
            UpgradeStage::Starting | UpgradeStage::Checking | UpgradeStage::Following => {
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", path, None);
                continue;
            }
            UpgradeStage::Failed | UpgradeStage::WorkerAlone if json => {
                out(&serde_json::to_string(&report).expect("a report always has a JSON form"));
                return ExitCode::FAILURE;
            }
            UpgradeStage::Failed | UpgradeStage::WorkerAlone => {
                return failed(&not_upgraded(&report), json);
            }
            UpgradeStage::Done if json => {
                out(&serde_json::to_string(&report).expect("a report always has a JSON form"));
            }
            UpgradeStage::Done => out(&show::upgrade(&report)),
        }
        return ExitCode::SUCCESS;
    }
}

fn not_upgraded(report: &UpgradeReport) -> Problem {
    let why = report.why.as_deref().unwrap_or("the new worker failed");
    let mut detail = match report.stage {
        UpgradeStage::WorkerAlone => {
            format!("the new worker serves, but the supervisor is what it was: {why}")
        }
        _ => format!("nothing was changed: {why}"),
    };
    if !report.log.is_empty() {
        detail.push_str("; it said last:");
    }
    for line in &report.log {
        detail.push_str("\n    ");
        detail.push_str(line);
    }
    Problem::undone(detail, Vec::new())
}

pub(super) fn read<T: DeserializeOwned>(answer: Result<Vec<u8>, CallError>) -> Result<T, Problem> {
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
struct Said(Vec<String>);

impl Said {
    /// For people alone: what a script reads is the end.
    fn waits_for(&mut self, reasons: impl Iterator<Item = String>) {
        let reasons: Vec<String> = reasons.collect();
        if self.0 == reasons || !std::io::stderr().is_terminal() {
            return;
        }
        for reason in reasons.iter().filter(|reason| !self.0.contains(reason)) {
            eprintln!("waiting: {reason}");
        }
        self.0 = reasons;
    }
}
