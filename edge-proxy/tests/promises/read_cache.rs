//! Reads are kept only when a rule and the origin agree, only for as long as both say, and a purge
//! wins every race.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::support::client::{Ask, Client};
use super::support::reply::{Gate, Reply};
use super::support::school::{self, ANNA};
use super::support::site::noise;
use super::support::stage::{MAPLE, OAK, Stage, plan};
use super::support::wait::until;

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
query = ["page"]
ignore = ["utm_source"]
vary = ["accept-language"]
ttl_s = 60
tags = ["news:{id}"]

[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
tags = ["course:{id}"]
"#;

const NEWS: &str = "/api/v1/news/1";

fn public(reply: Reply) -> Reply {
    reply.shared("public")
}

async fn stage(agree: fn(Reply) -> Reply) -> Stage {
    let stage = plan().rules(RULES).start().await;
    school::serve(&stage.blue, agree);
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_once_is_answered_again() {
    let stage = stage(public).await;
    let client = stage.h2(MAPLE).await;
    let first = client.get(NEWS).await;
    let second = client.get(NEWS).await;
    assert_eq!(first.nonce(), second.nonce());
    assert_eq!(first.body, second.body);
    assert_eq!(second.header("content-type"), "application/json");
    assert_eq!(second.header("age"), "0");
    stage.edge.clock().advance(Duration::from_secs(7));
    assert_eq!(client.get(NEWS).await.header("age"), "7");
    assert_eq!(stage.h1(MAPLE).await.get(NEWS).await.nonce(), first.nonce());
    assert_eq!(stage.blue.hits(NEWS), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_knows_heads_conditions_and_codings() {
    let stage = stage(|reply| public(reply).header("x-long", &"long ".repeat(400))).await;
    stage.blue.on(NEWS, |asked| async move {
        let lines: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
        Reply::json(&json!({ "nonce": asked.nonce, "lines": lines })).shared("public")
    });
    let client = stage.h2(MAPLE).await;
    let plain = client.get(NEWS).await;
    let etag = plain.header("etag").to_owned();
    assert!(etag.starts_with('"'), "{etag}");

    let head = client.ask(Ask::new(http::Method::HEAD, NEWS)).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), plain.body.len().to_string());

    let same = client
        .ask(Ask::get(NEWS).header("if-none-match", &etag))
        .await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), etag);

    for (coding, ending) in [("br", "-br\""), ("gzip", "-gz\"")] {
        let encoded = until("the coding was made in the background", async || {
            let ask = Ask::get(NEWS).header("accept-encoding", coding);
            let answer = client.ask(ask).await;
            (answer.header("content-encoding") == coding).then_some(answer)
        })
        .await;
        let bytes = super::assets::decode(coding, &encoded.body);
        assert_eq!(bytes, plain.body, "{coding}");
        assert!(
            encoded.header("etag").ends_with(ending),
            "{:?}",
            encoded.headers
        );
        assert!(
            encoded
                .header("vary")
                .to_ascii_lowercase()
                .contains("accept-encoding")
        );
    }
    assert_eq!(stage.blue.hits(NEWS), 1);
    let fill = &stage.blue.seen_at(NEWS)[0];
    assert_eq!(fill.header("accept-encoding"), "identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_either_side_does_not_want_kept_is_made_anew() {
    type Case = (&'static str, fn(Reply) -> Reply);
    let cases: [Case; 17] = [
        ("a cookie", |r| public(r).header("set-cookie", "a=b")),
        ("private", |r| {
            r.header("x-edge-cache-scope", "public")
                .header("cache-control", "private, max-age=60")
        }),
        ("no-store", |r| {
            public(r).header("cache-control", "no-store")
        }),
        ("no-cache", |r| {
            r.header("x-edge-cache-scope", "public")
                .header("cache-control", "no-cache, max-age=60")
        }),
        ("no consent", |r| {
            r.header("cache-control", "public, max-age=60")
        }),
        ("consent to another scope", |r| r.shared("tenant")),
        ("two consents", |r| {
            public(r).header("x-edge-cache-scope", "tenant")
        }),
        ("a header that is not listed", |r| {
            public(r).header("vary", "user-agent")
        }),
        ("anything", |r| public(r).header("vary", "*")),
        ("no lifetime", |r| r.header("x-edge-cache-scope", "public")),
        ("a lifetime that is over", |r| public(r).header("age", "61")),
        ("a lifetime of nothing", |r| {
            r.header("x-edge-cache-scope", "public")
                .header("cache-control", "max-age=0")
        }),
        ("two lifetimes", |r| {
            public(r).header("cache-control", "max-age=30")
        }),
        ("no lifetime for proxies", |r| {
            public(r).header("cdn-cache-control", "no-store")
        }),
        ("one web origin", |r| {
            public(r).header("access-control-allow-origin", "https://a.test")
        }),
        ("a coding that was not asked for", |r| {
            public(r).header("content-encoding", "x-none")
        }),
        ("a part", |r| {
            public(r).header("content-range", "bytes 0-1/2")
        }),
    ];
    let stage = plan().rules(RULES).start().await;
    let client = stage.h2(MAPLE).await;
    for (n, (why, agree)) in cases.into_iter().enumerate() {
        let path = format!("/api/v1/news/{n}");
        stage.blue.on(&path, move |asked| async move {
            agree(Reply::json(&json!({ "nonce": asked.nonce })))
        });
        let (first, second) = (client.get(&path).await, client.get(&path).await);
        assert_ne!(first.nonce(), second.nonce(), "{why}");
        assert_eq!(
            first.header("age").is_empty(),
            why != "a lifetime that is over",
            "{why}"
        );
    }
    for (n, status, kind) in [
        (100, 404, "application/json"),
        (101, 500, "application/json"),
        (102, 200, "text/html"),
    ] {
        let path = format!("/api/v1/news/{n}");
        stage.blue.on(&path, move |_| async move {
            Reply::new(status)
                .header("content-type", kind)
                .body("{}")
                .shared("public")
        });
        for hits in 1..=2 {
            assert_eq!(client.get(&path).await.status, status);
            assert_eq!(stage.blue.hits(&path), hits, "{status} {kind}");
        }
    }
    // The same place with a good answer is kept: it was the answer.
    stage.blue.on("/api/v1/news/0", |asked| async move {
        Reply::json(&json!({ "nonce": asked.nonce })).shared("public")
    });
    assert_eq!(
        client.get("/api/v1/news/0").await.nonce(),
        client.get("/api/v1/news/0").await.nonce()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_key_does_not_reach_the_origin() {
    let stage = stage(|reply| public(reply).header("vary", "Accept-Language")).await;
    let client = stage.h2(MAPLE).await;
    let first = client
        .ask(
            Ask::get("/api/v1/news/1?utm_source=mail&page=2")
                .header("cookie", "_session=canary")
                .header("x-custom", "canary")
                .header("if-none-match", "\"canary\"")
                .header("range", "bytes=0-1")
                .header("accept-language", "de"),
        )
        .await;
    assert_eq!(first.status, 206);
    let seen = &stage.blue.seen_at(NEWS)[0];
    assert_eq!(seen.target, "/api/v1/news/1?page=2");
    assert_eq!(seen.header("accept-language"), "de");
    assert!(!stage.blue.was_sent("canary") && seen.header("range").is_empty());

    let german = Ask::get("/api/v1/news/1?page=2").header("accept-language", "de");
    let german = client.ask(german).await.nonce();
    assert_eq!(stage.blue.hits(NEWS), 1);
    let page = client.get("/api/v1/news/1?page=2").await.nonce();
    assert_ne!(page, german);
    assert_ne!(client.get("/api/v1/news/1?page=3").await.nonce(), page);
    // Encoded otherwise, it is the same.
    assert_eq!(client.get("/api/v1/%6eews/1?page=%32").await.nonce(), page);
    assert_eq!(stage.blue.hits(NEWS), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_rule_does_not_cover_is_passed_on_untouched() {
    let stage = stage(public).await;
    let client = stage.h2(MAPLE).await;
    let asks = [
        Ask::get("/api/v1/news/1?page=1&unlisted=2"),
        Ask::get(NEWS).header("authorization", "Bearer x"),
        Ask::get(NEWS).header("cache-control", "no-store"),
        Ask::new(http::Method::POST, NEWS),
    ];
    client.get(NEWS).await;
    for ask in asks {
        let before = stage.blue.hits(NEWS);
        let nonces = [
            client.ask(ask.clone()).await.nonce(),
            client.ask(ask).await.nonce(),
        ];
        assert_ne!(nonces[0], nonces[1]);
        assert_eq!(stage.blue.hits(NEWS), before + 2);
    }
    let seen = stage.blue.seen_at(NEWS);
    assert_eq!(seen[1].target, "/api/v1/news/1?page=1&unlisted=2");
    assert_eq!(seen[3].header("authorization"), "Bearer x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_read_that_two_parsers_could_read_differently_is_refused() {
    let stage = stage(public).await;
    for target in [
        "/api/v1/news%2F1",
        "/api/v1/news/1%00",
        "/api/v1//news/1",
        "/api/v1/news;x/1",
        "/api/v1/news/1;x=1",
        "/api/v1/news%252F1",
        "/api/v1/news/1?page=%zz",
    ] {
        let answer = stage.h2(MAPLE).await.get(target).await;
        assert_eq!(answer.status, 400, "{target}");
    }
    let fat = Ask::get(NEWS).body("page=7");
    assert_eq!(stage.h2(MAPLE).await.ask(fat).await.status, 400);
    assert!(stage.blue.seen().is_empty(), "{:?}", stage.blue.seen());
}

/// Somebody who is signed in asks many times at once for the same, which is public: what each answer was.
async fn stampede(clients: &[Client], path: &str, count: usize) -> Vec<String> {
    let asks = (0..count).map(|n| {
        let client = &clients[n % clients.len()];
        async move { client.ask(ANNA.ask(path)).await.nonce() }
    });
    join_all(asks).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_who_ask_for_the_same_cost_one_request() {
    let stage = stage(public).await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(NEWS, move |asked| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            Reply::json(&json!({ "nonce": asked.nonce })).shared("public")
        }
    });
    let clients = join_all((0..5).map(|_| stage.h2(MAPLE))).await;
    let opened = async {
        until("the origin is asked", async || {
            (stage.blue.hits(NEWS) > 0).then_some(())
        })
        .await;
        gate.open();
    };
    let (nonces, ()) = tokio::join!(stampede(&clients, NEWS, 500), opened);
    assert_eq!(nonces.iter().collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(stage.blue.hits(NEWS), 1);
    assert!(
        !stage.blue.was_sent("_session"),
        "nobody's session goes along"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_who_ask_for_what_cannot_be_shared_get_one_answer_each() {
    let stage = stage(public).await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(NEWS, move |asked| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            Reply::json(&json!({ "nonce": asked.nonce })).header("cache-control", "private")
        }
    });
    let clients = join_all((0..5).map(|_| stage.h2(MAPLE))).await;
    let opened = async {
        until("the origin is asked", async || {
            (stage.blue.hits(NEWS) > 0).then_some(())
        })
        .await;
        gate.open();
    };
    let (nonces, ()) = tokio::join!(stampede(&clients, NEWS, 500), opened);
    assert_eq!(nonces.iter().collect::<BTreeSet<_>>().len(), 500);
    assert_eq!(stage.blue.hits(NEWS), 500);
    assert!(
        !stage.blue.was_sent("_session"),
        "nobody's session goes along"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_ends_what_carries_the_tag_in_one_school() {
    let stage = stage(|reply| public(reply).header("surrogate-key", "author:7 other")).await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let ask = async |client: &Client, path| client.get(path).await.nonce();
    for tag in ["news:1", "author:7"] {
        let (one, two) = (ask(&maple, NEWS).await, ask(&maple, "/api/v1/news/2").await);
        let elsewhere = ask(&oak, NEWS).await;
        stage.purge("maple", tag).await;
        assert_ne!(ask(&maple, NEWS).await, one, "{tag}");
        assert_eq!(
            ask(&maple, "/api/v1/news/2").await == two,
            tag == "news:1",
            "{tag}"
        );
        assert_eq!(ask(&oak, NEWS).await, elsewhere, "{tag}");
    }
    for body in [
        json!({ "tenant": "maple", "url": "/api/v1/news/1" }),
        json!({ "tenant": "maple", "url": format!("https://{MAPLE}/api/v1/news/1") }),
        json!({ "tenant": "maple", "all": true }),
    ] {
        let (one, elsewhere) = (ask(&maple, NEWS).await, ask(&oak, NEWS).await);
        let (status, answer) = stage.admin("POST", "/v1/purge", Some(body.clone())).await;
        assert_eq!(status, 200, "{answer}");
        assert_ne!(ask(&maple, NEWS).await, one, "{body}");
        assert_eq!(ask(&oak, NEWS).await, elsewhere, "{body}");
    }
    let (status, _) = stage
        .admin(
            "POST",
            "/v1/purge",
            Some(json!({ "tenant": "nobody", "all": true })),
        )
        .await;
    assert!((400..500).contains(&status), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_not_outrun_by_a_fetch_that_was_under_way() {
    let stage = stage(public).await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(NEWS, move |asked| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            Reply::json(&json!({ "nonce": asked.nonce })).shared("public")
        }
    });
    let client = stage.h2(MAPLE).await;
    let asked = async |hits| {
        until("the origin is asked", async || {
            (stage.blue.hits(NEWS) >= hits).then_some(())
        })
        .await;
    };
    let before = async { client.get(NEWS).await.nonce() };
    let after = async {
        asked(1).await;
        stage.purge("maple", "news:1").await;
        let second = async { client.get(NEWS).await.nonce() };
        let opened = async {
            // It did not join the first one.
            asked(2).await;
            gate.open();
        };
        tokio::join!(second, opened).0
    };
    let (_, after) = tokio::join!(before, after);
    // What the first fetch brought was made before the purge, so nobody gets it any more.
    assert_eq!(after, "nonce-2-");
    assert_eq!(client.get(NEWS).await.nonce(), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_no_longer_than_rule_and_origin_say() {
    type Case = (&'static str, fn(Reply) -> Reply, u64);
    let cases: [Case; 4] = [
        (
            "the rule's cap",
            |r| r.header("cache-control", "max-age=3600"),
            60,
        ),
        (
            "the origin's lifetime",
            |r| r.header("cache-control", "max-age=5"),
            5,
        ),
        (
            "what was left of it",
            |r| r.header("cache-control", "max-age=50").header("age", "30"),
            20,
        ),
        (
            "what it says to proxies",
            |r| {
                r.header("cache-control", "max-age=50")
                    .header("cdn-cache-control", "max-age=9")
            },
            9,
        ),
    ];
    let stage = plan().rules(RULES).start().await;
    let client = stage.h2(MAPLE).await;
    for (n, (why, say, kept_s)) in cases.into_iter().enumerate() {
        let path = format!("/api/v1/news/{n}");
        stage.blue.on(&path, move |asked| async move {
            say(Reply::json(&json!({ "nonce": asked.nonce }))
                .header("x-edge-cache-scope", "public"))
        });
        let first = client.get(&path).await.nonce();
        stage.edge.clock().advance(Duration::from_secs(kept_s - 2));
        assert_eq!(
            client.get(&path).await.nonce(),
            first,
            "{why}: it is gone too early"
        );
        stage.edge.clock().advance(Duration::from_secs(3));
        assert_ne!(
            client.get(&path).await.nonce(),
            first,
            "{why}: it stays too long"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_somebody_is_is_asked_twice_a_minute_and_after_a_purge_of_the_person() {
    let stage = stage(|reply| reply.shared("tenant")).await;
    let client = stage.h2(MAPLE).await;
    let me = || stage.blue.hits("/api/v1/me");
    for n in 0..5 {
        client
            .ask(ANNA.ask(&format!("/api/v1/courses/{n}")))
            .await
            .nonce();
    }
    assert_eq!(me(), 1);
    let seen = &stage.blue.seen_at("/api/v1/me")[0];
    assert_eq!(seen.header("cookie"), "_session=canary-session-of-anna");
    assert_eq!(seen.header("x-edge-tenant"), "maple");
    stage.edge.clock().advance(Duration::from_secs(31));
    client.ask(ANNA.ask("/api/v1/courses/0")).await.nonce();
    assert_eq!(me(), 2);
    stage.blue.on("/api/v1/me", |_| async { Reply::new(401) });
    assert_eq!(client.ask(ANNA.ask("/api/v1/courses/0")).await.status, 200);
    stage.purge("maple", "u:anna").await;
    assert_eq!(client.ask(ANNA.ask("/api/v1/courses/0")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_or_does_not_read_delays_nobody() {
    // With so much room the answer is not large for its school: it is kept the first time, so who comes after the fetch
    // finds it as well as who joins it.
    let stage = plan()
        .rules(RULES)
        .limit("cache_bytes_max = 1073741824")
        .limit("tenant_cache_bytes_max = 1073741824")
        .start()
        .await;
    let gate = Gate::closed();
    let held = gate.clone();
    let body = noise(3_000_000);
    let sent = body.clone();
    stage.blue.on(NEWS, move |_| {
        let (gate, body) = (held.clone(), sent.clone());
        async move {
            gate.pass().await;
            Reply::of("application/json", body).shared("public")
        }
    });
    let asked = async |hits| {
        until("the origin is asked", async || {
            (stage.blue.hits(NEWS) >= hits).then_some(())
        })
        .await;
    };
    // It leaves before the answer begins.
    let leaving = stage.h1(MAPLE).await;
    let left = tokio::spawn(async move { leaving.try_ask(Ask::get(NEWS)).await.is_ok() });
    asked(1).await;
    left.abort();
    gate.open();
    assert_eq!(stage.h2(MAPLE).await.get(NEWS).await.body, body);
    assert_eq!(stage.blue.hits(NEWS), 1);

    // It begins to read and stops.
    stage.purge("maple", "news:1").await;
    let mut slow = stage.h2(MAPLE).await.begin(Ask::get(NEWS)).await;
    let first = slow.piece().await.expect("it begins").expect("it is long");
    assert_eq!(stage.h2(MAPLE).await.get(NEWS).await.body, body);
    assert_eq!(stage.blue.hits(NEWS), 2);
    let rest = slow.rest().await.expect("the slow one gets it all, too");
    assert_eq!([first, rest].concat(), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_above_the_limit_passes_and_is_not_kept() {
    let stage = plan()
        .rules(RULES)
        .limit("object_bytes_max = 10000")
        .start()
        .await;
    let client = stage.h2(MAPLE).await;
    let body = noise(20_000);
    let sent = body.clone();
    stage.blue.on(NEWS, move |_| {
        let body = sent.clone();
        async move { Reply::of("application/json", body).shared("public") }
    });
    for hits in 1..=2 {
        assert_eq!(client.get(NEWS).await.body, body);
        assert_eq!(stage.blue.hits(NEWS), hits);
    }
    // Without a length it is found out on the way.
    let mut pipes = stage.blue.on_stream("/api/v1/news/2", "application/json");
    for _ in 0..2 {
        let piped = async {
            let pipe = pipes.recv().await.expect("the origin is asked");
            for piece in body.chunks(3000) {
                assert!(pipe.send(piece.to_vec()).await);
            }
        };
        let (answer, ()) = tokio::join!(client.get("/api/v1/news/2"), piped);
        assert_eq!(answer.body, body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_neither_kept_nor_given_out_as_whole() {
    let stage = stage(public).await;
    let client = stage.h2(MAPLE).await;
    let (reply_sent, broken) = (Reply::piped, "{\"half\":");
    stage.blue.on(NEWS, move |_| async move {
        let (reply, pipe) = reply_sent();
        tokio::spawn(async move {
            pipe.send(broken).await;
            pipe.break_off().await;
        });
        reply
            .header("content-type", "application/json")
            .shared("public")
    });
    if let Ok(answer) = client.try_ask(Ask::get(NEWS)).await {
        assert_eq!(answer.status, 502);
    }
    stage.blue.on(NEWS, |asked| async move {
        Reply::json(&json!({ "nonce": asked.nonce })).shared("public")
    });
    assert_eq!(
        stage.h2(MAPLE).await.get(NEWS).await.nonce(),
        client.get(NEWS).await.nonce()
    );
}
