//! Events of the platform: what it changed, so that no stored answer outlives it, and who is erased.
//!
//! `POST /v1/events`, signed with a secret of the school:
//!
//! ```text
//! Bellwether-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, t "." body)>
//! {"id": "evt-1", "tenant": "oak", "event": "purge", "tags": ["course:7"]}
//! ```
//!
//! The school in the body only says which secrets are tried; what is done is done in that school and
//! nowhere else, whatever the tags are called; `t:<school>` is all of it. A signature is good for five minutes either way. What is
//! refused changes nothing and does not say whether the school or the signature was wrong.
//!
//! An event that was done is answered with the same receipt for a day, and not done again ([`super::receipts`]): a platform
//! that missed an answer tells it again as it was, and files what was done then. This holds over upgrades and restarts, as far as
//! the newest notes of the state file go. An event that comes twice at once, or to two workers while one takes over from the
//! other, may be done twice: that ends answers twice, and the later receipt counts those that were left.

mod told;

use std::path::PathBuf;
use std::sync::Arc;

use asset_pipeline::id::EdgeId;
use aws_lc_rs::hmac;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use cache_rules::tenant::TenantId;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::told::Told;
use super::admin::Admin;
use super::api::{EventReport, Problem};
use super::event::Purge;
use super::receipts::{Done, Kept, Mark, Receipts};
use crate::clock::Clock;
use crate::surface;

/// A purge of hundreds of tags is far below it.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How far the clocks of platform and edge may be apart.
const WINDOW_S: u64 = 300;
/// Notes that are read for what was done before this process: a message of a few megabytes between two processes.
const NOTES_MAX: usize = 10_000;
/// The current secret and the one before or after it.
const SECRETS_MAX: usize = 2;
/// Below this a secret can be guessed.
const SECRET_BYTES_MIN: usize = 32;
const SIGNATURE: &str = "bellwether-signature";

/// Hears the platform.
#[derive(Clone)]
pub struct Events {
    admin: Admin,
    secrets: PathBuf,
    edge: EdgeId,
    clock: Clock,
    receipts: Arc<Mutex<Receipts>>,
}

/// An event whose sender has proven to be the platform of a school.
struct Proven {
    tenant: TenantId,
    /// What was posted, under the secret that it was signed with.
    mark: Mark,
    /// And under each that is good now: it may have been told under another one before.
    marks: Vec<Mark>,
}

impl Events {
    /// `secrets` is a folder with a file `<tenant>.secret` for each school: one or two lines, each a secret. What the
    /// platform files as a receipt names `edge`.
    pub fn new(admin: Admin, secrets: PathBuf, edge: EdgeId, clock: Clock) -> Self {
        Self {
            admin,
            secrets,
            edge,
            clock,
            receipts: Arc::default(),
        }
    }

    /// Answers the platform until `stop` turns true.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        self.recall().await;
        let router = Router::new()
            .route("/v1/events", post(take))
            .fallback(async || Problem::unknown("only POST /v1/events"))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self);
        surface::serve(listener, router, stop).await;
    }

    /// What was done before this process.
    async fn recall(&self) {
        let told = match self.admin.told(NOTES_MAX).await {
            Ok(told) => told,
            Err(problem) => {
                tracing::warn!(
                    why = problem.detail,
                    "events of before the start are done once more if they are told again"
                );
                return;
            }
        };
        let now_s = self.now_s();
        let mut receipts = self.receipts.lock();
        for (at, sequence, receipt) in told {
            // A school that is configured no more tells nothing.
            if let Ok(tenant) = receipt.tenant.parse()
                && self.admin.is_tenant(&tenant)
            {
                let kept = Kept {
                    at_s: u64::try_from(at.as_second()).unwrap_or(0),
                    sequence: sequence.0,
                    done: receipt.done,
                };
                receipts.keep(&tenant, receipt.event, kept, now_s);
            }
        }
    }

    /// Seconds since 1970.
    fn now_s(&self) -> u64 {
        let since_1970 = self.clock.wall().duration_since(std::time::UNIX_EPOCH);
        since_1970.map_or(0, |since| since.as_secs())
    }

    /// One answer for every way in which nobody proved to be the platform.
    async fn prove(
        &self,
        told: &Told,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Proven, Problem> {
        let unproven = || {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "unsigned",
                "not signed by the school's platform",
                "the signature, its time or the school is wrong",
            )
        };
        let (time, signatures) = signature(headers).ok_or_else(unproven)?;
        let tenant: TenantId = told.tenant.parse().map_err(|_| unproven())?;
        if !self.admin.is_tenant(&tenant) {
            return Err(unproven());
        }
        let seconds: u64 = time.parse().map_err(|_| unproven())?;
        if self.now_s().abs_diff(seconds) > WINDOW_S {
            return Err(unproven());
        }
        let file = self.secrets.join(format!("{tenant}.secret"));
        let text = tokio::fs::read_to_string(file)
            .await
            .map_err(|_| unproven())?;
        let signed = [time.as_bytes(), b".", body].concat();
        let usable = text
            .lines()
            .map(str::trim)
            .filter(|line| line.len() >= SECRET_BYTES_MIN);
        let keys: Vec<_> = usable
            .take(SECRETS_MAX)
            .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
            .collect();
        let is_signed = |key: &hmac::Key| {
            let mut tags = signatures.iter();
            tags.any(|tag| hmac::verify(key, &signed, tag).is_ok())
        };
        let mark = |key: &hmac::Key| Mark::of(key, body);
        let by = keys.iter().find(|key| is_signed(key));
        Ok(Proven {
            mark: by.map(mark).ok_or_else(unproven)?,
            marks: keys.iter().map(mark).collect(),
            tenant,
        })
    }

    async fn act(&self, told: Told, proven: Proven) -> Result<EventReport, Problem> {
        let Proven {
            tenant,
            mark,
            marks,
        } = proven;
        let report = |repeated, sequence, done: Done| EventReport {
            id: told.id.clone(),
            edge: self.edge.to_string(),
            repeated,
            sequence,
            tags: done.tags,
            objects: done.objects,
        };
        let known = self.receipts.lock().find(&tenant, &marks, self.now_s());
        if let Some(kept) = known {
            return Ok(report(true, kept.sequence, kept.done));
        }
        let tags = told.tags()?;
        let named = tags.len();
        let what = format!("event {}", told.event.as_str());
        let purge = match told::of_the_school(&tags, &tenant)? {
            true => Purge::Tenant(tenant.clone()),
            false => Purge::Tags(tenant.clone(), tags),
        };
        let (sequence, done) = self
            .admin
            .purge_told(purge, what, (&tenant, mark, named))
            .await?;
        let kept = Kept {
            at_s: self.now_s(),
            sequence: sequence.0,
            done,
        };
        self.receipts.lock().keep(&tenant, mark, kept, kept.at_s);
        Ok(report(false, kept.sequence, done))
    }
}

async fn take(
    State(events): State<Events>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<EventReport>, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::usage(
            "the body is JSON as it is, without Content-Encoding",
        ));
    }
    // A member that is there twice is an error of its own.
    let told: Told = serde_json::from_slice(&body)
        .map_err(|error| Problem::usage(format!("the body: {error}")))?;
    let proven = events.prove(&told, &headers, &body).await?;
    events.act(told, proven).await.map(Json)
}

/// The time as it was signed, and the signatures.
fn signature(headers: &HeaderMap) -> Option<(String, Vec<Vec<u8>>)> {
    let mut lines = headers.get_all(SIGNATURE).iter();
    let text = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (mut time, mut signatures) = (None, Vec::new());
    for part in text.split(',') {
        match part.trim().split_once('=')? {
            ("t", digits) if time.is_none() => time = Some(digits.to_owned()),
            ("v1", tag) if signatures.len() < SECRETS_MAX => {
                signatures.push(hex::decode(tag).ok()?)
            }
            _ => return None,
        }
    }
    Some((time?, signatures)).filter(|(_, signatures)| !signatures.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(line: &[u8]) -> Option<(String, Vec<Vec<u8>>)> {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, HeaderValue::from_bytes(line).ok()?);
        signature(&headers)
    }

    proptest! {
        #[test]
        fn a_signature_is_read_as_it_was_written_or_not_at_all(
            line in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "(t=[0-9]{0,12},?|v1=[0-9a-f]{0,66},?|[tv]1?=?,| ){0,6}".prop_map(String::into_bytes),
            ],
        ) {
            if let Some((time, signatures)) = read(&line) {
                prop_assert!((1..=SECRETS_MAX).contains(&signatures.len()));
                let mut again = format!("t={time}");
                for tag in &signatures {
                    again.push_str(&format!(",v1={}", hex::encode(tag)));
                }
                prop_assert_eq!(read(again.as_bytes()), Some((time, signatures)));
            }
        }
    }

    #[test]
    fn two_times_two_lines_and_three_signatures_are_none() {
        assert!(read(b"t=1,v1=00").is_some());
        for line in [
            "t=1,t=1,v1=00",
            "v1=00",
            "t=1",
            "t=1,v1=00,v1=00,v1=00",
            "t=1,v1=0",
            "t=1,v1=00,v2=00",
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(SIGNATURE, HeaderValue::from_static("t=1,v1=00"));
        headers.append(SIGNATURE, HeaderValue::from_static("t=1,v1=00"));
        assert_eq!(signature(&headers), None);
    }
}
