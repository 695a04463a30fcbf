//! How old an answer is when it comes, and how long it may be served from then on.
//!
//! RFC 9111, 4.2, with three departures. No heuristics: an answer without a lifetime has none. Where `Cache-Control`
//! and `CDN-Cache-Control` both give a lifetime, the shorter one counts. What the RFC lets a cache take for stale (a
//! lifetime, date or age that cannot be read) we do not keep at all.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES};
use http::{HeaderMap, HeaderName};

use crate::directives::{Directives, seconds};
use crate::reason::PassReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// When the answer came.
    pub(crate) age: Duration,
    /// From then on; never zero.
    pub(crate) fresh_for: Duration,
}

/// The two moments of one exchange, by one clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) request_sent: SystemTime,
    pub(crate) received: SystemTime,
}

/// Measures an answer against its own lifetime and the rule's cap.
pub(crate) fn measure(
    headers: &HeaderMap,
    directives: [Option<Directives>; 2],
    cap: Duration,
    exchange: Exchange,
) -> Result<Freshness, PassReason> {
    // RFC 9110, 6.6.1: a recipient takes the time of arrival for a missing `Date`.
    let date = date(headers, DATE)?.unwrap_or(exchange.received);
    let explicit = directives
        .iter()
        .flatten()
        .filter_map(Directives::lifetime_s);
    let lifetime = match explicit.min() {
        Some(seconds) => Duration::from_secs(seconds),
        None => self::date(headers, EXPIRES)?
            .map(|expires| since(expires, date))
            .ok_or(PassReason::NoLifetime)?,
    };
    let age = age(headers, date, exchange)?;
    let fresh_for = lifetime.min(cap).saturating_sub(age);
    if fresh_for.is_zero() {
        return Err(PassReason::AlreadyStale);
    }
    Ok(Freshness { age, fresh_for })
}

/// RFC 9111, 4.2.3: the larger of what the dates and what `Age` and the round trip say.
fn age(headers: &HeaderMap, date: SystemTime, exchange: Exchange) -> Result<Duration, PassReason> {
    let said = match only(headers, AGE)? {
        Some(value) => seconds(value).ok_or(PassReason::TimeInvalid)?,
        None => 0,
    };
    let delay = since(exchange.received, exchange.request_sent);
    let corrected = Duration::from_secs(said).saturating_add(delay);
    // A `Date` has whole seconds: the part of one that it cannot say is not age.
    let apparent = Duration::from_secs(since(exchange.received, date).as_secs());
    Ok(corrected.max(apparent))
}

fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

fn date(headers: &HeaderMap, name: HeaderName) -> Result<Option<SystemTime>, PassReason> {
    let Some(value) = only(headers, name)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value).map_err(|_| PassReason::TimeInvalid)?;
    let date = httpdate::parse_http_date(text).map_err(|_| PassReason::TimeInvalid)?;
    Ok(Some(date))
}

/// The one line of a header. Two lines could mean two things.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, PassReason> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next().map(|value| value.as_bytes());
    match lines.next() {
        None => Ok(first),
        Some(_) => Err(PassReason::TimeInvalid),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CACHE_CONTROL;
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;
    const DATE_NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const MINUTE_AGO: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
    const IN_A_MINUTE: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// Sent a quarter of a second before it came, with a cap of a day.
    fn measured(lines: &[(&'static str, &str)]) -> Result<(u64, u64), PassReason> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let read = |name: &HeaderName| Directives::of(&headers, name).expect("readable");
        let directives = [
            read(&CACHE_CONTROL),
            read(&HeaderName::from_static("cdn-cache-control")),
        ];
        let exchange = Exchange {
            request_sent: at(NOW * 1000),
            received: at(NOW * 1000 + 250),
        };
        let cap = Duration::from_secs(86_400);
        let millis = |d: Duration| u64::try_from(d.as_millis()).expect("small");
        measure(&headers, directives, cap, exchange).map(|f| (millis(f.age), millis(f.fresh_for)))
    }

    #[test]
    fn lifetime_and_age_come_from_the_origin() {
        use PassReason::{AlreadyStale, NoLifetime, TimeInvalid};
        let cc = "cache-control";
        let cdn = "cdn-cache-control";
        type Row<'a> = (
            &'a [(&'static str, &'a str)],
            Result<(u64, u64), PassReason>,
        );
        let table: &[Row<'_>] = &[
            (&[], Err(NoLifetime)),
            (&[("last-modified", MINUTE_AGO)], Err(NoLifetime)),
            (&[(cc, "public")], Err(NoLifetime)),
            (&[(cc, "max-age=60")], Ok((250, 59_750))),
            (&[(cc, "max-age=0")], Err(AlreadyStale)),
            (&[(cc, "max-age=60, s-maxage=10")], Ok((250, 9_750))),
            (&[(cc, "max-age=60"), (cdn, "max-age=10")], Ok((250, 9_750))),
            (&[(cc, "max-age=10"), (cdn, "max-age=60")], Ok((250, 9_750))),
            (&[(cdn, "max-age=60")], Ok((250, 59_750))),
            (&[(cc, "max-age=100000")], Ok((250, 86_399_750))),
            (&[(cc, "max-age=60"), ("age", "20")], Ok((20_250, 39_750))),
            (&[(cc, "max-age=60"), ("age", "60")], Err(AlreadyStale)),
            (
                &[(cc, "max-age=100000"), ("age", "86400")],
                Err(AlreadyStale),
            ),
            (&[(cc, "max-age=60"), ("age", "-1")], Err(TimeInvalid)),
            (&[(cc, "max-age=60"), ("age", "")], Err(TimeInvalid)),
            (&[(cc, "max-age=60"), ("age", "0, 0")], Err(TimeInvalid)),
            (
                &[(cc, "max-age=60"), ("age", "0"), ("age", "0")],
                Err(TimeInvalid),
            ),
            (&[(cc, "max-age=60"), ("date", DATE_NOW)], Ok((250, 59_750))),
            (
                &[(cc, "max-age=90"), ("date", MINUTE_AGO)],
                Ok((60_000, 30_000)),
            ),
            (
                &[(cc, "max-age=90"), ("date", MINUTE_AGO), ("age", "70")],
                Ok((70_250, 19_750)),
            ),
            (
                &[(cc, "max-age=60"), ("date", MINUTE_AGO)],
                Err(AlreadyStale),
            ),
            (
                &[(cc, "max-age=60"), ("date", IN_A_MINUTE)],
                Ok((250, 59_750)),
            ),
            (
                &[(cc, "max-age=60"), ("date", "yesterday")],
                Err(TimeInvalid),
            ),
            (
                &[(cc, "max-age=60"), ("date", DATE_NOW), ("date", DATE_NOW)],
                Err(TimeInvalid),
            ),
            (
                &[("expires", IN_A_MINUTE), ("date", DATE_NOW)],
                Ok((250, 59_750)),
            ),
            (&[("expires", IN_A_MINUTE)], Ok((250, 59_500))),
            (
                &[
                    ("expires", "Sunday, 06-Nov-94 08:50:37 GMT"),
                    ("date", DATE_NOW),
                ],
                Ok((250, 59_750)),
            ),
            (
                &[("expires", MINUTE_AGO), ("date", DATE_NOW)],
                Err(AlreadyStale),
            ),
            (&[("expires", "0")], Err(TimeInvalid)),
            (
                &[("expires", IN_A_MINUTE), ("expires", IN_A_MINUTE)],
                Err(TimeInvalid),
            ),
            (&[("expires", "0"), (cc, "max-age=60")], Ok((250, 59_750))),
        ];
        for (lines, expected) in table {
            assert_eq!(measured(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_younger_than_new() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        let directives = [
            Directives::of(&headers, &CACHE_CONTROL).expect("readable"),
            None,
        ];
        let exchange = Exchange {
            request_sent: at(5000),
            received: at(1000),
        };
        let seen = measure(&headers, directives, Duration::from_secs(60), exchange).expect("fresh");
        assert_eq!(
            (seen.age, seen.fresh_for),
            (Duration::ZERO, Duration::from_secs(60))
        );
    }

    proptest! {
        #[test]
        fn nothing_is_fresh_beyond_the_cap_and_its_own_lifetime(
            life in 0u64..200, cap in 1u64..200, said in 0u64..200, delay in 0u64..5000,
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, format!("max-age={life}").parse().expect("a value"));
            headers.insert(AGE, said.into());
            let directives = [Directives::of(&headers, &CACHE_CONTROL).expect("readable"), None];
            let exchange = Exchange { request_sent: at(NOW * 1000), received: at(NOW * 1000 + delay) };
            let whole = life.min(cap) * 1000;
            let age = said * 1000 + delay;
            match measure(&headers, directives, Duration::from_secs(cap), exchange) {
                Ok(fresh) => prop_assert_eq!((fresh.age + fresh.fresh_for).as_millis(), u128::from(whole)),
                Err(reason) => {
                    prop_assert_eq!(reason, PassReason::AlreadyStale);
                    prop_assert!(age >= whole);
                }
            }
        }
    }
}
