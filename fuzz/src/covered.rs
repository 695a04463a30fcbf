//! The rules that arbitrary bytes meet. Also compiled into the tests of cache-rules.

use std::sync::OnceLock;

use cache_rules::rules::{RawRules, RuleSet};

const RULES: &str = r#"
    [[rule]]
    name = "strict"
    path = "/strict/{id}"
    scope = "public"
    consent = "rule"
    ttl_s = 60
    query = ["page", "sort[]"]
    ignore = ["utm_source"]
    locales = ["en", "de"]
    negotiate = true
    tags = ["s:{id}"]
    invalidates = ["s:{id}"]

    [[rule]]
    name = "suite"
    path = "/test/**"
    scope = "public"
    ttl_s = 60
    policy = "danger_rfc9111"
    consent = "rule"
"#;

/// One strict rule, and one as conformance runs have it.
pub fn compiled() -> &'static RuleSet {
    static RULES_ONCE: OnceLock<RuleSet> = OnceLock::new();
    RULES_ONCE.get_or_init(|| {
        let raw: RawRules = toml::from_str(RULES).expect("the rules are TOML");
        RuleSet::compile(raw).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    })
}
