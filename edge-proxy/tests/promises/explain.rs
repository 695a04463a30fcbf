//! `explain` says why a read is not cached, for whom it is, and how what is stored is.

use std::time::Duration;

use serde_json::json;

use super::support::reply::Reply;
use super::support::school::{self, ANNA};
use super::support::stage::{MAPLE, Stage, plan};

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 60
vary = ["accept-language"]
tags = ["news:{id}"]

[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
"#;

async fn said(stage: &Stage, path: &str, more: &[&str]) -> String {
    let url = format!("https://{MAPLE}{path}");
    let output = stage.command(&[&["explain", &url], more].concat()).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_read_is_explained_with_its_key_its_age_and_its_purges() {
    let stage = plan().rules(RULES).start().await;
    school::serve(&stage.blue, |reply| reply.shared("public"));
    let news = "/api/v1/news/1";
    let text = said(&stage, news, &[]).await;
    for part in [
        "store: news (public)",
        "at most 60 s",
        "X-Edge-Cache-Scope: public",
        "news:1",
        "accept-language",
        "release r1",
        "nothing stored",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let client = stage.h2(MAPLE).await;
    client.get(news).await.nonce();
    stage.edge.clock().advance(Duration::from_secs(20));
    let text = said(&stage, news, &[]).await;
    assert!(
        text.contains("fresh for 39 s") || text.contains("fresh for 40 s"),
        "{text}"
    );
    assert!(text.contains("20 s old"), "{text}");
    stage.purge("maple", "news:1").await;
    assert!(said(&stage, news, &[]).await.contains("purged"));
    // It was asked about, not read.
    assert_eq!(stage.blue.hits(news), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schools_read_is_explained_for_who_asks() {
    let stage = plan().rules(RULES).start().await;
    school::serve(&stage.blue, |reply| reply.shared("tenant"));
    let course = "/api/v1/courses/1";
    stage.h2(MAPLE).await.ask(ANNA.ask(course)).await.nonce();
    assert!(
        said(&stage, course, &[])
            .await
            .contains("401: unauthenticated")
    );
    assert!(
        said(&stage, course, &["--as", "oak/ben"])
            .await
            .contains("403: forbidden")
    );
    let text = said(&stage, course, &["--as", "maple/alex:pupil"]).await;
    assert!(
        text.contains("fresh for ") && text.contains("tenant of maple"),
        "{text}"
    );
    assert!(!text.contains("alex"), "{text}");
    let url = format!("https://{MAPLE}{course}");
    let output = stage.command(&["explain", &url, "--as", "nobody"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_answers_from_being_stored_is_named_with_what_to_do() {
    let stage = plan().rules(RULES).start().await;
    stage.blue.otherwise(|asked| async move {
        let reply = Reply::json(&json!({ "nonce": asked.nonce })).shared("public");
        match asked.seen.path().ends_with('1') {
            true => reply.header("set-cookie", "a=b"),
            false => reply.header("vary", "user-agent"),
        }
    });
    let client = stage.h2(MAPLE).await;
    for id in ["1", "1", "1", "2"] {
        client.get(&format!("/api/v1/news/{id}")).await.nonce();
    }
    let text = said(&stage, "/api/v1/news/7", &[]).await;
    assert!(text.contains("not stored 3 times: set_cookie"), "{text}");
    assert!(text.contains("request.session_options"), "{text}");
    assert!(text.contains("not stored 1 times: vary_unlisted"), "{text}");
}
