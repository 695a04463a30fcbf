//! Whatever bytes an origin or a client sends: no panic, no endless work, and what forbids storing still does.

#[path = "../../fuzz/src/covered.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod covered;

use std::time::{Duration, SystemTime};

use cache_rules::answer::Answer;
use cache_rules::host::HostName;
use cache_rules::identity::Grant;
use cache_rules::plan::Plan;
use cache_rules::rules::{RawRules, RuleSet};
use cache_rules::verdict::{Ask, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use covered::compiled;

/// Everything of an answer that is looked at.
const SAID: [&str; 20] = [
    "age",
    "cache-control",
    "cache-groups",
    "cache-group-invalidation",
    "cache-tag",
    "cdn-cache-control",
    "connection",
    "content-encoding",
    "content-location",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "set-cookie",
    "surrogate-key",
    "vary",
    "x-edge-cache-scope",
    "access-control-allow-origin",
];

/// Everything of a request that is looked at.
const ASKED: [&str; 6] = [
    "accept",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "range",
];

/// Half of what is tried is near to what origins send.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-z-]{0,9}(=\"?[0-9a-z\\\\]{0,9}\"?)?([,; ][a-z-]{0,9}(=[0-9]{0,12})?){0,3}"
            .prop_map(String::into_bytes),
        proptest::sample::select(vec![
            "max-age=60",
            "private",
            "no-store",
            "no-cache=\"a, b\"",
            "public, s-maxage=9",
            "*",
            "accept, *",
            "\"x\"",
            "W/\"x\"",
            "application/json",
            "public",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "0, 7200",
            "(\"a\" \"b\")",
            "/strict/7",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn headers(names: &'static [&'static str]) -> impl Strategy<Value = HeaderMap> {
    let line = (proptest::sample::select(names), value());
    proptest::collection::vec(line, 0..9).prop_map(|lines| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    })
}

fn plan(rules: &RuleSet, path: &str, request: &HeaderMap) -> Option<Plan> {
    let verdict = rules.verdict(&Ask {
        method: &Method::GET,
        path,
        query: Some("a=1"),
        headers: request,
        has_body: false,
    });
    let without_query = |rules: &RuleSet| {
        let ask = Ask {
            method: &Method::GET,
            path,
            query: None,
            headers: request,
            has_body: false,
        };
        rules.verdict(&ask)
    };
    match (verdict, without_query(rules)) {
        (Verdict::Store(plan), _) | (_, Verdict::Store(plan)) => Some(plan),
        _ => None,
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_judgement_panic_and_what_forbids_still_does(
        request in headers(&ASKED), said in headers(&SAID), update in headers(&SAID), status in 200_u16..600,
    ) {
        let rules = compiled();
        let tenant = "oak".parse().expect("a tenant id");
        let grant = Grant::public(&tenant);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let status = StatusCode::from_u16(status).expect("a status");
        let host = HostName::parse("oak.example").expect("a host");
        for path in ["/strict/7", "/test/a/b"] {
            let Some(plan) = plan(rules, path, &request) else { continue };
            let _ = plan.wishes(None);
            let key = plan.key(&grant, &host, "r1");
            let names: Vec<HeaderName> = request.keys().cloned().collect();
            prop_assert_eq!(plan.variant(&key, &names), plan.variant(&key, &names));
            let Answer::Store(storable) = plan.answer(&grant, status, &said, now, now) else { continue };
            prop_assert!(!said.contains_key("set-cookie"));
            prop_assert!(said.get_all("vary").iter().all(|line| line != "*"));
            prop_assert!(storable.fresh_for() <= Duration::from_secs(60) || path != "/strict/7");
            let (sent, kept) = storable.into_parts();
            if let Some(merged) = plan.revalidated(&grant, (&sent, kept.memory()), &update, now, now)
                && let Answer::Store(_) = merged.answer
            {
                prop_assert!(!update.contains_key("set-cookie"));
            }
        }
        let ended = rules.ended((&Method::PUT, &host, "/strict/7"), status, &said);
        prop_assert_eq!(ended.is_empty(), status.is_client_error() || status.is_server_error());
    }

    #[test]
    fn no_text_makes_the_compiler_of_rules_panic(path in "(/([a-z*{}.]{0,6}|\\PC{0,4})){0,4}", tag in "\\PC{0,12}", list in "\\PC{0,6}") {
        let toml = format!("[[rule]]\nname = \"r\"\nscope = \"tenant\"\nttl_s = 9\npath = {path:?}\ntags = [{tag:?}]\nlocales = [{list:?}]");
        if let Ok(raw) = toml::from_str::<RawRules>(&toml) {
            let _ = RuleSet::compile(raw);
        }
    }
}

#[test]
fn the_policy_of_conformance_runs_stores_what_the_rfc_does_and_no_cookie() {
    let rules = compiled();
    let said = |request: &[(&'static str, &'static str)],
                answer: &[(&'static str, &'static str)]| {
        let map = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            headers
        };
        let plan = plan(rules, "/test/a", &map(request)).expect("the rule covers it");
        let grant = Grant::public(&"oak".parse().expect("a tenant id"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        match plan.answer(&grant, StatusCode::OK, &map(answer), now, now) {
            Answer::Store(storable) => Ok(storable.fresh_for().as_secs()),
            Answer::Pass(reason) => Err(reason.as_str()),
        }
    };
    type Row = (
        &'static [(&'static str, &'static str)],
        Result<u64, &'static str>,
    );
    let table: &[Row] = &[
        (&[("cache-control", "max-age=60")], Ok(60)),
        (&[("cache-control", "max-age=60, max-age=7")], Ok(7)),
        (
            &[("cache-control", "max-age='60'"), ("etag", "\"x\"")],
            Ok(0),
        ),
        (&[("cache-control", "x=\"max-age=9\", max-age=5")], Ok(5)),
        (
            &[("cache-control", "max-age=60"), ("age", "20, 99")],
            Ok(40),
        ),
        (&[("cache-control", "max-age=60"), ("age", "abc")], Ok(60)),
        (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Ok(60)),
        (&[("expires", "0"), ("etag", "\"x\"")], Ok(0)),
        (
            &[
                ("cdn-cache-control", "max-age=9"),
                ("cache-control", "no-store"),
            ],
            Ok(9),
        ),
        (
            &[("cdn-cache-control", "&&&"), ("cache-control", "max-age=5")],
            Ok(5),
        ),
        (
            &[
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=5"),
            ],
            Err("no_store"),
        ),
        (
            &[("cache-control", "no-store, must-understand, max-age=5")],
            Ok(5),
        ),
        (&[("cache-control", "private, max-age=5")], Err("private")),
        (
            &[("cache-control", "max-age=5"), ("vary", ", *")],
            Err("vary_star"),
        ),
        (
            &[("cache-control", "max-age=5"), ("set-cookie", "a=b")],
            Err("set_cookie"),
        ),
        (&[("cache-control", "public")], Err("no_lifetime")),
    ];
    for (answer, expected) in table {
        assert_eq!(said(&[], answer), *expected, "{answer:?}");
    }
    let shown = [("authorization", "x")];
    assert_eq!(
        said(&shown, &[("cache-control", "max-age=5")]),
        Err("authorization")
    );
    assert_eq!(
        said(&shown, &[("cache-control", "public, max-age=5")]),
        Ok(5)
    );
}
