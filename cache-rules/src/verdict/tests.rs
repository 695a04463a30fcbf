use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::credentials::CredentialNames;
use crate::identity::Identity;
use crate::rules::RawRules;

const RULES: &str = r#"
    [[rule]]
    name = "school"
    path = "/api/v1/school"
    scope = "public"
    ttl_s = 60
    query = ["locale", "ids[]", "q"]
    ignore = ["utm_source", "_"]
    vary = ["accept-language", "x-locale"]

    [[rule]]
    name = "course"
    path = "/api/v1/courses/{id}"
    methods = ["GET"]
    scope = "tenant"
    ttl_s = 30
    tags = ["course:{id}"]

    [[rule]]
    name = "version"
    path = "/api/v1/versions/{kind}/{id}"
    scope = "tenant"
    ttl_s = 30
"#;

fn rules() -> RuleSet {
    RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes")
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// `rule target` or the reason.
fn said(method: &str, target: &str, lines: &[(&'static str, &str)], has_body: bool) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let method = method.parse().expect("a method");
    let headers = headers(lines);
    let ask = Ask {
        method: &method,
        path,
        query,
        headers: &headers,
        has_body,
    };
    match rules().verdict(&ask) {
        Verdict::Store(plan) => format!("{} {}", plan.rule(), plan.target()),
        Verdict::Pass(reason) => format!("pass {reason}"),
        Verdict::Refuse(reason) => format!("refuse {reason}"),
    }
}

#[test]
fn a_target_gets_its_verdict() {
    let many = format!("/api/v1/school?{}", "q=1&".repeat(21));
    let table = [
        // Which rule, if any.
        ("/api/v1/school", "school /api/v1/school"),
        ("/api/v1/courses/7", "course /api/v1/courses/7"),
        (
            "/api/v1/versions/lesson/7",
            "version /api/v1/versions/lesson/7",
        ),
        ("/", "pass no_rule"),
        ("/api/v1/schoo", "pass no_rule"),
        ("/api/v1/school/", "pass no_rule"),
        ("/api/v1/School", "pass no_rule"),
        ("/api/v1/courses", "pass no_rule"),
        ("/api/v1/courses/", "pass no_rule"),
        ("/api/v1/courses/7/gradebook", "pass no_rule"),
        ("/api/v1/submissions/7", "pass no_rule"),
        // One form.
        ("/%61pi/v1/%73chool", "school /api/v1/school"),
        (
            "/api/v1/versions/a%20b/%c3%a9",
            "version /api/v1/versions/a%20b/%C3%A9",
        ),
        // Cached paths in disguise, and ones that are none.
        ("//api/v1/school", "refuse path_ambiguous"),
        ("/api/v1%2Fschool", "refuse path_ambiguous"),
        ("/api/v1/school;x=1", "refuse path_ambiguous"),
        ("/api/v1/school%3B.css", "refuse path_ambiguous"),
        ("/api/v1/courses/7%2F..%2F8", "pass no_rule"),
        ("/api/v1/courses%2F7", "refuse path_ambiguous"),
        ("/api/v1/courses%252F7", "refuse path_ambiguous"),
        ("/api/v1/courses/%2531", "refuse path_ambiguous"),
        ("/api/v1/courses\\7", "refuse path_ambiguous"),
        ("/api/v1/courses/%00", "refuse path_ambiguous"),
        ("/api/v1/courses/%ff", "refuse path_ambiguous"),
        ("/api/v1/courses/%", "refuse path_ambiguous"),
        ("/drive/a%2Fb", "pass no_rule"),
        ("/drive//b;c%25", "pass no_rule"),
        // What goes into a tag is a plain id.
        ("/api/v1/courses/7.json", "pass path_parameter"),
        ("/api/v1/courses/%37", "course /api/v1/courses/7"),
        ("/api/v1/courses/%20", "pass path_parameter"),
        (
            "/api/v1/courses/1234567890123456789012345678901234567890123456789",
            "pass path_parameter",
        ),
        (
            "/api/v1/versions/a.b/7.json",
            "version /api/v1/versions/a.b/7.json",
        ),
        // Queries.
        (
            "/api/v1/school?q={\"a\":[1|2]}",
            "school /api/v1/school?q=%7B%22a%22:%5B1%7C2%5D%7D",
        ),
        ("/api/v1/school?q=\\", "school /api/v1/school?q=%5C"),
        ("/api/v1/school?", "school /api/v1/school"),
        ("/api/v1/school?&&", "school /api/v1/school"),
        (
            "/api/v1/school?locale=de",
            "school /api/v1/school?locale=de",
        ),
        ("/api/v1/school?locale", "school /api/v1/school?locale"),
        ("/api/v1/school?locale=", "school /api/v1/school?locale="),
        (
            "/api/v1/school?l%6fcale=%64e",
            "school /api/v1/school?locale=de",
        ),
        (
            "/api/v1/school?q=b&locale=de&q=a",
            "school /api/v1/school?q=b&locale=de&q=a",
        ),
        (
            "/api/v1/school?ids[]=1&ids%5B%5d=2",
            "school /api/v1/school?ids%5B%5D=1&ids%5B%5D=2",
        ),
        (
            "/api/v1/school?q=a+b%2bc%20d",
            "school /api/v1/school?q=a+b%2Bc%20d",
        ),
        (
            "/api/v1/school?q=a;b?c=d",
            "school /api/v1/school?q=a%3Bb?c=d",
        ),
        (
            "/api/v1/school?q=a%26locale%3dde",
            "school /api/v1/school?q=a%26locale%3Dde",
        ),
        (
            "/api/v1/school?utm_source=x&q=1&_=9",
            "school /api/v1/school?q=1",
        ),
        ("/api/v1/school?utm_source=x", "school /api/v1/school"),
        (
            "/api/v1/school?utm_%73ource=x&q=1",
            "school /api/v1/school?q=1",
        ),
        ("/api/v1/school?Locale=de", "pass query_unlisted"),
        ("/api/v1/school?q[a]=1", "pass query_unlisted"),
        ("/api/v1/school?=1", "pass query_unlisted"),
        ("/api/v1/school?%20q=1", "pass query_unlisted"),
        ("/api/v1/school?;q=1", "pass query_unlisted"),
        ("/api/v1/school??q=1", "pass query_unlisted"),
        ("/api/v1/school?q=1&debug=1", "pass query_unlisted"),
        ("/api/v1/courses/7?page=1", "pass query_unlisted"),
        ("/api/v1/school?q=%", "refuse query_malformed"),
        ("/api/v1/school?q=%zz", "refuse query_malformed"),
        ("/api/v1/school?q%=1", "refuse query_malformed"),
        ("/api/v1/school?q=%ff", "refuse query_malformed"),
        ("/api/v1/school?q=%00", "refuse query_malformed"),
        ("/api/v1/school?q=a%0d%0ab", "refuse query_malformed"),
        ("/api/v1/school?debug=%", "refuse query_malformed"),
        ("/api/v1/school?utm_source=%", "refuse query_malformed"),
        (&many, "pass query_too_many"),
    ];
    for (target, expected) in table {
        assert_eq!(said("GET", target, &[], false), expected, "{target}");
    }
}

#[test]
fn method_body_and_headers_get_their_verdict() {
    let long = "x".repeat(300);
    let school = "/api/v1/school";
    let course = "/api/v1/courses/7";
    let stored = "school /api/v1/school";
    type Row<'a> = (&'a str, &'a str, &'a [(&'static str, &'a str)], &'a str);
    let table: &[Row<'_>] = &[
        ("HEAD", school, &[], stored),
        ("HEAD", course, &[], "pass method"),
        ("POST", school, &[], "pass method"),
        ("get", school, &[], "pass method"),
        ("QUERY", school, &[], "pass method"),
        ("OPTIONS", school, &[], "pass method"),
        ("POST", "/api/v1/school;x", &[], "pass no_rule"),
        ("POST", "/api/v1/school?q=%", &[], "pass method"),
        (
            "GET",
            school,
            &[("authorization", "Bearer x")],
            "pass authorization",
        ),
        ("GET", school, &[("cookie", "_session=x")], stored),
        (
            "GET",
            course,
            &[("authorization", "Bearer x")],
            "course /api/v1/courses/7",
        ),
        ("GET", school, &[("upgrade", "websocket")], "pass upgrade"),
        ("GET", school, &[("cache-control", "no-cache")], stored),
        (
            "GET",
            school,
            &[("cache-control", "max-age=0"), ("pragma", "no-cache")],
            stored,
        ),
        (
            "GET",
            school,
            &[("cache-control", "nothing-to-see-here")],
            stored,
        ),
        (
            "GET",
            school,
            &[("cache-control", "x, No-Store")],
            "pass request_no_store",
        ),
        (
            "GET",
            school,
            &[("cache-control", "max-age=")],
            "pass request_no_store",
        ),
        (
            "GET",
            school,
            &[("accept-language", &long)],
            "pass vary_too_long",
        ),
        (
            "GET",
            school,
            &[("range", "bytes=0-1"), ("if-none-match", "\"x\"")],
            stored,
        ),
        (
            "GET",
            school,
            &[("x-forwarded-host", "evil.example")],
            stored,
        ),
    ];
    for (method, target, lines, expected) in table {
        let seen = said(method, target, lines, false);
        assert_eq!(seen, *expected, "{method} {target} {lines:?}");
    }
    assert_eq!(said("GET", school, &[], true), "refuse body");
    assert_eq!(said("HEAD", school, &[], true), "refuse body");
    assert_eq!(said("POST", school, &[], true), "pass method");
    assert_eq!(said("GET", "/", &[], true), "pass no_rule");
}

#[test]
fn the_origin_sees_what_is_in_the_key_and_nothing_else() {
    let lines = [
        ("accept", "text/html"),
        ("accept-encoding", "br"),
        ("accept-language", "de"),
        ("accept-language", "en"),
        ("authorization", "Basic x"),
        ("cookie", "theme=dark; _session=abc"),
        ("if-none-match", "\"x\""),
        ("range", "bytes=0-1"),
        ("user-agent", "x"),
        ("x-forwarded-host", "evil.example"),
        ("x-http-method-override", "DELETE"),
    ];
    let headers = headers(&lines);
    let credentials = CredentialNames::new(["_session"]).of(&headers);
    let credentials = credentials.expect("one of each").expect("some");
    let forwarded = |path, headers: &HeaderMap| {
        let ask = Ask {
            method: &Method::GET,
            path,
            query: None,
            headers,
            has_body: false,
        };
        let Verdict::Store(plan) = rules().verdict(&ask) else {
            panic!("{path} is covered");
        };
        let sent = plan.forward_headers(Some(&credentials));
        let mut sent: Vec<String> = sent
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
            .collect();
        sent.sort();
        sent
    };
    let tenant = forwarded("/api/v1/courses/7", &headers);
    let expected = [
        "accept: application/json",
        "authorization: Basic x",
        "cookie: _session=abc",
    ];
    assert_eq!(tenant, expected);

    let mut anonymous = headers.clone();
    anonymous.remove("authorization");
    let public = forwarded("/api/v1/school", &anonymous);
    assert_eq!(
        public,
        ["accept-language: de, en", "accept: application/json"]
    );
}

#[test]
fn every_reason_has_its_own_name() {
    let mut names: Vec<&str> = PassReason::ALL.iter().map(|r| r.as_str()).collect();
    names.extend(RefuseReason::ALL.iter().map(|r| r.as_str()));
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn no_rules_cover_nothing() {
    let raw = RawRules::default();
    for rules in [
        RuleSet::empty(),
        RuleSet::compile(raw).expect("no mistakes"),
    ] {
        for path in ["/", "/api/v1/school", "//", "/%2F", "", "x"] {
            let ask = Ask {
                method: &Method::GET,
                path,
                query: None,
                headers: &HeaderMap::new(),
                has_body: true,
            };
            let verdict = rules.verdict(&ask);
            assert!(
                matches!(verdict, Verdict::Pass(PassReason::NoRule)),
                "{path:?}"
            );
        }
    }
}

/// Targets around the rules above, with trouble in them.
fn target() -> impl Strategy<Value = String> {
    let path = "/api/v1/(school|s%63hool|courses/(7|%37|a%20b)|versions/[a-c]{1,2}/([a-c.]|%(2[05fF]|3b|c3%a9)){1,3})";
    let query = "(\\?((q|locale|%71|ids\\[\\]|utm_source|x)(=([a-c+;=?]|%(2[05bB6]|3[dD1])){0,4})?&?){0,4})?";
    (path, query).prop_map(|(path, query)| path + &query)
}

proptest! {
    #[test]
    fn what_the_origin_is_asked_gets_the_same_verdict_again(target in target()) {
        let once = said("GET", &target, &[], false);
        if let Some((rule, sent)) = once.split_once(" /").filter(|(rule, _)| !rule.contains(' ')) {
            let again = said("GET", &format!("/{sent}"), &[], false);
            prop_assert_eq!(&again, &once, "{} {}", rule, target);
        }
    }

    #[test]
    fn nothing_added_to_a_request_makes_it_cached(
        target in target(),
        line in prop_oneof![
            Just(("authorization", "Bearer x")),
            Just(("cache-control", "no-store")),
            Just(("cache-control", "max-age=x")),
            Just(("upgrade", "h2c")),
        ],
        pair in prop_oneof![Just("x=1"), Just("q=%"), Just("%00=1"), Just("Q=1")],
    ) {
        let cached = |seen: &str| !seen.starts_with("pass") && !seen.starts_with("refuse");
        let plain = said("GET", &target, &[], false);
        let with_line = said("GET", &target, &[line], false);
        let separator = if target.contains('?') { '&' } else { '?' };
        let with_pair = said("GET", &format!("{target}{separator}{pair}"), &[], false);
        prop_assert!(cached(&plain) || !cached(&with_line), "{with_line}");
        prop_assert!(!cached(&with_pair), "{with_pair}");
        prop_assert!(!cached(&said("GET", &target, &[], true)));
    }

    #[test]
    fn no_text_makes_a_verdict_panic(path in "\\PC*", query in proptest::option::of("\\PC*")) {
        let headers = HeaderMap::new();
        let ask = Ask { method: &Method::GET, path: &path, query: query.as_deref(), headers: &headers, has_body: false };
        let _ = rules().verdict(&ask);
        let _ = rules().verdict(&Ask { path: "/api/v1/school", ..ask });
    }
}

#[test]
fn a_language_and_a_type_are_reduced_before_anything_sees_them() {
    let rules = r#"
        [[rule]]
        name = "menu"
        path = "/menu"
        scope = "public"
        ttl_s = 9
        types = ["application/json", "text/csv"]
        locales = ["en", "de"]
        negotiate = true
    "#;
    let rules = RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes");
    let sent = |lines: &[(&'static str, &str)]| {
        let headers = headers(lines);
        let ask = Ask {
            method: &Method::GET,
            path: "/menu",
            query: None,
            headers: &headers,
            has_body: false,
        };
        let Verdict::Store(plan) = rules.verdict(&ask) else {
            panic!("the rule covers it");
        };
        let sent = plan.forward_headers(None);
        let text = |name: &str| sent[name].to_str().expect("ASCII").to_owned();
        (text("accept-language"), text("accept"))
    };
    let default = ("en".to_owned(), "application/json".to_owned());
    assert_eq!(sent(&[]), default);
    assert_eq!(
        sent(&[("accept-language", "fr"), ("accept", "*/*")]),
        default
    );
    assert_eq!(
        sent(&[
            ("accept-language", "de-AT,en;q=0.8"),
            ("accept", "text/csv")
        ]),
        ("de".to_owned(), "text/csv".to_owned())
    );
}

#[test]
fn a_reload_is_obeyed_for_the_roles_of_the_rule_only() {
    let rules = "[[rule]]\nname = \"r\"\npath = \"/r\"\nscope = \"tenant\"\nttl_s = 9\nreload_roles = [\"teacher\"]";
    let rules = RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes");
    let headers = headers(&[("cache-control", "no-cache, only-if-cached")]);
    let ask = Ask {
        method: &Method::GET,
        path: "/r",
        query: None,
        headers: &headers,
        has_body: false,
    };
    let Verdict::Store(plan) = rules.verdict(&ask) else {
        panic!("the rule covers it");
    };
    let with = |role: &str| Identity {
        subject: "7".to_owned(),
        tenant: "oak".parse().expect("a tenant id"),
        roles: [role.to_owned()].into(),
        acting: false,
    };
    assert!(plan.wishes(Some(&with("teacher"))).no_cache);
    assert!(!plan.wishes(Some(&with("pupil"))).no_cache);
    assert!(!plan.wishes(None).no_cache && plan.wishes(None).only_if_cached);
}
