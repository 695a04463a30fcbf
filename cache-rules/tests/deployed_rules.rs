//! `deploy/config/rules.toml` against the operations of the core API: what each read may be shared with.

use cache_rules::reason::PassReason;
use cache_rules::rules::{RawRules, RuleSet, Scope};
use cache_rules::verdict::{Ask, Verdict};
use http::{HeaderMap, Method};

const RULES: &str = include_str!("../../deploy/config/rules.toml");

/// Every path of the API that can be read. None: never cached.
const READS: [(&str, Option<Scope>); 44] = [
    ("/school", Some(Scope::Public)),
    ("/bell_schedule", Some(Scope::Public)),
    ("/i18n/de-AT/messages", Some(Scope::Public)),
    ("/courses", Some(Scope::Tenant)),
    ("/courses/7", Some(Scope::Tenant)),
    ("/units", Some(Scope::Tenant)),
    ("/units/7", Some(Scope::Tenant)),
    ("/lessons", Some(Scope::Tenant)),
    ("/lessons/7", Some(Scope::Tenant)),
    ("/standards", Some(Scope::Tenant)),
    ("/standards/7", Some(Scope::Tenant)),
    ("/resources", Some(Scope::Tenant)),
    ("/resources/7", Some(Scope::Tenant)),
    ("/terms", Some(Scope::Tenant)),
    ("/terms/7", Some(Scope::Tenant)),
    ("/announcements", Some(Scope::Tenant)),
    ("/announcements/7", Some(Scope::Tenant)),
    ("/sections", None),
    ("/sections/7", None),
    ("/assignments", None),
    ("/assignments/7", None),
    ("/submissions", None),
    ("/submissions/7", None),
    ("/templates", None),
    ("/templates/7", None),
    ("/me", None),
    ("/courses/7/gradebook", None),
    ("/students/7/grades", None),
    ("/students/7/progress", None),
    ("/analytics/overview", None),
    ("/analytics/courses/7", None),
    ("/portfolio/7/entries", None),
    ("/s/secret", None),
    ("/files/7", None),
    ("/search", None),
    ("/calendar", None),
    ("/notifications", None),
    ("/ai/threads/7/stream", None),
    ("/live/7", None),
    ("/webhook_endpoints", None),
    ("/versions/lesson/7", None),
    ("/versions/lesson/7/diff", None),
    ("/print/lessons/7.pdf", None),
    ("/district/schools", None),
];

fn verdict(rules: &RuleSet, method: &Method, path: &str, query: Option<&str>) -> Verdict {
    rules.verdict(&Ask {
        method,
        path: &format!("/api/v1{path}"),
        query,
        headers: &HeaderMap::new(),
        has_body: false,
    })
}

fn deployed() -> RuleSet {
    let raw: RawRules = toml::from_str(RULES).expect("the file is TOML of the right shape");
    RuleSet::compile(raw).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[test]
fn each_read_is_shared_with_those_who_may_see_it_and_no_others() {
    let rules = deployed();
    for (path, expected) in READS {
        let seen = match verdict(&rules, &Method::GET, path, None) {
            Verdict::Store(plan) => Some(plan.scope()),
            Verdict::Pass(PassReason::NoRule) => None,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(seen, expected, "{path}");
    }
}

#[test]
fn nothing_that_writes_is_covered() {
    let rules = deployed();
    for method in [Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
        for (path, _) in READS {
            let verdict = verdict(&rules, &method, path, None);
            assert!(matches!(verdict, Verdict::Pass(_)), "{method} {path}");
        }
    }
}

#[test]
fn every_rule_is_one_of_the_reads_and_can_be_purged() {
    let rules = deployed();
    let mut unused: Vec<&str> = rules.names().collect();
    for (path, _) in READS {
        if let Verdict::Store(plan) = verdict(&rules, &Method::GET, path, None) {
            unused.retain(|name| *name != plan.rule());
            assert!(!plan.tags().is_empty(), "{path} has no tag");
        }
    }
    assert_eq!(unused, [""; 0], "rules without an operation");
}

#[test]
fn lists_are_paged_and_not_filtered() {
    let rules = deployed();
    let paged = verdict(&rules, &Method::GET, "/courses", Some("page=2&per_page=50"));
    assert!(matches!(paged, Verdict::Store(_)));
    let filtered = verdict(&rules, &Method::GET, "/courses", Some("page=2&teacher=me"));
    assert!(matches!(filtered, Verdict::Pass(PassReason::QueryUnlisted)));
}
