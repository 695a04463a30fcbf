//! A colour is left without cutting anybody off, and says who is still there.

use std::process::Output;

use edge_proxy::colour::Colour;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::support::client::{Ask, Http, tls};
use super::support::origin::whole;
use super::support::reply::{Gate, Reply};
use super::support::school;
use super::support::site::{APP, deployment};
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::{soon, until};

async fn stage() -> Stage {
    let stage = plan().stream("/live").start().await;
    for origin in [&stage.blue, &stage.green] {
        school::serve(origin, |reply| reply);
        origin.on_websocket("/live/socket");
    }
    stage.colour_ready(Colour::Green).await;
    stage
}

/// Runs a drain of blue to its end: exit code and JSON.
async fn drain(stage: &Stage, wait: &str, streams: &str) -> (i32, Value) {
    let words = ["drain", APP, "blue", "--wait", wait, "--streams", streams];
    let Output { status, stdout, .. } = stage.command(&[&words[..], &["--json"]].concat()).await;
    let said = serde_json::from_slice(&stdout);
    (
        status.code().expect("it ends by itself"),
        said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stdout))),
    )
}

/// What `status` says of those under way on blue.
async fn under_way(stage: &Stage) -> Vec<(String, u64)> {
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    let lines = status["apps"][APP]["colours"][0]["in_flight"].clone();
    let lines = lines.as_array().expect("a list").iter();
    lines
        .map(|line| {
            let class = line["class"].as_str().expect("a word").to_owned();
            (class, line["count"].as_u64().expect("a number"))
        })
        .collect()
}

/// Holds a path of blue until the gate opens.
fn hold(stage: &Stage, path: &str) -> Gate {
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(path, move |asked| {
        let held = held.clone();
        async move {
            let body = whole(asked.body).await;
            held.pass().await;
            Reply::of("text/plain", format!("{} bytes", body.len()))
        }
    });
    gate
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_cut_off_by_a_drain() {
    let stage = stage().await;
    let gate = hold(&stage, "/slow");
    let mut pipes = stage.blue.on_stream("/live/events", "text/event-stream");

    let mut streams = Vec::new();
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let begun = tokio::spawn(async move { client.begin(Ask::get("/live/events")).await });
        let pipe = soon("the origin is asked", pipes.recv())
            .await
            .expect("asked");
        assert!(pipe.send("data: 1\n\n").await);
        streams.push((begun.await.expect("the answer begins"), pipe));
    }
    let tls = tls(
        stage.address(),
        MAPLE,
        stage.authority.client(&["http/1.1"]),
    )
    .await;
    let connected = tokio_tungstenite::client_async(
        format!("wss://{MAPLE}/live/socket"),
        tls.expect("the edge shakes hands"),
    );
    let (mut socket, _) = connected.await.expect("the socket opens");
    socket
        .send(Message::text("hello"))
        .await
        .expect("it is open");
    soon("the echo comes", socket.next())
        .await
        .expect("it is open")
        .expect("it is open");

    let client = stage.h2(MAPLE).await;
    let slow = async { client.ask(Ask::get("/slow")).await };
    let upload = Ask::new(Method::POST, "/slow").body(vec![b'x'; 300_000]);
    let upload = async { client.ask(upload).await };
    let meanwhile = async {
        let expected = [("api", 1), ("stream", 2), ("websocket", 1), ("upload", 1)];
        let expected = expected.map(|(class, count)| (class.to_owned(), count));
        until("all are under way", async || {
            (under_way(&stage).await == expected).then_some(())
        })
        .await;
        let drained = drain(&stage, "60s", "0s");
        let watched = async {
            let mut ended = Vec::new();
            for (mut coming, pipe) in streams {
                let mut text = String::new();
                while let Some(piece) = coming.piece().await.expect("it ends well") {
                    text.push_str(std::str::from_utf8(&piece).expect("events are text"));
                }
                drop(pipe);
                ended.push(text);
            }
            let close = loop {
                let message = soon("the close comes", socket.next()).await;
                match message
                    .expect("a close comes first")
                    .expect("a close comes first")
                {
                    Message::Close(frame) => break frame.expect("it says why"),
                    _ => continue,
                }
            };
            // Who is there goes on; who is new goes to green.
            let new = stage.h2(MAPLE).await;
            assert_eq!(new.get("/page").await.json()["colour"], "green");
            let old = new.ask(Ask::get("/page").header("x-deployment-id", &deployment("r1")));
            assert_eq!(old.await.json()["colour"], "green", "ids end too");
            until("only the slow ones are left", async || {
                (under_way(&stage).await.len() == 2).then_some(())
            })
            .await;
            gate.open();
            (ended, close.code)
        };
        tokio::join!(drained, watched)
    };
    let (slow, upload, ((code, report), (ended, close))) = tokio::join!(slow, upload, meanwhile);
    for text in ended {
        let rest = text.strip_prefix("data: 1\n\n").expect("whole events");
        let retry = rest
            .strip_prefix("retry: ")
            .and_then(|rest| rest.strip_suffix("\n\n"));
        assert!(
            retry.is_some_and(|ms| ms.parse::<u32>().is_ok()),
            "{text:?}"
        );
    }
    assert_eq!(close, CloseCode::Restart);
    assert_eq!((slow.status.as_u16(), slow.text()), (200, "0 bytes"));
    assert_eq!(
        (upload.status.as_u16(), upload.text()),
        (200, "300000 bytes")
    );
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["stage"], "drained", "{report}");
    assert_eq!(report["in_flight"], Value::Array(vec![]), "0 were cut");
    assert_eq!(report["parted"], 3, "{report}");
    assert!(under_way(&stage).await.is_empty());

    // Weight opens it again, for streams too.
    stage.shift("blue=100%").await;
    let client = stage.h1(MAPLE).await;
    let begun = tokio::spawn(async move { client.begin(Ask::get("/live/events")).await });
    let pipe = soon("the origin is asked", pipes.recv())
        .await
        .expect("asked");
    assert!(pipe.send("data: 1\n\n").await);
    let mut coming = begun.await.expect("the answer begins");
    assert_eq!(
        coming.piece().await.expect("it goes on").as_deref(),
        Some(&b"data: 1\n\n"[..])
    );
    assert!(pipe.send("data: 2\n\n").await);
    assert_eq!(
        coming.piece().await.expect("it goes on").as_deref(),
        Some(&b"data: 2\n\n"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_late_says_who_is_still_there() {
    let stage = stage().await;
    let gate = hold(&stage, "/slow");
    let client = stage.h2(MAPLE).await;
    let slow = async { client.ask(Ask::get("/slow")).await };
    let meanwhile = async {
        until("it is under way", async || {
            (stage.blue.hits("/slow") == 1).then_some(())
        })
        .await;
        let (code, problem) = drain(&stage, "1s", "0s").await;
        assert_eq!(code, 1, "{problem}");
        assert_eq!(problem["type"], "urn:bellwether:late");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains("still answering 1 api"), "{detail}");
        let output = stage.command(&["status"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("learn blue: still answering 1 api (oldest "),
            "{said}"
        );
        gate.open();
        drain(&stage, "30s", "0s").await
    };
    let (slow, (code, report)) = tokio::join!(slow, meanwhile);
    assert_eq!(slow.status, 200, "it was not cut");
    assert_eq!((code, &report["stage"]), (0, &"drained".into()), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colour_is_not_left_for_one_that_cannot_take_its_traffic() {
    let stage = stage().await;
    stage.green.set_well(false);
    until("green is known to be ill", async || {
        let (_, status) = stage.admin("GET", "/v1/status", None).await;
        let refused = status["apps"][APP]["colours"][1]["refused"]
            .as_array()?
            .len();
        (refused > 0).then_some(())
    })
    .await;
    let (code, problem) = drain(&stage, "1s", "0s").await;
    assert_eq!(code, 3, "{problem}");
    assert_eq!(problem["reasons"][0]["reason"], "unhealthy", "{problem}");
    let client = stage.h2(MAPLE).await;
    assert_eq!(client.get("/page").await.json()["colour"], "blue");
    let (status, _) = stage
        .admin("GET", &format!("/v1/apps/{APP}/drain"), None)
        .await;
    assert_eq!(status, 404, "none was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_lets_those_go_who_are_bound_only_when_it_is_told_to() {
    let stage = stage().await;
    stage.shift("green=100%").await;
    let client = stage.h2(MAPLE).await;
    let old = || Ask::get("/page").header("x-deployment-id", &deployment("r1"));
    assert_eq!(client.ask(old()).await.json()["colour"], "blue");
    let address = stage.blue.address.to_string();
    let deploy = async |more: &[&str]| {
        let words = ["deploy", APP, "--colour", "blue", "--release", "r2"];
        let members = ["--web", &address, "--api", &address, "--json"];
        let Output { status, stdout, .. } =
            stage.command(&[&words[..], &members, more].concat()).await;
        let said: Value = serde_json::from_slice(&stdout).expect("it is JSON");
        (status.code(), said)
    };
    let (code, problem) = deploy(&[]).await;
    assert_eq!(code, Some(3), "{problem}");
    assert_eq!(problem["reasons"][0]["reason"], "bound", "{problem}");
    let (code, report) = deploy(&["--drain", "20s"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(client.ask(old()).await.json()["colour"], "green");

    // Weight moves away too, when it is told to.
    stage.shift("blue=40%").await;
    let (code, problem) = deploy(&["--schema", "1"]).await;
    assert_eq!(code, Some(3), "{problem}");
    assert_eq!(problem["reasons"][0]["reason"], "has_weight", "{problem}");
    let (code, report) = deploy(&["--schema", "1", "--drain", "20s"]).await;
    assert_eq!(code, Some(0), "{report}");
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    let blue = &status["apps"][APP]["colours"][0];
    assert_eq!(
        (&blue["weight_bp"], &blue["phase"]),
        (&0.into(), &"idle".into()),
        "{blue}"
    );
}
