use std::time::SystemTime;

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::answer::Answer;
use crate::host::HostName;
use crate::identity::Grant;
use crate::plan::Plan;
use crate::verdict::{Ask, Verdict};

const RULES: &str = r#"
    [[rule]]
    name = "public"
    path = "/p/{a}"
    scope = "public"
    ttl_s = 60
    stale_while_revalidate_s = 7
"#;

const SEAL: Seal = Seal([7; 16]);

fn rules(text: &str) -> RuleSet {
    RuleSet::compile(toml::from_str(text).expect("TOML")).expect("no mistakes")
}

fn plan(rules: &RuleSet) -> Plan {
    let headers = HeaderMap::new();
    let verdict = rules.verdict(&Ask {
        method: &Method::GET,
        path: "/p/1",
        query: None,
        headers: &headers,
        has_body: false,
    });
    match verdict {
        Verdict::Store(plan) => plan,
        Verdict::Pass(_) | Verdict::Refuse(_) => panic!("the rule covers it"),
    }
}

/// What the rules let be kept of an answer with a lifetime of 20 s.
fn kept(rules: &RuleSet) -> (CacheKey, HeaderMap, Kept) {
    let plan = plan(rules);
    let grant = Grant::public(&"oak".parse().expect("a tenant id"));
    let host = HostName::parse("oak.example").expect("a host");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "max-age=20"),
        ("x-edge-cache-scope", "public"),
        ("etag", "\"v1\""),
        ("link", "</a>"),
        ("link", "</b>"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let Answer::Store(storable) = plan.answer(&grant, StatusCode::OK, &headers, now, now) else {
        panic!("both agree");
    };
    let (headers, kept) = storable.into_parts();
    (plan.key(&grant, &host, "r1"), headers, kept)
}

fn sealed(since_ms: u64) -> Option<Vec<u8>> {
    let (key, headers, kept) = kept(&rules(RULES));
    let since = Duration::from_millis(since_ms);
    SEAL.close(&key, (&headers, &kept), since, &[b"some ", b"bytes"])
}

#[test]
fn what_is_opened_is_what_was_sealed_and_older() {
    let rules = rules(RULES);
    let (key, headers, kept) = kept(&rules);
    let sealed = sealed(1_500).expect("it is fresh");
    let opened = SEAL
        .open(&rules, &sealed)
        .expect("the same secret and rule");
    assert_eq!(opened.key, key);
    assert_eq!(
        (opened.tenant.as_str(), opened.scope),
        ("oak", Scope::Public)
    );
    assert_eq!(opened.headers, headers);
    assert_eq!(opened.rest, b"some bytes");
    let conditions = |kept: &Kept| kept.memory().conditions().collect::<Vec<_>>();
    assert_eq!(conditions(&opened.kept), conditions(&kept));
    assert_eq!(opened.kept.stale(), kept.stale());
    assert_eq!(opened.kept.fresh_for(), Duration::from_millis(18_500));
    assert_eq!(opened.kept.age(), Duration::from_millis(1_500));
}

#[test]
fn what_is_over_is_not_left_to_anybody() {
    assert!(sealed(19_999).is_some());
    assert!(sealed(20_000).is_none());
    assert!(sealed(90_000).is_none());
}

#[test]
fn a_rule_that_says_something_else_now_keeps_nothing() {
    let sealed = sealed(0).expect("it is fresh");
    let now = |text: &str| SEAL.open(&rules(text), &sealed).map(|_| ());
    assert_eq!(now(RULES), Ok(()));
    let more =
        format!("{RULES}\n[[rule]]\nname = \"b\"\npath = \"/b\"\nscope = \"public\"\nttl_s = 9");
    assert_eq!(now(&more), Ok(()));
    for (what, by) in [
        ("ttl_s = 60", "ttl_s = 59"),
        ("\"public\"\n    path", "\"other\"\n    path"),
        ("scope = \"public\"", "scope = \"tenant\""),
        ("/p/{a}", "/p/{a}/{b}"),
    ] {
        let changed = RULES.replacen(what, by, 1);
        assert_ne!(changed, RULES);
        assert_eq!(now(&changed), Err(NotOpened::Rule), "{by}");
    }
    assert_eq!(now(""), Err(NotOpened::Rule));
}

#[test]
fn another_secret_opens_nothing() {
    let sealed = sealed(0).expect("it is fresh");
    let other = Seal::new([8; 16]);
    assert_eq!(
        other.open(&rules(RULES), &sealed).map(|_| ()),
        Err(NotOpened::Seal)
    );
    assert!(SEAL.is_shown_by(SEAL.word()));
    assert!(!SEAL.is_shown_by(other.word()));
}

#[test]
fn another_versions_format_is_told_apart() {
    let mut sealed = sealed(0).expect("it is fresh");
    sealed[MAC_BYTES] = FORMAT + 1;
    let mac = SEAL.mac(&sealed[MAC_BYTES..]);
    sealed[..MAC_BYTES].copy_from_slice(&mac);
    assert_eq!(
        SEAL.open(&rules(RULES), &sealed).map(|_| ()),
        Err(NotOpened::Format)
    );
}

#[test]
fn what_is_kept_as_it_was_sent_stays_where_it_is() {
    let danger = "ttl_s = 60\n    policy = \"danger_rfc9111\"";
    let rules = rules(&RULES.replacen("ttl_s = 60", danger, 1));
    let (key, headers, kept) = kept(&rules);
    assert!(
        SEAL.close(&key, (&headers, &kept), Duration::ZERO, &[])
            .is_none()
    );
}

proptest! {
    #[test]
    fn a_changed_byte_breaks_the_seal(at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
        let mut sealed = sealed(0).expect("it is fresh");
        let at = at.index(sealed.len());
        sealed[at] ^= by;
        prop_assert_eq!(SEAL.open(&rules(RULES), &sealed).map(|_| ()), Err(NotOpened::Seal));
    }

    /// Whoever has the secret may still be a version with a fault: no bytes make this one panic.
    #[test]
    fn any_bytes_under_the_seal_are_read_or_refused(content in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        let mut shorter = sealed(0).expect("it is fresh")[MAC_BYTES..].to_vec();
        shorter.truncate(cut);
        for content in [content, shorter] {
            let mut sealed = SEAL.mac(&content).to_vec();
            sealed.extend(content);
            let _ = SEAL.open(&rules(RULES), &sealed);
        }
    }
}
