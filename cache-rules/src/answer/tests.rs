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
    stale_while_revalidate_s = 30
    stale_if_error_s = 600

    [[rule]]
    name = "tenant"
    path = "/t"
    scope = "tenant"
    ttl_s = 30
    stale_while_revalidate_s = 5
    stale_if_error_s = 60

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
        acting: false,
    };
    match scope {
        Scope::Public => Grant::public(&tenant),
        Scope::Tenant => Grant::tenant(&pupil, &tenant).expect("the same tenant"),
        Scope::Role => Grant::role(&pupil, &tenant).expect("the same tenant"),
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
        Answer::Store(storable) => Ok(*storable),
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
    let tags = stored.tags().to_vec();
    let groups: Vec<&str> = stored.groups().iter().map(Group::as_str).collect();
    assert_eq!(groups, ["c"]);
    let (kept, _) = stored.into_parts();
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

#[test]
fn stale_windows_are_the_rules_as_far_as_the_origin_leaves_them() {
    let windows = |path, scope: &'static str, text: &str| {
        let lines = [
            PUBLIC[0],
            ("x-edge-cache-scope", scope),
            ("cache-control", text),
        ];
        let stale = judged(path, 200, &headers(&lines)).expect("kept").stale();
        (stale.while_revalidate.as_secs(), stale.if_error.as_secs())
    };
    for (text, public, tenant) in [
        ("max-age=20", (30, 600), (5, 0)),
        (
            "max-age=20, stale-while-revalidate=2, stale-if-error=7",
            (2, 7),
            (2, 7),
        ),
        (
            "max-age=20, stale-while-revalidate=99, stale-if-error=9999",
            (30, 600),
            (5, 60),
        ),
        ("max-age=20, stale-while-revalidate=0", (0, 600), (0, 0)),
        (
            "max-age=20, must-revalidate, stale-if-error=7",
            (0, 0),
            (0, 0),
        ),
        ("max-age=20, proxy-revalidate", (0, 0), (0, 0)),
        ("s-maxage=20", (0, 0), (0, 0)),
    ] {
        assert_eq!(windows("/p/7", "public", text), public, "{text}");
        assert_eq!(windows("/t", "tenant", text), tenant, "{text}");
    }
}

/// What a 304 with these lines makes of a kept answer with those.
fn renewed(
    stored: &Lines<'_>,
    update: &Lines<'_>,
) -> Option<(HeaderMap, Result<Storable, PassReason>)> {
    let (sent, kept) = judged("/p/7", 200, &appended(PUBLIC, stored))
        .expect("kept")
        .into_parts();
    let plan = plan("/p/7");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_837);
    let grant = grant(Scope::Public);
    let merged = plan.revalidated(&grant, (&sent, kept.memory()), &headers(update), now, now)?;
    let answer = match merged.answer {
        Answer::Store(storable) => Ok(*storable),
        Answer::Pass(reason) => Err(reason),
    };
    Some((merged.headers, answer))
}

#[test]
fn a_304_renews_what_it_names_and_leaves_the_rest() {
    let stored = [
        ("etag", "\"x\""),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("surrogate-key", "k"),
        ("x-kept", "old"),
        ("x-changed", "old"),
        ("x-changed", "older"),
    ];
    let update = [
        ("etag", "W/\"x\""),
        ("cache-control", "max-age=7"),
        ("x-changed", "new"),
        ("x-added", "1"),
        ("content-length", "0"),
        ("content-type", "text/html"),
        ("connection", "x-private"),
        ("x-private", "1"),
    ];
    let (merged, answer) = renewed(&stored, &update).expect("the same bytes");
    let stored = answer.expect("still storable: consent and tag were given");
    assert_eq!(stored.fresh_for(), Duration::from_secs(7));
    assert_eq!(
        stored.age(),
        Duration::ZERO,
        "the old date says nothing of now"
    );
    assert!(stored.tags().iter().any(|tag| tag.as_str() == "k"));
    let sent = stored.headers();
    for (name, value) in [
        ("x-kept", "old"),
        ("x-changed", "new"),
        ("x-added", "1"),
        ("content-type", "application/json"),
    ] {
        let values: Vec<_> = sent.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
    assert!(!sent.contains_key("x-private") && merged.contains_key("x-private"));
}

#[test]
fn a_304_that_takes_the_consent_back_ends_the_answer() {
    let etag = [("etag", "\"x\"")];
    for (update, reason) in [
        (("cache-control", "private"), PassReason::Private),
        (("cache-control", "no-store"), PassReason::NoStore),
        (("set-cookie", "a=b"), PassReason::SetCookie),
        (("vary", "*"), PassReason::VaryStar),
        (("x-edge-cache-scope", "tenant"), PassReason::ConsentOther),
        (("cdn-cache-control", "no-cache"), PassReason::NoCache),
    ] {
        let (_, answer) = renewed(&etag, &[update]).expect("the same bytes");
        assert_eq!(answer.err(), Some(reason), "{update:?}");
    }
}

#[test]
fn a_304_of_other_bytes_renews_nothing() {
    assert!(renewed(&[("etag", "\"x\"")], &[("etag", "\"y\"")]).is_none());
    assert!(
        renewed(
            &[("etag", "\"x\"")],
            &[("etag", "\"x\""), ("etag", "\"y\"")]
        )
        .is_none()
    );
    assert!(renewed(&[], &[]).is_none(), "nothing was asked");
}

#[test]
fn an_origin_is_asked_with_the_validators_that_it_gave() {
    let asked = |lines: &Lines<'_>| {
        let (_, kept) = judged("/p/7", 200, &appended(PUBLIC, lines))
            .expect("kept")
            .into_parts();
        let conditions = kept.memory().conditions();
        conditions
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect::<Vec<_>>()
    };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(asked(&[]), [""; 0]);
    assert_eq!(asked(&[("etag", "\"a\""), ("etag", "\"b\"")]), [""; 0]);
    assert_eq!(
        asked(&[("etag", "W/\"a\"")]),
        ["if-none-match: \"W/\\\"a\\\"\""]
    );
    assert_eq!(asked(&[("etag", "a"), ("last-modified", date)]).len(), 2);
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

    /// A 304 is judged as if all of it had come with the bytes: it can end an answer, and make none.
    #[test]
    fn a_304_with_something_that_must_not_be_shared_is_never_kept(lines in proptest::collection::vec(line(), 0..5), poison in poison()) {
        let lines: Vec<_> = lines.into_iter().chain([poison]).collect();
        // These speak of the bytes, which a 304 has none of.
        prop_assume!(!poison.0.starts_with("content-"));
        if let Some((_, answer)) = renewed(&[("etag", "\"x\"")], &lines) {
            prop_assert!(answer.is_err());
        }
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
