use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::rules::RuleSet;
use crate::tenant::TenantId;
use crate::verdict::{Ask, Verdict};

const RULES: &str = r#"
    [[rule]]
    name = "public"
    path = "/p/{id}"
    scope = "public"
    ttl_s = 60
    tags = ["p:{id}", "all"]
    vary = ["accept-language"]
    types = ["application/json", "text/plain"]

    [[rule]]
    name = "tenant"
    path = "/t"
    scope = "tenant"
    ttl_s = 30

    [[rule]]
    name = "rule-consents"
    path = "/c"
    scope = "public"
    consent = "rule"
    vary = ["origin"]
    ttl_s = 60
"#;

type Lines<'a> = [(&'static str, &'a str)];

const PUBLIC: &Lines<'static> = &[
    ("content-type", "application/json"),
    ("cache-control", "max-age=20"),
    ("x-edge-cache-scope", "public"),
];

fn plan(path: &str) -> Plan {
    let rules = RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes");
    let headers = HeaderMap::new();
    let ask = Ask {
        method: &Method::GET,
        path,
        query: None,
        headers: &headers,
        has_body: false,
    };
    match rules.verdict(&ask) {
        Verdict::Store(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn grant(scope: Scope) -> Grant {
    let tenant: TenantId = "oak".parse().expect("a tenant id");
    let pupil = Identity {
        subject: "7".to_owned(),
        tenant: tenant.clone(),
        roles: BTreeSet::new(),
    };
    match scope {
        Scope::Public => Grant::public(&tenant),
        Scope::Tenant => Grant::tenant(&pupil, &tenant).expect("the same tenant"),
    }
}

fn headers(lines: &Lines<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn judged(path: &str, status: u16, headers: &HeaderMap) -> Result<Storable, PassReason> {
    let plan = plan(path);
    let status = StatusCode::from_u16(status).expect("a status");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    match plan.answer(&grant(plan.scope()), status, headers, now, now) {
        Answer::Store(storable) => Ok(storable),
        Answer::Pass(reason) => Err(reason),
    }
}

#[test]
fn an_answer_is_kept_when_rule_and_origin_agree() {
    let stored = judged("/p/7", 200, &headers(PUBLIC)).expect("kept");
    assert_eq!(stored.fresh_for(), Duration::from_secs(20));
    assert_eq!(stored.age(), Duration::ZERO);
    assert_eq!(
        stored.expires(),
        stored.received() + Duration::from_secs(20)
    );
    let tags: Vec<&str> = stored.tags().iter().map(Tag::as_str).collect();
    assert_eq!(tags, ["all", "p:7"]);
}

#[test]
fn each_thing_that_forbids_storing_has_its_reason() {
    use PassReason::*;
    let table: &[(&Lines<'_>, PassReason)] = &[
        (&[("set-cookie", "a=b")], SetCookie),
        (&[("set-cookie", "")], SetCookie),
        (&[("x-edge-cache-scope", "public")], NoRule),
        (&[("x-edge-cache-scope", "tenant")], ConsentOther),
        (&[("x-edge-cache-scope", "")], ConsentOther),
        (&[("cache-control", "no-store")], NoStore),
        (&[("cache-control", "NO-STORE=1")], NoStore),
        (&[("cdn-cache-control", "no-store")], NoStore),
        (&[("cache-control", "private")], Private),
        (&[("cache-control", "private=\"x\"")], Private),
        (&[("cdn-cache-control", "Private")], Private),
        (&[("cache-control", "no-cache")], NoCache),
        (&[("cache-control", "no-cache=\"x\"")], NoCache),
        (&[("cdn-cache-control", "no-cache")], NoCache),
        (&[("cache-control", "max-age=20")], CacheControlInvalid),
        (&[("cache-control", "s-maxage=x")], CacheControlInvalid),
        (&[("cache-control", "a;b")], CacheControlInvalid),
        (&[("cdn-cache-control", "max-age")], CacheControlInvalid),
        (&[("cdn-cache-control", "max-age=0")], AlreadyStale),
        (&[("cache-control", "s-maxage=0")], AlreadyStale),
        (&[("age", "20")], AlreadyStale),
        (&[("age", "x")], TimeInvalid),
        (&[("date", "x")], TimeInvalid),
        (&[("vary", "*")], VaryStar),
        (&[("vary", "accept-language, *")], VaryStar),
        (&[("vary", "cookie")], VaryUnlisted),
        (&[("vary", "authorization")], VaryUnlisted),
        (&[("vary", "a b")], VaryInvalid),
        (&[("vary", "Accept-Language, Accept-Encoding")], NoRule),
        (
            &[("access-control-allow-origin", "https://oak.example")],
            Cors,
        ),
        (&[("access-control-allow-origin", "null")], Cors),
        (&[("access-control-allow-origin", "*")], NoRule),
        (&[("content-type", "application/json")], ContentType),
        (&[("content-encoding", "br")], ContentEncoding),
        (&[("content-encoding", "identity")], NoRule),
        (&[("content-encoding", "identity, gzip")], ContentEncoding),
        (&[("content-range", "bytes 0-1/2")], ContentRange),
        (
            &[("surrogate-key", "a b  c"), ("cache-tag", "d, e")],
            NoRule,
        ),
        (&[("surrogate-key", "ä")], TagsInvalid),
        (&[("surrogate-key", "a,b")], TagsInvalid),
        (&[("cache-tag", "a b")], TagsInvalid),
        (&[("etag", "\"x\""), ("foo", "bar")], NoRule),
    ];
    for (more, expected) in table {
        let headers = appended(PUBLIC, more);
        let seen = judged("/p/7", 200, &headers).err().unwrap_or(NoRule);
        assert_eq!(seen, *expected, "{more:?}");
    }
}

fn appended(base: &Lines<'_>, more: &Lines<'_>) -> HeaderMap {
    headers(&[base, more].concat())
}

#[test]
fn what_is_missing_forbids_storing_too() {
    use PassReason::*;
    let without = |name: &str| {
        let mut headers = headers(PUBLIC);
        headers.remove(name);
        judged("/p/7", 200, &headers).err()
    };
    assert_eq!(without("x-edge-cache-scope"), Some(ConsentMissing));
    assert_eq!(without("content-type"), Some(ContentType));
    assert_eq!(without("cache-control"), Some(NoLifetime));
    assert_eq!(without("etag"), None);
}

#[test]
fn only_200_is_kept() {
    for status in [201, 203, 204, 206, 301, 304, 308, 404, 410, 500, 503, 599] {
        let seen = judged("/p/7", status, &headers(PUBLIC)).err();
        assert_eq!(seen, Some(PassReason::Status), "{status}");
    }
}

#[test]
fn content_types_are_compared_without_case_and_parameters() {
    let typed = |value: &str| {
        let mut headers = headers(PUBLIC);
        headers.insert(CONTENT_TYPE, value.parse().expect("a value"));
        judged("/p/7", 200, &headers).is_ok()
    };
    for value in [
        "application/json; charset=utf-8",
        "Application/JSON ;x",
        "text/plain",
    ] {
        assert!(typed(value), "{value}");
    }
    for value in [
        "",
        "application/json2",
        "application/problem+json",
        "text/html",
        "text/plain, text/html",
        "*/*",
    ] {
        assert!(!typed(value), "{value}");
    }
}

#[test]
fn consent_of_the_rule_still_believes_an_origin_that_says_otherwise() {
    let plain = &PUBLIC[..2];
    assert!(judged("/c", 200, &headers(plain)).is_ok());
    assert!(judged("/c", 200, &headers(PUBLIC)).is_ok());
    let other = appended(plain, &[("x-edge-cache-scope", "tenant")]);
    assert_eq!(
        judged("/c", 200, &other).err(),
        Some(PassReason::ConsentOther)
    );
    let two = appended(PUBLIC, &[("x-edge-cache-scope", "tenant")]);
    assert_eq!(
        judged("/c", 200, &two).err(),
        Some(PassReason::ConsentOther)
    );
}

#[test]
fn an_answer_for_one_web_origin_is_kept_only_where_the_key_holds_it() {
    let cors = appended(
        &PUBLIC[..2],
        &[
            ("access-control-allow-origin", "https://oak.example"),
            ("vary", "Origin"),
        ],
    );
    assert!(judged("/c", 200, &cors).is_ok());
}

#[test]
fn a_scope_needs_its_own_consent_and_its_own_grant() {
    let of = |scope: &'static str| headers(&[PUBLIC[0], PUBLIC[1], ("x-edge-cache-scope", scope)]);
    assert!(judged("/t", 200, &of("tenant")).is_ok());
    assert_eq!(
        judged("/t", 200, &of("public")).err(),
        Some(PassReason::ConsentOther)
    );
    assert_eq!(
        judged("/p/7", 200, &of("tenant")).err(),
        Some(PassReason::ConsentOther)
    );
    let now = SystemTime::UNIX_EPOCH;
    for (path, scope) in [("/t", Scope::Public), ("/p/7", Scope::Tenant)] {
        let answer = plan(path).answer(&grant(scope), StatusCode::OK, &of("tenant"), now, now);
        assert!(
            matches!(answer, Answer::Pass(PassReason::ScopeMismatch)),
            "{path}"
        );
    }
}

#[test]
fn what_belongs_to_one_connection_or_to_the_edge_is_not_kept() {
    let more = [
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "x"),
        ("proxy-connection", "close"),
        ("age", "3"),
        ("content-length", "2"),
        ("content-encoding", "identity"),
        ("server-timing", "db;dur=3"),
        ("x-request-id", "r"),
        ("x-runtime", "0.1"),
        ("x-edge-identity", "x"),
        ("surrogate-key", "a"),
        ("cache-tag", "b"),
        ("cache-groups", "\"c\""),
        ("cache-group-invalidation", "\"d\""),
        ("etag", "\"x\""),
        ("link", "</a>"),
        ("link", "</b>"),
    ];
    let stored = judged("/p/7", 200, &appended(PUBLIC, &more)).expect("kept");
    let (tags, kept) = stored.into_parts();
    let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-type", "etag", "link"]);
    assert_eq!(kept.get_all("link").iter().count(), 2);
    assert_eq!(
        tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        ["a", "all", "b", "p:7"]
    );
}

#[test]
fn an_answer_for_one_school_is_private_to_whatever_comes_after_the_edge() {
    let sent = |lines: &Lines<'_>| {
        let base = [PUBLIC[0], ("x-edge-cache-scope", "tenant")];
        let stored = judged("/t", 200, &appended(&base, lines)).expect("kept");
        let lines = stored.headers().get_all(CACHE_CONTROL).iter();
        lines
            .map(|line| line.to_str().expect("ASCII").to_owned())
            .collect::<Vec<_>>()
    };
    let table: &[(&Lines<'_>, &str)] = &[
        (&[("cache-control", "max-age=20")], "private, max-age=20"),
        (
            &[(
                "cache-control",
                "public, max-age=5, s-maxage=20, must-revalidate",
            )],
            "private, max-age=5, must-revalidate",
        ),
        (
            &[
                ("cache-control", "S-MaxAge=20"),
                ("cache-control", "proxy-revalidate, x=\"a, b\""),
            ],
            "private, x=\"a, b\", no-cache",
        ),
        (&[("cdn-cache-control", "max-age=20")], "private, no-cache"),
    ];
    for (lines, expected) in table {
        assert_eq!(sent(lines), [*expected], "{lines:?}");
    }
    let public = judged("/p/7", 200, &headers(PUBLIC)).expect("kept");
    assert_eq!(public.headers()[CACHE_CONTROL], "max-age=20");
}

#[test]
fn more_tags_than_can_be_looked_at_are_not_kept() {
    let tagged = |count: usize| {
        let keys: Vec<String> = (0..count).map(|i| format!("k{i}")).collect();
        judged(
            "/p/7",
            200,
            &appended(PUBLIC, &[("surrogate-key", &keys.join(" "))]),
        )
        .err()
    };
    // Two are the rule's own.
    assert_eq!(tagged(TAGS_MAX - 2), None);
    assert_eq!(tagged(TAGS_MAX - 1), Some(PassReason::TagsInvalid));
}

/// Lines that origins send, good and bad.
fn line() -> impl Strategy<Value = (&'static str, &'static str)> {
    proptest::sample::select(vec![
        ("content-type", "application/json"),
        ("content-type", "text/html"),
        ("x-edge-cache-scope", "public"),
        ("x-edge-cache-scope", "tenant"),
        ("cache-control", "max-age=20"),
        ("cache-control", "public"),
        ("cache-control", "s-maxage=5"),
        ("cache-control", "must-revalidate"),
        ("cdn-cache-control", "max-age=9"),
        ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("age", "3"),
        ("vary", "accept-encoding"),
        ("vary", "accept-language"),
        ("vary", "accept"),
        ("etag", "\"x\""),
        ("surrogate-key", "a b"),
        ("access-control-allow-origin", "*"),
        ("pragma", "no-cache"),
        ("connection", "cache-control"),
    ])
}

/// What must never be shared, whatever else is said.
fn poison() -> impl Strategy<Value = (&'static str, &'static str)> {
    proptest::sample::select(vec![
        ("set-cookie", "a=b"),
        ("cache-control", "no-store"),
        ("cache-control", "private"),
        ("cache-control", "no-cache"),
        ("cache-control", "private=\"x\""),
        ("cache-control", "max-age=x"),
        ("cache-control", "max-age=20; public"),
        ("cdn-cache-control", "no-store"),
        ("cdn-cache-control", "max-age=?1"),
        ("vary", "*"),
        ("vary", "cookie"),
        ("x-edge-cache-scope", "user"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-0/1"),
        ("access-control-allow-origin", "https://oak.example"),
        ("age", "60"),
    ])
}

proptest! {
    /// Nothing that is added turns a no into a yes, unless it is one of the three things that a yes needs.
    #[test]
    fn what_is_added_never_makes_an_answer_storable(lines in proptest::collection::vec(line(), 0..9), more in line()) {
        let before = judged("/p/7", 200, &headers(&lines));
        let after = judged("/p/7", 200, &appended(&lines, &[more]));
        if let (Err(reason), Ok(_)) = (before, after) {
            let needed = match reason {
                PassReason::ConsentMissing => more.0 == "x-edge-cache-scope",
                PassReason::ContentType => more.0 == "content-type",
                PassReason::NoLifetime => matches!(more.0, "cache-control" | "cdn-cache-control" | "expires"),
                _ => false,
            };
            prop_assert!(needed, "{reason} was turned by {more:?}");
        }
    }

    #[test]
    fn what_must_not_be_shared_is_never_kept(
        mut lines in proptest::collection::vec(line(), 0..9), poison in poison(), place in any::<prop::sample::Index>(), upper in any::<bool>(),
    ) {
        lines.insert(place.index(lines.len() + 1), poison);
        let mut headers = headers(&lines);
        if upper {
            let values: Vec<_> = headers.values_mut().collect();
            for value in values {
                *value = HeaderValue::from_bytes(&value.as_bytes().to_ascii_uppercase()).expect("a value");
            }
        }
        prop_assert!(judged("/p/7", 200, &headers).is_err());
        let with_base: Vec<_> = PUBLIC.iter().copied().chain([poison]).collect();
        prop_assert!(judged("/p/7", 200, &self::headers(&with_base)).is_err());
    }

    #[test]
    fn tags_do_not_decide_whether_an_answer_is_kept(lines in proptest::collection::vec(line(), 0..9), tags in "[a-z]{1,4}( [a-z]{1,4}){0,3}") {
        let before = judged("/p/7", 200, &headers(&lines)).err();
        let after = judged("/p/7", 200, &appended(&lines, &[("surrogate-key", &tags), ("cache-tag", "x, y")])).err();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn nothing_is_kept_beyond_the_cap(lines in proptest::collection::vec(line(), 0..9)) {
        if let Ok(stored) = judged("/p/7", 200, &headers(&lines)) {
            prop_assert!(stored.fresh_for() + stored.age() <= Duration::from_secs(60));
            prop_assert!(!stored.fresh_for().is_zero());
        }
    }
}
