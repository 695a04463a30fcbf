//! `policy = "danger_rfc9111"`: what the RFCs let a shared cache store, for conformance runs on loopback.
//!
//! Any final status, any `Vary`, any type, `CDN-Cache-Control` as RFC 9213 has it, what cannot be read ignored or taken
//! for stale as RFC 9111 suggests, and stale answers in any failure. Two things stay as they are everywhere: what sets
//! a cookie is not stored, and there are no heuristics.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, DATE, EXPIRES, HeaderMap, HeaderName,
    SET_COOKIE, VARY,
};

use super::{CDN_CACHE_CONTROL, Keeping, Memory, Storable, Windows};
use crate::directives::{Directives, seconds};
use crate::freshness::{Exchange, Freshness};
use crate::group;
use crate::plan::Plan;
use crate::reason::PassReason;

/// RFC 9111, 1.2.2: for ever.
const EVER: Duration = Duration::from_secs(1 << 31);

/// Statuses whose rules we know (RFC 9111, 5.2.2.3).
const UNDERSTOOD: [u16; 12] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 501];

pub(super) fn judge(
    plan: &Plan,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
) -> Result<Storable, PassReason> {
    let whole = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED];
    if !(200..600).contains(&status.as_u16()) || whole.contains(&status) {
        return Err(PassReason::Status);
    }
    if headers.contains_key(SET_COOKIE) {
        return Err(PassReason::SetCookie);
    }
    let targeted = Directives::targeted(headers, &CDN_CACHE_CONTROL);
    let directives = targeted.unwrap_or_else(|| Directives::lenient(headers, &CACHE_CONTROL));
    let understood = directives.must_understand && UNDERSTOOD.contains(&status.as_u16());
    if directives.no_store && !understood {
        return Err(PassReason::NoStore);
    }
    if directives.private {
        return Err(PassReason::Private);
    }
    if plan
        .asked_for()
        .is_some_and(|all| all.contains_key(AUTHORIZATION))
        && !directives.shared_despite_authorization()
    {
        return Err(PassReason::Authorization);
    }
    let vary = vary(headers)?;
    let expires = targeted
        .is_none()
        .then(|| lifetime_by_date(headers, exchange))
        .flatten();
    let lifetime = directives.lifetime_s().map(Duration::from_secs).or(expires);
    let memory = Memory::of(headers);
    if lifetime.is_none() && memory.conditions().next().is_none() {
        return Err(PassReason::NoLifetime);
    }
    let age = age(headers, exchange);
    // An error stands in for nothing.
    let stale = if directives.forbids_stale() || status.is_server_error() {
        Windows::default()
    } else {
        let bridge = directives.stale_while_revalidate.unwrap_or_default();
        Windows {
            while_revalidate: Duration::from_secs(bridge),
            if_error: EVER,
        }
    };
    let mut kept = super::kept(plan.checked_rule(), headers);
    for line in headers.get_all(CONTENT_ENCODING) {
        kept.append(CONTENT_ENCODING, line.clone());
    }
    Ok(Storable {
        received: exchange.received,
        freshness: Freshness {
            age,
            fresh_for: lifetime.unwrap_or_default().saturating_sub(age),
        },
        stale,
        tags: Vec::new(),
        groups: group::named(headers, &group::CACHE_GROUPS).unwrap_or_default(),
        headers: kept,
        memory,
        keeping: Keeping::AsSent {
            status,
            vary,
            validate: directives.no_cache,
        },
    })
}

fn vary(headers: &HeaderMap) -> Result<Box<[HeaderName]>, PassReason> {
    let lines = headers.get_all(VARY).iter();
    let names = lines
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty());
    let mut vary = Vec::new();
    for name in names {
        if name == b"*" {
            return Err(PassReason::VaryStar);
        }
        vary.push(HeaderName::from_bytes(name).map_err(|_| PassReason::VaryInvalid)?);
    }
    vary.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    vary.dedup();
    Ok(vary.into())
}

/// `Expires` less `Date`; zero for what is no date or there twice.
fn lifetime_by_date(headers: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    if !headers.contains_key(EXPIRES) {
        return None;
    }
    let until = date(headers, &EXPIRES);
    let from = date(headers, &DATE).unwrap_or(exchange.received);
    Some(
        until
            .and_then(|until| until.duration_since(from).ok())
            .unwrap_or_default(),
    )
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let text = lines.next()?.to_str().ok()?;
    lines
        .next()
        .is_none()
        .then(|| httpdate::parse_http_date(text).ok())
        .flatten()
}

/// RFC 9111, 4.2.3; of several ages the first, and none where it is no number (5.1).
fn age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    let line = headers
        .get(AGE)
        .map(|line| line.as_bytes())
        .unwrap_or_default();
    let first = line
        .split(|&b| b == b',')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let said = Duration::from_secs(seconds(first).unwrap_or(0));
    let since = |later: SystemTime, earlier| later.duration_since(earlier).unwrap_or_default();
    let delay = since(exchange.received, exchange.request_sent);
    let apparent =
        date(headers, &DATE).map_or(Duration::ZERO, |date| since(exchange.received, date));
    (said + delay).max(Duration::from_secs(apparent.as_secs()))
}
