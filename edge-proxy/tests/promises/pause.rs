//! While an app is paused its requests wait, and none is lost that could wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use edge_proxy::colour::Colour;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::support::client::{Ask, Http};
use super::support::reply::{Gate, Reply};
use super::support::school;
use super::support::site::{APP, NOTES, deployment};
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::until;

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 60
stale_if_error_s = 600

[[rule]]
name = "plan"
path = "/api/v1/plans/{id}"
scope = "public"
ttl_s = 60
"#;

/// `pause` or `unpause`, as the command: exit code and JSON.
async fn hold(stage: &Stage, words: &[&str]) -> (i32, Value) {
    let output = stage.command(&[words, &["--json"]].concat()).await;
    let said = serde_json::from_slice(&output.stdout);
    (
        output.status.code().expect("it ends by itself"),
        said.unwrap_or_else(|_| panic!("{output:?}")),
    )
}

async fn held(stage: &Stage) -> u64 {
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    status["apps"][APP]["held"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_database_under_a_pause_loses_no_request() {
    let stage = plan().green_schema("3..4").start().await;
    // One database: each version works only with its own schema.
    let migrated = Arc::new(AtomicBool::new(false));
    let wrong = Arc::new(AtomicUsize::new(0));
    for (origin, works) in [(&stage.blue, false), (&stage.green, true)] {
        let (migrated, wrong) = (Arc::clone(&migrated), Arc::clone(&wrong));
        let name = origin.name;
        origin.otherwise(move |_| {
            let fits = migrated.load(Ordering::SeqCst) == works;
            wrong.fetch_add(usize::from(!fits), Ordering::SeqCst);
            async move {
                match fits {
                    true => Reply::json(&json!({ "colour": name })),
                    false => Reply::new(500),
                }
            }
        });
    }
    stage.colour_ready(Colour::Green).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut loops = Vec::new();
    for (http, method) in [
        (Http::One, Method::GET),
        (Http::Two, Method::GET),
        (Http::One, Method::POST),
        (Http::Two, Method::POST),
    ] {
        let client = stage.client(MAPLE, http).await;
        let stop = Arc::clone(&stop);
        loops.push(tokio::spawn(async move {
            let mut colours = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let body = if method == Method::POST { "x" } else { "" };
                let ask = Ask::new(method.clone(), "/api/v1/x").body(body);
                let answer = client.ask(ask).await;
                assert_eq!(answer.status, 200);
                colours.push(answer.json()["colour"].clone());
            }
            colours
        }));
    }
    until("requests go to blue", async || {
        (stage.blue.seen().len() > 50).then_some(())
    })
    .await;
    let (code, report) = hold(&stage, &["pause", APP]).await;
    assert_eq!((code, &report["paused"]), (0, &true.into()), "{report}");
    assert_eq!(report["in_flight"], Value::Array(vec![]));
    assert_eq!(stage.blue.in_flight(), 0);
    until("they wait", async || {
        (held(&stage).await == 4).then_some(())
    })
    .await;
    migrated.store(true, Ordering::SeqCst);
    stage.shift("green=100%").await;
    let (code, report) = hold(&stage, &["unpause", APP]).await;
    assert_eq!((code, &report["paused"]), (0, &false.into()), "{report}");
    until("requests go to green", async || {
        (stage.green.seen().len() > 50).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for colours in join_all(loops).await {
        let colours = colours.expect("no request was lost");
        assert!(colours.contains(&"blue".into()) && colours.contains(&"green".into()));
        assert!(colours.is_sorted_by_key(|colour| colour == "green"));
    }
    // An old page's id does not lead back to a version that the database has left behind.
    let old = Ask::get("/api/v1/x").header("x-deployment-id", &deployment("r1"));
    let answer = stage.h2(MAPLE).await.ask(old).await;
    assert_eq!(answer.json()["colour"], "green");
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
    assert_eq!(held(&stage).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_wait_any_longer_is_told_when_to_come_back() {
    let stage = plan()
        .limit("held_max = 2\nheld_s = 1")
        .rules(RULES)
        .start()
        .await;
    school::serve(&stage.blue, |reply| reply);
    hold(&stage, &["pause", APP]).await;
    let before = stage.blue.seen().len();
    for http in Http::BOTH {
        let clients = join_all((0..3).map(|_| stage.client(MAPLE, http))).await;
        let asked = clients.iter().map(|client| client.get("/page"));
        let answers = join_all(asked).await;
        for answer in answers {
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), "5");
        }
    }
    assert_eq!(stage.blue.seen().len(), before, "no origin was asked");
    assert!(stage.access_log().contains("\"paused\""));
    // Somebody who waits when it goes on is answered, however late.
    let client = stage.h2(MAPLE).await;
    let waiting = async { client.get("/page").await };
    let goes_on = async {
        until("it waits", async || (held(&stage).await == 1).then_some(())).await;
        hold(&stage, &["unpause", APP]).await
    };
    let (answer, _) = tokio::join!(waiting, goes_on);
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_origin_is_answered_and_a_pause_outlives_a_restart() {
    let stage = plan().limit("held_s = 0.2").rules(RULES).start().await;
    school::serve(&stage.blue, |reply| reply.shared("public"));
    let client = stage.h2(MAPLE).await;
    let first = client.get("/api/v1/news/1").await;
    let second = client.get("/api/v1/plans/1").await;
    hold(&stage, &["pause", APP]).await;
    assert_eq!(client.get("/api/v1/news/1").await.nonce(), first.nonce());
    assert_eq!(client.get("/api/v1/plans/1").await.nonce(), second.nonce());
    assert_eq!(client.get(NOTES).await.status, 200);
    stage.edge.clock().advance(Duration::from_secs(100));
    let stale = client.get("/api/v1/news/1").await;
    assert_eq!(stale.nonce(), first.nonce(), "its rule lets it stand in");
    assert_eq!(
        client.get("/api/v1/plans/1").await.status,
        503,
        "its rule does not"
    );
    assert_eq!(client.get("/api/v1/news/2").await.status, 503);
    assert_eq!(stage.blue.hits("/api/v1/news/1"), 1);

    let output = stage.command(&["status"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("learn is PAUSED"), "{said}");
    let stage = stage.restart().await;
    let client = stage.h2(MAPLE).await;
    assert_eq!(client.get("/page").await.status, 503);
    assert_eq!(client.get(NOTES).await.status, 200);
    let (code, report) = hold(&stage, &["unpause", APP, "--dry-run"]).await;
    assert_eq!((code, &report["paused"]), (0, &true.into()), "{report}");
    hold(&stage, &["unpause", APP]).await;
    assert_eq!(client.get("/page").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_says_when_an_origin_is_still_answering() {
    let stage = plan().start().await;
    let gate = Gate::closed();
    let closed = gate.clone();
    stage.blue.on("/slow", move |_| {
        let gate = closed.clone();
        async move {
            gate.pass().await;
            Reply::new(204)
        }
    });
    let client = stage.h2(MAPLE).await;
    let slow = async { client.get("/slow").await };
    let meanwhile = async {
        until("the origin is asked", async || {
            (stage.blue.hits("/slow") == 1).then_some(())
        })
        .await;
        let (code, problem) = hold(&stage, &["pause", APP, "--wait", "1s"]).await;
        assert_eq!(code, 1, "{problem}");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains("still answering 1 api"), "{detail}");
        gate.open();
        let (code, report) = hold(&stage, &["pause", APP]).await;
        assert_eq!((code, &report["changed"]), (0, &false.into()), "{report}");
    };
    let (slow, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(slow.status, 204);
    hold(&stage, &["unpause", APP]).await;
}
