//! A new version gets its traffic step by step, and loses it by itself when it is worse.

use super::support::reply::Reply;
use super::support::site::APP;
use super::support::stage::{MAPLE, plan};
use super::support::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_a_colour_was_asked_and_what_failed() {
    let stage = plan().start().await;
    stage.blue.on("/bad", |_| async { Reply::new(500) });
    stage.blue.on("/good", |_| async { Reply::new(200) });
    let client = stage.h2(MAPLE).await;
    for _ in 0..3 {
        assert_eq!(client.get("/good").await.status, 200);
        assert_eq!(client.get("/bad").await.status, 500);
        // A file is not the version's doing.
        assert_eq!(client.get("/notes.txt").await.status, 200);
    }
    until("the requests were reported", async || {
        let (_, status) = stage.admin("GET", "/v1/status", None).await;
        let traffic = &status["apps"][APP]["colours"][0]["traffic"];
        let counted = traffic["requests"] == 6 && traffic["failures"] == 3;
        (counted && traffic["p95_ms"].is_u64()).then_some(())
    })
    .await;
    let said = stage.command(&["status"]).await.stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("6 requests, 3 FAILED, p50"), "{said}");
}
