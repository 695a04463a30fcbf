//! Whose credentials these are: asked of the origin, kept for a short time, failing closed.
//!
//! A GET with the client's credentials to a path of the origin. 200 is a yes, 401 and 403 a no, and
//! anything else means that nobody knows: the client gets 503, never somebody's data. An answer is
//! kept under a keyed hash of host and credentials, for as long as the config says (at most 30 s)
//! and until a purge of `u:<subject>`, of the tenant or of everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use cache_rules::credentials::{CredentialNames, Credentials};
use cache_rules::identity::Identity;
use cache_rules::tenant::TenantId;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderValue, SET_COOKIE};
use http::{Request as HttpRequest, StatusCode};
use tokio::sync::watch;

use crate::cache::epochs::{Depends, Epochs, Moment};
use crate::cache::flights::{Boarded, Flights};
use crate::clock::Clock;
use crate::config::checked;
use crate::error::Refusal;
use crate::metrics::Metrics;
use crate::metrics::labels::Identity as Learned;
use crate::session::Request;
use crate::upstream::client::Client;
use crate::upstream::pool::Pool;

/// A pupil's profile is a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A header of an answer, beside all others.
const SEED_BYTES_MAX: usize = 4 * 1024;
/// A no is kept just long enough to take the edge off a page that asks ten things at once.
const NO_KEPT: Duration = Duration::from_secs(2);
/// More people than are signed in at one edge at once; the oldest are asked for again.
const KEPT_MAX: u64 = 200_000;
/// A purge in the middle of a check makes it worthless; a purge in the middle of each is an attack.
const TRIES: usize = 3;

/// Checks credentials.
pub struct Identities {
    names: CredentialNames,
    key: hmac::Key,
    kept: moka::sync::Cache<Fingerprint, Arc<Known>>,
    checks: Flights<Fingerprint, Check>,
    epochs: Arc<Epochs>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// The keyed hash of host and credentials.
type Fingerprint = [u8; 32];

/// What the origin said of some credentials.
struct Known {
    outcome: Outcome,
    depends: Depends,
    until: Instant,
}

type Outcome = Result<Arc<Identity>, Refusal>;

/// A question under way.
struct Check {
    born: Moment,
    answer: watch::Sender<Option<Arc<Known>>>,
}

impl Identities {
    /// Nothing is known yet, and nothing is known after a restart: the key of the hashes is new.
    pub fn new(
        config: &checked::Identity,
        checks_max: usize,
        epochs: Arc<Epochs>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            names: CredentialNames::new(config.cookies.iter().map(String::as_str)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            kept: moka::sync::Cache::new(KEPT_MAX),
            checks: Flights::new(checks_max),
            epochs,
            clock,
            metrics,
        }
    }

    /// The credentials of a request; none: it has none.
    ///
    /// # Errors
    /// When there are two of one kind: the edge and the origin could pick different ones.
    pub fn credentials(&self, headers: &HeaderMap) -> Result<Option<Credentials>, Refusal> {
        self.names
            .of(headers)
            .map_err(|_| Refusal::Malformed("ambiguous_credentials"))
    }

    /// Now, as epochs have it.
    pub fn now(&self) -> Moment {
        self.epochs.now()
    }

    /// Who the client is.
    ///
    /// # Errors
    /// When the origin says no, or when it does not say.
    pub async fn of(
        self: &Arc<Self>,
        credentials: &Credentials,
        request: &Request,
        question: Question<'_>,
    ) -> Result<Arc<Identity>, Refusal> {
        let fingerprint = self.fingerprint(credentials, request);
        if let Some(known) = self.kept.get(&fingerprint)
            && self.holds(&known)
        {
            self.metrics.identity(Learned::Kept);
            return known.outcome.clone();
        }
        for _ in 0..TRIES {
            let known = self
                .check(fingerprint, credentials, request, &question)
                .await?;
            if self.epochs.valid(&known.depends) {
                return known.outcome.clone();
            }
        }
        Err(Refusal::IdentityUnavailable)
    }

    /// Who the client is, if that is known without a question.
    pub fn known(&self, credentials: &Credentials, request: &Request) -> Option<Arc<Identity>> {
        let known = self.kept.get(&self.fingerprint(credentials, request))?;
        if !self.holds(&known) {
            return None;
        }
        self.metrics.identity(Learned::Kept);
        known.outcome.clone().ok()
    }

    /// Takes what the origin said, beside an answer that it gave to these very credentials, of whose they are: one question
    /// less. `born` is from before the request was sent.
    ///
    /// The caller leaves out answers that change credentials: what they say is about other ones.
    pub fn seed(
        &self,
        credentials: &Credentials,
        request: &Request,
        config: &checked::Identity,
        born: Moment,
        said: &HeaderValue,
    ) {
        if said.len() > SEED_BYTES_MAX {
            return;
        }
        let Some(identity) = read(said.as_bytes(), config) else {
            return;
        };
        let tag = format!("u:{}", identity.subject);
        let depends = self.epochs.depends(&request.tenant, [tag.as_str()], born);
        let known = Known {
            outcome: Ok(Arc::new(identity)),
            depends,
            until: self.clock.now() + config.keep,
        };
        if self.holds(&known) {
            self.metrics.identity(Learned::Seeded);
            self.kept
                .insert(self.fingerprint(credentials, request), Arc::new(known));
        }
    }

    fn holds(&self, known: &Known) -> bool {
        self.clock.now() < known.until && self.epochs.valid(&known.depends)
    }

    fn fingerprint(&self, credentials: &Credentials, request: &Request) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        let host = request.host.as_str().as_bytes();
        context.update(&(host.len() as u64).to_be_bytes());
        context.update(host);
        credentials.feed(|bytes| context.update(bytes));
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    async fn check(
        self: &Arc<Self>,
        fingerprint: Fingerprint,
        credentials: &Credentials,
        request: &Request,
        question: &Question<'_>,
    ) -> Result<Arc<Known>, Refusal> {
        let now = self.epochs.now();
        let asked = question.put(credentials, request)?;
        // A question that was asked before a purge may be answered with what was purged.
        let boarded = self.checks.board(
            &fingerprint,
            |check| check.born >= now,
            || Check {
                born: now,
                answer: watch::Sender::new(None),
            },
        );
        let check = match boarded {
            Boarded::Full => return Err(Refusal::Busy),
            Boarded::Joined(check) => check,
            Boarded::Started(check) => {
                // A check may have landed between the look-up and here.
                if let Some(known) = self.kept.get(&fingerprint)
                    && self.holds(&known)
                {
                    check.answer.send_replace(Some(Arc::clone(&known)));
                    self.checks.land(&fingerprint, &check);
                    return Ok(known);
                }
                let this = Arc::clone(self);
                let (flight, tenant) = (Arc::clone(&check), request.tenant.clone());
                // A task of its own: a client that leaves must not take the others' answer along.
                tokio::spawn(async move { this.answer(fingerprint, flight, tenant, asked).await });
                check
            }
        };
        let mut answer = check.answer.subscribe();
        let known = answer
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Refusal::IdentityUnavailable)?;
        known.clone().ok_or(Refusal::IdentityUnavailable)
    }

    async fn answer(
        self: Arc<Self>,
        fingerprint: Fingerprint,
        check: Arc<Check>,
        tenant: TenantId,
        asked: Asked,
    ) {
        let keep = asked.config.keep;
        // Each byte may come in time and the answer never end: all who ask would wait with it.
        let outcome = tokio::time::timeout(asked.limit, asked.ask(&self.metrics)).await;
        let outcome = outcome.unwrap_or(Err(Refusal::IdentityUnavailable));
        let (tags, kept) = match &outcome {
            Ok(identity) => (vec![format!("u:{}", identity.subject)], Some(keep)),
            Err(Refusal::Unauthenticated | Refusal::Forbidden) => {
                (Vec::new(), Some(NO_KEPT.min(keep)))
            }
            Err(_) => (Vec::new(), None),
        };
        self.metrics.identity(match &outcome {
            Ok(_) => Learned::Yes,
            Err(Refusal::Unauthenticated | Refusal::Forbidden) => Learned::No,
            Err(_) => Learned::Failed,
        });
        let depends = self
            .epochs
            .depends(&tenant, tags.iter().map(String::as_str), check.born);
        let until = self.clock.now() + kept.unwrap_or_default();
        let known = Arc::new(Known {
            outcome,
            depends,
            until,
        });
        if kept.is_some() {
            self.kept.insert(fingerprint, Arc::clone(&known));
        }
        check.answer.send_replace(Some(known));
        self.checks.land(&fingerprint, &check);
    }
}

/// Where and how the origin is asked.
pub struct Question<'a> {
    /// The config.
    pub config: &'a checked::Identity,
    /// Who is asked: the colour that will also answer the request.
    pub pool: &'a Arc<Pool>,
    /// Who asks.
    pub client: &'a Client,
    /// For the whole answer.
    pub limit: Duration,
    /// As the origin is told elsewhere: tenant, colour, forwarded names.
    pub introduction: HeaderMap,
}

/// A question with everything it needs, independent of the request that caused it.
struct Asked {
    config: checked::Identity,
    pool: Arc<Pool>,
    client: Client,
    limit: Duration,
    request: HttpRequest<()>,
}

impl Question<'_> {
    fn put(&self, credentials: &Credentials, request: &Request) -> Result<Asked, Refusal> {
        let mut asked = HttpRequest::get(&self.config.path)
            .header(HOST, request.host.as_str())
            .header(ACCEPT, "application/json")
            .body(())
            .map_err(|_| Refusal::Internal("identity_request"))?;
        asked.headers_mut().extend(self.introduction.clone());
        asked.headers_mut().remove("x-forwarded-host");
        asked.headers_mut().extend(credentials.headers());
        Ok(Asked {
            config: self.config.clone(),
            pool: Arc::clone(self.pool),
            client: self.client.clone(),
            limit: self.limit,
            request: asked,
        })
    }
}

impl Asked {
    async fn ask(self, metrics: &Metrics) -> Outcome {
        let unavailable = |_| Refusal::IdentityUnavailable;
        let answer = self
            .client
            .get(&self.pool, self.request)
            .await
            .map_err(unavailable)?;
        if answer.head.headers.contains_key(SET_COOKIE) {
            // It would be one client's cookie in an answer that many requests share: dropped.
            metrics.identity_cookies_dropped.inc();
        }
        match answer.head.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Refusal::Unauthenticated),
            StatusCode::FORBIDDEN => return Err(Refusal::Forbidden),
            _ => return Err(Refusal::IdentityUnavailable),
        }
        let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(unavailable)?;
        read(&body, &self.config)
            .map(Arc::new)
            .ok_or(Refusal::IdentityUnavailable)
    }
}

/// Maps the origin's answer; none when anything that was asked for is missing or of another kind.
fn read(body: &[u8], config: &checked::Identity) -> Option<Identity> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |pointer: &str| match document.pointer(pointer)? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    };
    let roles = match &config.roles {
        None => Default::default(),
        Some(pointer) => {
            let roles = document.pointer(pointer)?.as_array()?.iter();
            roles
                .map(|role| role.as_str().map(str::to_owned))
                .collect::<Option<_>>()?
        }
    };
    Some(Identity {
        subject: text(&config.subject)?,
        tenant: text(&config.tenant)?.parse().ok()?,
        roles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(roles: Option<&str>) -> checked::Identity {
        checked::Identity {
            path: "/api/v1/me".to_owned(),
            cookies: vec!["_session".to_owned()],
            subject: "/user/id".to_owned(),
            tenant: "/school".to_owned(),
            roles: roles.map(str::to_owned),
            keep: Duration::from_secs(30),
        }
    }

    #[test]
    fn an_identity_is_whole_or_none() {
        let whole = r#"{"user":{"id":7},"school":"oak","roles":["pupil"]}"#;
        let identity = read(whole.as_bytes(), &config(Some("/roles"))).expect("all is there");
        assert_eq!(
            (identity.subject.as_str(), identity.tenant.as_str()),
            ("7", "oak")
        );
        assert!(identity.roles.contains("pupil"));
        for (body, roles) in [
            ("", None),
            ("[]", None),
            (r#"{"user":{"id":""},"school":"oak"}"#, None),
            (r#"{"user":{"id":null},"school":"oak"}"#, None),
            (r#"{"user":{"id":-7},"school":"oak"}"#, None),
            (r#"{"user":{"id":7}}"#, None),
            (r#"{"user":{"id":7},"school":["oak","elm"]}"#, None),
            (r#"{"user":{"id":7},"school":"Oak School"}"#, None),
            (r#"{"user":{"id":7},"school":"oak"}"#, Some("/roles")),
            (
                r#"{"user":{"id":7},"school":"oak","roles":[1]}"#,
                Some("/roles"),
            ),
        ] {
            assert!(read(body.as_bytes(), &config(roles)).is_none(), "{body}");
        }
    }
}
