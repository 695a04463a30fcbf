//! The edge's own process is replaced, fails to be, and crashes, while clients go on asking: none of
//! them has a second try.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::limits::nobody;
use super::support::client::{Ask, Client, Http, tls};
use super::support::load::{Habit, Load, Right};
use super::support::origin::whole;
use super::support::process::{Process, signal};
use super::support::reply::Reply;
use super::support::site::{SHARED, text};
use super::support::stage::{MAPLE, Plan, plan};
use super::support::wait::{soon, until};

const PAGE: &str = "a page of either colour";

/// Of one event stream.
const EVENTS: usize = 10;
const EVENT: &str = "data: something new\n\n";

/// An edge whose origins have a page and an echo.
pub(crate) async fn started(plan: Plan) -> Process {
    let set = plan.stream("/live").set().await;
    for origin in [&set.blue, &set.green] {
        origin.on("/page", async |_| Reply::new(200).body(PAGE));
        origin.on("/echo", async |asked| {
            let body = whole(asked.body).await;
            Reply::new(200).body(body)
        });
        origin.on_websocket("/live/socket");
        origin.on("/live/feed", async |_| {
            let (reply, pipe) = Reply::piped();
            tokio::spawn(async move {
                for _ in 0..EVENTS {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    if !pipe.send(EVENT).await {
                        return;
                    }
                }
            });
            reply.header("content-type", "text/event-stream")
        });
    }
    Process::run(set).await
}

fn get(path: &'static str, answer: impl Into<Bytes>) -> Right {
    Right {
        method: Method::GET,
        path,
        body: Bytes::new(),
        answer: answer.into(),
    }
}

/// Every habit, with files, pages and bodies, fast and slow, and what streams.
fn load(process: &Process) -> Load {
    let mut load = Load::new();
    let at = (process.address(), MAPLE);
    let file = get(SHARED, text("shared", 20_000));
    let page = get("/page", PAGE);
    let essay = Bytes::from(text("essay", 30_000));
    let post = Right {
        method: Method::POST,
        path: "/echo",
        body: essay.clone(),
        answer: essay,
    };
    let feed = get("/live/feed", EVENT.repeat(EVENTS));
    let socket = get("/live/socket", "");
    load.add(at, &process.set.authority, Habit::Socket, socket);
    for http in Http::BOTH {
        let habit = Habit::Slow(http);
        load.add(at, &process.set.authority, habit, post.clone());
        for right in [&file, &page, &post, &feed] {
            let habit = Habit::KeepAlive(http);
            load.add(at, &process.set.authority, habit, right.clone());
        }
        let habit = Habit::Anew(http);
        load.add(at, &process.set.authority, habit, page.clone());
    }
    load
}

async fn client(process: &Process, http: Http) -> Client {
    let tls = process.set.authority.client(&[http.alpn()]);
    Client::open(process.address(), MAPLE, tls, http).await
}

/// The sum of a counter's series.
pub(crate) fn counted(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with(name));
    let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_loses_no_request_and_what_streams_goes_on() {
    let process = started(plan()).await;
    let mut pipes = process
        .set
        .blue
        .on_stream("/live/events", "text/event-stream");
    let load = load(&process);
    let listening = client(&process, Http::One).await;
    let (mut events, pipe) = tokio::join!(listening.begin(Ask::get("/live/events")), async {
        pipes.recv().await.expect("the origin is asked")
    });
    let stream = tls(
        process.address(),
        MAPLE,
        process.set.authority.client(&["http/1.1"]),
    );
    let stream = stream.await.expect("the edge shakes hands");
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("wss://{MAPLE}/live/socket"), stream)
            .await
            .expect("the socket opens");

    let first = process.worker().await;
    let mut before = first;
    for _ in 0..2 {
        let upgraded = process.command(&["upgrade", "--reason", "test"]).await;
        assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
        let said = String::from_utf8_lossy(&upgraded.stdout).into_owned();
        for probe in [format!("TLS for {MAPLE}: agreed"), "a file: 200".to_owned()] {
            assert!(said.contains(&probe), "{said}");
        }
        let now = process.worker().await;
        assert_ne!(now, before);
        before = now;

        assert!(pipe.send("data: still here\n\n").await);
        let event = events.piece().await.expect("it goes on");
        assert!(event.is_some(), "the event arrives");
        let message = Message::text("hello");
        socket.send(message.clone()).await.expect("it is open");
        let echo = soon("the echo comes", socket.next()).await;
        assert_eq!(echo.expect("it is open").expect("it is open"), message);
    }
    let kept = process.observe().await;
    let tally = load.stop().await;
    assert!(tally.failed.is_empty(), "{tally:?}\n{}", process.log());
    assert!(tally.asked > 100, "{tally:?}");

    // Counted by three processes: none of it is lost when the first two have ended.
    assert!(counted(&kept, "edge_http_requests_total") > 50.0, "{kept}");
    drop((pipe, events, socket, listening));
    for _ in 0..2 {
        process.says("the worker before has ended").await;
    }
    let metrics = process.observe().await;
    let requests = counted(&metrics, "edge_http_requests_total");
    assert!(requests >= tally.asked as f64, "{requests} of {tally:?}");
    let (_, audit) = process.admin("GET", "/v1/audit", None).await;
    let upgrades = audit["entries"].as_array().expect("a list").iter();
    let upgrades = upgrades.filter(|entry| entry["what"] == "upgrade" && entry["why"] == "test");
    assert_eq!(upgrades.count(), 2, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_from_the_one_before_without_a_lost_request() {
    let process = started(plan()).await;
    let load = load(&process);
    let (blue, green) = (process.set.blue.address, process.set.green.address);
    for (colour, release, member) in [("green", "r2", green), ("blue", "r1", blue)] {
        let deploy = format!(
            "deploy learn --colour {colour} --release {release} --web {member} --api {member} --drain 30s"
        );
        let shifts = ["10%", "50%", "100%"].map(|share| format!("shift learn {colour}={share}"));
        for command in [deploy].into_iter().chain(shifts) {
            let words: Vec<&str> = command.split(' ').collect();
            let done = process.command(&words).await;
            assert_eq!(done.status.code(), Some(0), "{command}: {done:?}");
        }
    }
    let tally = load.stop().await;
    assert!(tally.failed.is_empty(), "{tally:?}\n{}", process.log());
    assert!(tally.asked > 100, "{tally:?}");
    assert!(process.set.green.hits("/page") > 0 && process.set.blue.hits("/page") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_fails_changes_nothing_and_says_why() {
    let process = started(plan()).await;
    let load = load(&process);
    let serving = process.worker().await;
    let edge = env!("CARGO_BIN_EXE_edge-proxy");
    let folder = process.set.folder.path().to_owned();
    let failing = async |what: &str, words: &[&str], says: &str| {
        let failed = process.command(words).await;
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{what}: {failed:?}");
        assert!(said.contains("nothing was changed"), "{what}: {said}");
        assert!(said.contains(says), "{what}: {said}");
        assert_eq!(process.worker().await, serving, "{what}");
    };

    let crashing = process.script("crashing", "echo 'no such library' >&2; exit 3");
    let crashing = crashing.display().to_string();
    failing("crashing", &["upgrade", &crashing], "no such library").await;

    let hanging = process.script("hanging", "exec sleep 600");
    let hanging = hanging.display().to_string();
    let words = ["upgrade", &hanging, "--wait", "1s"];
    failing("hanging", &words, "not ready within 1s").await;

    let full = format!("trap '' XFSZ; ulimit -f 8; exec {edge} \"$@\"");
    let full = process.script("full", &full).display().to_string();
    failing("a full disk", &["upgrade", &full], "state folder").await;

    // The running worker keeps the good files that it has; the new one has only the bad ones.
    let config = std::fs::read_to_string(&process.set.config).expect("it is there");
    std::fs::write(&process.set.config, config.replace("poll_s", "pol_s")).expect("it is written");
    failing(
        "a broken config",
        &["--admin", &admin(&process), "upgrade"],
        "pol_s",
    )
    .await;
    std::fs::write(&process.set.config, config).expect("it is written");

    let key = folder.join("certificates/school.key");
    let good = std::fs::read(&key).expect("it is there");
    let other = process.set.authority.issue(&["school.test"]);
    other.write(&folder.join("certificates"), "other");
    std::fs::rename(folder.join("certificates/other.key"), &key).expect("it is moved");
    std::fs::remove_file(folder.join("certificates/other.crt")).expect("it is removed");
    failing("a wrong certificate", &["upgrade"], "school.key").await;
    std::fs::write(&key, good).expect("it is written");

    // Killed before it was told to accept.
    let kill = async {
        let pid = until("the new worker starts", async || {
            let (_, report) = process.admin("GET", "/v1/upgrade", None).await;
            (report["stage"] == "starting").then_some(())?;
            report["pid"].as_u64()
        });
        signal(pid.await, "KILL");
    };
    let words = ["upgrade", &hanging];
    tokio::join!(failing("killed", &words, "signal: 9"), kill);

    // A walk that says it could, and changes nothing either.
    let tried = process.command(&["upgrade", "--dry-run"]).await;
    assert_eq!(tried.status.code(), Some(0), "{tried:?}");
    assert_eq!(process.worker().await, serving);

    let tally = load.stop().await;
    assert!(tally.failed.is_empty(), "{tally:?}\n{}", process.log());
    assert!(tally.asked > 100, "{tally:?}");
}

fn admin(process: &Process) -> String {
    let socket = process.set.folder.path().join("state/admin.sock");
    socket.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_crashes_is_replaced_while_clients_wait_in_the_queue() {
    let process = started(plan()).await;
    let before = process.observe().await;
    let serving = process.worker().await;
    assert_eq!(
        client(&process, Http::Two).await.get("/page").await.text(),
        PAGE
    );
    let counts = process.observe().await;
    signal(serving, "KILL");
    let crashed = Instant::now();
    let process_of = std::path::PathBuf::from(format!("/proc/{serving}"));
    until("it is gone", async || (!process_of.exists()).then_some(())).await;
    // Nobody is refused: the sockets are the supervisor's.
    let page = until("a page comes again", async || {
        let client = client(&process, Http::One).await;
        client.try_ask(Ask::get("/page")).await.ok()
    });
    assert_eq!(page.await.text(), PAGE);
    println!(
        "the next good answer came {:?} after the crash",
        crashed.elapsed()
    );
    assert_ne!(process.worker().await, serving);
    let name = "edge_http_requests_total";
    let after = process.observe().await;
    assert!(counted(&after, name) >= counted(&counts, name), "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_workers_too_and_another_reads_the_files_again() {
    let mut process = started(plan()).await;
    let serving = process.worker().await;
    process.signal("HUP");
    process.says("the changed config is live").await;
    assert_eq!(process.worker().await, serving);
    process.signal("TERM");
    process.says("every request was answered").await;
    assert_eq!(process.ended().await, Some(0));
    assert!(!process.set.folder.path().join("state/admin.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_whose_worker_is_killed_is_seen_to_its_end_by_the_next_one() {
    let process = started(plan()).await;
    let green = async || process.status().await["apps"]["learn"]["colours"][1].clone();
    let before = green().await["release"].clone();
    let dead = nobody().await;
    let deploy =
        format!("deploy learn --colour green --release r1 --web {dead} --api {dead} --wait 3s");
    let words: Vec<&str> = deploy.split(' ').collect();
    let killed = async {
        until("it has taken the place", async || {
            (green().await["release"] == "r1").then_some(())
        })
        .await;
        signal(process.worker().await, "KILL");
    };
    // Whoever waited for its end is told that the worker is gone.
    let (_cut_off, ()) = tokio::join!(process.command(&words), killed);
    until("it is undone", async || {
        (green().await["release"] == before).then_some(())
    })
    .await;
    let (_, audit) = process.admin("GET", "/v1/audit", None).await;
    let undone = &audit["entries"][0];
    assert_eq!(
        (&undone["what"], &undone["who"]),
        (&"undo deploy learn green".into(), &"edge".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_with_a_version_in_a_worker_that_retires_is_waited_for() {
    let process = started(plan()).await;
    let mut pipes = process
        .set
        .blue
        .on_stream("/live/events", "text/event-stream");
    let listening = client(&process, Http::One).await;
    let (events, pipe) = tokio::join!(listening.begin(Ask::get("/live/events")), async {
        pipes.recv().await.expect("the origin is asked")
    });
    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    until("green could take over", async || {
        let green = &process.status().await["apps"]["learn"]["colours"][1];
        green["refused"].as_array()?.is_empty().then_some(())
    })
    .await;
    let drain = ["drain", "learn", "blue", "--wait", "4s", "--streams", "4s"];
    let drained = process.command(&drain).await;
    let said = [drained.stdout, drained.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(drained.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stream"),
        "the one of the worker before: {said}"
    );
    drop((pipe, events, listening));
    let drained = process.command(&["drain", "learn", "blue"]).await;
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_a_worker_that_retires_ends_what_the_next_one_has_stored() {
    const NEWS: &str = "/api/v1/news/1";
    let rules = "[[rule]]\nname = \"news\"\npath = \"/api/v1/news/{id}\"\nscope = \"public\"\nttl_s = 600\n";
    let process = started(plan().rules(rules)).await;
    process
        .set
        .blue
        .on(NEWS, async |asked| match asked.seen.method {
            Method::GET => Reply::json(&json!({ "nonce": asked.nonce })).shared("public"),
            _ => Reply::new(200),
        });
    let writing = client(&process, Http::One).await;
    assert_eq!(writing.get("/page").await.status, 200);
    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    let reading = client(&process, Http::Two).await;
    let before = reading.get(NEWS).await.nonce();
    assert_eq!(reading.get(NEWS).await.nonce(), before, "it is stored");
    // The old connection: the worker that retires answers once more.
    let written = writing.ask(Ask::new(Method::PUT, NEWS)).await;
    assert_eq!(written.status, 200);
    until("what was stored is not served again", async || {
        (reading.get(NEWS).await.nonce() != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisor_becomes_another_version_and_the_worker_goes_on() {
    let mut process = started(plan()).await;
    let load = load(&process);
    let clients = load.clients();
    let supervisor = process.supervisor();
    let words = ["upgrade", "--supervisor"];
    let upgraded = process.command(&words).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    process.says("the supervisor is another version now").await;
    assert_eq!(process.supervisor(), supervisor, "it is the same process");
    let serving = process.worker().await;

    // One that does not start as a supervisor is left again: the version before goes on.
    let edge = env!("CARGO_BIN_EXE_edge-proxy");
    let text = format!(
        "if [ \"$1\" = worker ]; then exec {edge} \"$@\"; fi; exec {edge} run --config /nowhere.toml"
    );
    let half = process.script("half", &text).display().to_string();
    let failed = process.command(&["upgrade", "--supervisor", &half]).await;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("nowhere.toml"), "{said}");
    let next = process.worker().await;
    assert_ne!(next, serving);

    // What it has taken over it replaces, counts and ends like its own.
    signal(next, "KILL");
    until("another worker serves", async || {
        let (status, report) = process.admin("GET", "/v1/status", None).await;
        (status == 200 && report["pid"] != next).then_some(())
    })
    .await;
    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    let tally = load.stop().await;
    // What the killed worker was answering is lost by nature: one of each client.
    let lost = tally.failed.len();
    assert!(lost <= clients, "{tally:?}\n{}", process.log());
    assert!(tally.asked > 100, "{tally:?}");
    let metrics = process.observe().await;
    assert!(
        counted(&metrics, "edge_http_requests_total") > 50.0,
        "{metrics}"
    );
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0), "{}", process.log());
}
