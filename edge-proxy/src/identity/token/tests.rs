use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use cache_rules::credentials::CredentialNames;
use cache_rules::tenant::TenantId;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use serde_json::json;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::checked::{KeySource, Proof};
use crate::control::event::Purge;
use crate::metrics::Metrics;

/// An issuer, and an edge that believes it.
struct Desk {
    tokens: Tokens,
    key: Ed25519KeyPair,
    names: CredentialNames,
    clock: Clock,
    _folder: tempfile::TempDir,
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Desk {
    fn open(cookies: &[&str], epoch: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let file = folder.path().join("keys.json");
        let key = Ed25519KeyPair::generate().expect("a key can be made");
        let x = encoded(key.public_key());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
        std::fs::write(&file, set.to_string()).expect("the folder can be written");
        let token = Token {
            keys: KeySource::File(file),
            algorithms: vec![Algorithm::EdDsa],
            issuer: "https://id.test".to_owned(),
            audience: "edge".to_owned(),
            typ: None,
            epoch: epoch.map(str::to_owned),
            lifetime_max: Duration::from_secs(900),
            refresh: Duration::from_secs(300),
            stale: Duration::from_secs(3600),
        };
        let config = Arc::new(checked::Identity {
            proof: Proof::Token(Box::new(token.clone())),
            cookies: cookies.iter().map(|name| (*name).to_owned()).collect(),
            subject: "/sub".to_owned(),
            tenant: "/tenant".to_owned(),
            roles: None,
            keep: Duration::from_secs(30),
        });
        let clock = Clock::default();
        let keys = Arc::new(Keys::new(&token, clock.clone(), Arc::new(Metrics::new())));
        tokio::spawn(Arc::clone(&keys).follow());
        let revoked = Arc::new(Revoked::new(clock.clone(), token.lifetime_max));
        Self {
            tokens: Tokens::new(config, token, keys, revoked),
            key,
            names: CredentialNames::new(cookies.iter().copied()),
            clock,
            _folder: folder,
        }
    }

    /// What is said at this moment of somebody who may read.
    fn claims(&self) -> Value {
        let now = self.tokens.revoked.now();
        json!({
            "iss": "https://id.test", "aud": "edge", "sub": "anna", "tenant": "maple",
            "iat": now, "exp": now + 300,
        })
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = encoded(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(r#"{"alg":"EdDSA","kid":"k1"}"#, &claims.to_string())
    }

    async fn show(&self, name: http::HeaderName, value: &str) -> Result<Believed, Refusal> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(value).expect("tokens are ASCII");
        headers.insert(name, value);
        let credentials = self.names.of(&headers).expect("one").expect("some");
        self.tokens.verify(&credentials).await
    }

    async fn bear(&self, token: &str) -> Result<Believed, Refusal> {
        self.show(AUTHORIZATION, &format!("Bearer {token}")).await
    }

    async fn believes(&self, claims: &Value) -> bool {
        self.bear(&self.token(claims)).await.is_ok()
    }
}

#[tokio::test]
async fn a_good_token_says_who_it_is_and_a_changed_one_nothing() {
    let desk = Desk::open(&[], None);
    let token = desk.token(&desk.claims());
    let believed = desk.bear(&token).await.expect("a good token");
    assert_eq!(believed.identity.subject, "anna");
    assert_eq!(believed.identity.tenant.as_str(), "maple");
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert_eq!(
            desk.bear(&changed).await.err(),
            Some(Refusal::Unauthenticated),
            "byte {at}"
        );
    }
    for odd in [
        "",
        ".",
        "..",
        "a.b",
        &token[1..],
        &format!("{token}."),
        &format!("{token}.x"),
        &"a".repeat(TOKEN_BYTES_MAX + 1),
    ] {
        assert_eq!(desk.bear(odd).await.err(), Some(Refusal::Unauthenticated));
    }
    let other = Desk::open(&[], None);
    assert!(other.bear(&token).await.is_err(), "another issuer's key");
    // Four thousand bytes fit into a header; what is longer is not looked at.
    for (bytes, believed) in [(2900, true), (3000, false)] {
        let mut claims = desk.claims();
        claims["groups"] = json!("a".repeat(bytes - claims.to_string().len()));
        let token = desk.token(&claims);
        assert_eq!(token.len() < TOKEN_BYTES_MAX, believed, "{}", token.len());
        assert_eq!(desk.believes(&claims).await, believed, "{bytes}");
    }
}

#[tokio::test]
async fn nothing_in_a_header_changes_how_a_token_is_checked() {
    let desk = Desk::open(&[], None);
    let claims = desk.claims().to_string();
    for (header, good) in [
        (r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#, true),
        (
            r#"{"alg":"EdDSA","kid":"k1","typ":"application/jwt"}"#,
            true,
        ),
        (
            r#"{"alg":"EdDSA","kid":"k1","jku":"https://evil.test/"}"#,
            true,
        ),
        (r#"{"alg":"none","kid":"k1"}"#, false),
        (r#"{"alg":"None","kid":"k1"}"#, false),
        (r#"{"alg":"HS256","kid":"k1"}"#, false),
        (r#"{"alg":"ES256","kid":"k1"}"#, false),
        (r#"{"alg":"eddsa","kid":"k1"}"#, false),
        (r#"{"alg":"EdDSA"}"#, false),
        (r#"{"alg":"EdDSA","kid":"k2"}"#, false),
        (r#"{"alg":"EdDSA","kid":"../k1"}"#, false),
        (r#"{"alg":"EdDSA","kid":["k1"]}"#, false),
        (r#"{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#, false),
        (r#"{"alg":"EdDSA","kid":"k1","crit":["exp"]}"#, false),
        (r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#, false),
        ("[]", false),
    ] {
        let token = desk.sign(header, &claims);
        assert_eq!(desk.bear(&token).await.is_ok(), good, "{header}");
    }
    // A key of the issuer's for what the config does not name.
    let mut other = Desk::open(&[], None);
    other.tokens.token.algorithms = vec![Algorithm::Es256, Algorithm::Rs256];
    let token = other.token(&other.claims());
    assert!(other.bear(&token).await.is_err());
    // Without a signature, and with one that everybody can make of the public key.
    let none = format!(
        "{}.{}.",
        encoded(r#"{"alg":"none","kid":"k1"}"#),
        encoded(&claims)
    );
    let signed = format!(
        "{}.{}",
        encoded(r#"{"alg":"HS256","kid":"k1"}"#),
        encoded(&claims)
    );
    let shared = hmac::Key::new(hmac::HMAC_SHA256, desk.key.public_key().as_ref());
    let tag = hmac::sign(&shared, signed.as_bytes());
    for token in [none, format!("{signed}.{}", encoded(tag))] {
        assert!(desk.bear(&token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn what_a_token_says_must_be_there_and_right() {
    let desk = Desk::open(&[], None);
    // Of one moment, however long all of these take.
    let all = desk.claims();
    let now = all["iat"].as_u64().expect("seconds");
    let changed = |name: &str, value: Value| {
        let mut claims = all.clone();
        claims[name] = value;
        claims
    };
    for (name, value, good) in [
        ("aud", json!(["other", "edge"]), true),
        ("aud", json!(["other"]), false),
        ("aud", json!("Edge"), false),
        ("aud", json!([]), false),
        ("iss", json!("https://id.test/"), false),
        ("iss", json!(["https://id.test"]), false),
        ("exp", json!(now), false),
        ("exp", json!(now as f64 + 300.9), true),
        ("exp", json!((now + 300).to_string()), false),
        ("exp", json!(-1), false),
        ("exp", json!(now + 901), false),
        ("exp", json!(1e300), false),
        ("iat", json!(now + APART_S + 5), false),
        ("iat", json!(now - 700), false),
        ("nbf", json!(now + APART_S + 5), false),
        ("nbf", json!(now + 1), true),
        ("nbf", json!("soon"), false),
        ("sub", json!(7), true),
        ("sub", json!(""), false),
        ("sub", json!("two words"), false),
        ("sub", json!(["anna"]), false),
        ("tenant", json!(["maple", "oak"]), false),
        ("tenant", json!("Maple School"), false),
    ] {
        let claims = changed(name, value);
        assert_eq!(desk.believes(&claims).await, good, "{claims}");
    }
    for name in ["iss", "aud", "exp", "iat", "sub", "tenant"] {
        let mut claims = desk.claims();
        claims.as_object_mut().expect("an object").remove(name);
        assert!(!desk.believes(&claims).await, "without {name}");
    }
    let twice = desk
        .claims()
        .to_string()
        .replacen('{', r#"{"sub":"ben","#, 1);
    let twice = desk.sign(r#"{"alg":"EdDSA","kid":"k1"}"#, &twice);
    assert!(desk.bear(&twice).await.is_err(), "two subjects");
    let acting = changed("act", json!({ "sub": "support" }));
    let believed = desk.bear(&desk.token(&acting)).await.expect("somebody");
    assert!(believed.identity.acting);
}

#[tokio::test]
async fn a_token_ends_with_its_time_a_purge_and_a_higher_epoch() {
    let desk = Desk::open(&[], Some("/epoch"));
    let with_epoch = |epoch: Value| {
        let mut claims = desk.claims();
        claims["epoch"] = epoch;
        claims
    };
    let old = with_epoch(json!(3));
    let believed = desk.bear(&desk.token(&old)).await.expect("the first epoch");
    assert!(!believed.ends_others);
    let believed = desk.bear(&desk.token(&with_epoch(json!(4)))).await;
    assert!(believed.expect("a higher one").ends_others);
    let believed = desk.bear(&desk.token(&with_epoch(json!(4)))).await;
    assert!(!believed.expect("the same").ends_others);
    assert!(!desk.believes(&old).await, "a lower epoch");
    assert!(!desk.believes(&with_epoch(json!("5"))).await);
    assert!(!desk.believes(&desk.claims()).await, "no epoch");
    let mut elsewhere = with_epoch(json!(1));
    elsewhere["sub"] = json!("alex");
    assert!(
        desk.believes(&elsewhere).await,
        "epochs are each person's own"
    );

    let tenant: TenantId = "maple".parse().expect("a tenant id");
    let tag = Tag::parse("u:anna").expect("a tag");
    let young = with_epoch(json!(4));
    desk.tokens.revoked.purged(&Purge::Tag(tenant, tag));
    assert!(!desk.believes(&young).await, "issued before the purge");
    desk.clock.advance(Duration::from_secs(2));
    assert!(
        desk.believes(&with_epoch(json!(4))).await,
        "issued after it"
    );
    let last = with_epoch(json!(4));
    desk.clock.advance(Duration::from_secs(298));
    assert!(desk.believes(&last).await);
    desk.clock.advance(Duration::from_secs(3));
    assert!(
        !desk.believes(&last).await,
        "its time is over, to the second"
    );
}

#[tokio::test]
async fn a_token_in_a_cookie_is_in_no_other_place() {
    let desk = Desk::open(&["__Host-token"], None);
    let token = desk.token(&desk.claims());
    let cookie = format!("theme=dark; __Host-token={token}");
    assert!(desk.show(COOKIE, &cookie).await.is_ok());
    assert_eq!(
        desk.bear(&token).await.err(),
        Some(Refusal::Malformed("ambiguous_credentials")),
    );
    let desk = Desk::open(&[], None);
    let basic = desk.show(AUTHORIZATION, "Basic YTpi").await;
    assert_eq!(basic.err(), Some(Refusal::Unauthenticated));
}

#[tokio::test]
async fn keys_that_are_too_old_prove_nothing() {
    let desk = Desk::open(&[], None);
    assert!(desk.believes(&desk.claims()).await);
    let Proof::Token(token) = &desk.tokens.config.proof else {
        panic!("tokens are believed");
    };
    let KeySource::File(file) = &token.keys else {
        panic!("the keys are in a file");
    };
    std::fs::write(file, "{}").expect("the folder can be written");
    desk.clock.advance(Duration::from_secs(3599));
    assert!(desk.believes(&desk.claims()).await, "the last good ones");
    desk.clock.advance(Duration::from_secs(1));
    let outcome = desk.bear(&desk.token(&desk.claims())).await;
    assert_eq!(outcome.err(), Some(Refusal::IdentityUnavailable));
}

/// Headers and claims that are well signed, and are anything else: whoever signs may write what they like.
#[tokio::test]
async fn no_token_is_too_strange_to_be_refused() {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let desk = Desk::open(&[], Some("/epoch"));
    let good = desk.claims();
    let word = prop_oneof![
        "[a-zA-Z0-9+/é.]{0,20}",
        Just("EdDSA".to_owned()),
        Just("k1".to_owned()),
        Just("application/jwt".to_owned()),
        "application[/a-zé]{0,3}",
    ];
    let value = prop_oneof![
        word.prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!({ "deep": [[[]]] })),
    ];
    let header_names = prop::sample::select(vec!["alg", "kid", "typ", "crit", "jku", "b64"]);
    let claim_names = prop::sample::select(vec![
        "iss", "aud", "sub", "tenant", "iat", "exp", "nbf", "epoch", "act",
    ]);
    let case = (
        prop::collection::vec((header_names, value.clone()), 0..4),
        prop::collection::vec((claim_names, value), 1..4),
        any::<bool>(),
        "[a-zA-Z0-9_.=-]{0,60}",
    );
    let mut runner = TestRunner::deterministic();
    for _ in 0..2_000 {
        let (header, claims, plain, text) = case.new_tree(&mut runner).expect("a case").current();
        let mut said = json!({ "alg": "EdDSA", "kid": "k1" });
        let mut believable = good.clone();
        believable["epoch"] = json!(1);
        if !plain {
            header
                .iter()
                .for_each(|(name, value)| said[name] = value.clone());
        }
        claims
            .iter()
            .for_each(|(name, value)| believable[name] = value.clone());
        // Whether it is believed or not: nothing falls over, and nobody is anybody of another school.
        let signed = desk.sign(&said.to_string(), &believable.to_string());
        if let Ok(believed) = desk.bear(&signed).await {
            // A platform may number its people.
            let said = |name: &str| match &believable[name] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(believed.identity.tenant.as_str(), said("tenant"));
            assert_eq!(believed.identity.subject, said("sub"));
        }
        if !text.is_empty() {
            assert!(desk.bear(&text).await.is_err(), "nobody signed {text}");
        }
    }
}
