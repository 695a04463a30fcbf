//! The operator's commands: one request over the admin socket, then words or JSON, and an exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 not a valid command, 3 refused by policy. With `--json` the
//! answer, or the problem, is the only thing on standard output.

mod call;
mod certificates;
mod rollout;
mod wait;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::call::CallError;
use self::call::call;
pub(crate) use self::call::{open, send};
pub use self::certificates::{CertificateArgs, certificate, rekey};
pub use self::rollout::{RolloutArgs, rollout};
use super::api::{
    AuditReport, CacheReport, CacheRequest, DeployRequest, DrainRequest, Explanation, FreezeReport,
    FreezeRequest, PauseReport, PauseRequest, Problem, PurgeReport, PurgeRequest, ShiftReport,
    ShiftRequest, Status, UpgradeRequest,
};
use super::shift::Weight;
use super::show;

/// What `shift` is given.
#[derive(Debug, Clone)]
pub struct ShiftArgs {
    /// The app.
    pub app: String,
    /// Such as `green=10%`.
    pub weight: String,
    /// Go on where schools are frozen.
    pub despite_freeze: bool,
    /// Say what would be done.
    pub dry_run: bool,
    /// Kept in the audit log.
    pub reason: Option<String>,
}

/// What `deploy` is given.
#[derive(Debug, Clone)]
pub struct DeployArgs {
    /// The app.
    pub app: String,
    /// What is asked of the edge.
    pub request: DeployRequest,
}

/// What `drain` is given.
#[derive(Debug, Clone)]
pub struct DrainArgs {
    /// The app.
    pub app: String,
    /// What is asked of the edge.
    pub request: DrainRequest,
}

/// What `pause` and `unpause` are given.
#[derive(Debug, Clone)]
pub struct PauseArgs {
    /// The app.
    pub app: String,
    /// What is asked of the edge.
    pub request: PauseRequest,
}

/// What `purge` is given: a school and exactly one of tag, URL and all.
#[derive(Debug, Clone)]
pub struct PurgeArgs {
    /// The school.
    pub tenant: String,
    /// What carries this tag.
    pub tag: Option<String>,
    /// What is stored under this path or URL.
    pub url: Option<String>,
    /// Everything of the school.
    pub all: bool,
    /// What everyone may see is only stale from now on.
    pub soft: bool,
    /// Say what would be done.
    pub dry_run: bool,
    /// Kept in the audit log.
    pub reason: Option<String>,
}

/// What `explain` is given.
#[derive(Debug, Clone)]
pub struct ExplainArgs {
    /// With scheme and host.
    pub url: String,
    /// GET if none.
    pub method: Option<String>,
    /// Who asks, such as `oak/7:pupil`; nobody in particular if none.
    pub asker: Option<String>,
}

/// What `audit log` is given.
#[derive(Debug, Clone)]
pub struct AuditArgs {
    /// Newest records to list.
    pub limit: usize,
    /// A record and its hash, as they were seen before, such as `12:9f86d081...`.
    pub seen: Option<String>,
}

/// Lists the audit log and checks all of it; exit code 1 names the first record that is not what it was.
pub fn audit(socket: &Path, args: &AuditArgs, json: bool) -> ExitCode {
    let mut path = format!("/v1/audit?limit={}", args.limit);
    if let Some(seen) = &args.seen {
        path += &format!("&seen={}", encoded(seen));
    }
    let mut whole = true;
    let answer = call(socket, "GET", &path, None).inspect(|body| {
        let report = serde_json::from_slice::<AuditReport>(body);
        whole = report.is_ok_and(|report| report.broken.is_none());
    });
    let said = say(answer, json, |report: &AuditReport| show::audit(report));
    match whole {
        true => said,
        false => ExitCode::FAILURE,
    }
}

/// Shows how things are.
pub fn status(socket: &Path, json: bool) -> ExitCode {
    let answer = call(socket, "GET", "/v1/status", None);
    say(answer, json, |status: &Status| show::status(status))
}

/// Lists the certificates that are served, those that end first on top.
pub fn certificates(socket: &Path, json: bool) -> ExitCode {
    let mut answer = call(socket, "GET", "/v1/status", None);
    if json {
        // What a script asked for, and not the whole status.
        answer = answer.map(|body| match serde_json::from_slice::<Value>(&body) {
            Ok(status) => {
                let (certificates, problems) = ("certificates", "certificate_problems");
                let part =
                    json!({ "certificates": status[certificates], "problems": status[problems] });
                part.to_string().into_bytes()
            }
            Err(_) => body,
        });
    }
    say(answer, json, |status: &Status| show::certificates(status))
}

/// Moves weight between the colours of an app; returns when requests see it.
pub fn shift(socket: &Path, args: &ShiftArgs, json: bool) -> ExitCode {
    if let Err(error) = args.weight.parse::<Weight>() {
        return usage(&format!("`{}`: {error}", args.weight), json);
    }
    let request = ShiftRequest {
        weight: args.weight.clone(),
        despite_freeze: args.despite_freeze,
        dry_run: args.dry_run,
        reason: args.reason.clone(),
    };
    let path = format!("/v1/apps/{}/shift", encoded(&args.app));
    let answer = post(socket, &path, &request);
    say(answer, json, |report: &ShiftReport| show::shift(report))
}

/// Lets no more go to a newer version of an app, or again.
pub fn freeze(socket: &Path, app: &str, request: &FreezeRequest, json: bool) -> ExitCode {
    let answer = post(
        socket,
        &format!("/v1/apps/{}/freeze", encoded(app)),
        request,
    );
    say(answer, json, |report: &FreezeReport| show::freeze(report))
}

/// Makes an idle colour a new version; returns when it is whole and healthy, or is again what it was.
pub fn deploy(socket: &Path, args: &DeployArgs, json: bool) -> ExitCode {
    let path = format!("/v1/apps/{}/deploy", encoded(&args.app));
    wait::deploy(socket, &path, &args.request, json)
}

/// Leaves a colour; returns when nobody is there any more, or the time is over.
pub fn drain(socket: &Path, args: &DrainArgs, json: bool) -> ExitCode {
    let path = format!("/v1/apps/{}/drain", encoded(&args.app));
    wait::drain(socket, &path, &args.request, json)
}

/// Holds an app's requests, or lets them go on; returns when requests see it and those that were under way have ended.
pub fn pause(socket: &Path, args: &PauseArgs, json: bool) -> ExitCode {
    let path = format!("/v1/apps/{}/pause", encoded(&args.app));
    let answer = post(socket, &path, &args.request);
    let late = answer.as_ref().ok().and_then(|body| {
        let report: PauseReport = serde_json::from_slice(body).ok()?;
        let waited = report.paused && !report.dry_run;
        let left = show::in_flight(&report.in_flight).filter(|_| waited)?;
        let app = report.app;
        Some(format!(
            "{app} is paused, but an origin is {left}: wait, or `unpause` it"
        ))
    });
    match late {
        Some(detail) => failed(&Problem::cut_off(detail), json),
        None => say(answer, json, |report: &PauseReport| show::pause(report)),
    }
}

/// Lets another version take over; returns when it accepts, or has failed and changed nothing.
pub fn upgrade(socket: &Path, request: &UpgradeRequest, json: bool) -> ExitCode {
    wait::upgrade(socket, request, json)
}

/// Purges stored answers of a school; returns when they can no longer be served.
pub fn purge(socket: &Path, args: &PurgeArgs, json: bool) -> ExitCode {
    let given = [args.tag.is_some(), args.url.is_some(), args.all];
    if given.iter().filter(|given| **given).count() != 1 {
        return usage("give exactly one of --tag, --url and --all", json);
    }
    let request = PurgeRequest {
        tenant: args.tenant.clone(),
        tag: args.tag.clone(),
        url: args.url.clone(),
        all: args.all,
        soft: args.soft,
        dry_run: args.dry_run,
        reason: args.reason.clone(),
    };
    let answer = post(socket, "/v1/purge", &request);
    say(answer, json, |report: &PurgeReport| show::purge(report))
}

/// What `cache off` and `cache on` are given.
#[derive(Debug, Clone)]
pub struct CacheArgs {
    /// Off, not on.
    pub off: bool,
    /// Say what would be done.
    pub dry_run: bool,
    /// Kept in the audit log.
    pub reason: Option<String>,
}

/// Turns the cache of reads off or on; returns when requests see it.
pub fn cache(socket: &Path, args: &CacheArgs, json: bool) -> ExitCode {
    let request = CacheRequest {
        off: args.off,
        dry_run: args.dry_run,
        reason: args.reason.clone(),
    };
    let answer = post(socket, "/v1/cache", &request);
    say(answer, json, |report: &CacheReport| show::cache(report))
}

/// Says what would happen to a request, and why.
pub fn explain(socket: &Path, args: &ExplainArgs, json: bool) -> ExitCode {
    let method = args.method.as_deref().unwrap_or("GET");
    let path = format!(
        "/v1/explain?url={}&method={}",
        encoded(&args.url),
        encoded(method)
    );
    let path = match &args.asker {
        Some(asker) => format!("{path}&as={}", encoded(asker)),
        None => path,
    };
    let answer = call(socket, "GET", &path, None);
    say(answer, json, |explanation: &Explanation| {
        show::explanation(explanation)
    })
}

fn post(socket: &Path, path: &str, request: &impl Serialize) -> Result<Vec<u8>, CallError> {
    let body = serde_json::to_vec(request).expect("texts and flags always have a JSON form");
    call(socket, "POST", path, Some(body))
}

fn encoded(text: &str) -> impl std::fmt::Display {
    const KEEP: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(text, KEEP)
}

fn usage(detail: &str, json: bool) -> ExitCode {
    failed(&Problem::usage(detail), json)
}

fn say<T: DeserializeOwned>(
    answer: Result<Vec<u8>, CallError>,
    json: bool,
    words: impl FnOnce(&T) -> String,
) -> ExitCode {
    let body = match answer {
        Ok(body) => body,
        Err(CallError::Problem(problem)) => return failed(&problem, json),
        Err(other) => return failed(&Problem::unreachable(other.to_string()), json),
    };
    if json {
        out(&String::from_utf8_lossy(&body));
        return ExitCode::SUCCESS;
    }
    match serde_json::from_slice(&body) {
        Ok(answer) => {
            out(words(&answer).trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let detail =
                format!("the edge's answer cannot be read: {error}; are both of one version?");
            failed(&Problem::unreachable(detail), json)
        }
    }
}

fn failed(problem: &Problem, json: bool) -> ExitCode {
    if json {
        out(&serde_json::to_string(problem).expect("a problem always has a JSON form"));
    } else {
        // Standard error may be closed; the exit code says it too.
        let _closed = writeln!(io::stderr(), "{}", show::problem(problem).trim_end());
    }
    ExitCode::from(exit_code(problem))
}

fn exit_code(problem: &Problem) -> u8 {
    match problem {
        Problem { refused: true, .. } => 3,
        Problem { status: 400, .. } => 2,
        Problem { .. } => 1,
    }
}

fn out(text: &str) {
    // A reader that has seen enough (`| head`) is no fault.
    let _closed = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_who_has_to_act() {
        let problem = |refused, status| Problem {
            refused,
            status,
            ..Problem::usage("x")
        };
        assert_eq!(exit_code(&problem(true, 422)), 3);
        assert_eq!(exit_code(&problem(false, 400)), 2);
        for status in [404, 409, 412, 413, 422, 500, 503, 504, 0] {
            assert_eq!(exit_code(&problem(false, status)), 1, "{status}");
        }
    }

    #[test]
    fn a_url_is_one_value_of_a_query() {
        let url = "https://oak.example/a b?x=1&y=2#z";
        assert_eq!(
            encoded(url).to_string(),
            "https%3A%2F%2Foak.example%2Fa%20b%3Fx%3D1%26y%3D2%23z"
        );
    }
}
