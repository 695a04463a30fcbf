//! A new version takes the place of an idle one whole and healthy, or not at all.

use std::process::Output;

use edge_proxy::colour::Colour;
use serde_json::Value;

use super::limits::nobody;
use super::support::client::Ask;
use super::support::origin::Origin;
use super::support::reply::{Gate, Reply};
use super::support::school;
use super::support::site::{APP, NOTES, text};
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::until;

/// Blue is live with r1, green idle with r2, and a third origin waits for its deploy.
async fn stage() -> (Stage, Origin) {
    let stage = plan().start().await;
    let third = Origin::start("third").await;
    for origin in [&stage.blue, &stage.green, &third] {
        school::serve(origin, |reply| reply);
    }
    stage.colour_ready(Colour::Green).await;
    (stage, third)
}

/// Deploys a release on one address as green, and answers in JSON.
async fn deploy(stage: &Stage, release: &str, address: &str, more: &[&str]) -> (i32, Value) {
    let mut words = vec!["deploy", APP, "--colour", "green", "--release", release];
    words.extend(["--web", address, "--api", address, "--json"]);
    words.extend(more);
    let Output { status, stdout, .. } = stage.command(&words).await;
    let said = serde_json::from_slice(&stdout);
    (
        status.code().expect("it ends by itself"),
        said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stdout))),
    )
}

async fn green(stage: &Stage) -> Value {
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    status["apps"][APP]["colours"][1].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_an_idle_colour_and_then_traffic() {
    let (stage, third) = stage().await;
    let address = third.address.to_string();
    let (code, tried) = deploy(&stage, "r1", &address, &["--dry-run"]).await;
    assert_eq!((code, &tried["dry_run"]), (0, &Value::Bool(true)));
    assert_eq!(green(&stage).await["release"], "r2", "it was a dry run");

    let (code, report) = deploy(&stage, "r1", &address, &["--reason", "the new timetable"]).await;
    assert_eq!((code, &report["stage"]), (0, &"ready".into()), "{report}");
    let deployed = green(&stage).await;
    assert_eq!(deployed["release"], "r1");
    assert_eq!(deployed["phase"], "idle");
    assert_eq!(deployed["refused"], Value::Array(vec![]));
    let client = stage.h2(MAPLE).await;
    assert_eq!(client.get("/page").await.json()["colour"], "blue");

    stage.shift("green=100%").await;
    assert_eq!(client.get("/page").await.json()["colour"], "third");
    assert_eq!(client.get("/api/v1/x").await.json()["colour"], "third");
    assert_eq!(
        client.get(NOTES).await.text(),
        text("notes of r1", 2_000),
        "its files are those of its release"
    );
    let (_, audit) = stage.admin("GET", "/v1/audit", None).await;
    let noted = audit["entries"].as_array().expect("a list").iter();
    let noted: Vec<&Value> = noted
        .filter(|note| note["why"] == "the new timetable")
        .collect();
    assert_eq!(noted.len(), 1, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_come_up_is_undone() {
    let (stage, third) = stage().await;
    let before = green(&stage).await;
    let dead = nobody().await.to_string();
    let live = third.address.to_string();
    for (release, address, lacking) in
        [("r1", &dead, "unhealthy"), ("r9", &live, "release_unknown")]
    {
        let (code, problem) = deploy(&stage, release, address, &["--wait", "1s"]).await;
        assert_eq!(code, 1, "{problem}");
        assert_eq!(problem["type"], "urn:bellwether:undone");
        assert_eq!(problem["reasons"][0]["reason"], lacking, "{problem}");
        stage.colour_ready(Colour::Green).await;
        assert_eq!(green(&stage).await, before);
    }
    // It can be tried again.
    assert_eq!(deploy(&stage, "r1", &live, &[]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colour_in_use_is_not_replaced() {
    let (stage, third) = stage().await;
    let address = third.address.to_string();
    let gate = Gate::closed();
    let held = gate.clone();
    stage.green.on("/slow", move |_| {
        let held = held.clone();
        async move {
            held.pass().await;
            Reply::new(204)
        }
    });
    stage.shift("green=100%").await;
    let (code, problem) = deploy(&stage, "r1", &address, &[]).await;
    assert_eq!(code, 3, "{problem}");
    assert_eq!(problem["reasons"][0]["reason"], "has_weight", "{problem}");

    let client = stage.h2(MAPLE).await;
    let slow = async { client.ask(Ask::get("/slow")).await.status };
    let meanwhile = async {
        until("green is asked", async || {
            (stage.green.hits("/slow") == 1).then_some(())
        })
        .await;
        stage.shift("green=0%").await;
        let (code, problem) = deploy(&stage, "r1", &address, &[]).await;
        assert_eq!(code, 3, "{problem}");
        assert_eq!(problem["reasons"][0]["reason"], "in_flight", "{problem}");
        let (code, problem) = deploy(&stage, "r1", &address, &["--drain", "1s"]).await;
        assert_eq!(code, 3, "{problem}");
        assert_eq!(green(&stage).await["release"], "r2");
        let patient = deploy(&stage, "r1", &address, &["--drain", "20s"]);
        let opened = async {
            until("the deploy waits", async || {
                let (_, deploying) = stage
                    .admin("GET", &format!("/v1/apps/{APP}/deploy"), None)
                    .await;
                (deploying["stage"] == "draining").then_some(())
            })
            .await;
            gate.open();
        };
        tokio::join!(patient, opened).0
    };
    let (slow, (code, report)) = tokio::join!(slow, meanwhile);
    assert_eq!((slow.as_u16(), code), (204, 0), "{report}");
    assert_eq!(green(&stage).await["release"], "r1");
}
