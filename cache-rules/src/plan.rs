//! A cached read, as the rules would have it: what the origin is asked, and under which key its answer is kept.

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};

use crate::answer::Answer;
use crate::credentials::Credentials;
use crate::host::HostName;
use crate::identity::Grant;
use crate::key::CacheKey;
use crate::reason::PassReason;
use crate::rules::Scope;
use crate::tag::Tag;

/// A read that a rule covers. Only the rules make one.
///
/// What is keyed, what the rule matched and what the origin is asked are the same bytes: [`Plan::target`] and
/// [`Plan::forward_headers`] are all that the origin may see of the request.
#[derive(Clone)]
pub struct Plan {
    target: Box<str>,
}

impl Plan {
    /// The name of the rule.
    pub fn rule(&self) -> &str {
        ""
    }

    /// Who may share the answer: decides which grant is needed.
    pub fn scope(&self) -> Scope {
        Scope::Public
    }

    /// The canonical path and the allowed query pairs: what the origin is asked.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The headers of the client that the origin may see, and `Accept` with the rule's types. The caller adds `Host`,
    /// `Accept-Encoding: identity` and what the edge itself says. `credentials` are left out on public rules.
    pub fn forward_headers(
        &self,
        _request: &HeaderMap,
        _credentials: Option<&Credentials>,
    ) -> HeaderMap {
        HeaderMap::new()
    }

    /// The tags that the rule gives, known before the origin answers: a fetch is joined only if none was purged since.
    pub fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    /// Where the answer is kept. `release` is that of the colour that answers; rules across colours leave it out.
    pub fn key(&self, grant: &Grant, host: &HostName, release: &str) -> CacheKey {
        CacheKey::build(grant, host, self.target(), release)
    }

    /// Whether the origin's answer may be kept. `request_sent` and `received` are when the request to the origin was
    /// sent and when the head of its answer was there, by the clock that freshness is later measured with.
    pub fn answer(
        &self,
        _grant: &Grant,
        _status: StatusCode,
        _headers: &HeaderMap,
        _request_sent: SystemTime,
        _received: SystemTime,
    ) -> Answer {
        Answer::Pass(PassReason::NoLifetime)
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
