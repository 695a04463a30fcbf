use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONNECTION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::host::HostName;
use crate::rules::RuleSet;
use crate::tenant::TenantId;
use crate::verdict::{Ask, Verdict};

const RULES: &str = r#"
    [[rule]]
    name = "strict"
    path = "/strict/{id}"
    scope = "public"
    ttl_s = 30
    query = ["page"]
    vary = ["x-locale"]

    [[rule]]
    name = "suite"
    path = "/test/**"
    scope = "public"
    ttl_s = 60
    policy = "danger_rfc9111"
    consent = "rule"
"#;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn verdict(target: &str, lines: &[(&'static str, &str)]) -> Verdict {
    let rules = RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    rules.verdict(&Ask {
        method: &Method::GET,
        path,
        query,
        headers: &headers(lines),
        has_body: false,
    })
}

fn plan(target: &str, lines: &[(&'static str, &str)]) -> Plan {
    match verdict(target, lines) {
        Verdict::Store(plan) => plan,
        other => panic!("{target} is covered: {other:?}"),
    }
}

fn key(plan: &Plan) -> CacheKey {
    let oak: TenantId = "oak".parse().expect("a tenant id");
    let host = HostName::parse("oak.example").expect("a host");
    plan.key(&Grant::public(&oak), &host, "r1")
}

#[test]
fn a_plan_says_what_its_rule_says() {
    let strict = plan("/strict/7?page=2", &[("x-locale", "de")]);
    assert_eq!((strict.rule(), strict.ttl().as_secs()), ("strict", 30));
    assert!(!strict.rule_consents() && !strict.may_vary_on_anything());
    assert_eq!(strict.varies_on().collect::<Vec<_>>(), ["x-locale"]);
    assert!(strict.asked_for().is_none());
    let suite = plan("/test/7", &[]);
    assert_eq!(suite.ttl().as_secs(), 60);
    assert!(suite.rule_consents() && suite.may_vary_on_anything());
    assert_eq!(suite.varies_on().count(), 0);
    assert_eq!(suite.target(), "/test/7", "no query, and no `?`");
    assert_eq!(plan("/test/7?b=2&a", &[]).target(), "/test/7?b=2&a");
}

#[test]
fn twenty_pairs_are_compared_and_no_more() {
    let pairs = |n| format!("/strict/7?{}", vec!["page=1"; n].join("&"));
    assert!(matches!(verdict(&pairs(20), &[]), Verdict::Store(_)));
    assert!(matches!(verdict(&pairs(21), &[]), Verdict::Pass(_)));
}

#[test]
fn all_that_was_asked_for_reaches_the_origin_but_what_is_between_two() {
    let asked = [("accept", "text/x"), ("cookie", "a=b"), ("connection", "x")];
    let suite = plan("/test/7", &asked);
    let all = suite.asked_for().expect("everything");
    assert_eq!(
        all.get(ACCEPT).map(HeaderValue::as_bytes),
        Some(&b"text/x"[..])
    );
    assert!(all.contains_key(COOKIE) && !all.contains_key(CONNECTION));
    assert_eq!(suite.forward_headers(None), *all);
    let strict = plan("/strict/7", &[("accept", "text/x")]);
    let sent = strict.forward_headers(None);
    assert_ne!(
        sent.get(ACCEPT).map(HeaderValue::as_bytes),
        Some(&b"text/x"[..])
    );
}

#[test]
fn a_variant_has_its_own_place_only_where_answers_may_vary_on_anything() {
    let names = [ACCEPT_LANGUAGE];
    let german = [("accept-language", "de")];
    let (suite, strict) = (plan("/test/7", &german), plan("/strict/7", &[]));
    let place = key(&suite);
    assert_ne!(suite.variant(&place, &names), place);
    assert_eq!(suite.variant(&place, &[]), place);
    assert_ne!(suite.flight(&place), place);
    let place = key(&strict);
    assert_eq!(strict.variant(&place, &names), place);
    assert_eq!(strict.flight(&place), place);
}

/// RFC 9111, 4.1: what means the same selects the same, and nothing else does.
#[test]
fn variants_are_told_by_what_their_headers_mean() {
    let place = key(&plan("/test/7", &[]));
    let variant = |lines: &[(&'static str, &str)]| {
        let names = [HeaderName::from_static("x-a"), ACCEPT_LANGUAGE];
        place.variant(&headers(lines), &names)
    };
    let same: [&[&[(&'static str, &str)]]; 2] = [
        &[
            &[("x-a", "1,2")],
            &[("x-a", " 1 , 2 ")],
            &[("x-a", "1"), ("x-a", "2")],
        ],
        &[
            &[("accept-language", "de, EN")],
            &[("accept-language", "en,de")],
            &[("accept-language", "DE"), ("accept-language", "en")],
        ],
    ];
    for group in same {
        for one in group {
            assert_eq!(variant(one), variant(group[0]), "{one:?}");
        }
    }
    let others: [&[(&'static str, &str)]; 8] = [
        &[],
        &[("x-a", "")],
        &[("x-a", "1,2")],
        &[("x-a", "2,1")],
        &[("x-a", "12")],
        &[("x-a", "A")],
        &[("x-a", "a")],
        &[("accept-language", "de")],
    ];
    for (at, one) in others.iter().enumerate() {
        for other in &others[..at] {
            assert_ne!(variant(one), variant(other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_plan_prints_its_rule_and_nothing_that_was_asked() {
    let printed = format!("{:?}", plan("/strict/7?page=secret", &[]));
    assert!(
        printed.contains("strict") && !printed.contains("secret"),
        "{printed}"
    );
}
