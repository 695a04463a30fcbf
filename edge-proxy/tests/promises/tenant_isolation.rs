//! Nobody gets what was made for somebody else, and nobody's word about themselves reaches an origin.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::support::client::{Ask, Http};
use super::support::reply::Reply;
use super::support::school::{self, ALEX, ANNA, ANONYMOUS, BEN, PEOPLE, Person, Proof, TEACHER};
use super::support::stage::{MAPLE, OAK, Stage, plan};
use super::support::wait::until;

const RULES: &str = r#"
[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
tags = ["course:{id}"]

[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 60
"#;

fn agree(reply: Reply) -> Reply {
    reply
        .header("x-edge-cache-scope", "tenant")
        .header("cache-control", "max-age=60")
}

async fn stage(agree: fn(Reply) -> Reply) -> Stage {
    proven(&Proof::Asked, agree).await
}

async fn proven(proof: &Proof, agree: fn(Reply) -> Reply) -> Stage {
    let stage = proof.plan().rules(RULES).start().await;
    school::serve(&stage.blue, agree);
    stage
}

fn pairs() -> impl Iterator<Item = (usize, Person, Person)> {
    let pairs = PEOPLE
        .into_iter()
        .flat_map(|first| PEOPLE.into_iter().map(move |second| (first, second)));
    pairs
        .filter(|(first, second)| first != second)
        .enumerate()
        .map(|(n, (first, second))| (n, first, second))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_read_is_shared_within_the_school_and_with_nobody_else() {
    for proof in Proof::both() {
        shared_within_the_school(&proof).await;
    }
}

async fn shared_within_the_school(proof: &Proof) {
    let stage = proven(proof, agree).await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let client = |who: Person| if who.host == MAPLE { &maple } else { &oak };
    for (n, first, second) in pairs() {
        let path = format!("/api/v1/courses/{n}");
        let answers = [
            client(first).ask(proof.ask(first, &path)).await,
            client(second).ask(proof.ask(second, &path)).await,
        ];
        let names = (first.name, second.name);
        for (who, answer) in [first, second].into_iter().zip(&answers) {
            if who.is_anonymous() {
                assert_eq!(answer.status, 401, "{names:?}");
                assert!(!answer.text().contains("canary"), "{names:?}");
                assert_eq!(answer.header("age"), "", "{names:?}");
            } else {
                let tenant = if who.host == MAPLE { "maple" } else { "oak" };
                assert_eq!(answer.json()["tenant"], tenant, "{names:?}");
                assert_eq!(answer.header("set-cookie"), "", "{names:?}");
            }
        }
        let signed_in = [first, second]
            .into_iter()
            .filter(|who| !who.is_anonymous());
        let shared = first.host == second.host && !first.is_anonymous() && !second.is_anonymous();
        let asked = if shared { 1 } else { signed_in.count() };
        assert_eq!(stage.blue.hits(&path), asked, "{names:?}");
        if shared {
            assert_eq!(answers[0].nonce(), answers[1].nonce(), "{names:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_names_is_asked_of_the_origin_for_each_person() {
    let stage = stage(agree).await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let client = |who: Person| if who.host == MAPLE { &maple } else { &oak };
    for (n, first, second) in pairs() {
        let path = format!("/api/v1/grades/{n}");
        for who in [first, second] {
            let answer = client(who).ask(who.ask(&path)).await;
            let name = if who.is_anonymous() {
                "nobody"
            } else {
                who.name
            };
            assert_eq!(answer.json()["who"], format!("canary-answer-for-{name}"));
        }
        assert_eq!(stage.blue.hits(&path), 2, "{:?}", (first.name, second.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_read_is_made_for_nobody_and_shared_on_one_host() {
    let stage = stage(|reply| reply.shared("public")).await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let mut nonces = Vec::new();
    for who in PEOPLE {
        let client = if who.host == MAPLE { &maple } else { &oak };
        let answer = client.ask(who.ask("/api/v1/news/1")).await;
        assert_eq!(answer.json()["who"], "canary-answer-for-nobody");
        nonces.push((who.host, answer.nonce()));
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 2, "{nonces:?}");
    assert_eq!(stage.blue.hits("/api/v1/news/1"), 2);
    assert!(!stage.blue.was_sent("canary-session"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_school_is_refused_at_another() {
    let stage = stage(agree).await;
    let oak = stage.h2(OAK).await;
    // There is something to be had: Ben has filled it.
    let path = "/api/v1/courses/1";
    let filled = oak.ask(BEN.ask(path)).await;
    assert_eq!(filled.status, 200);
    for who in [ANNA, ALEX, TEACHER] {
        let answer = oak.ask(who.ask(path)).await;
        assert_eq!(answer.status, 403, "{}", who.name);
        assert!(!answer.text().contains("canary"), "{}", who.name);
    }
    let stranger = Ask::get(path).header("cookie", "_session=canary-session-of-mallory");
    assert_eq!(oak.ask(stranger).await.status, 401);
    let twice = BEN
        .ask(path)
        .header("cookie", "_session=canary-session-of-anna");
    assert_eq!(oak.ask(twice).await.status, 400);
    assert_eq!(oak.ask(ANONYMOUS.ask(path)).await.status, 401);
    assert_eq!(stage.blue.hits(path), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_never_ends_holds_nobody() {
    let stage = plan()
        .rules(RULES)
        .limit("fill_s = 0.5\nfill_wait_s = 0.5")
        .start()
        .await;
    school::serve(&stage.blue, agree);
    stage.blue.on("/api/v1/me", |_| async {
        let (reply, pipe) = Reply::piped();
        tokio::spawn(async move {
            // Each byte comes in time.
            let mut drip = tokio::time::interval(Duration::from_millis(20));
            while pipe.send(" ").await {
                drip.tick().await;
            }
        });
        reply.header("content-type", "application/json")
    });
    let maple = stage.h2(MAPLE).await;
    let ask = || maple.ask(ANNA.ask("/api/v1/courses/1"));
    let answers = tokio::join!(ask(), ask(), ask());
    let statuses = [answers.0, answers.1, answers.2].map(|answer| answer.status.as_u16());
    assert_eq!(statuses, [503; 3]);
    assert_eq!(stage.blue.hits("/api/v1/courses/1"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_nobody_can_confirm_gets_nothing() {
    let stage = stage(agree).await;
    let maple = stage.h2(MAPLE).await;
    assert_eq!(maple.ask(ANNA.ask("/api/v1/courses/1")).await.status, 200);
    stage.blue.on("/api/v1/me", |_| async { Reply::new(500) });
    stage.edge.clock().advance(Duration::from_secs(31));
    for _ in 0..2 {
        assert_eq!(maple.ask(ANNA.ask("/api/v1/courses/1")).await.status, 503);
    }
    // A 200 that does not say who it is, is no yes.
    for body in [
        r#"{"id":"anna"}"#,
        r#"{"id":"","school":{"id":"maple"},"roles":[]}"#,
        "[]",
    ] {
        stage.blue.on("/api/v1/me", move |_| async move {
            Reply::of("application/json", body)
        });
        assert_eq!(
            maple.ask(ANNA.ask("/api/v1/courses/1")).await.status,
            503,
            "{body}"
        );
    }
    assert_eq!(stage.blue.hits("/api/v1/courses/1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_tell_an_origin_who_they_are() {
    let stage = stage(|reply| reply).await;
    let spoofed = [
        "x-edge-tenant",
        "x-edge-colour",
        "x-edge-identity",
        "x-edge-override",
        "x-edge-cache-scope",
        "x_edge_tenant",
        "x_edge_identity",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x_forwarded_for",
        "x_forwarded_host",
        "forwarded",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-original-host",
        "x-host",
        "x-http-method-override",
        "x-method-override",
        "x-tenant-id",
        "x-user-id",
        "x-user-role",
        "x-middleware-subrequest",
        "x-now-route-matches",
        "x-matched-path",
        "x-accel-redirect",
        "x-request-id",
        "traceparent",
        "surrogate-capability",
    ];
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let mut ask = Ask::get("/api/v1/spoofed").header("x-kept", "kept-value");
        for name in spoofed {
            ask = ask.header(name, "spoofed-value");
        }
        assert_eq!(client.ask(ask).await.status, 200);
    }
    assert!(!stage.blue.was_sent("spoofed-value"));
    let seen = stage.blue.seen_at("/api/v1/spoofed");
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.header("x-kept"), "kept-value");
        assert_eq!(seen.header("x-edge-tenant"), "maple");
        assert_eq!(seen.header("x-edge-colour"), "blue");
        assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
        assert_eq!(seen.header("x-forwarded-proto"), "https");
        assert_eq!(seen.header("x-forwarded-host"), MAPLE);
        assert_eq!(seen.header("host"), MAPLE);
        assert_eq!(seen.header("x-request-id").len(), 32);
        for name in ["x-edge-tenant", "x-forwarded-for", "host", "x-request-id"] {
            assert_eq!(seen.headers.get_all(name).iter().count(), 1, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_header_cannot_take_away_what_the_edge_says() {
    let stage = stage(agree).await;
    let mut raw = stage.raw(MAPLE).await;
    let request = format!(
        "GET /api/v1/nominated HTTP/1.1\r\nHost: {MAPLE}\r\n\
         Connection: close, X-Edge-Tenant, X-Edge-Colour, X-Request-Id\r\n\r\n"
    );
    raw.send(request).await;
    let heard = raw.hear().await;
    for seen in stage.blue.seen_at("/api/v1/nominated") {
        assert_eq!(seen.header("x-edge-tenant"), "maple", "{}", heard.text);
        assert_eq!(seen.header("x-edge-colour"), "blue", "{}", heard.text);
    }
    // To refuse it is as good.
    assert!(matches!(heard.status(), 200 | 400), "{}", heard.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_tells_the_edge_reaches_no_client() {
    let stage = stage(|reply| {
        agree(reply)
            .header("surrogate-key", "secret-tag")
            .header("cache-tag", "secret-tag")
            .header("cache-groups", "\"secret-tag\"")
            .header("x-edge-identity", "secret-tag")
            .header("cdn-cache-control", "max-age=17")
    })
    .await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for path in ["/api/v1/courses/1", "/api/v1/courses/1", "/api/v1/grades"] {
            let answer = client.ask(ANNA.ask(path)).await;
            assert_eq!(answer.status, 200);
            let text = format!("{:?}", answer.headers);
            assert!(
                !text.contains("secret-tag") && !text.contains("x-edge-"),
                "{path}: {text}"
            );
            assert!(!text.contains("=17"), "{path}: {text}");
        }
    }
}

/// Everything below a folder that holds one of the words.
fn holding(folder: &Path, words: &[&str], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            holding(&path, words, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes);
            let held = words.iter().filter(|word| text.contains(**word));
            found.extend(held.map(|word| format!("{word} in {}", path.display())));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_figures_and_disk_hold_nothing_of_a_person() {
    let stage = stage(agree).await;
    let client = stage.h2(MAPLE).await;
    let asks = [
        ANNA.ask("/api/v1/courses/1?page=secret-query"),
        ANNA.ask("/api/v1/courses/1"),
        ANNA.ask("/api/v1/students/secret-path")
            .header("referer", "https://secret-referer/"),
        Ask::get("/api/v1/news/1").header("authorization", "Bearer secret-token"),
        Ask::get("/api/v1/courses/1").header("user-agent", "secret-agent"),
        Ask::get("/%zz/secret-path").host("secret-host.school.test"),
    ];
    let count = asks.len();
    for ask in asks {
        client.ask(ask).await;
    }
    let log = until("every request is in the log", async || {
        let log = stage.access_log();
        (log.lines().count() >= count).then_some(log)
    })
    .await;
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
        assert!(record.is_object(), "{line}");
    }
    let observed = super::support::client::Client::open_plain(stage.observe_address(), "localhost");
    let figures = observed.await.get("/metrics").await;
    assert_eq!(figures.status, 200);
    assert!(figures.text().contains("edge_http_requests_total"));
    let words = ["canary", "secret-", "_session", "anna", "127.0.0.1"];
    for word in words {
        // Members are named by their addresses.
        if word != "127.0.0.1" {
            assert!(!figures.text().contains(word), "{word} in the figures");
        }
    }
    let mut found = Vec::new();
    holding(&stage.folder().join("state"), &words[..4], &mut found);
    for word in words {
        if log.contains(word) {
            found.push(format!("{word} in the access log: {log}"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_may_say_beside_an_answer_who_somebody_is_but_not_of_whom_it_signs_in() {
    let rules = "[[rule]]\nname = \"course\"\npath = \"/api/v1/courses/{id}\"\nscope = \"tenant\"\nttl_s = 60\n";
    let stage = plan().rules(rules).start().await;
    school::serve(&stage.blue, |reply| reply.shared("tenant"));
    let word = r#"{"id":"anna","school":{"id":"maple"},"roles":["pupil"]}"#;
    stage.blue.on("/api/v1/notes", move |asked| async move {
        let reply = Reply::json(&json!({ "nonce": asked.nonce })).header("x-edge-identity", word);
        match asked.seen.target.ends_with("sign-in") {
            true => reply.header("set-cookie", "_session=another"),
            false => reply,
        }
    });
    let client = stage.h2(MAPLE).await;
    let me = || stage.blue.hits("/api/v1/me");
    // An answer that signs somebody in speaks of other credentials than those that were shown.
    let answer = client.ask(ANNA.ask("/api/v1/notes?sign-in")).await;
    assert!(
        answer.header("x-edge-identity").is_empty(),
        "{:?}",
        answer.headers
    );
    client.ask(ANNA.ask("/api/v1/courses/1")).await.nonce();
    assert_eq!(me(), 1);
    // What was asked is forgotten; what the origin said beside an answer is enough.
    stage.purge("maple", "u:anna").await;
    client.ask(ANNA.ask("/api/v1/notes")).await.nonce();
    client.ask(ANNA.ask("/api/v1/courses/1")).await.nonce();
    assert_eq!(me(), 1);
    // It ends like any other: by a purge of the person, and by its time.
    stage.purge("maple", "u:anna").await;
    client.ask(ANNA.ask("/api/v1/courses/1")).await.nonce();
    assert_eq!(me(), 2);
    // Nobody else's credentials are known by it, and no client can say it.
    client
        .ask(
            ALEX.ask("/api/v1/courses/1")
                .header("x-edge-identity", word),
        )
        .await
        .nonce();
    assert_eq!(me(), 3);
    assert_eq!(client.get("/api/v1/courses/1").await.status, 401);
}
