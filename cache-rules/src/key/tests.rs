use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::rules::RuleSet;
use crate::tenant::TenantId;
use crate::verdict::{Ask, Verdict};

const RULES: &str = r#"
    [[rule]]
    name = "public"
    path = "/p/{a}"
    scope = "public"
    ttl_s = 60
    query = ["q", "r"]
    vary = ["x-a", "x-b"]

    [[rule]]
    name = "tenant"
    path = "/t/{a}"
    scope = "tenant"
    ttl_s = 60
    query = ["q", "r"]
    vary = ["x-a", "x-b"]

    [[rule]]
    name = "across"
    path = "/c/{a}"
    scope = "public"
    ttl_s = 60
    across_colours = true
"#;

/// Everything that a key is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Parts {
    path: String,
    pairs: Vec<(String, String)>,
    vary: [Option<String>; 2],
    tenant: String,
    host: String,
    release: String,
}

fn key(rules: &str, parts: &Parts) -> CacheKey {
    let rules = RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes");
    let mut headers = HeaderMap::new();
    for (name, value) in ["x-a", "x-b"].into_iter().zip(&parts.vary) {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let pairs = parts
        .pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let query = pairs.collect::<Vec<_>>().join("&");
    let ask = Ask {
        method: &Method::GET,
        path: &parts.path,
        query: Some(&query),
        headers: &headers,
        has_body: false,
    };
    let Verdict::Store(plan) = rules.verdict(&ask) else {
        panic!("{parts:?} is covered");
    };
    let tenant: TenantId = parts.tenant.parse().expect("a tenant id");
    let pupil = Identity {
        subject: "7".to_owned(),
        tenant: tenant.clone(),
        roles: BTreeSet::new(),
        acting: false,
    };
    let grant = match plan.scope() {
        Scope::Public => Grant::public(&tenant),
        Scope::Tenant => Grant::tenant(&pupil, &tenant).expect("the same tenant"),
        Scope::Role => Grant::role(&pupil, &tenant).expect("the same tenant"),
    };
    let host = HostName::parse(&parts.host).expect("a host");
    plan.key(&grant, &host, &parts.release)
}

fn parts(path: &str) -> Parts {
    Parts {
        path: path.to_owned(),
        pairs: Vec::new(),
        vary: [None, None],
        tenant: "oak".to_owned(),
        host: "oak.example".to_owned(),
        release: "r1".to_owned(),
    }
}

#[test]
fn every_part_of_a_read_is_in_its_key() {
    let base = parts("/p/1");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut others = vec![base.clone(), parts("/t/1"), parts("/p/2")];
    others.push(Parts {
        pairs: vec![pair("q", "1")],
        ..base.clone()
    });
    others.push(Parts {
        pairs: vec![pair("r", "1")],
        ..base.clone()
    });
    others.push(Parts {
        pairs: vec![pair("q", "1"), pair("r", "1")],
        ..base.clone()
    });
    others.push(Parts {
        pairs: vec![pair("r", "1"), pair("q", "1")],
        ..base.clone()
    });
    others.push(Parts {
        pairs: vec![pair("q", "1%26r=1")],
        ..base.clone()
    });
    others.push(Parts {
        vary: [Some("1".to_owned()), None],
        ..base.clone()
    });
    others.push(Parts {
        vary: [None, Some("1".to_owned())],
        ..base.clone()
    });
    others.push(Parts {
        vary: [Some(String::new()), None],
        ..base.clone()
    });
    others.push(Parts {
        tenant: "elm".to_owned(),
        ..base.clone()
    });
    others.push(Parts {
        host: "www.oak.example".to_owned(),
        ..base.clone()
    });
    others.push(Parts {
        release: "r2".to_owned(),
        ..base.clone()
    });
    others.push(Parts {
        release: String::new(),
        ..base.clone()
    });
    let keys: BTreeSet<CacheKey> = others.iter().map(|parts| key(RULES, parts)).collect();
    assert_eq!(keys.len(), others.len());
}

#[test]
fn one_read_has_one_key_however_it_is_written() {
    let spelled = |path: &str| key(RULES, &parts(path));
    assert_eq!(spelled("/p/a~"), spelled("/%70/%61%7e"));
    assert_eq!(spelled("/p/%c3%a9"), spelled("/p/%C3%a9"));
}

#[test]
fn a_rule_across_colours_has_one_key_for_all_releases() {
    let at = |path: &str, release: &str| {
        key(
            RULES,
            &Parts {
                release: release.to_owned(),
                ..parts(path)
            },
        )
    };
    assert_eq!(at("/c/1", "r1"), at("/c/1", "r2"));
    assert_ne!(at("/p/1", "r1"), at("/p/1", "r2"));
}

#[test]
fn a_changed_rule_does_not_read_what_the_old_one_stored() {
    let looser = RULES.replacen("ttl_s = 60", "ttl_s = 61", 1);
    assert_ne!(key(RULES, &parts("/p/1")), key(&looser, &parts("/p/1")));
    assert_eq!(key(RULES, &parts("/t/1")), key(&looser, &parts("/t/1")));
}

#[test]
fn a_grant_of_another_scope_reads_nothing_of_the_rule() {
    let rules = RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes");
    let headers = HeaderMap::new();
    let ask = Ask {
        method: &Method::GET,
        path: "/t/1",
        query: None,
        headers: &headers,
        has_body: false,
    };
    let Verdict::Store(plan) = rules.verdict(&ask) else {
        panic!("the path is covered");
    };
    let tenant: TenantId = "oak".parse().expect("a tenant id");
    let host = HostName::parse("oak.example").expect("a host");
    let public = plan.key(&Grant::public(&tenant), &host, "r1");
    assert_ne!(public, key(RULES, &parts("/t/1")));
}

#[test]
fn a_key_prints_how_long_it_is_and_nothing_of_what_it_holds() {
    let secret = Parts {
        pairs: vec![("q".into(), "secret".into())],
        ..parts("/p/name")
    };
    let key = key(RULES, &secret);
    let bytes: &[u8] = key.borrow();
    assert_eq!(key.size(), bytes.len());
    assert_eq!(
        format!("{key:?}"),
        format!("CacheKey({} bytes)", bytes.len())
    );
}

/// Reads a key back into its components.
fn decode(key: &CacheKey) -> Vec<(u8, Vec<u8>)> {
    let bytes: &[u8] = key.borrow();
    assert_eq!(bytes[0], VERSION);
    let mut rest = &bytes[1..];
    let mut components = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[1..5].try_into().expect("four bytes"));
        let (component, after) = rest[5..].split_at(len as usize);
        components.push((rest[0], component.to_vec()));
        rest = after;
    }
    components
}

fn any_parts() -> impl Strategy<Value = Parts> {
    // Short texts over few letters, so that pairs of them are often nearly the same.
    let vary = || proptest::option::of("[ab,:]{0,3}");
    let pairs = proptest::collection::vec(("[qr]", "[ab=;?/]{0,3}"), 0..3);
    let names = (
        "[pt]",
        "[ab]{1,3}",
        "[ab]{1,3}",
        "[ab]{1,2}(\\.[ab])?",
        "[ab]{0,3}",
    );
    (names, pairs, vary(), vary()).prop_map(|((root, leaf, tenant, host, release), pairs, a, b)| {
        Parts {
            path: format!("/{root}/{leaf}"),
            pairs,
            vary: [a, b],
            tenant,
            host,
            release,
        }
    })
}

proptest! {
    #[test]
    fn keys_are_equal_only_if_all_parts_are(a in any_parts(), b in any_parts()) {
        prop_assert_eq!(key(RULES, &a) == key(RULES, &b), a == b);
    }

    /// The oracle reads the bytes by the format in the file's head.
    #[test]
    fn a_key_is_read_back_as_what_it_was_made_of(parts in any_parts()) {
        let components = decode(&key(RULES, &parts));
        let texts = |tag: u8| -> Vec<String> {
            let of_tag = components.iter().filter(|(have, _)| *have == tag);
            of_tag.map(|(_, bytes)| String::from_utf8(bytes.clone()).expect("ASCII")).collect()
        };
        let is_tenant = parts.path.starts_with("/t");
        prop_assert_eq!(texts(b's'), [if is_tenant { "T" } else { "P" }]);
        prop_assert_eq!(texts(b'n'), [if is_tenant { "tenant" } else { "public" }]);
        prop_assert_eq!(texts(b't'), [parts.tenant]);
        prop_assert_eq!(texts(b'h'), [parts.host]);
        prop_assert_eq!(texts(b'p'), [parts.path]);
        prop_assert_eq!(texts(b'r'), [parts.release]);
        let pairs = parts.pairs.iter().map(|(name, value)| format!("{name}={}", value.replace(';', "%3B")));
        let pairs: Vec<String> = pairs.collect();
        prop_assert_eq!(texts(b'q'), pairs);
        let there: Vec<String> = parts.vary.iter().flatten().cloned().collect();
        prop_assert_eq!(texts(b'V'), there);
        prop_assert_eq!(texts(b'v').len(), parts.vary.iter().filter(|v| v.is_none()).count());
        let tags: String = components.iter().map(|(tag, _)| char::from(*tag)).collect();
        prop_assert!(tags.starts_with("sthndp") && tags.ends_with('r'), "{}", tags);
    }
}

#[test]
fn people_of_other_roles_have_other_keys() {
    let rules = "[[rule]]\nname = \"r\"\npath = \"/r\"\nscope = \"role\"\nttl_s = 9";
    let rules = RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes");
    let headers = HeaderMap::new();
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
    let tenant: TenantId = "oak".parse().expect("a tenant id");
    let host = HostName::parse("oak.example").expect("a host");
    let key = |roles: &[&str]| {
        let identity = Identity {
            subject: roles.join("+"),
            tenant: tenant.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            acting: false,
        };
        let grant = Grant::role(&identity, &tenant).expect("the same tenant");
        plan.key(&grant, &host, "r1")
    };
    assert_eq!(key(&["a", "b"]), key(&["b", "a"]));
    let keys: BTreeSet<CacheKey> = [&[][..], &["a"], &["b"], &["a", "b"], &["ab"], &["a", "ab"]]
        .into_iter()
        .map(key)
        .collect();
    assert_eq!(keys.len(), 6);
}
