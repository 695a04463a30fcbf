//! What people read most is there after an upgrade, for those whose it is, and no purge is outlived.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cache_rules::bequest::Seal;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::replacing::{counted, started};
use super::support::admin;
use super::support::client::{Ask, Client, Http};
use super::support::process::{Process, signal};
use super::support::reply::Reply;
use super::support::school::{self, ANNA, ANONYMOUS, BEN};
use super::support::site::text;
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

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_have_the_secret_is_left_nothing_and_nobody_is_twice() {
    let process = serving().await;
    read(&client(&process, MAPLE).await, || Ask::get(NEWS)).await;
    let desk = process.set.folder.path().join("state/worker-0.sock");
    let config = edge_proxy::config::load(&process.set.config).expect("it is good");
    let promise = async |secret: [u8; 16]| {
        admin::call(&desk, "POST", "/worker/promise", Some(json!(secret))).await
    };
    let ask = async |secret: [u8; 16]| {
        let word = Seal::new(secret).word();
        let heir = json!({ "word": word, "fingerprint": config.fingerprint });
        admin::call(&desk, "POST", "/worker/entries", Some(heir))
            .await
            .0
    };
    let (ours, other) = ([7; 16], [8; 16]);
    assert_eq!(ask(ours).await, 409, "nothing was promised");
    promise(ours).await;
    assert_eq!(ask(other).await, 409, "it was promised to somebody else");
    assert_eq!(ask(ours).await, 409, "somebody else has tried");
    // A promise holds for seconds.
    until("what is promised is left", async || {
        promise(ours).await;
        (ask(ours).await == 200).then_some(())
    })
    .await;
    assert_eq!(ask(ours).await, 409, "it was left already");
}

/// Answers that are stored before a hand-over breaks off, and the bytes of each: more than sockets between two
/// processes hold, so one that was asked for all of them is still at it when it is interrupted.
const READS: usize = 48;
const READ_BYTES: usize = 100_000;

/// What has come by when it is interrupted: some answers, and a part of one.
const HANDED_BYTES: u64 = 1_050_000;

/// Stands between a worker and who asks at its desk. Once so much of its stored answers has come by, it gets a signal.
fn between(desk: &Path, worker: u64, name: &'static str) -> JoinHandle<()> {
    let real = desk.with_extension("before");
    std::fs::rename(desk, &real).expect("the test's folder can be written");
    let listener = UnixListener::bind(desk).expect("the name is free");
    tokio::spawn(async move {
        while let Ok((asking, _)) = listener.accept().await {
            tokio::spawn(relay(asking, real.clone(), worker, name));
        }
    })
}

async fn relay(
    asking: UnixStream,
    real: PathBuf,
    worker: u64,
    name: &'static str,
) -> std::io::Result<()> {
    let (mut asks, mut told) = asking.into_split();
    let (mut answers, mut asked) = UnixStream::connect(real).await?.into_split();
    let mut line = [0; 21];
    asks.read_exact(&mut line).await?;
    asked.write_all(&line).await?;
    let asking = tokio::spawn(async move { copy(&mut asks, &mut asked).await });
    if line == *b"POST /worker/entries " {
        copy(&mut (&mut answers).take(HANDED_BYTES), &mut told).await?;
        signal(worker, name);
    }
    // What it had written before it was interrupted.
    let copied = copy(&mut answers, &mut told).await;
    asking.abort();
    copied.map(drop)
}

/// An upgrade whose worker before gets a signal while it hands over what it has stored.
async fn interrupted(name: &'static str, why: &str) {
    let process = started(plan().rules(RULES)).await;
    let blue = &process.set.blue;
    let paths: Vec<String> = (0..READS).map(|n| format!("/api/v1/news/{n}")).collect();
    let body = |path: &str| text(path, READ_BYTES);
    for path in &paths {
        let body = body(path);
        blue.on(path, move |asked| {
            let read = json!({ "nonce": asked.nonce, "text": body });
            async move { Reply::json(&read).shared("public") }
        });
    }
    let reading = client(&process, MAPLE).await;
    let mut before = Vec::new();
    for path in &paths {
        before.push(read(&reading, || Ask::get(path)).await);
    }
    let worker = process.worker().await;
    let state = process.set.folder.path().join("state");
    let desk = state.join("worker-0.sock");
    let between = between(&desk, worker, name);
    let said = upgrade(&process, &["--wait", "30s"]).await;
    between.abort();
    assert!(said.contains(why), "{said}");
    assert_ne!(process.worker().await, worker);

    let reading = client(&process, MAPLE).await;
    let mut same = 0;
    for (path, before) in paths.iter().zip(&before) {
        let answer = reading.get(path).await;
        assert_eq!(answer.json()["text"], body(path), "{path}");
        if answer.nonce() == *before {
            same += 1;
        }
        assert!(blue.hits(path) <= 2, "{path}: fetched once more at most");
    }
    let counted = counted(&process.observe().await, "edge_cache_inherited");
    assert_eq!(counted, f64::from(same), "{said}");
    assert!(0 < same && (same as usize) < READS, "{same} came along");
    assert!(
        said.contains(&format!("  {same} of the most read")),
        "{said}"
    );
    // What came along is ended as anything else is.
    for n in 0..3 {
        purge(&process, &format!("news:{n}")).await;
        assert_ne!(reading.get(&paths[n]).await.nonce(), before[n], "purged");
    }
    if name != "KILL" {
        signal(worker, "KILL");
    }
    process.says("the worker before has ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_it_hands_over_leaves_whole_answers_or_none() {
    interrupted("KILL", "stored answers stay behind: the worker before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_while_it_hands_over_keeps_nobody_waiting() {
    interrupted(
        "STOP",
        "stored answers stay behind: not everything came within",
    )
    .await;
}
