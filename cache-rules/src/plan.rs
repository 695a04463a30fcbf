//! A cached read, as the rules would have it: what the origin is asked, and under which key its answer is kept.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TE, TRANSFER_ENCODING,
    UPGRADE,
};

use crate::answer::{self, Answer, Memory, Merged};
use crate::credentials::Credentials;
use crate::freshness::Exchange;
use crate::host::HostName;
use crate::identity::{Grant, Identity};
use crate::key::CacheKey;
use crate::rules::{Consent, Rule, Scope};
use crate::tag::Tag;
use crate::wishes::Wishes;

/// What is said between two hosts, or asked of what is stored: not part of what the origin of a read is asked.
static BETWEEN_TWO: [HeaderName; 14] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A read that a rule covers. Only the rules make one.
///
/// What is keyed, what the rule matched and what the origin is asked are the same bytes: [`Plan::target`] and
/// [`Plan::forward_headers`] are all that the origin may see of the request.
#[derive(Clone)]
pub struct Plan {
    rule: Arc<Rule>,
    /// Canonical; holds a `?` only before the first pair.
    target: Box<str>,
    path_bytes: usize,
    /// In the order of the rule's list.
    vary: Box<[Option<HeaderValue>]>,
    wishes: Wishes,
    /// Under `danger_rfc9111`: what the client sent, for any answer may vary on any of it.
    all: Option<Box<HeaderMap>>,
}

impl Plan {
    pub(crate) fn new(
        rule: Arc<Rule>,
        target: Box<str>,
        path_bytes: usize,
        vary: Box<[Option<HeaderValue>]>,
        wishes: Wishes,
    ) -> Self {
        Self {
            rule,
            target,
            path_bytes,
            vary,
            wishes,
            all: None,
        }
    }

    pub(crate) fn asking_for_all(self, request: &HeaderMap) -> Self {
        let mut all = request.clone();
        for name in &BETWEEN_TWO {
            all.remove(name);
        }
        Self {
            all: Some(Box::new(all)),
            ..self
        }
    }

    pub(crate) fn asked_for(&self) -> Option<&HeaderMap> {
        self.all.as_deref()
    }

    /// The name of the rule.
    pub fn rule(&self) -> &str {
        &self.rule.name
    }

    /// Who may share the answer: decides which grant is needed.
    pub fn scope(&self) -> Scope {
        self.rule.scope
    }

    /// The longest that its answers are kept.
    pub fn ttl(&self) -> Duration {
        self.rule.ttl
    }

    /// Whether the rule alone decides; else the origin has to consent on each answer.
    pub fn rule_consents(&self) -> bool {
        self.rule.consent == Consent::Rule
    }

    /// The request headers that are in its key.
    pub fn varies_on(&self) -> impl Iterator<Item = &str> {
        self.rule.vary.iter().map(|on| on.name.as_str())
    }

    /// The canonical path and the allowed query pairs: what the origin is asked.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The headers of the client that the origin may see (those that are in the key), and `Accept` with the rule's
    /// types. The caller adds `Host`, `Accept-Encoding: identity` and what the edge itself says. `credentials` reach
    /// the origin of tenant and role rules and of no other.
    pub fn forward_headers(&self, credentials: Option<&Credentials>) -> HeaderMap {
        if let Some(all) = &self.all {
            return HeaderMap::clone(all);
        }
        let mut headers = HeaderMap::with_capacity(self.vary.len() + 3);
        headers.insert(ACCEPT, self.rule.accept.clone());
        for (on, value) in self.rule.vary.iter().zip(&self.vary) {
            if let Some(value) = value {
                headers.insert(on.name.clone(), value.clone());
            }
        }
        match (self.rule.scope, credentials) {
            (Scope::Tenant | Scope::Role, Some(credentials)) => credentials.add_to(&mut headers),
            (Scope::Tenant | Scope::Role, None) | (Scope::Public, _) => {}
        }
        headers
    }

    /// What the client asks of a stored answer, as far as it is obeyed from them. `identity`: who they proved to be.
    pub fn wishes(&self, identity: Option<&Identity>) -> Wishes {
        let may_reload = |identity: &Identity| {
            let mut roles = self.rule.reload_roles.iter();
            roles.any(|role| identity.roles.contains(&**role))
        };
        if self.all.is_some() || identity.is_some_and(may_reload) {
            self.wishes
        } else {
            self.wishes.without_reload()
        }
    }

    /// The tags that the rule gives, known before the origin answers: a fetch is joined only if none was purged since.
    pub fn tags(&self) -> Vec<Tag> {
        self.rule.tags(self.path())
    }

    /// Where the answer is kept. `release` is that of the colour that answers; rules across colours leave it out.
    pub fn key(&self, grant: &Grant, host: &HostName, release: &str) -> CacheKey {
        CacheKey::build(self, grant, host, release)
    }

    /// Where the variant is kept that these headers select (RFC 9111, 4.1); the key itself unless any answer may vary on
    /// anything, which is so under `danger_rfc9111` only.
    pub fn variant(&self, key: &CacheKey, names: &[HeaderName]) -> CacheKey {
        match &self.all {
            Some(all) if !names.is_empty() => key.variant(all, names),
            Some(_) | None => key.clone(),
        }
    }

    /// The key by which requests for the same are told: where any answer may vary on anything, all headers are in it.
    pub fn flight(&self, key: &CacheKey) -> CacheKey {
        match &self.all {
            Some(all) => key.variant(all, &all.keys().cloned().collect::<Vec<_>>()),
            None => key.clone(),
        }
    }

    /// Whether [`Self::variant`] makes a difference.
    pub fn may_vary_on_anything(&self) -> bool {
        self.all.is_some()
    }

    /// Whether the origin's answer may be kept. `request_sent` and `received` are when the request to the origin was
    /// sent and when the head of its answer was there, by the clock that freshness is later measured with.
    ///
    /// That the whole body came is not known yet: the caller stores only what is complete.
    pub fn answer(
        &self,
        grant: &Grant,
        status: StatusCode,
        headers: &HeaderMap,
        request_sent: SystemTime,
        received: SystemTime,
    ) -> Answer {
        let exchange = Exchange {
            request_sent,
            received,
        };
        answer::judge(self, grant, status, headers, exchange)
            .map_or_else(Answer::Pass, |storable| Answer::Store(Box::new(storable)))
    }

    /// What a 304 of the origin makes of a stored answer: `sent` is what clients got of it, `memory` what was kept
    /// beside. None: the 304 speaks of other bytes, so the origin has to be asked without conditions.
    pub fn revalidated(
        &self,
        grant: &Grant,
        (sent, memory): (&HeaderMap, &Memory),
        not_modified: &HeaderMap,
        request_sent: SystemTime,
        received: SystemTime,
    ) -> Option<Merged> {
        let headers = memory.merged(sent, not_modified)?;
        let answer = self.answer(grant, StatusCode::OK, &headers, request_sent, received);
        Some(Merged { headers, answer })
    }

    pub(crate) fn checked_rule(&self) -> &Rule {
        &self.rule
    }

    pub(crate) fn path(&self) -> &str {
        &self.target[..self.path_bytes]
    }

    /// The query as `name=value` texts; names hold no raw `=` or `&`, values no raw `&`.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &str> {
        let query = self.target[self.path_bytes..].strip_prefix('?');
        query.into_iter().flat_map(|query| query.split('&'))
    }

    pub(crate) fn vary(&self) -> &[Option<HeaderValue>] {
        &self.vary
    }
}

/// The target holds query values: it is not printed.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("rule", &self.rule())
            .field("scope", &self.scope())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
