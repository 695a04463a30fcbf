//! Weight moves users one way, never to a colour that could not serve them, and survives a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edge_proxy::colour::{Colour, Split};
use edge_proxy::split::{Splitter, Unit};
use futures_util::future::join_all;
use serde_json::Value;

use super::support::client::{Ask, Http};
use super::support::reply::Reply;
use super::support::school;
use super::support::site::{APP, NOTES, text};
use super::support::stage::{MAPLE, Plan, Stage, plan};
use super::support::wait::until;

const SCHOOLS: usize = 200;

fn host(n: usize) -> String {
    format!("t{n}.school.test")
}

/// As [`plan`], with many more schools.
fn many() -> Plan {
    (0..SCHOOLS).fold(plan(), |plan, n| plan.tenant(&format!("t{n}"), &[&host(n)]))
}

async fn stage(plan: Plan) -> Stage {
    let stage = plan.start().await;
    for colour in Colour::BOTH {
        school::serve(stage.origin(colour), |reply| reply);
    }
    stage
}

/// The schools that green answers.
async fn green(stage: &Stage) -> BTreeSet<usize> {
    let client = stage.h2(MAPLE).await;
    let asked = (0..SCHOOLS).map(|n| {
        let client = &client;
        async move {
            let answer = client.ask(Ask::get("/page").host(&host(n))).await;
            (n, answer.json()["colour"] == "green")
        }
    });
    let asked = join_all(asked).await.into_iter();
    asked.filter_map(|(n, green)| green.then_some(n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schools_follow_the_weight_exactly_and_move_one_way() {
    let stage = stage(many()).await;
    stage.colour_ready(Colour::Green).await;
    let expected = |weight_bp| -> BTreeSet<usize> {
        let split = Split::with(Colour::Green, weight_bp).expect("within the whole");
        let splitter = Splitter::new(APP, split);
        let is_green = |n: &usize| {
            let tenant = format!("t{n}").parse().expect("a tenant's id");
            splitter.choose(&Unit::Tenant(&tenant)).0 == Colour::Green
        };
        (0..SCHOOLS).filter(is_green).collect()
    };
    let mut before = BTreeSet::new();
    for weight_bp in [0, 1, 1000, 1000, 2500, 5000, 9999, 10_000] {
        stage.shift(&format!("green={weight_bp}bp")).await;
        let now = green(&stage).await;
        assert_eq!(now, expected(weight_bp), "at {weight_bp}");
        assert!(
            now.is_superset(&before),
            "somebody went back at {weight_bp}"
        );
        before = now;
    }
    assert_eq!(before.len(), SCHOOLS);
    stage.shift("blue=100%").await;
    assert!(green(&stage).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_api_and_files_of_a_school_are_of_one_version() {
    let stage = stage(many()).await;
    stage.colour_ready(Colour::Green).await;
    stage.shift("green=50%").await;
    let client = stage.h2(MAPLE).await;
    let mut seen = BTreeSet::new();
    for n in 0..40 {
        let host = host(n);
        let get = async |path| client.ask(Ask::get(path).host(&host)).await;
        let colour = get("/page").await.json()["colour"].clone();
        assert_eq!(get("/api/v1/x").await.json()["colour"], colour, "{host}");
        let release = if colour == "green" { "r2" } else { "r1" };
        assert_eq!(
            get(NOTES).await.text(),
            text(&format!("notes of {release}"), 2_000),
            "{host}"
        );
        seen.insert(release);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_loses_no_request() {
    let stage = stage(plan()).await;
    stage.colour_ready(Colour::Green).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = [
        stage.client(MAPLE, Http::One).await,
        stage.client(MAPLE, Http::Two).await,
    ];
    let loops: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.ask(Ask::get("/page")).await;
                    assert_eq!(answer.status, 200);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for weight in [
        "green=100%",
        "green=0%",
        "green=50%",
        "green=100%",
        "green=0%",
    ] {
        stage.shift(weight).await;
        let seen = |colour: Colour| stage.origin(colour).seen().len();
        let target = if weight == "green=100%" {
            Colour::Green
        } else {
            Colour::Blue
        };
        let before = seen(target);
        if weight != "green=50%" {
            until("requests go there", async || {
                (seen(target) > before + 10).then_some(())
            })
            .await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for answered in join_all(loops).await {
        assert!(answered.expect("no request failed") > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_is_seen_by_the_first_request_after_it() {
    let stage = stage(plan()).await;
    stage.colour_ready(Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    for round in 0..20 {
        let colour = if round % 2 == 0 { "green" } else { "blue" };
        stage.shift(&format!("{colour}=100%")).await;
        assert_eq!(client.get("/page").await.json()["colour"], colour);
    }
}

/// What a refused shift says, as the listener and as the command.
async fn refused(stage: &Stage, reason: &str) {
    let (status, problem) = stage.try_shift("green=10%").await;
    assert!((400..500).contains(&status), "{status}: {problem}");
    assert_eq!(problem["refused"], true, "{problem}");
    let reasons = problem["reasons"]
        .as_array()
        .expect("the reasons are listed");
    assert!(
        reasons.iter().any(|given| given["reason"] == reason),
        "{problem}"
    );

    let command = stage.command(&["shift", APP, "green=10%"]).await;
    let said = String::from_utf8_lossy(&command.stderr).into_owned()
        + &String::from_utf8_lossy(&command.stdout);
    assert_eq!(command.status.code(), Some(3), "{said}");
    assert!(said.contains("green"), "{said}");
    let command = stage.command(&["shift", APP, "green=10%", "--json"]).await;
    assert_eq!(command.status.code(), Some(3));
    serde_json::from_slice::<Value>(&command.stdout).expect("what --json prints is JSON");
    // Nothing has changed.
    assert_eq!(
        stage.h2(MAPLE).await.get("/page").await.json()["colour"],
        "blue"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_does_not_move_to_a_colour_that_is_ill_but_may_always_leave_it() {
    let stage = stage(plan()).await;
    stage.colour_ready(Colour::Green).await;
    stage.green.set_well(false);
    until("green is known to be ill", async || {
        let (status, _) = stage.try_shift("green=10%").await;
        if status == 200 {
            stage.shift("green=0%").await;
        }
        (status != 200).then_some(())
    })
    .await;
    refused(&stage, "unhealthy").await;
    stage.green.set_well(true);
    stage.colour_ready(Colour::Green).await;
    stage.shift("green=100%").await;
    stage.green.set_well(false);
    stage.shift("green=0%").await;
    assert_eq!(
        stage.h2(MAPLE).await.get("/page").await.json()["colour"],
        "blue"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_does_not_move_to_a_release_that_is_not_here_whole() {
    let stage = stage(plan().green_release("r9")).await;
    refused(&stage, "release_unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_that_cannot_share_a_database_are_not_live_together() {
    let stage = stage(plan().green_schema("3..4")).await;
    stage.colour_ready(Colour::Green).await;
    refused(&stage, "schemas_apart").await;
    // All at once is the operator's choice.
    stage.shift("green=100%").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_is_kept_across_a_restart_whatever_the_files_say() {
    let stage = stage(many()).await;
    stage.colour_ready(Colour::Green).await;
    stage.shift("green=25%").await;
    let before = green(&stage).await;
    assert!(!before.is_empty());
    let stage = stage.restart().await;
    assert_eq!(green(&stage).await, before);
    stage.colour_ready(Colour::Green).await;
    stage.shift("green=30%").await;
    assert!(green(&stage).await.is_superset(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ill_colour_is_said_to_be_ill_and_the_other_one_does_not_step_in() {
    let stage = stage(plan()).await;
    let client = stage.h2(MAPLE).await;
    stage.blue.set_well(false);
    let answer = until("the edge knows", async || {
        let answer = client.get("/page").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!stage.edge.not_ready().is_empty());
    assert!(stage.green.seen().is_empty());
    stage.blue.set_well(true);
    until("the edge knows", async || {
        (client.get("/page").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_is_of_the_release_that_a_school_is_on() {
    let rules = r#"
[[rule]]
name = "news"
path = "/api/v1/news"
scope = "public"
ttl_s = 60

[[rule]]
name = "holidays"
path = "/api/v1/holidays"
scope = "public"
ttl_s = 60
across_colours = true
"#;
    let stage = plan().rules(rules).start().await;
    for colour in Colour::BOTH {
        school::serve(stage.origin(colour), |reply: Reply| reply.shared("public"));
    }
    stage.colour_ready(Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    let colour = async |path| client.get(path).await.json()["colour"].clone();
    assert_eq!(colour("/api/v1/news").await, "blue");
    assert_eq!(colour("/api/v1/holidays").await, "blue");
    stage.shift("green=100%").await;
    assert_eq!(colour("/api/v1/news").await, "green");
    assert_eq!(colour("/api/v1/holidays").await, "blue");
    stage.shift("green=0%").await;
    assert_eq!(colour("/api/v1/news").await, "blue");
    assert_eq!(stage.blue.hits("/api/v1/news"), 1);
    assert_eq!(stage.green.hits("/api/v1/holidays"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_they_did() {
    let stage = stage(plan()).await;
    stage.colour_ready(Colour::Green).await;
    let run = async |arguments: &[&str]| {
        let output = stage.command(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let json = async |arguments: &[&str]| -> Value {
        serde_json::from_str(&run(arguments).await).expect("what --json prints is JSON")
    };
    let dry = json(&["shift", APP, "green=10%", "--dry-run", "--json"]).await;
    assert_eq!(dry["dry_run"], true);
    assert_eq!(green_of(&json(&["status", "--json"]).await), 0);
    let shifted = json(&["shift", APP, "green=10%", "--json"]).await;
    assert_eq!(shifted["to"]["green_bp"], 1000, "{shifted}");
    assert_eq!(green_of(&json(&["status", "--json"]).await), 1000);
    assert!(run(&["status"]).await.contains("10%"));
    let purged = json(&["purge", "--tenant", "maple", "--tag", "course:1", "--json"]).await;
    assert!(purged["sequence"].is_u64(), "{purged}");
    let explained = run(&["explain", &format!("https://{MAPLE}/api/v1/x")]).await;
    assert!(explained.contains("no_rule"), "{explained}");
    for wrong in [
        vec!["shift", APP, "green=101%"],
        vec!["shift", APP, "red=1%"],
        vec!["purge", "--tenant", "maple"],
        vec!["no-such-command"],
    ] {
        assert_eq!(
            stage.command(&wrong).await.status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    let nobody = stage.command(&["shift", "no-such-app", "green=1%"]).await;
    assert_eq!(nobody.status.code(), Some(1));
}

fn green_of(status: &Value) -> u64 {
    let colours = status["apps"][APP]["colours"]
        .as_array()
        .expect("the app has colours");
    let green = colours
        .iter()
        .find(|of| of["colour"] == "green")
        .expect("green is listed");
    green["weight_bp"].as_u64().expect("a weight is a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_a_slow_request_finish_and_takes_no_new_ones() {
    let stage = stage(plan()).await;
    let mut pipes = stage.blue.on_stream("/slow", "text/plain");
    for http in Http::BOTH {
        assert_eq!(
            stage.client(MAPLE, http).await.get("/page").await.status,
            200
        );
    }
    let mut slow = Vec::new();
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let begun = tokio::spawn(async move { client.begin(Ask::get("/slow")).await });
        let pipe = pipes.recv().await.expect("the origin is asked");
        assert!(pipe.send("first ").await);
        slow.push((begun.await.expect("the answer begins"), pipe));
    }
    let address = stage.address();
    let Stage {
        edge, blue, green, ..
    } = stage;
    let began = Instant::now();
    let drained = tokio::spawn(edge.drain());
    until("no connection is accepted", async || {
        let connected = tokio::net::TcpStream::connect(address).await;
        connected.is_err().then_some(())
    })
    .await;
    assert!(!drained.is_finished());
    for (coming, pipe) in slow {
        assert!(pipe.send("last").await);
        drop(pipe);
        assert_eq!(coming.rest().await.expect("it is complete"), "first last");
    }
    assert_eq!(drained.await.expect("the drain ends"), 0);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    drop((blue, green));
}
