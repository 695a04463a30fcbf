//! What operators are told and nothing is changed by: what would happen to a request, and what was changed.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::{Method, Uri};
use serde::Deserialize;

use super::super::api::{AuditEntry, AuditReport, BrokenRecord, Explanation, Problem};
use super::super::store::Sequence;
use super::Admin;
use crate::explain::{Asker, NotAnAsker};

/// Notes that are listed when no number is given.
const AUDIT_LISTED: usize = 50;

/// Notes that are listed at most: their answer must stay small.
const AUDIT_LISTED_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    url: String,
    method: Option<String>,
    #[serde(rename = "as")]
    asker: Option<String>,
}

/// What would happen to a request, room by room, without making one.
#[utoipa::path(
    get, path = "/v1/explain",
    params(
        ("url" = String, Query, description = "With scheme and host"),
        ("method" = Option<String>, Query, description = "GET if left out"),
        ("as" = Option<String>, Query, description = "Who asks: TENANT/SUBJECT or TENANT/SUBJECT:ROLE,ROLE; nobody in particular if left out"),
    ),
    responses((status = 200, body = Explanation), (status = 400, body = Problem, description = "Not such a URL"))
)]
pub(super) async fn explain(
    State(admin): State<Admin>,
    query: Result<Query<Explain>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Query(asked) = query
        .map_err(|_| Problem::usage("explain takes `url`, if it is not GET `method`, and `as`"))?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Problem::usage("the method is a word such as GET"))?;
    let url: Uri = asked
        .url
        .parse()
        .map_err(|error| Problem::usage(format!("the URL: {error}")))?;
    if url.scheme().is_none() || url.host().is_none() {
        return Err(Problem::usage(
            "the URL needs its scheme and host, such as https://oak.example/",
        ));
    }
    let asker: Option<Asker> = asked
        .asker
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: NotAnAsker| Problem::usage(error.to_string()))?;
    let explained = admin.edge.explain(&method, &url, asker.as_ref()).await;
    explained.map(Json).map_err(Problem::usage)
}

#[derive(Deserialize)]
pub(super) struct Audit {
    limit: Option<usize>,
    seen: Option<String>,
}

/// Checks the whole audit log, and lists its newest records, newest first.
#[utoipa::path(
    get, path = "/v1/audit",
    params(
        ("limit" = Option<usize>, Query, description = "At most 1000; 50 if left out"),
        ("seen" = Option<String>, Query, description = "SEQUENCE:HASH of a record as it once was: it must still be that one"),
    ),
    responses((status = 200, body = AuditReport), (status = 400, body = Problem, description = "Not such a number or record"))
)]
pub(super) async fn audit(
    State(admin): State<Admin>,
    query: Result<Query<Audit>, QueryRejection>,
) -> Result<Json<AuditReport>, Problem> {
    let Query(asked) =
        query.map_err(|_| Problem::usage("audit takes `limit`, a number, and `seen`"))?;
    let seen = asked.seen.map(|text| {
        let (sequence, hash) = text.split_once(':')?;
        Some((Sequence(sequence.parse().ok()?), hash.parse().ok()?))
    });
    if seen == Some(None) {
        let text = "a record is written as SEQUENCE:HASH, as `audit log` shows it";
        return Err(Problem::usage(text));
    }
    let limit = asked.limit.unwrap_or(AUDIT_LISTED).min(AUDIT_LISTED_MAX);
    let audit = admin.store.audit(limit, seen.flatten()).await?;
    let entries = audit.newest.into_iter().map(|noted| match noted.note {
        Some(note) => AuditEntry {
            sequence: noted.sequence.0,
            hash: noted.hash.to_string(),
            at: note.at.to_string(),
            who: note.who,
            what: note.what,
            from: note.from,
            to: note.to,
            why: note.why,
        },
        None => AuditEntry {
            sequence: noted.sequence.0,
            hash: noted.hash.to_string(),
            at: String::new(),
            who: String::new(),
            what: "this record cannot be read".into(),
            from: String::new(),
            to: String::new(),
            why: None,
        },
    });
    Ok(Json(AuditReport {
        records: audit.records,
        broken: audit.broken.map(|(sequence, why)| BrokenRecord {
            sequence: sequence.0,
            why: why.into(),
        }),
        entries: entries.collect(),
    }))
}
