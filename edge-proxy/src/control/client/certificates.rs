//! `certs add|issue|renew|revoke`: begun, then followed to its end.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;

use super::super::api::{
    CertificateAction, CertificateReport, CertificateRequest, CertificateStage, Problem,
    RekeyReport, RekeyRequest,
};
use super::super::show;
use super::call::call;
use super::wait::read;
use super::{encoded, failed, out, post, say};

/// How often is asked: often enough for somebody who looks on.
const LOOK: Duration = Duration::from_millis(250);

/// Nobody may answer so often in a row.
const ABSENT_MAX: u32 = 120;

const UNAVAILABLE: u16 = 503;

/// What a command on a certificate is given.
#[derive(Debug, Clone)]
pub struct CertificateArgs {
    /// A host, or `*.` and one.
    pub host: String,
    /// Kept in the audit log.
    pub reason: Option<String>,
}

/// Begins it and follows it to its end; the edge bounds how long that takes.
pub fn certificate(
    socket: &Path,
    action: CertificateAction,
    args: &CertificateArgs,
    json: bool,
) -> ExitCode {
    let path = format!("/v1/certificates/{}", encoded(&args.host));
    let request = CertificateRequest {
        action,
        reason: args.reason.clone(),
    };
    let (mut said, mut absent, mut begun) = (None, 0, false);
    let mut answer = post(socket, &path, &request);
    loop {
        let report: CertificateReport = match read(answer) {
            Ok(report) => report,
            // A worker crashed, or was replaced: the next one goes on with it.
            Err(problem) if problem.status == UNAVAILABLE && absent < ABSENT_MAX && begun => {
                absent += 1;
                std::thread::sleep(LOOK);
                answer = call(socket, "GET", &path, None);
                continue;
            }
            Err(problem) => return failed(&problem, json),
        };
        (absent, begun) = (0, true);
        match report.stage {
            CertificateStage::Issued => {
                if json {
                    out(&serde_json::to_string(&report).expect("a report always has a JSON form"));
                } else {
                    out(&show::certificate(&report));
                }
                return ExitCode::SUCCESS;
            }
            CertificateStage::Failed => return failed(&not_issued(&report), json),
            CertificateStage::Waiting | CertificateStage::Checking | CertificateStage::Ordering => {
            }
        }
        // For people alone: what a script reads is the end.
        if !json && said != Some(report.stage) && std::io::stderr().is_terminal() {
            eprintln!("{}", show::certificate(&report));
            said = Some(report.stage);
        }
        std::thread::sleep(LOOK);
        answer = call(socket, "GET", &path, None);
    }
}

/// Gives the account at an authority another key.
pub fn rekey(socket: &Path, authority: &str, reason: Option<&str>, json: bool) -> ExitCode {
    let path = format!("/v1/authorities/{}/key", encoded(authority));
    let request = RekeyRequest {
        reason: reason.map(str::to_owned),
    };
    let answer = post(socket, &path, &request);
    say(answer, json, |report: &RekeyReport| {
        format!("{}: the account has another key", report.authority)
    })
}

fn not_issued(report: &CertificateReport) -> Problem {
    let problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "not-issued",
        "not issued",
        show::certificate(report),
    );
    Problem {
        refused: report.refused,
        ..problem
    }
}
