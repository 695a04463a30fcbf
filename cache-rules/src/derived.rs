//! What the edge makes of a file of the origin, such as a smaller picture: for how long that may be kept, and what
//! ends it.
//!
//! No rule covers such a file. It is asked for without anybody's credentials, at a path that the config names, and what
//! is made of it is given to whoever shows a signature of the school: so nobody has to consent to a scope. All else that
//! speaks against keeping an answer speaks against keeping what is made of it.

use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use crate::answer::{CDN_CACHE_CONTROL, allowed, tags};
use crate::freshness::{self, Exchange};
use crate::group::{self, Group};
use crate::reason::PassReason;
use crate::tag::Tag;
use crate::vary;

/// That what is made of an answer may be kept.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cache_rules::{derived::Derived, reason::PassReason};
/// use http::{HeaderMap, HeaderValue, StatusCode};
///
/// let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
/// let said = |text| {
///     let headers = HeaderMap::from_iter([(http::header::CACHE_CONTROL, HeaderValue::from_static(text))]);
///     Derived::of(StatusCode::OK, &headers, day, (now, now))
/// };
/// assert_eq!(said("public, max-age=60").map(|kept| kept.fresh_for()), Ok(Duration::from_secs(60)));
/// assert_eq!(said("private, max-age=60").err(), Some(PassReason::Private));
/// assert_eq!(said("public").err(), Some(PassReason::NoLifetime));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    fresh_for: Duration,
    tags: Vec<Tag>,
    groups: Vec<Group>,
}

impl Derived {
    /// Asks the answer; `exchange` is when it was asked for and when it came.
    ///
    /// # Errors
    /// The origin does not want it kept, or does not say for how long.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        most: Duration,
        (request_sent, received): (SystemTime, SystemTime),
    ) -> Result<Self, PassReason> {
        if status != StatusCode::OK {
            return Err(PassReason::Status);
        }
        if headers.contains_key(SET_COOKIE) {
            return Err(PassReason::SetCookie);
        }
        let directives = [
            allowed(headers, &CACHE_CONTROL)?,
            allowed(headers, &CDN_CACHE_CONTROL)?,
        ];
        // It is always asked for with the same fields: only what depends on more than these is another each time.
        vary::check_names(|_| true, headers)?;
        let exchange = Exchange {
            request_sent,
            received,
        };
        let freshness = freshness::measure(headers, directives, most, exchange)?;
        Ok(Self {
            fresh_for: freshness.fresh_for,
            tags: tags([], headers)?,
            groups: group::named(headers, &group::CACHE_GROUPS).ok_or(PassReason::TagsInvalid)?,
        })
    }

    /// For how long after the answer came; never zero.
    pub fn fresh_for(&self) -> Duration {
        self.fresh_for
    }

    /// What ends it: the origin's tags, each once.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The origin's groups (RFC 9875), each once.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn judged(status: u16, lines: &[(&'static str, &'static str)]) -> Result<Derived, PassReason> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_350_000);
        let status = StatusCode::from_u16(status).expect("a status");
        Derived::of(status, &headers, Duration::from_secs(600), (now, now))
    }

    #[test]
    fn only_what_the_origin_lets_be_kept_is() {
        use PassReason::*;
        let long = ("cache-control", "public, max-age=3600");
        for (status, lines, reason) in [
            (404, vec![long], Status),
            (206, vec![long], Status),
            (200, vec![], NoLifetime),
            (200, vec![("cache-control", "max-age=0")], AlreadyStale),
            (200, vec![("cache-control", "no-store")], NoStore),
            (200, vec![("cache-control", "no-cache, max-age=9")], NoCache),
            (200, vec![long, ("cdn-cache-control", "private")], Private),
            (
                200,
                vec![long, ("cache-control", "max-age=x")],
                CacheControlInvalid,
            ),
            (200, vec![long, ("set-cookie", "a=b")], SetCookie),
            (200, vec![long, ("vary", "accept, *")], VaryStar),
            (200, vec![long, ("surrogate-key", "a,b")], TagsInvalid),
            (
                200,
                vec![long, ("cache-groups", "no list of strings")],
                TagsInvalid,
            ),
        ] {
            assert_eq!(judged(status, &lines), Err(reason), "{status} {lines:?}");
        }
        let kept = judged(
            200,
            &[
                long,
                ("vary", "accept"),
                ("surrogate-key", "student:7 album:3"),
                ("cache-tag", "album:3"),
                ("cache-groups", "\"scans\""),
            ],
        );
        let kept = kept.expect("it may be kept");
        assert_eq!(kept.fresh_for(), Duration::from_secs(600), "the most");
        let tags: Vec<&str> = kept.tags().iter().map(Tag::as_str).collect();
        assert_eq!(tags, ["album:3", "student:7"]);
        assert_eq!(kept.groups()[0].as_str(), "scans");
    }
}
