//! The two-person canary: everybody after everybody else, on every operation of the API, with the rules
//! that are deployed. Who gets an answer that was made for another is said by the rule's scope, and by
//! nothing else; and no word that belongs to one person is found where it must not be.

use std::borrow::Borrow;
use std::path::Path;

use cache_rules::review::Operation;
use cache_rules::rules::{RawRules, RuleSet, Scope};
use edge_proxy::cache::Stored;
use edge_proxy::openapi;
use http::Method;
use serde_json::json;

use super::support::client::Client;
use super::support::issuer::Issuer;
use super::support::reply::Reply;
use super::support::school::{self, PEOPLE, Person, Proof};
use super::support::stage::{MAPLE, OAK, Stage, plan};

const API: &str = include_str!("../fixtures/planner.openapi.yaml");
const RULES: &str = include_str!("../../../deploy/config/rules.toml");

fn rules() -> RuleSet {
    let raw: RawRules = toml::from_str(RULES).expect("the deployed rules are TOML");
    RuleSet::compile(raw).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

/// A request for an operation, of things that nobody asked for yet.
fn target(operation: &Operation, turn: usize) -> String {
    let mut path = String::new();
    let mut rest = operation.path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str(&format!("n{turn}"));
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    path + rest
}

/// Whether what was made for one may be given to the other.
fn may_share(scope: Option<Scope>, one: Person, other: Person) -> bool {
    let same_school = one.host == other.host;
    match scope {
        None => false,
        Some(Scope::Public) => same_school,
        Some(Scope::Tenant) => same_school && !one.is_anonymous() && !other.is_anonymous(),
        Some(Scope::Role) => false,
    }
}

struct Pair<'a> {
    proof: &'a Proof,
    operation: &'a Operation,
    scope: Option<Scope>,
    first: Person,
    second: Person,
}

impl Pair<'_> {
    async fn hold(&self, stage: &Stage, clients: [&Client; 2], turn: usize) {
        let path = target(self.operation, turn);
        let client = |who: Person| {
            if who.host == MAPLE {
                clients[0]
            } else {
                clients[1]
            }
        };
        let ask = |who: Person| self.proof.ask(who, &path).method(&self.operation.method);
        let what = format!(
            "{} {path}: {:?} after {:?}",
            self.operation.method, self.second.name, self.first.name
        );
        let mut nonces = Vec::new();
        for who in [self.first, self.second] {
            let answer = client(who).ask(ask(who)).await;
            let needs_somebody = matches!(self.scope, Some(Scope::Tenant | Scope::Role));
            if needs_somebody && who.is_anonymous() {
                assert_eq!(answer.status, 401, "{what}");
                assert!(!answer.text().contains("canary"), "{what}");
                nonces.push(String::new());
                continue;
            }
            let body = answer.text().to_owned();
            // Nothing of one school is ever seen in the other.
            let tenant = if who.host == MAPLE { "maple" } else { "oak" };
            assert_eq!(answer.json()["tenant"], tenant, "{what}: {body}");
            for other in PEOPLE
                .into_iter()
                .filter(|other| other.name != who.name && !other.is_anonymous())
            {
                let seen = body.contains(&format!("canary-answer-for-{}", other.name));
                assert!(!seen || may_share(self.scope, other, who), "{what}: {body}");
                assert!(
                    !body.contains(&format!("canary-session-of-{}", other.name)),
                    "{what}"
                );
            }
            nonces.push(answer.nonce());
        }
        let shared = nonces[0] == nonces[1] && !nonces[0].is_empty();
        assert_eq!(
            shared,
            may_share(self.scope, self.first, self.second),
            "{what}: {nonces:?}"
        );
        if !self.operation.path.contains('{') {
            // The next pair asks for the same.
            for tenant in ["maple", "oak"] {
                let all = json!({ "tenant": tenant, "all": true });
                let (status, _) = stage.admin("POST", "/v1/purge", Some(all)).await;
                assert_eq!(status, 200);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_operation_everybody_gets_what_the_scope_allows_and_nothing_else() {
    everybody_after_everybody(&Proof::Asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_with_signed_tokens() {
    everybody_after_everybody(&Proof::Signed(Issuer::new())).await;
}

async fn everybody_after_everybody(proof: &Proof) {
    let rules = rules();
    let operations = openapi::operations(API).expect("the description is one");
    let review = rules.review(&operations);
    assert_eq!(
        (operations.len(), review.problems.len()),
        (85, 0),
        "{:?}",
        review.problems
    );
    let stage = proof.plan().rules(RULES).start().await;
    school::serve(&stage.blue, |reply| reply);
    // The origin agrees to whatever the rule says, and tells in each answer for whom it was made.
    let scopes: Vec<(String, &'static str)> = review
        .operations
        .iter()
        .filter_map(|one| {
            let prefix = one.operation.path.split('{').next()?.to_owned();
            Some((prefix, one.rule?.1.as_str()))
        })
        .collect();
    let name = stage.blue.name;
    stage.blue.otherwise(move |asked| {
        let path = asked.seen.path().to_owned();
        let nearest = scopes
            .iter()
            .filter(|(prefix, _)| path.starts_with(prefix.as_str()));
        let scope = nearest
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, scope)| *scope);
        async move {
            let who = school::whose(&asked).map_or("nobody", |who| who.name);
            let reply = Reply::json(&json!({
                "nonce": asked.nonce,
                "who": format!("canary-answer-for-{who}"),
                "tenant": asked.seen.header("x-edge-tenant"),
                "colour": name,
            }));
            match scope {
                Some(scope) => reply.shared(scope),
                None => reply.header("cache-control", "private"),
            }
        }
    });
    let clients = [stage.h2(MAPLE).await, stage.h2(OAK).await];
    let clients = [&clients[0], &clients[1]];
    let mut turn = 0;
    // `/me` is what the edge itself asks, and has answers of its own.
    let asked = |path: &str| path != "/api/v1/me";
    for one in review
        .operations
        .iter()
        .filter(|one| asked(&one.operation.path))
    {
        // A write is asked by everybody once; its answers are nobody else's, whatever the path's rule says.
        let safe = one.operation.method == Method::GET;
        for first in PEOPLE {
            for second in PEOPLE {
                if first == second && !safe {
                    continue;
                }
                turn += 1;
                let pair = Pair {
                    proof,
                    operation: one.operation,
                    scope: one.rule.map(|(_, scope)| scope),
                    first,
                    second,
                };
                // Two writes of the same person in a row show nothing that the pairs do not.
                if safe || first.name < second.name {
                    pair.hold(&stage, clients, turn).await;
                }
            }
        }
    }
    let metrics = stage.edge.metrics().text();
    for text in [metrics, stage.access_log()] {
        assert!(
            !text.contains("canary") && !text.contains("anna") && !text.contains("eyJ"),
            "a person is named"
        );
    }
    let stored = stage.edge.stored();
    assert!(stored.len() > 50, "something is stored: {}", stored.len());
    for one in &stored {
        belongs(one);
    }
}

/// Whether what is stored holds nothing of anybody with whom those who can find it do not share.
fn belongs(stored: &Stored) {
    let key: &[u8] = stored.key.borrow();
    let has = |bytes: &[u8], word: &str| {
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    for secret in ["canary", "eyJ", "Bearer", "_session"] {
        assert!(!has(key, secret), "{secret} is in a key");
    }
    for secret in [
        "canary-session-of",
        "canary-cookie",
        "eyJ",
        "Bearer",
        "set-cookie",
    ] {
        assert!(!has(&stored.bytes, secret), "{secret} is stored");
    }
    // Version, and the tag and length of the first component, which is the scope.
    let scope = key[6];
    for who in PEOPLE.into_iter().filter(|who| !who.is_anonymous()) {
        if has(&stored.bytes, &format!("canary-answer-for-{}", who.name)) {
            let shared = match scope {
                b'T' => true,
                b'R' => has(key, who.role),
                _ => false,
            };
            let at_home = stored.tenant.as_str() == who.tenant;
            assert!(shared && at_home, "{} in scope {scope}", who.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_rules_fit_the_description_and_a_wider_one_is_refused() {
    let stage = plan().start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let api = folder.join("tests/fixtures/planner.openapi.yaml");
    let deployed = folder.join("../deploy/config/rules.toml");
    let check = async |rules: &Path| {
        let (api, rules) = (api.display().to_string(), rules.display().to_string());
        stage
            .command(&["rules", "check", "--openapi", &api, "--rules", &rules])
            .await
    };
    let good = check(&deployed).await;
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{said}");
    assert!(said.contains("17 of 85 operations are cached"), "{said}");
    assert!(
        said.contains("never   GET     -                    /api/v1/me\n"),
        "{said}"
    );

    let wide = stage.folder().join("wide.toml");
    let text = RULES.replacen("\nscope = \"tenant\"", "\nscope = \"public\"", 1);
    std::fs::write(&wide, text).expect("the test's folder can be written");
    let refused = check(&wide).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("REFUSED: rule `courses` is public"));

    let api = api.display().to_string();
    let init = stage.command(&["rules", "init", "--openapi", &api]).await;
    let first: RawRules = toml::from_str(&String::from_utf8_lossy(&init.stdout)).expect("TOML");
    assert!(init.status.success() && first.rule.is_empty());
}
