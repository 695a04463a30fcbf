//! Commands from the socket to the request path and back, over a real state file.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use self::support::Room;
use super::client::{self, ExplainArgs, PurgeArgs, ShiftArgs};
use super::counters::Counters;
use super::embedded::Embedded;
use super::event::{Entry, Purge};
use super::socket::{AdminSocket, SocketError};
use super::store::{
    Audit, Change, ControlStore, Key, News, Note, Record, Sequence, Snapshot, StoreError,
};
use crate::colour::Colour;

const SHIFT: &str = "/v1/apps/learn/shift";

#[tokio::test]
async fn a_shift_is_answered_when_requests_see_it_and_survives_a_restart() {
    let room = Room::open().await;
    let answer = room.post(SHIFT, json!({"weight": "green=12.5%"})).await;
    let expected = json!({
        "app": "learn", "from": {"blue_bp": 10000, "green_bp": 0}, "to": {"blue_bp": 8750, "green_bp": 1250},
        "changed": true, "dry_run": false, "revision": 3,
    });
    assert_eq!(*answer.ok(), expected);
    assert!(answer.head.contains("etag: \"3\""), "{answer:?}");
    assert_eq!(room.green_bp("learn"), 1_250);
    assert_eq!(room.green_bp("portal"), 0);
    let again = room.post(SHIFT, json!({"weight": "blue=8750bp"})).await;
    assert_eq!(again.ok()["changed"], false);
    assert_eq!(again.ok()["revision"], 3);

    let room = Room::open_in(room.close().await).await;
    assert_eq!(
        room.green_bp("learn"),
        1_250,
        "the state wins over the config's first colours"
    );
    let status = room.get("/v1/status").await;
    assert_eq!(
        status.ok()["apps"]["learn"]["colours"][1]["weight_bp"],
        1_250
    );
    assert_eq!(status.ok()["apps"]["learn"]["colours"][1]["phase"], "live");
    assert_eq!(status.ok()["apps"]["learn"]["revision"], 3);
}

#[tokio::test]
async fn weight_is_refused_to_a_colour_that_cannot_take_it_and_never_kept_from_leaving_it() {
    let room = Room::open().await;
    *room.fake.ill.lock() = true;
    *room.fake.missing.lock() = 2;
    let answer = room.post(SHIFT, json!({"weight": "green=1bp"})).await;
    let problem = answer.problem(422, "refused");
    assert_eq!(problem["refused"], true);
    let reasons = json!([
        {"reason": "unhealthy", "service": "web", "member": "127.0.0.1:4001", "why": "connection refused"},
        {"reason": "files_missing", "release": "r1", "missing": 2, "first": ["app.js"]},
    ]);
    assert_eq!(problem["reasons"], reasons);
    assert_eq!(room.green_bp("learn"), 0);
    let undeployed = room
        .post("/v1/apps/portal/shift", json!({"weight": "blue=0%"}))
        .await;
    assert_eq!(
        undeployed.problem(422, "refused")["reasons"],
        json!([{"reason": "not_deployed", "colour": "green"}])
    );

    *room.fake.ill.lock() = false;
    *room.fake.missing.lock() = 0;
    room.post(SHIFT, json!({"weight": "green=100%"})).await.ok();
    *room.fake.ill.lock() = true;
    let back = room.post(SHIFT, json!({"weight": "green=0%"})).await;
    back.problem(422, "refused");
    assert_eq!(
        room.green_bp("learn"),
        10_000,
        "blue is ill too in this story"
    );
}

#[tokio::test]
async fn a_deploy_is_ready_or_everything_is_as_it_was() {
    const DEPLOY: &str = "/v1/apps/learn/deploy";
    let room = Room::open().await;
    let green = async |release: &str| room.becomes("learn", Colour::Green, release).await;
    let ended = async || {
        let mut report = json!({"stage": "checking"});
        while report["stage"] == "checking" {
            tokio::task::yield_now().await;
            report = room.get(DEPLOY).await.ok().clone();
        }
        report
    };
    let services = json!({"web": ["127.0.0.1:4001"]});
    let deploy =
        json!({"colour": "green", "release": "r2", "services": services.clone(), "wait_s": 1});
    room.get(DEPLOY).await.problem(404, "unknown");
    let live = json!({"colour": "blue", "release": "r2", "services": services});
    let refused = room.post(DEPLOY, live).await;
    let refused = refused.problem(422, "refused");
    assert_eq!(refused["reasons"][0]["reason"], "has_weight");

    *room.fake.missing.lock() = 3;
    assert_eq!(room.post(DEPLOY, deploy.clone()).await.status, 202);
    green("r2").await;
    let second = room.post(DEPLOY, deploy.clone()).await;
    second.problem(409, "running");
    let report = ended().await;
    assert_eq!(report["stage"], "undone");
    assert_eq!(report["lacks"][0]["reason"], "files_missing");
    green("r1").await;

    *room.fake.missing.lock() = 0;
    assert_eq!(room.post(DEPLOY, deploy).await.status, 202);
    assert_eq!(ended().await["stage"], "ready");
    green("r2").await;
    let audit = room.get("/v1/audit").await;
    let noted = |note: &&Value| note["what"] == "deploy learn green";
    let notes = audit.ok()["entries"].as_array().expect("a list").iter();
    assert_eq!(notes.filter(noted).count(), 2, "{audit:?}");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_does_nothing() {
    let room = Room::open().await;
    let answer = room
        .post(SHIFT, json!({"weight": "green=10%", "dry_run": true}))
        .await;
    assert_eq!(answer.ok()["changed"], true);
    assert_eq!(answer.ok()["to"]["green_bp"], 1_000);
    let purge = json!({"tenant": "oak", "all": true, "dry_run": true});
    let purge = room.post("/v1/purge", purge).await;
    assert_eq!(purge.ok()["purged"], "everything of oak");
    assert!(purge.ok().get("sequence").is_none());
    *room.fake.ill.lock() = true;
    let refused = room
        .post(SHIFT, json!({"weight": "green=10%", "dry_run": true}))
        .await;
    refused.problem(422, "refused");
    assert_eq!(room.green_bp("learn"), 0);
    assert_eq!(*room.fake.purges.lock(), []);
    assert_eq!(
        room.get("/v1/audit").await.ok()["records"],
        2,
        "only the seeds"
    );
}

#[tokio::test]
async fn an_operator_who_looked_before_another_one_changed_it_is_told() {
    let room = Room::open().await;
    let body = json!({"weight": "green=10%"}).to_string();
    let matching = |revision: &'static str| [("if-match", revision)];
    for bad in ["1", "W/\"1\"", "*", "\"x\"", "\"1\", \"2\""] {
        let answer = room.ask("POST", SHIFT, &[("if-match", bad)], &body).await;
        answer.problem(400, "usage");
    }
    room.ask("POST", SHIFT, &matching("\"1\""), &body)
        .await
        .ok();
    let body = json!({"weight": "green=20%"}).to_string();
    let late = room.ask("POST", SHIFT, &matching("\"1\""), &body).await;
    late.problem(412, "changed");
    assert_eq!(room.green_bp("learn"), 1_000);
    room.ask("POST", SHIFT, &matching("\"3\""), &body)
        .await
        .ok();
}

#[tokio::test]
async fn shifts_at_the_same_time_are_done_one_after_the_other() {
    let room = Arc::new(Room::open().await);
    let shifts = [1_000, 2_000].map(|bp| {
        let room = room.clone();
        let body = json!({"weight": format!("green={bp}bp")});
        tokio::spawn(async move { room.post(SHIFT, body).await.status })
    });
    for shift in shifts {
        assert_eq!(shift.await.expect("no panic"), 200);
    }
    assert!([1_000, 2_000].contains(&room.green_bp("learn")));
    let audit = room.get("/v1/audit").await;
    assert_eq!(
        (&audit.ok()["records"], &audit.ok()["broken"]),
        (&json!(4), &Value::Null)
    );
    assert_eq!(
        audit.ok()["entries"][0]["from"],
        audit.ok()["entries"][1]["to"],
        "no change was made from a state that was gone"
    );
}

/// A store in which somebody else was always faster.
struct Contended(Arc<Embedded>);

#[async_trait]
impl ControlStore for Contended {
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.0.record(key).await
    }

    async fn commit(&self, change: Change, _: Note) -> Result<Sequence, StoreError> {
        match change {
            Change::Put { key, expected, .. } => Err(StoreError::Conflict {
                key,
                expected,
                found: Sequence(expected.0 + 1),
            }),
            Change::Append(_) => Err(StoreError::Busy),
        }
    }

    async fn events(&self, after: Sequence, count_max: usize) -> Result<Vec<Entry>, StoreError> {
        self.0.events(after, count_max).await
    }

    async fn audit(
        &self,
        count_max: usize,
        seen: Option<(Sequence, asset_pipeline::digest::Digest)>,
    ) -> Result<Audit, StoreError> {
        self.0.audit(count_max, seen).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.0.snapshot().await
    }

    fn report(&self, _: Counters) {}

    fn tail(&self) -> broadcast::Receiver<News> {
        self.0.tail()
    }
}

#[tokio::test]
async fn a_conflict_that_does_not_end_and_a_busy_store_are_told_apart() {
    let folder = Room::open().await.close().await;
    let store = Embedded::open(&folder.path().join("state.redb")).expect("it opens");
    let store = Arc::new(store);
    let room = Room::with(folder, store.clone(), Arc::new(Contended(store))).await;
    let answer = room.post(SHIFT, json!({"weight": "green=10%"})).await;
    answer.problem(409, "conflict");
    let purge = room
        .post("/v1/purge", json!({"tenant": "oak", "all": true}))
        .await;
    purge.problem(503, "busy");
}

#[tokio::test]
async fn a_purge_is_answered_when_requests_see_it_and_its_number_never_goes_back() {
    let mut room = Room::open().await;
    let mut last = 0;
    for _ in 0..2 {
        for (body, purged) in [
            (
                json!({"tenant": "oak", "tag": "course:7"}),
                "tag course:7 of oak",
            ),
            (
                json!({"tenant": "oak", "url": "/api/v1/courses/7?page=2"}),
                "path /api/v1/courses/7 of oak",
            ),
            (
                json!({"tenant": "oak", "url": "https://OAK.example/api/v1/x?y=1"}),
                "path /api/v1/x of oak",
            ),
            (json!({"tenant": "elm", "all": true}), "everything of elm"),
        ] {
            let answer = room.post("/v1/purge", body).await;
            assert_eq!(answer.ok()["purged"], purged);
            let sequence = answer.ok()["sequence"].as_u64().expect("a number");
            assert!(sequence > last && answer.ok()["micros"].is_u64());
            last = sequence;
            let (told, purge) = room
                .fake
                .purges
                .lock()
                .last()
                .cloned()
                .expect("it was told");
            assert_eq!((told, purge.to_string().as_str()), (sequence, purged));
        }
        room = Room::open_in(room.close().await).await;
    }
    assert_eq!(room.get("/v1/status").await.ok()["sequence"], last);
}

#[tokio::test]
async fn a_purge_that_cannot_be_meant_is_refused() {
    let room = Room::open().await;
    for (body, status, kind) in [
        (json!({"tenant": "oak"}), 400, "usage"),
        (
            json!({"tenant": "oak", "tag": "a", "all": true}),
            400,
            "usage",
        ),
        (
            json!({"tenant": "oak", "tag": "a", "url": "/"}),
            400,
            "usage",
        ),
        (json!({"tenant": "oak", "tag": "two tags"}), 400, "usage"),
        (json!({"tenant": "oak", "tag": ""}), 400, "usage"),
        (json!({"tenant": "oak", "url": "courses"}), 400, "usage"),
        (json!({"tenant": "oak", "url": "/a/../b"}), 400, "usage"),
        (json!({"tenant": "oak", "url": "/a%zz"}), 400, "usage"),
        (
            json!({"tenant": "oak", "url": "https://elm.example/"}),
            400,
            "usage",
        ),
        (
            json!({"tenant": "oak", "url": "https://user@oak.example/"}),
            400,
            "usage",
        ),
        (json!({"tenant": "ash", "all": true}), 404, "unknown"),
        (json!({"tenant": "", "all": true}), 400, "usage"),
        (json!({"tenant": "oak\n", "all": true}), 400, "usage"),
        (json!({"all": true}), 400, "usage"),
        (
            json!({"tenant": "oak", "all": true, "every": 1}),
            400,
            "usage",
        ),
    ] {
        let answer = room.post("/v1/purge", body.clone()).await;
        answer.problem(status, kind);
    }
    assert_eq!(*room.fake.purges.lock(), []);
}

#[tokio::test]
async fn a_command_with_a_key_is_done_once() {
    let room = Room::open().await;
    let ask = async |key: &str, body: &str| {
        room.ask("POST", "/v1/purge", &[("idempotency-key", key)], body)
            .await
    };
    let purge = json!({"tenant": "oak", "tag": "a"}).to_string();
    let first = ask("k1", &purge).await;
    let second = ask("k1", &purge).await;
    assert_eq!(first.ok(), second.ok());
    assert!(
        second.head.contains("idempotent-replayed: true"),
        "{second:?}"
    );
    assert_eq!(room.fake.purges.lock().len(), 1);
    let other = json!({"tenant": "oak", "tag": "b"}).to_string();
    ask("k1", &other).await.problem(422, "key-reused");
    ask("k2", &other).await.ok();
    ask("two words", &other).await.problem(400, "usage");

    let shift = json!({"weight": "green=10%"}).to_string();
    let key = [("idempotency-key", "k3")];
    *room.fake.ill.lock() = true;
    room.ask("POST", SHIFT, &key, &shift)
        .await
        .problem(422, "refused");
    *room.fake.ill.lock() = false;
    room.ask("POST", SHIFT, &key, &shift).await.ok();
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_in_the_one_form() {
    let room = Room::open().await;
    for (method, path, body, status, kind) in [
        ("GET", "/", "", 404, "unknown"),
        ("GET", "/v1/nothing", "", 404, "unknown"),
        ("DELETE", "/v1/status", "", 405, "method"),
        ("GET", "/v1/purge", "", 405, "method"),
        ("POST", SHIFT, "", 400, "usage"),
        ("POST", SHIFT, "{", 400, "usage"),
        ("POST", SHIFT, "[]", 400, "usage"),
        ("POST", SHIFT, r#"{"weight":"green=101%"}"#, 400, "usage"),
        (
            "POST",
            SHIFT,
            r#"{"weight":"green=1%","force":true}"#,
            400,
            "usage",
        ),
        (
            "POST",
            "/v1/apps/nothing/shift",
            r#"{"weight":"green=1%"}"#,
            404,
            "unknown",
        ),
        (
            "POST",
            "/v1/apps/..%2f..%2fetc/shift",
            r#"{"weight":"green=1%"}"#,
            404,
            "unknown",
        ),
        ("GET", "/v1/explain", "", 400, "usage"),
        ("GET", "/v1/explain?url=%00", "", 400, "usage"),
        ("GET", "/v1/explain?url=/no-host", "", 400, "usage"),
        (
            "GET",
            "/v1/explain?url=https://oak.example/&method=%20",
            "",
            400,
            "usage",
        ),
        ("GET", "/v1/audit?limit=many", "", 400, "usage"),
    ] {
        let answer = room.ask(method, path, &[], body).await;
        answer.problem(status, kind);
    }
    let huge = format!(r#"{{"weight":"{}"}}"#, "x".repeat(20_000));
    room.ask("POST", SHIFT, &[], &huge)
        .await
        .problem(413, "too-large");
    let explained = room
        .get("/v1/explain?url=https%3A%2F%2Foak.example%2Fa%3Fb&method=POST")
        .await;
    assert_eq!(explained.ok()["summary"], "POST /a");
}

#[tokio::test]
async fn the_document_names_every_path_and_every_path_is_there() {
    let room = Room::open().await;
    let answer = room.get("/v1/openapi.json").await;
    let paths = answer.ok()["paths"].as_object().expect("paths").clone();
    let mut names: Vec<&str> = paths.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "/v1/apps/{app}/deploy",
        "/v1/apps/{app}/drain",
        "/v1/apps/{app}/freeze",
        "/v1/apps/{app}/pause",
        "/v1/apps/{app}/rollout",
        "/v1/apps/{app}/rollout/{command}",
        "/v1/apps/{app}/shift",
        "/v1/audit",
        "/v1/authorities/{authority}/key",
        "/v1/cache",
        "/v1/certificates/{host}",
        "/v1/explain",
        "/v1/purge",
        "/v1/status",
    ];
    assert_eq!(names, expected);
    for (path, operations) in &paths {
        for method in operations.as_object().expect("operations").keys() {
            let path = path.replace("{app}", "learn").replace("{command}", "pause");
            let path = path
                .replace("{host}", "oak.example")
                .replace("{authority}", "pebble");
            let answer = room.ask(&method.to_uppercase(), &path, &[], "").await;
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            let absent = answer.status == 405 || detail.starts_with("no such path");
            assert!(!absent, "{method} {path}: {answer:?}");
        }
    }
    let schemas = &answer.ok()["components"]["schemas"];
    for schema in [
        "Status",
        "ShiftReport",
        "DeployReport",
        "PurgeReport",
        "Explanation",
        "AuditEntry",
        "Problem",
        "Reason",
    ] {
        assert!(schemas[schema].is_object(), "{schema}");
    }
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_who_and_why() {
    let room = Room::open().await;
    let body = json!({"weight": "green=10%", "reason": "first step\nof the rollout"});
    room.post(SHIFT, body).await.ok();
    let audit = room.get("/v1/audit?limit=1").await;
    let entry = &audit.ok()["entries"][0];
    assert!(
        entry["who"]
            .as_str()
            .is_some_and(|who| who.starts_with("uid ")),
        "{entry}"
    );
    assert_eq!(entry["what"], "shift learn green=10%");
    assert_eq!(entry["from"], "blue r1 10000bp, green r1 0bp");
    assert_eq!(entry["to"], "blue r1 9000bp, green r1 1000bp");
    assert_eq!(entry["why"], "first step of the rollout");
}

/// Everything that a command can leave behind, searched for what must never be there.
#[tokio::test]
async fn no_query_cookie_or_token_of_a_command_is_kept_or_logged() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);

    let room = Room::open().await;
    let secret = [
        ("authorization", "Bearer CANARY-1"),
        ("cookie", "session=CANARY-2"),
    ];
    let purge = json!({"tenant": "oak", "url": "https://oak.example/a?token=CANARY-3#CANARY-4"});
    room.ask("POST", "/v1/purge", &secret, &purge.to_string())
        .await
        .ok();
    let purge = json!({"tenant": "oak", "url": "/b?token=CANARY-5"});
    room.ask("POST", "/v1/purge", &secret, &purge.to_string())
        .await
        .ok();
    let bad = json!({"tenant": "oak", "url": "/b%zz?token=CANARY-6"});
    let problem = room
        .ask("POST", "/v1/purge", &secret, &bad.to_string())
        .await;
    room.ask(
        "GET",
        "/v1/explain?url=https://oak.example/c%3Ftoken=CANARY-7",
        &secret,
        "",
    )
    .await
    .ok();
    room.ask("POST", SHIFT, &secret, r#"{"weight":"green=10%"}"#)
        .await
        .ok();
    let mut left = room.get("/v1/audit").await.ok().to_string();
    left += &room.get("/v1/status").await.ok().to_string();
    left += &problem.body.to_string();
    let folder = room.close().await;
    drop(logging);
    left += &String::from_utf8_lossy(&log.0.lock());
    let file = std::fs::read(folder.path().join("state.redb")).expect("it is there");
    left += &String::from_utf8_lossy(&file);
    assert!(
        left.contains("shift learn green=10%"),
        "the search finds what is there"
    );
    assert!(
        !left.contains("CANARY"),
        "{}",
        &left[left.find("CANARY").unwrap_or(0)..]
    );
}

fn is(code: ExitCode, expected: u8) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::from(expected))
}

#[tokio::test]
async fn commands_end_with_the_code_that_says_who_has_to_act() {
    let room = Room::open().await;
    *room.fake.ill.lock() = true;
    let socket = room.socket();
    let nowhere = room.folder.path().join("nobody.sock");
    let codes = tokio::task::spawn_blocking(move || {
        let shift = |app: &str, weight: &str| ShiftArgs {
            despite_freeze: false,
            app: app.into(),
            weight: weight.into(),
            dry_run: false,
            reason: None,
        };
        let purge = |tenant: &str, tag: Option<&str>, all| PurgeArgs {
            tenant: tenant.into(),
            tag: tag.map(Into::into),
            url: None,
            all,
            soft: false,
            dry_run: false,
            reason: None,
        };
        let explain = |url: &str| ExplainArgs {
            url: url.into(),
            method: None,
            asker: None,
        };
        [
            (client::status(&socket, false), 0),
            (client::status(&socket, true), 0),
            (client::status(&nowhere, false), 1),
            (
                client::shift(&socket, &shift("learn", "green=10%"), false),
                3,
            ),
            (client::shift(&socket, &shift("learn", "green=0%"), true), 0),
            (client::shift(&socket, &shift("learn", "10%"), false), 2),
            (client::shift(&nowhere, &shift("learn", "10%"), false), 2),
            (
                client::shift(&socket, &shift("a/b?c", "green=10%"), true),
                1,
            ),
            (
                client::purge(&socket, &purge("oak", Some("a"), false), false),
                0,
            ),
            (client::purge(&socket, &purge("oak", None, false), false), 2),
            (
                client::purge(&socket, &purge("oak", Some("a"), true), true),
                2,
            ),
            (client::purge(&socket, &purge("ash", None, true), false), 1),
            (
                client::explain(&socket, &explain("https://oak.example/a?b=c"), false),
                0,
            ),
            (client::explain(&socket, &explain("oak"), false), 2),
        ]
    });
    for (place, (code, expected)) in codes.await.expect("no panic").into_iter().enumerate() {
        assert!(
            is(code, expected),
            "command {place} ended with {code:?}, not {expected}"
        );
    }
}

#[tokio::test]
async fn the_socket_is_this_accounts_alone_and_belongs_to_one_living_edge() {
    let room = Room::open().await;
    let path = room.socket();
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = AdminSocket::bind(&path).expect_err("it is answered");
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");
    let folder = room.close().await;
    assert!(!path.exists(), "it is removed at the end");

    // What a killed edge leaves behind: bound, and nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it binds"));
    assert!(path.exists());
    let socket = AdminSocket::bind(&path).expect("the stale file is replaced");
    std::fs::remove_file(&path).expect("it is there");
    let other = AdminSocket::bind(&path).expect("the name is free");
    drop(socket);
    assert!(path.exists(), "the file of another edge is left alone");
    drop(other);
    assert!(!path.exists());

    std::fs::write(&path, "precious").expect("it can be written");
    let file = AdminSocket::bind(&path).expect_err("it is no socket");
    assert!(matches!(file, SocketError::NotASocket { .. }), "{file}");
    assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
    let long = AdminSocket::bind(&folder.path().join("x".repeat(200))).expect_err("too long");
    assert!(long.to_string().contains("admin socket"), "{long}");
}

#[test]
fn stored_events_read_back_as_they_were() {
    let tenant = || "oak".parse().expect("a tenant");
    for purge in [
        Purge::Tag(
            tenant(),
            cache_rules::tag::Tag::parse("course:7").expect("a tag"),
        ),
        Purge::Path(
            tenant(),
            super::event::PurgePath::parse("/a/b").expect("a path"),
        ),
        Purge::Tenant(tenant()),
        Purge::Everything,
    ] {
        let text = serde_json::to_string(&purge).expect("it has a form");
        assert_eq!(
            serde_json::from_str::<Purge>(&text).expect("it reads back"),
            purge
        );
    }
    assert!(serde_json::from_str::<Purge>(r#"{"tag":{"tenant":"o k","tag":"a"}}"#).is_err());
}
