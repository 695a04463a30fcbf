//! A share of what passes is asked of the other colour too, without anybody's credentials, and compared.

use edge_proxy::colour::Colour;
use http::Method;
use serde_json::Value;

use super::support::client::Ask;
use super::support::reply::{Gate, Reply};
use super::support::school;
use super::support::site::APP;
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::until;

const MIRROR: &str = r#"
[[apps.learn.mirror]]
path = "/api/v1/plain"
share_bp = 10000

[[apps.learn.mirror]]
path = "/api/v1/signed"
share_bp = 10000
credentials = true
"#;

async fn comparison(stage: &Stage) -> Value {
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    status["apps"][APP]["colours"][1]["mirror"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_traffic_is_compared_by_copies_without_credentials() {
    let stage = plan().table(MIRROR).start().await;
    school::serve(&stage.blue, |reply| reply);
    stage.green.otherwise(|asked| async move {
        match asked.seen.path().ends_with("/bad") {
            true => Reply::new(500),
            false => Reply::new(200),
        }
    });
    stage.colour_ready(Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    let ask = |path: &str| {
        Ask::get(path)
            .header("cookie", "_session=canary-secret")
            .header("authorization", "Bearer canary-token")
    };
    for path in [
        "/api/v1/plain/a?b=c",
        "/api/v1/plain/bad",
        "/api/v1/signed",
        "/api/v1/else",
    ] {
        let answer = client.ask(ask(path)).await;
        assert_eq!(answer.json()["colour"], "blue", "{path}");
    }
    let post = Ask::new(Method::POST, "/api/v1/plain/post").body("x");
    assert_eq!(client.ask(post).await.status, 200);
    until("the copies are compared", async || {
        let of = comparison(&stage).await;
        (of["same"] == 2 && of["differ"] == 1).then_some(())
    })
    .await;
    let of = comparison(&stage).await;
    assert_eq!(
        (&of["failed"], &of["left_out"]),
        (&0.into(), &0.into()),
        "{of}"
    );
    let seen = stage.green.seen();
    let mut paths: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        ["/api/v1/plain/a?b=c", "/api/v1/plain/bad", "/api/v1/signed"]
    );
    for seen in &seen {
        let signed = seen.path() == "/api/v1/signed";
        assert_eq!(seen.header("cookie").contains("canary"), signed, "{seen:?}");
        assert_eq!(seen.header("authorization").contains("canary"), signed);
        assert_eq!(seen.header("x-edge-mirror"), "1");
        assert_eq!(seen.header("x-edge-colour"), "green");
        assert_eq!(seen.header("host"), MAPLE);
        assert_eq!(seen.method, Method::GET);
    }
    let output = stage.command(&["status"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("of 3 copies 2 had the same status, 1 another"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_copy_and_too_many_are_not_made() {
    let stage = plan().table(MIRROR).start().await;
    school::serve(&stage.blue, |reply| reply);
    let gate = Gate::closed();
    let closed = gate.clone();
    stage.green.otherwise(move |_| {
        let gate = closed.clone();
        async move {
            gate.pass().await;
            Reply::new(200)
        }
    });
    stage.colour_ready(Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    for _ in 0..40 {
        let answer = client.get("/api/v1/plain").await;
        assert_eq!(answer.json()["colour"], "blue");
    }
    assert_eq!(comparison(&stage).await["left_out"], 8);
    gate.open();
    until("the copies are compared", async || {
        (comparison(&stage).await["same"] == 32).then_some(())
    })
    .await;
    assert_eq!(stage.green.seen().len(), 32);
}
