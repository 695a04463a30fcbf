//! Parsers of cache-rules. Also compiled into its tests.

use std::time::{Duration, SystemTime};

use cache_rules::answer::Answer;
use cache_rules::host::HostName;
use cache_rules::identity::Grant;
use cache_rules::plan::Plan;
use cache_rules::rules::{RawRules, RuleSet};
use cache_rules::target::{self, CanonicalPath};
use cache_rules::verdict::{Ask, Verdict};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::covered::compiled;

fn asked(path: &str, query: Option<&str>) -> Verdict {
    compiled().verdict(&Ask {
        method: &Method::GET,
        path,
        query,
        headers: &HeaderMap::new(),
        has_body: false,
    })
}

fn plan(path: &str) -> Plan {
    match asked(path, None) {
        Verdict::Store(plan) => plan,
        _ => panic!("a rule covers it"),
    }
}

/// The lines of a field; what is no value is left out.
fn lines(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|&b| b == b'\n').take(20) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// For how long an answer is kept; none: it is not.
fn kept(path: &str, headers: &HeaderMap) -> Option<Duration> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let grant = Grant::public(&"oak".parse().expect("a tenant id"));
    let mut headers = headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match plan(path).answer(&grant, StatusCode::OK, &headers, now, now) {
        Answer::Store(storable) => Some(storable.fresh_for()),
        Answer::Pass(_) => None,
    }
}

/// One more line that forbids never allows, and the rule's cap holds, whatever the others say.
pub fn cache_control(data: &[u8]) {
    let headers = lines(&CACHE_CONTROL, data);
    let strictly = kept("/strict/7", &headers);
    assert!(strictly.is_none_or(|fresh_for| fresh_for <= Duration::from_secs(60)));
    for path in ["/strict/7", "/test/7"] {
        let with = |word: &'static str| {
            let mut headers = headers.clone();
            headers.append(CACHE_CONTROL, HeaderValue::from_static(word));
            kept(path, &headers)
        };
        assert_eq!(with("private"), None, "{path}");
        // The RFC lets `must-understand` take `no-store` back, where only the RFC decides.
        if path == "/strict/7" {
            assert_eq!(with("no-store"), None, "{path}");
        }
    }
}

/// What is stored under a strict rule varies on what the rule lists and on nothing else; `*` is never stored.
pub fn vary(data: &[u8]) {
    let mut headers = lines(&VARY, data);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    if kept("/strict/7", &headers).is_some() {
        let names = headers.get_all(VARY).iter();
        let names = names.flat_map(|line| line.as_bytes().split(|&b| b == b','));
        for name in names
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
        {
            let listed = ["accept-encoding", "accept-language", "accept"];
            let listed = listed
                .iter()
                .any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
            assert!(listed, "{:?}", String::from_utf8_lossy(name));
        }
    }
    headers.append(VARY, HeaderValue::from_static("*"));
    for path in ["/strict/7", "/test/7"] {
        assert_eq!(kept(path, &headers), None, "{path}");
    }
}

/// The one form of a path is its own, and nothing in it can be read in two ways.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = target::check(text);
    let _ = target::decoded(text);
    let raw = text.split('?').next().unwrap_or_default();
    let Ok(once) = CanonicalPath::parse(raw) else {
        return;
    };
    let twice = CanonicalPath::parse(once.as_str()).expect("its one form is a path");
    assert_eq!(once.as_str(), twice.as_str());
    let decoded = target::decoded(once.as_str()).expect("what is canonical is decoded");
    assert_eq!(
        target::decoded(raw).as_deref(),
        Ok(&*decoded),
        "both mean the same"
    );
    assert!(!decoded.contains(['\\', '\0', ';']) && !decoded.contains("//"));
    assert!(
        decoded
            .split('/')
            .all(|segment| segment != "." && segment != "..")
    );
}

/// What the origin is asked is what the key stands for: asked for again it is the same.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Verdict::Store(once) = asked("/strict/7", Some(text)) else {
        return;
    };
    let (path, query) = match once.target().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (once.target(), None),
    };
    let mut pairs = query.unwrap_or_default().split('&');
    assert!(pairs.all(|pair| pair.split('=').next() != Some("utm_source")));
    let Verdict::Store(twice) = asked(path, query) else {
        panic!("its one form is covered as well");
    };
    assert_eq!(once.target(), twice.target());
    let host = HostName::parse("oak.example").expect("a host");
    let grant = Grant::public(&"oak".parse().expect("a tenant id"));
    assert!(once.key(&grant, &host, "r1") == twice.key(&grant, &host, "r1"));
}

/// A text makes rules or mistakes, and rules judge any path.
pub fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(raw) = toml::from_str::<RawRules>(text) else {
        return;
    };
    let Ok(rules) = RuleSet::compile(raw) else {
        return;
    };
    for path in ["/", "/api/v1/courses/7", "/%2e", "/a/b/c/d"] {
        let _ = rules.verdict(&Ask {
            method: &Method::GET,
            path,
            query: Some("a=1&b"),
            headers: &HeaderMap::new(),
            has_body: false,
        });
    }
}
