//! Certificates that the edge looks after: a try is begun by one request and looked at by others.

use axum::Json;
use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use cache_rules::host::HostName;
use certs::acme::{Act, IssueFault, NotRekeyed, Stage};
use http::StatusCode;
use jiff::Timestamp;

use super::super::api::{
    CertificateAction, CertificateReport, CertificateRequest, CertificateStage, Problem,
    RekeyReport, RekeyRequest,
};
use super::super::problem::parsed;
use super::super::store::{Change, Key, Note, Sequence};
use super::Admin;
use super::commands::one_line;
use crate::surface::Peer;

/// Has a host's certificate issued or replaced; it ends by itself.
#[utoipa::path(
    post, path = "/v1/certificates/{host}", request_body = CertificateRequest,
    params(("host" = String, Path, description = "A host of `tenants.toml`, or `*.` and what such hosts are below")),
    responses(
        (status = 202, body = CertificateReport, description = "Begun; look at it with GET"),
        (status = 400, body = Problem, description = "No host, or no authority is configured"),
        (status = 422, body = Problem, description = "Refused: no school's host, or not now"),
    )
)]
pub(super) async fn begin(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(host): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<CertificateReport>), Problem> {
    let asked: CertificateRequest = parsed(&body)?;
    let report = admin
        .begin_certificate(&host, asked, &peer.to_string())
        .await?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// The last try of a host since this edge started.
#[utoipa::path(
    get, path = "/v1/certificates/{host}",
    params(("host" = String, Path, description = "As it was asked for")),
    responses(
        (status = 200, body = CertificateReport),
        (status = 404, body = Problem, description = "Nothing was tried"),
    )
)]
pub(super) async fn look(
    State(admin): State<Admin>,
    Path(host): Path<String>,
) -> Result<Json<CertificateReport>, Problem> {
    let (name, _) = named(&host)?;
    admin.certificate(&name).map(Json)
}

/// Gives the account at an authority another key: others may know the present one.
#[utoipa::path(
    post, path = "/v1/authorities/{authority}/key", request_body = RekeyRequest,
    params(("authority" = String, Path, description = "As the config names it")),
    responses(
        (status = 200, body = RekeyReport),
        (status = 400, body = Problem, description = "No authority is configured"),
        (status = 404, body = Problem, description = "No such authority"),
        (status = 422, body = Problem, description = "Orders are under way, or the authority refused"),
    )
)]
pub(super) async fn rekey(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(authority): Path<String>,
    body: Bytes,
) -> Result<Json<RekeyReport>, Problem> {
    let asked: RekeyRequest = parsed(&body)?;
    let rekeyed = admin
        .edge
        .rekey(&authority)
        .await
        .ok_or_else(no_authority)?;
    let failed = |detail: String| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(
            status,
            "not-rekeyed",
            "the account has no other key",
            detail,
        )
    };
    rekeyed.map_err(|why| match why {
        NotRekeyed::Unknown => Problem::unknown(why.to_string()),
        NotRekeyed::Busy => Problem::refused(why.to_string(), Vec::new()),
        NotRekeyed::Failed(fault) => failed(fault.to_string()),
    })?;
    let note = Note {
        at: Timestamp::now(),
        who: peer.to_string(),
        what: format!("certs rekey {authority}"),
        from: String::new(),
        to: "another key".to_owned(),
        why: one_line(asked.reason),
        receipt: None,
    };
    admin
        .note(Key::authority(&authority), "rekey", note)
        .await?;
    Ok(Json(RekeyReport { authority }))
}

impl Admin {
    async fn begin_certificate(
        &self,
        host: &str,
        asked: CertificateRequest,
        who: &str,
    ) -> Result<CertificateReport, Problem> {
        let (name, parent) = named(host)?;
        let tenant = match parent {
            Some(parent) => self.edge.tenant_below(&parent),
            None => HostName::parse(&name)
                .ok()
                .and_then(|host| self.edge.tenant_of(&host)),
        };
        let tenant = tenant.ok_or_else(|| {
            let detail = format!("`{name}` is no school's host: add it to tenants.toml first");
            Problem::refused(detail, Vec::new())
        })?;
        let act = match asked.action {
            CertificateAction::Add => Act::Add,
            CertificateAction::Issue => Act::Issue,
            CertificateAction::Renew => Act::Renew,
            CertificateAction::Revoke => Act::Revoke,
        };
        let begun = self.edge.begin_certificate(act, &name, &tenant);
        let begun = begun.ok_or_else(no_authority)?;
        begun.map_err(|why| Problem::refused(format!("{name}: {why}"), Vec::new()))?;
        self.note_certificate(&name, asked, who).await?;
        self.certificate(&name)
    }

    /// The audit log has who asked for what; what came of it is in the metrics and in `certs list`.
    async fn note_certificate(
        &self,
        name: &str,
        asked: CertificateRequest,
        who: &str,
    ) -> Result<(), Problem> {
        let action = asked.action.as_str();
        let note = Note {
            at: Timestamp::now(),
            who: who.to_owned(),
            what: format!("certs {action} {name}"),
            from: String::new(),
            to: format!("{action} begun"),
            why: one_line(asked.reason),
            receipt: None,
        };
        self.note(Key::certificate(name), action, note).await
    }

    async fn note(&self, key: Key, action: &str, note: Note) -> Result<(), Problem> {
        let record = self.store.record(&key).await?;
        let change = Change::Put {
            key,
            expected: record.map_or(Sequence::ZERO, |record| record.revision),
            value: serde_json::json!({ "action": action })
                .to_string()
                .into_bytes(),
        };
        self.commit(change, note).await.map(drop)
    }

    fn certificate(&self, name: &str) -> Result<CertificateReport, Problem> {
        let stage = self.edge.certificate_stage(name).ok_or_else(|| {
            Problem::unknown(format!(
                "nothing was tried for {name} since this edge started"
            ))
        })?;
        let text = |at| Timestamp::try_from(at).ok().map(|at| at.to_string());
        let mut report = CertificateReport {
            host: name.to_owned(),
            stage: CertificateStage::Waiting,
            authority: None,
            not_after: None,
            why: None,
            retry_at: None,
            refused: false,
        };
        match stage {
            Stage::Waiting => {}
            Stage::Checking => report.stage = CertificateStage::Checking,
            Stage::Ordering(authority) => {
                report.stage = CertificateStage::Ordering;
                report.authority = Some(authority);
            }
            Stage::Issued(authority, not_after) => {
                report.stage = CertificateStage::Issued;
                report.authority = Some(authority);
                report.not_after = text(not_after);
            }
            Stage::Failed(fault, retry_at) => {
                report.stage = CertificateStage::Failed;
                report.refused = matches!(fault, IssueFault::Quota(_));
                report.why = Some(fault.to_string());
                report.retry_at = text(retry_at);
            }
        }
        Ok(report)
    }
}

fn no_authority() -> Problem {
    Problem::usage("no authority is configured: add [acme] to edge.toml and restart")
}

/// A host in its one form; for a wildcard also what it is of.
fn named(text: &str) -> Result<(String, Option<HostName>), Problem> {
    let (bare, wildcard) = match text.strip_prefix("*.") {
        Some(bare) => (bare, true),
        None => (text, false),
    };
    let host =
        HostName::parse(bare).map_err(|error| Problem::usage(format!("`{text}`: {error}")))?;
    let name = host.as_str();
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(Problem::usage(
            "an address gets no certificate: name a host",
        ));
    }
    Ok(match wildcard {
        true => (format!("*.{name}"), Some(host)),
        false => (name.to_owned(), None),
    })
}
