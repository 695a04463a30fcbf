//! Whose credentials these are: proven, kept for a short time, failing closed.
//!
//! The origin is asked ([`ask`]), or the credentials are a signed token ([`token`]). Where nobody
//! knows the client gets 503, never somebody's data. A verdict is kept under a keyed hash of host
//! and credentials, for as long as the config says (at most 30 s, and never longer than a token)
//! and until a purge of `u:<subject>`, of the tenant or of everything.

mod ask;
mod jwks;
mod keys;
mod revoked;
mod token;
mod unambiguous;

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_lc_rs::hmac;
use cache_rules::credentials::{CredentialNames, Credentials};
use cache_rules::identity::Identity;
use cache_rules::tenant::TenantId;
use http::header::{HeaderMap, HeaderValue};
use tokio::sync::watch;

use crate::cache::epochs::{Depends, Epochs, Moment};
use crate::cache::flights::{Boarded, Flights};
use crate::clock::Clock;
use crate::config::checked::{self, Token};
use crate::error::Refusal;
use crate::metrics::Metrics;
use crate::metrics::labels::Identity as Learned;
use crate::session::Request;

use ask::Asked;
pub use ask::Question;
use keys::Keys;
pub use revoked::Revoked;
use token::Tokens;

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
    config: Arc<checked::Identity>,
    proof: Proof,
    names: CredentialNames,
    key: hmac::Key,
    kept: moka::sync::Cache<Fingerprint, Arc<Known>>,
    checks: Flights<Fingerprint, Check>,
    epochs: Arc<Epochs>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// How credentials are proven.
enum Proof {
    /// By the answer to a GET of this path.
    Asked(String),
    /// By a signature.
    Signed(Box<Tokens>, Arc<Keys>),
}

/// The keyed hash of host and credentials.
type Fingerprint = [u8; 32];

/// What was found out about some credentials.
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
    /// Nothing is known yet, and nothing is known after a restart: the key of the hashes is new. `revoked` is for tokens.
    pub fn new(
        config: &checked::Identity,
        checks_max: usize,
        epochs: Arc<Epochs>,
        revoked: Arc<Revoked>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config = Arc::new(config.clone());
        let proof = match &config.proof {
            checked::Proof::Origin { path } => Proof::Asked(path.clone()),
            checked::Proof::Token(token) => {
                let keys = Arc::new(Keys::new(token, clock.clone(), Arc::clone(&metrics)));
                let (of_tokens, config) = (Arc::clone(&keys), Arc::clone(&config));
                let tokens = Tokens::new(config, Token::clone(token), of_tokens, revoked);
                Proof::Signed(Box::new(tokens), keys)
            }
        };
        Self {
            names: CredentialNames::new(config.cookies.iter().map(String::as_str)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            kept: moka::sync::Cache::new(KEPT_MAX),
            checks: Flights::new(checks_max),
            config,
            proof,
            epochs,
            clock,
            metrics,
        }
    }

    /// Keeps the keys of tokens up to date, for as long as it is awaited; ends at once where the origin is asked.
    pub async fn follow_keys(self: Arc<Self>) {
        if let Proof::Signed(_, keys) = &self.proof {
            Arc::clone(keys).follow().await;
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
    /// When the origin or the token says no, or when nobody can say.
    pub async fn of(
        self: &Arc<Self>,
        credentials: &Credentials,
        question: Question<'_>,
    ) -> Result<Arc<Identity>, Refusal> {
        let request = question.introduction.request;
        let fingerprint = self.fingerprint(credentials, request);
        if let Some(known) = self.kept.get(&fingerprint)
            && self.holds(&known)
        {
            self.metrics.identity(Learned::Kept);
            return known.outcome.clone();
        }
        for _ in 0..TRIES {
            let known = match &self.proof {
                Proof::Asked(path) => {
                    let asked = question.put(path, &self.config, credentials)?;
                    self.check(fingerprint, request, asked).await?
                }
                Proof::Signed(tokens, _) => {
                    self.verify(tokens, fingerprint, credentials, request).await
                }
            };
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
        born: Moment,
        said: &HeaderValue,
    ) {
        // Beside a signature nobody's word counts.
        if said.len() > SEED_BYTES_MAX || matches!(self.proof, Proof::Signed(..)) {
            return;
        }
        let Some(identity) = ask::read(said.as_bytes(), &self.config) else {
            return;
        };
        let tag = format!("u:{}", identity.subject);
        let depends = self.epochs.depends(&request.tenant, [tag.as_str()], born);
        let known = Known {
            outcome: Ok(Arc::new(identity)),
            depends,
            until: self.clock.now() + self.config.keep,
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
        request: &Request,
        asked: Asked,
    ) -> Result<Arc<Known>, Refusal> {
        let now = self.epochs.now();
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
        let keep = self.config.keep;
        // Each byte may come in time and the answer never end: all who ask would wait with it.
        let outcome = tokio::time::timeout(asked.limit, asked.ask(&self.metrics)).await;
        let outcome = outcome.unwrap_or(Err(Refusal::IdentityUnavailable));
        let known = self.keep(fingerprint, outcome, &tenant, check.born, keep);
        check.answer.send_replace(Some(known));
        self.checks.land(&fingerprint, &check);
    }

    /// A signature is checked in less time than it takes to wait for somebody else who does.
    async fn verify(
        &self,
        tokens: &Tokens,
        fingerprint: Fingerprint,
        credentials: &Credentials,
        request: &Request,
    ) -> Arc<Known> {
        // Before the look at who was signed out: what is purged from now on ends the verdict.
        let born = self.epochs.now();
        let mut keep = self.config.keep;
        let outcome = tokens.verify(credentials).await.map(|believed| {
            let identity = believed.identity;
            if believed.ends_others {
                let tag = format!("u:{}", identity.subject);
                self.epochs.end(&identity.tenant, [tag.as_str()]);
            }
            let since_1970 = self.clock.wall().duration_since(UNIX_EPOCH);
            let left = Duration::from_secs(believed.expires)
                .saturating_sub(since_1970.unwrap_or(Duration::MAX));
            keep = keep.min(left);
            Arc::new(identity)
        });
        self.keep(fingerprint, outcome, &request.tenant, born, keep)
    }

    /// Keeps what was found out, unless that is nothing.
    fn keep(
        &self,
        fingerprint: Fingerprint,
        outcome: Outcome,
        tenant: &TenantId,
        born: Moment,
        keep: Duration,
    ) -> Arc<Known> {
        let (tag, kept, learned) = match &outcome {
            Ok(identity) => {
                let tag = format!("u:{}", identity.subject);
                (Some(tag), Some(keep), Learned::Yes)
            }
            Err(Refusal::Unauthenticated | Refusal::Forbidden) => {
                (None, Some(NO_KEPT.min(keep)), Learned::No)
            }
            Err(_) => (None, None, Learned::Failed),
        };
        self.metrics.identity(learned);
        let depends = self.epochs.depends(tenant, tag.as_deref(), born);
        let known = Arc::new(Known {
            outcome,
            depends,
            until: self.clock.now() + kept.unwrap_or_default(),
        });
        if kept.is_some() {
            self.kept.insert(fingerprint, Arc::clone(&known));
        }
        known
    }
}

#[cfg(test)]
mod tests;
