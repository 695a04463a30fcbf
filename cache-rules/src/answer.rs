//! Whether the origin's answer may be kept, and what is kept of its head.
//!
//! Every check says no when it is in doubt, and no check ever turns another's no into a yes: what is added to an
//! answer can only make it less storable. Tags are no exception: they say how an answer is purged, not whether it is
//! kept.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, PROXY_AUTHENTICATE,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

pub use kept::Kept;
pub use memory::{Memory, Merged};

use crate::directives::{Directives, List};
use crate::freshness::{self, Exchange, Freshness};
use crate::group::{self, Group};
use crate::identity::Grant;
use crate::plan::Plan;
use crate::reason::PassReason;
use crate::rules::{Consent, Policy, Rule, Scope};
use crate::tag::Tag;
use crate::vary;

mod danger;
mod kept;
mod memory;

/// Enough for a page of a list with a tag per entry; each is looked at on every hit.
const TAGS_MAX: usize = 256;

const CONSENT: HeaderName = HeaderName::from_static("x-edge-cache-scope");
pub(crate) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// What belongs to one connection (RFC 9110, 7.6.1), to one exchange, or was said to the edge.
const DROPPED: [HeaderName; 21] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
    AGE,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-runtime"),
    CDN_CACHE_CONTROL,
    HeaderName::from_static("surrogate-control"),
    SURROGATE_KEY,
    CACHE_TAG,
    group::CACHE_GROUPS,
    group::CACHE_GROUP_INVALIDATION,
];

/// What the rules say of an answer of the origin.
#[derive(Debug)]
pub enum Answer {
    /// Rule and origin agree.
    Store(Box<Storable>),
    /// Sent to the client that asked, and to nobody else.
    Pass(PassReason),
}

/// An answer that may be kept and shared. Only the rules make one; the cache takes nothing else.
#[derive(Debug)]
pub struct Storable {
    received: SystemTime,
    freshness: Freshness,
    stale: Windows,
    tags: Vec<Tag>,
    groups: Vec<Group>,
    headers: HeaderMap,
    memory: Memory,
    keeping: Keeping,
}

/// How an answer is kept and given out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// A 200 whose bytes are plain: the edge makes codings and tags of its own.
    Own,
    /// As the origin sent it: only under the policy `danger_rfc9111`.
    AsSent {
        /// Its status.
        status: StatusCode,
        /// The request headers that select it.
        vary: Box<[HeaderName]>,
        /// The origin is asked before each use.
        validate: bool,
    },
}

/// For how long after its lifetime an answer may still be given; never after a hard purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Windows {
    /// While a fresh one is fetched.
    pub while_revalidate: Duration,
    /// While the origin fails.
    pub if_error: Duration,
}

impl Storable {
    /// When the answer came.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// How old it was then. `Age` of a hit is this and the time since [`Self::received`].
    pub fn age(&self) -> Duration {
        self.freshness.age
    }

    /// How long it may be served after [`Self::received`]; zero only under the policy `danger_rfc9111`.
    pub fn fresh_for(&self) -> Duration {
        self.freshness.fresh_for
    }

    /// From when on it may no longer be served.
    pub fn expires(&self) -> SystemTime {
        self.received + self.freshness.fresh_for
    }

    /// What purges it: the rule's tags and the origin's, each once.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// What is sent with it: without connection headers, those that the edge consumes, and those of one exchange.
    /// An answer for one school says `private` to whatever stands between the edge and the browser.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The origin's groups (RFC 9875), each once: purged by name like tags, but named by the origin alone.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// For how long it may be served once it is stale.
    pub fn stale(&self) -> Windows {
        self.stale
    }

    /// How it is kept.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// What is sent, and what is kept beside it.
    pub fn into_parts(self) -> (HeaderMap, Kept) {
        let kept = Kept {
            freshness: self.freshness,
            stale: self.stale,
            memory: self.memory,
            keeping: self.keeping,
        };
        (self.headers, kept)
    }
}

pub(crate) fn judge(
    plan: &Plan,
    grant: &Grant,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
) -> Result<Storable, PassReason> {
    let rule = plan.checked_rule();
    if grant.scope() != rule.scope {
        return Err(PassReason::ScopeMismatch);
    }
    if rule.policy == Policy::Rfc9111 {
        return danger::judge(plan, status, headers, exchange);
    }
    if status != StatusCode::OK {
        return Err(PassReason::Status);
    }
    if headers.contains_key(SET_COOKIE) {
        return Err(PassReason::SetCookie);
    }
    consent(rule, headers)?;
    let directives = [
        allowed(headers, &CACHE_CONTROL)?,
        allowed(headers, &CDN_CACHE_CONTROL)?,
    ];
    vary::check(rule, headers)?;
    cors(rule, headers)?;
    content(rule, headers)?;
    let freshness = freshness::measure(headers, directives, rule.ttl, exchange)?;
    let groups = group::named(headers, &group::CACHE_GROUPS).ok_or(PassReason::TagsInvalid)?;
    Ok(Storable {
        received: exchange.received,
        freshness,
        stale: windows(rule, directives),
        tags: tags(plan.tags(), headers)?,
        groups,
        headers: kept(rule, headers),
        memory: Memory::of(headers),
        keeping: Keeping::Own,
    })
}

/// The rule's windows, as far as the origin leaves them (RFC 9111, 4.2.4 and RFC 5861). An answer for some is served
/// stale in a failure only where the origin says so on that very answer.
fn windows(rule: &Rule, directives: [Option<Directives>; 2]) -> Windows {
    let said = || directives.iter().flatten();
    if said().any(Directives::forbids_stale) {
        return Windows::default();
    }
    let shorter = |window: Duration, said: Option<u64>| {
        said.map_or(window, |s| window.min(Duration::from_secs(s)))
    };
    let while_revalidate = said().filter_map(|d| d.stale_while_revalidate).min();
    let if_error = said().filter_map(|d| d.stale_if_error).min();
    let in_error = if_error.is_some() || rule.scope == Scope::Public;
    Windows {
        while_revalidate: shorter(rule.stale_while_revalidate, while_revalidate),
        if_error: if in_error {
            shorter(rule.stale_if_error, if_error)
        } else {
            Duration::ZERO
        },
    }
}

/// Both must say yes. Whatever the rule says, an origin that names another scope is believed.
fn consent(rule: &Rule, headers: &HeaderMap) -> Result<(), PassReason> {
    let mut lines = headers.get_all(CONSENT).iter().peekable();
    if lines.peek().is_none() && rule.consent == Consent::Origin {
        return Err(PassReason::ConsentMissing);
    }
    let scope = rule.scope.as_str().as_bytes();
    if lines.all(|line| line.as_bytes() == scope) {
        Ok(())
    } else {
        Err(PassReason::ConsentOther)
    }
}

pub(crate) fn allowed(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<Directives>, PassReason> {
    let directives = Directives::of(headers, name).map_err(|_| PassReason::CacheControlInvalid)?;
    match directives {
        Some(d) if d.no_store => Err(PassReason::NoStore),
        Some(d) if d.private => Err(PassReason::Private),
        Some(d) if d.no_cache => Err(PassReason::NoCache),
        _ => Ok(directives),
    }
}

/// An answer that one web origin may read must not be given to another, unless the key holds who asked.
fn cors(rule: &Rule, headers: &HeaderMap) -> Result<(), PassReason> {
    let mut lines = headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter();
    if rule.varies_on(&ORIGIN) || lines.all(|line| line == "*") {
        Ok(())
    } else {
        Err(PassReason::Cors)
    }
}

fn content(rule: &Rule, headers: &HeaderMap) -> Result<(), PassReason> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(PassReason::ContentType);
    };
    let essence = line.as_bytes().split(|&b| b == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let listed = |have: &str| have.as_bytes().eq_ignore_ascii_case(essence);
    if !rule.types.iter().any(|have| listed(have)) {
        return Err(PassReason::ContentType);
    }
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if !codings.all(|line| line.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(PassReason::ContentEncoding);
    }
    if headers.contains_key(CONTENT_RANGE) {
        return Err(PassReason::ContentRange);
    }
    Ok(())
}

/// `Surrogate-Key` is separated by spaces, `Cache-Tag` by commas.
pub(crate) fn tags(
    named: impl IntoIterator<Item = Tag>,
    headers: &HeaderMap,
) -> Result<Vec<Tag>, PassReason> {
    let keys = headers
        .get_all(SURROGATE_KEY)
        .iter()
        .flat_map(|line| line.as_bytes().split(u8::is_ascii_whitespace));
    let tags = headers
        .get_all(CACHE_TAG)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii);
    let mut all: BTreeSet<Tag> = named.into_iter().collect();
    for text in keys.chain(tags).filter(|text| !text.is_empty()) {
        let text = std::str::from_utf8(text).map_err(|_| PassReason::TagsInvalid)?;
        all.insert(Tag::parse(text).map_err(|_| PassReason::TagsInvalid)?);
        if all.len() > TAGS_MAX {
            return Err(PassReason::TagsInvalid);
        }
    }
    Ok(all.into_iter().collect())
}

fn kept(rule: &Rule, headers: &HeaderMap) -> HeaderMap {
    let nominated: Vec<&[u8]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let dropped = |name: &HeaderName| {
        DROPPED.contains(name)
            || name.as_str().starts_with("x-edge-")
            || nominated
                .iter()
                .any(|n| n.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    let lines = headers.iter().filter(|(name, _)| !dropped(name));
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in lines {
        kept.append(name.clone(), value.clone());
    }
    match rule.scope {
        Scope::Public => {}
        Scope::Tenant | Scope::Role => {
            kept.insert(CACHE_CONTROL, private(headers));
        }
    }
    kept
}

/// The origin could not say `private`, or we would not keep its answer. Proxies of a school's network, of which some
/// open TLS, must still not share it: they do not know who is signed in.
fn private(headers: &HeaderMap) -> HeaderValue {
    const NOT_FOR_BROWSERS: [&str; 5] = [
        "public",
        "s-maxage",
        "proxy-revalidate",
        "stale-while-revalidate",
        "stale-if-error",
    ];
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let directives = lines.flat_map(|line| List(line.as_bytes())).flatten();
    let mut text = b"private".to_vec();
    let mut has_max_age = false;
    for directive in directives {
        let is = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if NOT_FOR_BROWSERS.into_iter().any(is) {
            continue;
        }
        has_max_age |= is("max-age");
        text.extend_from_slice(b", ");
        text.extend_from_slice(directive.name);
        if let Some(argument) = directive.argument {
            text.push(b'=');
            text.extend_from_slice(argument);
        }
    }
    if !has_max_age {
        text.extend_from_slice(b", no-cache");
    }
    // Parts of header values, joined by commas, are a header value.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("private, no-cache"))
}

#[cfg(test)]
mod tests;
