//! What people read most is there after an upgrade, for those whose it is, and no purge is outlived.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::json;

use super::replacing::{counted, started};
use super::support::client::{Ask, Client, Http};
use super::support::process::Process;
use super::support::reply::Reply;
use super::support::school::{self, ANNA, ANONYMOUS, BEN};
use super::support::stage::{MAPLE, OAK, plan};
use super::support::wait::until;

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 600
tags = ["news:{id}"]

[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 600
"#;

const NEWS: &str = "/api/v1/news/1";
const PURGED: &str = "/api/v1/news/2";
const COURSE: &str = "/api/v1/courses/1";

async fn serving() -> Process {
    let process = started(plan().rules(RULES)).await;
    let blue = &process.set.blue;
    school::serve(blue, |reply| reply.shared("public"));
    blue.on(COURSE, async |asked| {
        Reply::json(&json!({ "nonce": asked.nonce })).shared("tenant")
    });
    process
}

async fn client(process: &Process, host: &str) -> Client {
    let tls = process.set.authority.client(&[Http::Two.alpn()]);
    Client::open(process.address(), host, tls, Http::Two).await
}

/// Reads twice: once to fetch it, and once as somebody who finds it.
async fn read(client: &Client, ask: impl Fn() -> Ask) -> String {
    let nonce = client.ask(ask()).await.nonce();
    assert_eq!(client.ask(ask()).await.nonce(), nonce, "it is stored");
    nonce
}

async fn upgrade(process: &Process, words: &[&str]) -> String {
    let upgraded = process.command(&[&["upgrade"], words].concat()).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    String::from_utf8_lossy(&upgraded.stdout).into_owned()
}

async fn purge(process: &Process, tag: &str) {
    let purge = ["purge", "--tenant", "maple", "--tag", tag];
    let purged = process.command(&purge).await;
    assert_eq!(purged.status.code(), Some(0), "{purged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_read_is_found_after_an_upgrade_by_those_whose_it_is() {
    let process = serving().await;
    let (maple, oak) = (client(&process, MAPLE).await, client(&process, OAK).await);
    let news = read(&maple, || Ask::get(NEWS)).await;
    let news_of_oak = read(&oak, || Ask::get(NEWS)).await;
    let course = read(&maple, || ANNA.ask(COURSE)).await;
    let purged = read(&maple, || Ask::get(PURGED)).await;
    purge(&process, "news:2").await;

    let said = upgrade(&process, &[]).await;
    assert!(said.contains("3 of the most read stored answers"), "{said}");
    let (maple, oak) = (client(&process, MAPLE).await, client(&process, OAK).await);
    assert_eq!(maple.get(NEWS).await.nonce(), news);
    assert_eq!(oak.get(NEWS).await.nonce(), news_of_oak);
    assert_eq!(maple.ask(ANNA.ask(COURSE)).await.nonce(), course);
    // Who somebody is, is asked again.
    for stranger in [ANONYMOUS, BEN] {
        let status = maple.ask(stranger.ask(COURSE)).await.status;
        assert!(status.is_client_error(), "{status}");
    }
    let blue = &process.set.blue;
    assert_eq!((blue.hits(NEWS), blue.hits(COURSE)), (2, 1));
    assert_ne!(maple.get(PURGED).await.nonce(), purged, "before");
    assert_eq!(
        counted(&process.observe().await, "edge_cache_inherited"),
        3.0
    );

    purge(&process, "news:1").await;
    assert_ne!(maple.get(NEWS).await.nonce(), news, "after");
    assert_eq!(
        oak.get(NEWS).await.nonce(),
        news_of_oak,
        "it is another school's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_the_worker_before_ends_what_it_has_left() {
    let process = serving().await;
    static WRITTEN: AtomicBool = AtomicBool::new(false);
    process.set.blue.on(NEWS, async |asked| {
        if asked.seen.method == Method::PUT {
            WRITTEN.store(true, Ordering::Relaxed);
        }
        Reply::json(&json!({ "nonce": asked.nonce })).shared("public")
    });
    let tls = process.set.authority.client(&[Http::One.alpn()]);
    let writing = Client::open(process.address(), MAPLE, tls, Http::One).await;
    let news = read(&writing, || Ask::get(NEWS)).await;
    upgrade(&process, &[]).await;
    let reading = client(&process, MAPLE).await;
    assert_eq!(reading.get(NEWS).await.nonce(), news, "it came along");
    // The old connection: the worker that retires answers once more.
    assert_eq!(writing.ask(Ask::new(Method::PUT, NEWS)).await.status, 200);
    assert!(WRITTEN.load(Ordering::Relaxed));
    until("what was written to is not served again", async || {
        (reading.get(NEWS).await.nonce() != news).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_or_a_wish_make_the_next_worker_begin_with_nothing() {
    let process = serving().await;
    let news = read(&client(&process, MAPLE).await, || Ask::get(NEWS)).await;
    let said = upgrade(&process, &["--cold"]).await;
    assert!(!said.contains("stored answers"), "{said}");
    let reading = client(&process, MAPLE).await;
    let cold = read(&reading, || Ask::get(NEWS)).await;
    assert_ne!(cold, news);

    // The running worker has not read them when the new one does, or it has: the rule is another one either way.
    let rules = process.set.folder.path().join("rules.toml");
    let looser = RULES.replacen("ttl_s = 600", "ttl_s = 601", 1);
    std::fs::write(rules, looser).expect("the test's folder can be written");
    upgrade(&process, &[]).await;
    let reading = client(&process, MAPLE).await;
    assert_ne!(reading.get(NEWS).await.nonce(), cold);
}
