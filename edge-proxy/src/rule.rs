//! Authorize, then look up: the only way from a request to a stored answer.
//!
//! The verdict of the rules says whether a read may be shared and with whom. For a tenant's read
//! the credentials are proven first; only the grant that comes of it makes a key. What comes back
//! is a read of the cache, or a word why there is none.

use std::sync::Arc;

use cache_rules::credentials::Credentials;
use cache_rules::identity::{Grant, Identity};
use cache_rules::plan::Plan;
use cache_rules::rules::Scope;
use cache_rules::verdict::{Ask, Verdict};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use http::{Method, Request as HttpRequest};

use crate::cache::entry::Entry;
use crate::cache::fill::Job;
use crate::cache::{Alone, Cache, Found, Read};
use crate::config::checked::Config;
use crate::error::Refusal;
use crate::identity::{Identities, Question};
use crate::session::{Introduction, Request};
use crate::split::Choice;
use crate::upstream::client::Client;
use crate::upstream::pool::Pool;
use crate::world::World;

/// Why every request passes while the kill switch is off.
pub const OFF: &str = "cache_off";

/// What the rules say of a request.
pub enum Ruling {
    /// It is a read that may be shared.
    Read(Plan),
    /// It goes to the origin; the word says why.
    Pass(&'static str),
}

/// Asks the rules.
///
/// # Errors
/// When a rule covers the request but its target or body is ambiguous.
pub fn of(world: &World, request: &Request, headers: &HeaderMap) -> Result<Ruling, Refusal> {
    if world.cache_off {
        return Ok(Ruling::Pass(OFF));
    }
    let verdict = world.config.rules.verdict(&Ask {
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        headers,
        has_body: request.has_body,
    });
    match verdict {
        Verdict::Store(plan) => Ok(Ruling::Read(plan)),
        Verdict::Pass(reason) => Ok(Ruling::Pass(reason.as_str())),
        Verdict::Refuse(reason) => Err(Refusal::Malformed(reason.as_str())),
    }
}

/// The rooms that a read needs.
pub struct Reader<'a> {
    /// The files.
    pub config: &'a Config,
    /// Who asks whose credentials these are.
    pub identities: Option<&'a Arc<Identities>>,
    /// Stored answers.
    pub cache: &'a Arc<Cache>,
    /// Who fetches.
    pub client: &'a Client,
}

/// A read's answer and whether this request reads it first.
pub enum Outcome {
    /// A stored answer, found.
    Hit(Arc<Entry>),
    /// A stored answer whose time is over, while a fresh one is fetched.
    Bridged(Arc<Entry>),
    /// What a fetch came to.
    Fetched(Read),
}

impl Reader<'_> {
    /// Proves who the client is where the rule asks for it, then looks up, then fetches.
    ///
    /// # Errors
    /// When the client may not have the answer, or nobody can say.
    pub async fn read(
        &self,
        plan: &Plan,
        headers: &HeaderMap,
        choice: &Choice,
        pool: &Arc<Pool>,
        introduction: Introduction<'_>,
    ) -> Result<Outcome, Refusal> {
        let request = introduction.request;
        let proven = match plan.scope() {
            Scope::Public => None,
            Scope::Tenant | Scope::Role => Some(self.prove(headers, pool, introduction).await?),
        };
        if proven.as_ref().is_some_and(|(identity, _)| identity.acting) {
            return Ok(Outcome::Fetched(Read::Alone(Alone::Acting)));
        }
        let grant = grant(plan, request, proven.as_ref())?;
        let (identity, credentials) = proven.as_ref().map(|(i, c)| (&**i, c)).unzip();
        let wishes = plan.wishes(identity);
        let key = plan.key(&grant, &request.host, choice.release.as_str());
        let found = self.cache.find(plan, &grant, &key, &wishes);
        if let Found::Fresh(entry) = found {
            return Ok(Outcome::Hit(entry));
        }
        let asked = fill_request(plan, credentials, introduction)?;
        let job = |old| Job {
            plan: plan.clone(),
            grant: grant.clone(),
            key: key.clone(),
            pool: Arc::clone(pool),
            request: asked.clone(),
            old,
        };
        let old = match found {
            Found::Bridge(entry) => {
                self.cache.refresh(job(Some(Arc::clone(&entry))));
                return Ok(Outcome::Bridged(entry));
            }
            Found::Old(entry) => Some(entry),
            Found::Fresh(_) | Found::Nothing => None,
        };
        if wishes.only_if_cached {
            return Err(Refusal::NotStored);
        }
        let read = self.cache.fetch(&wishes, || job(old.clone())).await;
        Ok(Outcome::Fetched(read))
    }

    /// What needs no origin: a stored answer for somebody who is known, fresh, or as old as its rule lets it stand in for
    /// an origin that fails.
    pub fn stored(
        &self,
        plan: &Plan,
        request: &Request,
        headers: &HeaderMap,
        choice: &Choice,
    ) -> Option<Outcome> {
        let proven = match plan.scope() {
            Scope::Public => None,
            Scope::Tenant | Scope::Role => {
                let identities = self.identities?;
                let credentials = identities.credentials(headers).ok()??;
                Some((identities.known(&credentials, request)?, credentials))
            }
        };
        let grant = grant(plan, request, proven.as_ref()).ok()?;
        let wishes = plan.wishes(proven.as_ref().map(|(identity, _)| &**identity));
        let key = plan.key(&grant, &request.host, choice.release.as_str());
        match self.cache.find(plan, &grant, &key, &wishes) {
            Found::Fresh(entry) => Some(Outcome::Hit(entry)),
            Found::Bridge(entry) => Some(Outcome::Bridged(entry)),
            Found::Old(entry) if self.cache.may_stand_in(&entry) => {
                Some(Outcome::Fetched(Read::Stale(entry)))
            }
            Found::Old(_) | Found::Nothing => None,
        }
    }

    async fn prove(
        &self,
        headers: &HeaderMap,
        pool: &Arc<Pool>,
        introduction: Introduction<'_>,
    ) -> Result<(Arc<Identity>, Credentials), Refusal> {
        // The config room refuses tenant rules without an identity section; if one came through,
        // nobody could be proven.
        let Some(identities) = self.identities else {
            return Err(Refusal::IdentityUnavailable);
        };
        let credentials = identities
            .credentials(headers)?
            .ok_or(Refusal::Unauthenticated)?;
        let question = Question {
            pool,
            client: self.client,
            limit: self.config.limits.fill,
            introduction,
        };
        let identity = identities.of(&credentials, question).await?;
        Ok((identity, credentials))
    }
}

/// What the proven client may share; of public reads nothing has to be proven.
fn grant(
    plan: &Plan,
    request: &Request,
    proven: Option<&(Arc<Identity>, Credentials)>,
) -> Result<Grant, Refusal> {
    let tenant = &request.tenant;
    match (plan.scope(), proven) {
        (Scope::Public, _) => Ok(Grant::public(tenant)),
        (Scope::Tenant, Some((identity, _))) => {
            Grant::tenant(identity, tenant).map_err(|_| Refusal::Forbidden)
        }
        (Scope::Role, Some((identity, _))) => {
            Grant::role(identity, tenant).map_err(|_| Refusal::Forbidden)
        }
        (Scope::Tenant | Scope::Role, None) => Err(Refusal::Unauthenticated),
    }
}

/// What the origin is asked: the canonical target and the fields that the rule lets through.
fn fill_request(
    plan: &Plan,
    credentials: Option<&Credentials>,
    introduction: Introduction<'_>,
) -> Result<HttpRequest<()>, Refusal> {
    let mut asked = HttpRequest::builder()
        .method(Method::GET)
        .uri(plan.target())
        .body(())
        .map_err(|_| Refusal::Internal("fill_request"))?;
    let fields = asked.headers_mut();
    *fields = plan.forward_headers(credentials);
    introduction
        .put_with_host(fields)
        .map_err(|_| Refusal::Internal("fill_host"))?;
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(asked)
}
