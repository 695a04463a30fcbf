//! A new version gets its traffic step by step, and loses it by itself when it is worse.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_proxy::colour::Colour;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;

use super::limits::nobody;
use super::support::apart::Apart;
use super::support::client::{Ask, Client};
use super::support::origin::{Asked, Origin};
use super::support::reply::Reply;
use super::support::site::APP;
use super::support::stage::{MAPLE, Plan, Stage, plan};
use super::support::wait::until;

/// Longer than a verdict takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Schools beside the two of every stage; enough for a split to have some on each side.
const SCHOOLS: [&str; 6] = ["ash", "birch", "cedar", "elm", "fir", "yew"];

/// Eight schools on blue, of which something is known, and green whole and healthy.
struct Town {
    stage: Stage,
    schools: Vec<(String, Client)>,
    device: std::cell::Cell<u32>,
}

impl Town {
    async fn new(green: impl Fn(&Asked) -> Bad + Send + Sync + 'static) -> Self {
        Self::of(plan(), green).await
    }

    async fn of(mut plan: Plan, green: impl Fn(&Asked) -> Bad + Send + Sync + 'static) -> Self {
        let host = |school: &str| format!("{school}.school.test");
        for school in SCHOOLS {
            plan = plan.tenant(school, &[&host(school)]);
        }
        let stage = plan.start().await;
        serve(&stage.blue, |_| Bad::Leisurely);
        serve(&stage.green, green);
        stage.colour_ready(Colour::Green).await;
        let mut schools = Vec::new();
        for school in SCHOOLS.iter().chain(&["maple", "oak"]) {
            schools.push(((*school).to_owned(), stage.h2(&host(school)).await));
        }
        let device = std::cell::Cell::new(0);
        let town = Self {
            stage,
            schools,
            device,
        };
        for _ in 0..40 {
            town.lesson().await;
        }
        let (_, status) = town.stage.admin("GET", "/v1/status", None).await;
        assert_eq!(status["apps"][APP]["colours"][0]["weight_bp"], 10_000);
        until("what was asked is reported", async || {
            let (_, status) = town.stage.admin("GET", "/v1/status", None).await;
            let traffic = &status["apps"][APP]["colours"][0]["traffic"];
            traffic["requests"]
                .as_u64()
                .filter(|&requests| requests > 200)
        })
        .await;
        town
    }

    /// Somebody in each school asks, each with a device of their own.
    async fn lesson(&self) {
        let asked = self.schools.iter().map(|(_, client)| {
            let device = self.device.replace(self.device.get() + 1);
            let ask = Ask::get("/lesson").header("user-agent", &format!("device {device}"));
            client.try_ask(ask)
        });
        // What breaks off is what the edge has to notice.
        let _ = join_all(asked).await;
    }

    async fn command(&self, words: &[&str]) -> (i32, Value) {
        let words = [words, &["--json"]].concat();
        let Output { status, stdout, .. } = self.stage.command(&words).await;
        let said = serde_json::from_slice(&stdout);
        let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stdout)));
        (status.code().expect("it ends by itself"), said)
    }

    async fn start(&self, more: &[&str]) -> Value {
        let words = [&["rollout", "start", APP, "--to", "green"], more].concat();
        let (code, report) = self.command(&words).await;
        assert_eq!(
            (code, &report["status"]),
            (0, &"running".into()),
            "{report}"
        );
        report
    }

    async fn report(&self) -> Value {
        let path = format!("/v1/apps/{APP}/rollout");
        self.stage.admin("GET", &path, None).await.1
    }

    /// Lessons go on until the rollout is as it should be.
    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            self.lesson().await;
            let report = self.report().await;
            if is(&report) {
                println!("{what}: after {:.1} s", began.elapsed().as_secs_f64());
                return report;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {report}");
        }
    }

    /// The judge takes everything back.
    async fn is_rolled_back(&self, what: &str) -> String {
        let report = self
            .until(what, |report| report["status"] == "rolled_back")
            .await;
        assert_eq!(report["weights"]["green_bp"], 0);
        for (school, client) in &self.schools {
            let answer = client.get("/colour").await;
            assert_eq!(answer.text(), "blue", "{school}");
        }
        let (_, audit) = self.stage.admin("GET", "/v1/audit", None).await;
        let last = &audit["entries"][0];
        assert_eq!(
            (&last["who"], &last["what"]),
            (&"judge".into(), &"rollout roll back learn".into())
        );
        report["why"].as_str().expect("it says why").to_owned()
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, PartialEq)]
enum Bad {
    Nothing,
    /// As the version before: a busy machine makes no new version slow beside it.
    Leisurely,
    Failed,
    Slow,
    Reset,
}

fn serve(origin: &Origin, bad: impl Fn(&Asked) -> Bad + Send + Sync + 'static) {
    let name = origin.name;
    origin.on(
        "/colour",
        move |_| async move { Reply::of("text/plain", name) },
    );
    origin.otherwise(move |asked| {
        let bad = bad(&asked);
        async move {
            match bad {
                Bad::Nothing => Reply::of("text/plain", "a lesson"),
                Bad::Leisurely => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Reply::of("text/plain", "a lesson")
                }
                Bad::Failed => Reply::new(500),
                Bad::Slow => {
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                    Reply::of("text/plain", "a late lesson")
                }
                Bad::Reset => {
                    let (reply, pipe) = Reply::piped();
                    tokio::spawn(async move {
                        pipe.send("half a").await;
                        pipe.break_off().await;
                    });
                    reply
                }
            }
        }
    });
}

/// About one of twenty devices, in whichever school.
fn unlucky(asked: &Asked) -> bool {
    let device = asked.seen.header("user-agent").strip_prefix("device ");
    device
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|number| number.is_multiple_of(19))
}

const LONG: [&str; 4] = ["--steps", "50%,100%", "--hold", "1h"];

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_five_of_a_hundred_requests_is_rolled_back() {
    let town = Town::new(|asked| {
        if unlucky(asked) {
            Bad::Failed
        } else {
            Bad::Nothing
        }
    })
    .await;
    let report = town.start(&LONG).await;
    let moved = report["steps"][0]["adds"].as_array().expect("a list").len();
    assert!((1..8).contains(&moved), "some of the schools: {report}");
    let why = town.is_rolled_back("five of a hundred failed").await;
    assert!(why.contains("times as many requests failed"), "{why}");
    // The release is bad until somebody says why it is not.
    let (code, problem) = town
        .command(&["rollout", "start", APP, "--to", "green"])
        .await;
    assert_eq!(
        (code, &problem["reasons"][0]["reason"]),
        (3, &"unsafe".into()),
        "{problem}"
    );
    serve(&town.stage.green, |_| Bad::Nothing);
    let again = [&LONG[..], &["--reason", "a setting was wrong"]].concat();
    town.start(&again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_slow_is_rolled_back() {
    let town = Town::new(|_| Bad::Slow).await;
    town.start(&LONG).await;
    let why = town.is_rolled_back("every answer was slow").await;
    assert!(why.contains("answers were slow"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_resets_answers_is_rolled_back() {
    let town = Town::new(|asked| {
        if unlucky(asked) {
            Bad::Reset
        } else {
            Bad::Nothing
        }
    })
    .await;
    town.start(&LONG).await;
    let why = town
        .is_rolled_back("five of a hundred answers broke off")
        .await;
    assert!(why.contains("failed"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_health_checks_hang_is_rolled_back() {
    let town = Town::new(|_| Bad::Nothing).await;
    town.start(&LONG).await;
    town.stage.green.set_hung();
    let why = town.is_rolled_back("health checks hang").await;
    assert!(why.contains("requests failed"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_for_one_school_alone_goes_on_and_it_is_said() {
    let ill = Arc::new(Mutex::new(String::new()));
    let of_green = Arc::clone(&ill);
    let town = Town::new(move |asked| match asked.seen.header("x-edge-tenant") {
        school if school == *of_green.lock() => Bad::Failed,
        _ => Bad::Nothing,
    })
    .await;
    // Enough schools on green, and some left on blue to compare with.
    let weights: Vec<String> = (1..=20).map(|n| format!("{}%", n * 5)).collect();
    let start = [
        "rollout",
        "start",
        APP,
        "--to",
        "green",
        "--dry-run",
        "--steps",
    ];
    let (_, tried) = town
        .command(&[&start[..], &[&weights.join(",")]].concat())
        .await;
    let steps = tried["steps"].as_array().expect("a list").clone();
    let enough = |step: &Value| {
        step["tenants"]
            .as_u64()
            .is_some_and(|count| (4..8).contains(&count))
    };
    let weight = steps
        .iter()
        .find(|step| enough(step))
        .expect("buckets differ");
    let weight = weight["step"].as_str().expect("a weight");
    let begun = town
        .start(&["--steps", &format!("{weight},100%"), "--hold", "1h"])
        .await;
    let school = begun["steps"][0]["adds"][0]
        .as_str()
        .expect("a school")
        .to_owned();
    ill.lock().clone_from(&school);
    let report = town
        .until("one school fails alone", |report| {
            report["alone"].is_string()
        })
        .await;
    assert_eq!(report["status"], "running", "{report}");
    let said = report["alone"].as_str().expect("it is said");
    assert!(
        said.contains(&format!("requests fail for {school} alone")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_gets_everything_and_silence_nothing() {
    let town = Town::new(|_| Bad::Nothing).await;
    let steps = [
        "--steps",
        "50%,75%,100%",
        "--hold",
        "1s",
        "--requests",
        "30",
    ];
    let report = town.start(&steps).await;
    // Nobody asks: it waits however long it has been.
    until("silence is noticed", async || {
        let report = town.report().await;
        report["holds"]
            .as_str()?
            .contains("not enough data")
            .then_some(())
    })
    .await;
    assert_eq!(town.report().await["step"], report["step"]);
    for words in [
        &["shift", APP, "green=1%"][..],
        &["rollout", "start", APP, "--to", "green"],
        &[
            "deploy",
            APP,
            "--colour",
            "green",
            "--release",
            "r2",
            "--web",
            "127.0.0.1:1",
            "--api",
            "127.0.0.1:1",
        ],
    ] {
        let (code, problem) = town.command(words).await;
        assert_eq!(
            (code, &problem["reasons"][0]["reason"]),
            (3, &"rollout_under_way".into()),
            "{problem}"
        );
    }
    assert_eq!(town.command(&["rollout", "pause", APP]).await.0, 0);
    let said = town.stage.command(&["rollout", "status", APP]).await.stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("paused") && said.contains("STEP"), "{said}");
    assert_eq!(
        town.command(&["rollout", "resume", APP, "--reason", "coffee"])
            .await
            .0,
        0
    );
    let report = town
        .until("it is promoted", |report| report["status"] == "promoted")
        .await;
    assert_eq!(report["weights"]["green_bp"], 10_000);
    assert_eq!(
        town.command(&["rollout", "abort", APP]).await.0,
        1,
        "it has ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_rollout_at_once() {
    let town = Town::new(|_| Bad::Nothing).await;
    let (code, tried) = town
        .command(&["rollout", "start", APP, "--to", "green", "--dry-run"])
        .await;
    assert_eq!((code, &tried["dry_run"]), (0, &true.into()), "{tried}");
    assert_eq!(town.report().await["status"], 404, "it was a dry run");
    for bad in ["5%,1%,100%", "1%,5%", "x"] {
        let words = ["rollout", "start", APP, "--to", "green", "--steps", bad];
        assert_eq!(town.command(&words).await.0, 2, "{bad}");
    }
    town.start(&LONG).await;
    let (code, report) = town
        .command(&["rollout", "abort", APP, "--reason", "a complaint"])
        .await;
    assert_eq!(
        (code, &report["status"]),
        (0, &"aborted".into()),
        "{report}"
    );
    assert_eq!(report["weights"]["green_bp"], 0);
    town.start(&[&LONG[..], &["--reason", "it was another app's"]].concat())
        .await;
    let (code, report) = town.command(&["rollout", "promote", APP]).await;
    assert_eq!(
        (code, &report["weights"]["green_bp"]),
        (0, &10_000.into()),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_after_a_restart() {
    let town = Town::new(|_| Bad::Nothing).await;
    let begun = town
        .start(&["--steps", "50%,100%", "--hold", "2s", "--requests", "10"])
        .await;
    let Town { stage, .. } = town;
    let stage = stage.restart().await;
    let path = format!("/v1/apps/{APP}/rollout");
    let (_, report) = stage.admin("GET", &path, None).await;
    assert_eq!(report["status"], "running", "{report}");
    assert_eq!(report["step"], begun["step"]);
    assert_eq!(report["weights"], begun["weights"]);
}

/// Frozen at every minute of the week: where one clock's day ends, another's goes on.
const FROZEN: &str = r#"
[rings.pilot]
[rings.rest]
freeze = [
  { days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "23:59", zone = "UTC" },
  { days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "23:59", zone = "Asia/Tokyo" },
]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn pilots_go_first_and_nobody_moves_in_school_hours() {
    let frozen = plan().ring("oak", "pilot").ring_tables(FROZEN);
    let town = Town::of(frozen, |_| Bad::Nothing).await;
    let begin = ["rollout", "start", APP, "--to", "green", "--rings", "pilot"];
    let begin = [
        &begin[..],
        &["--steps", "100%", "--hold", "1s", "--requests", "5"],
    ]
    .concat();
    let (code, report) = town.command(&begin).await;
    assert_eq!(
        (code, &report["steps"][0]["adds"]),
        (0, &serde_json::json!(["oak"])),
        "{report}"
    );
    for (school, client) in &town.schools {
        let expected = if school == "oak" { "green" } else { "blue" };
        assert_eq!(client.get("/colour").await.text(), expected, "{school}");
    }
    let held = |report: &Value| {
        let holds = report["holds"].as_str();
        holds.is_some_and(|holds| holds.contains("ring rest is frozen"))
    };
    let report = town.until("the rest is frozen", held).await;
    assert_eq!(
        (&report["step"], &report["weights"]["green_bp"]),
        (&0.into(), &0.into())
    );
    let (code, problem) = town.command(&["rollout", "promote", APP]).await;
    assert_eq!(
        (code, &problem["reasons"][0]["reason"]),
        (3, &"frozen".into()),
        "{problem}"
    );
    let (code, report) = town.command(&["rollout", "abort", APP]).await;
    assert_eq!(
        (code, &report["status"]),
        (0, &"aborted".into()),
        "back is always possible"
    );

    let despite = [&begin[..], &["--despite-freeze"]].concat();
    let Output { status, .. } = town.stage.command(&despite).await;
    assert_eq!(status.code(), Some(2), "a reason is wanted");
    let despite = [&despite[..], &["--reason", "a hole is being used"]].concat();
    assert_eq!(town.command(&despite).await.0, 0);
    town.until("it is promoted", |report| report["status"] == "promoted")
        .await;
    let (_, audit) = town.stage.admin("GET", "/v1/audit", None).await;
    let start = &audit["entries"].as_array().expect("a list").iter();
    let why = start
        .clone()
        .find(|entry| entry["why"] == "a hole is being used");
    assert!(why.is_some(), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_freezes_an_app_and_lets_it_go() {
    let town = Town::new(|_| Bad::Nothing).await;
    for bad in ["2020-11-22T12:00:00Z", "tomorrow"] {
        assert_eq!(
            town.command(&["freeze", APP, "--until", bad]).await.0,
            2,
            "{bad}"
        );
    }
    let until = [
        "freeze",
        APP,
        "--until",
        "2999-01-01T00:00:00+01:00",
        "--reason",
        "exams",
    ];
    let (code, report) = town.command(&until).await;
    assert_eq!(
        (code, &report["until"]),
        (0, &"2998-12-31T23:00:00Z".into()),
        "{report}"
    );
    let begin = ["rollout", "start", APP, "--to", "green"];
    let (code, problem) = town.command(&begin).await;
    assert_eq!(
        (code, &problem["reasons"][0]["reason"]),
        (3, &"frozen".into()),
        "{problem}"
    );
    assert_eq!(town.command(&["freeze", APP, "--off"]).await.0, 0);
    assert_eq!(town.command(&begin).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_as_it_was_after_a_kill() {
    let mut edge = Apart::start(plan(), MAPLE).await;
    let green = edge.process.set.green.address.to_string();
    let json = async |edge: &Apart, words: &[&str]| -> (Option<i32>, Value) {
        let output = edge.process.command(&[words, &["--json"]].concat()).await;
        let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said)
    };
    let deploy = |release: &'static str, address: &str, wait: &str| {
        let words = ["deploy", APP, "--colour", "green", "--release", release];
        let words = words.map(str::to_owned).into_iter();
        let members = [
            format!("--web={address}"),
            format!("--api={address}"),
            format!("--wait={wait}"),
        ];
        words.chain(members).collect::<Vec<String>>()
    };
    let words = deploy("r1", &nobody().await.to_string(), "20s");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut deploying = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .args(words)
        .arg("--config")
        .arg(&edge.process.set.config)
        .spawn()
        .expect("the binary was built");
    until("the deploy is under way", async || {
        let (_, status) = json(&edge, &["status"]).await;
        (status["apps"][APP]["colours"][1]["release"] == "r1").then_some(())
    })
    .await;
    edge.kill(MAPLE).await;
    // Who serves now looks on, and whoever waits for it hears that it was undone.
    assert!(!deploying.wait().expect("it ends").success());
    let (_, status) = json(&edge, &["status"]).await;
    let colours = &status["apps"][APP]["colours"];
    assert_eq!(
        (&colours[0]["weight_bp"], &colours[1]["phase"]),
        (&10_000.into(), &"idle".into())
    );
    let words = deploy("r2", &green, "60s");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, report) = json(&edge, &words).await;
    assert_eq!(code, Some(0), "{report}");

    let start = [
        "rollout", "start", APP, "--to", "green", "--steps", "50%,100%", "--hold", "1h",
    ];
    let (code, begun) = json(&edge, &start).await;
    assert_eq!(code, Some(0), "{begun}");
    edge.kill(MAPLE).await;
    let (_, report) = json(&edge, &["rollout", "status", APP]).await;
    assert_eq!(report["status"], "running", "{report}");
    assert_eq!(
        (&report["step"], &report["weights"]),
        (&begun["step"], &begun["weights"])
    );
    let (code, report) = json(&edge, &["rollout", "abort", APP]).await;
    assert_eq!(
        (code, &report["weights"]["green_bp"]),
        (Some(0), &0.into()),
        "{report}"
    );
    let (code, audit) = json(&edge, &["audit", "log"]).await;
    assert_eq!((code, &audit["broken"]), (Some(0), &Value::Null), "{audit}");
}

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
