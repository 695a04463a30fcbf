//! What the platform says that it changed is not served again; nobody else can say so, and nobody can say
//! it for another school.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::replacing::started;
use super::support::client::{Client, Http};
use super::support::fixtures::skipped;
use super::support::origin::Origin;
use super::support::process::Process;
use super::support::raw::Raw;
use super::support::school::{self, ANNA, BEN};
use super::support::stage::{MAPLE, OAK, Plan, Stage, plan};

const RULES: &str = r#"
[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
tags = ["course:{id}"]
"#;

const COURSE: &str = "/api/v1/courses/7";
const MAPLES: &str = "the secret of maple, long enough to be one";
const MAPLES_NEXT: &str = "the next secret of maple, long enough too";
const OAKS: &str = "the secret of oak, which is another one";

/// An edge that hears events, and the folder with the secrets.
fn hearing() -> (Plan, TempDir) {
    let secrets = tempfile::tempdir().expect("there is a place for temporary files");
    let put = |name: &str, text: &str| {
        std::fs::write(secrets.path().join(name), text).expect("the test's folder can be written");
    };
    put("maple.secret", &format!("{MAPLES}\n{MAPLES_NEXT}\n"));
    put("oak.secret", OAKS);
    let table = format!(
        "[events]\nlisten = \"127.0.0.1:0\"\nsecrets = \"{}\"\n",
        secrets.path().display()
    );
    (plan().rules(RULES).table(&table), secrets)
}

async fn stage() -> (Stage, TempDir) {
    let (plan, secrets) = hearing();
    let stage = plan.start().await;
    serve(&stage.blue);
    (stage, secrets)
}

fn serve(origin: &Origin) {
    school::serve(origin, |reply| {
        reply
            .shared("tenant")
            .header("surrogate-key", "student:anna")
    });
}

fn now(ahead_s: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("it is before the year 292 277 026 596") + ahead_s
}

fn signed(secret: &str, time: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    format!("bellwether-signature: t={time},v1={}\r\n", hex::encode(tag))
}

fn address(stage: &Stage) -> SocketAddr {
    let address = stage.edge.events_address();
    address.expect("the edge listens for events")
}

/// Posts a body with these header lines: status and JSON.
async fn post(address: SocketAddr, lines: &str, body: &str) -> (u16, Value) {
    let mut wire = Raw::plain(address).await;
    let length = body.len();
    wire.send(format!(
        "POST /v1/events HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
    ))
    .await;
    let heard = wire.hear().await;
    let json = heard
        .text
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body);
    (
        heard.status(),
        serde_json::from_str(json).unwrap_or(Value::Null),
    )
}

async fn tell(stage: &Stage, secret: &str, body: &Value) -> (u16, Value) {
    posted(stage, secret, &body.to_string()).await
}

/// An event of now, signed.
pub(super) async fn posted(stage: &Stage, secret: &str, body: &str) -> (u16, Value) {
    post(address(stage), &signed(secret, now(0), body), body).await
}

/// What was done before, told again: the receipt is that of the first time.
fn repeated(first: &Value) -> Value {
    let mut report = first.clone();
    report["repeated"] = true.into();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_ends_what_it_names_in_its_own_school() {
    let (stage, _secrets) = stage().await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let elsewhere = oak.ask(BEN.ask(COURSE)).await.nonce();
    for (n, (secret, event)) in [
        (
            MAPLES,
            json!({ "event": "purge", "tags": ["other", "course:7"] }),
        ),
        (
            MAPLES_NEXT,
            json!({ "event": "purge", "tags": ["course:7"] }),
        ),
        (
            MAPLES,
            json!({ "event": "student.erased", "student": "anna" }),
        ),
        (
            MAPLES,
            json!({ "event": "purge", "tags": ["other", "t:maple"] }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let before = maple.ask(ANNA.ask(COURSE)).await.nonce();
        let mut event = event;
        event["tenant"] = "maple".into();
        event["id"] = format!("evt-{n}").into();
        let (status, report) = tell(&stage, secret, &event).await;
        assert_eq!(
            (status, &report["objects"]),
            (200, &json!(1)),
            "{event}: {report}"
        );
        assert!(report["sequence"].as_u64() > Some(0), "{report}");
        assert!(report["edge"].as_str().is_some_and(|name| !name.is_empty()));
        let after = maple.ask(ANNA.ask(COURSE)).await.nonce();
        assert_ne!(after, before, "{event}");
        // Said again, under the other secret too, it is answered as before and not done again.
        for again in [secret, MAPLES, MAPLES_NEXT] {
            let said = tell(&stage, again, &event).await;
            assert_eq!(said, (200, repeated(&report)));
        }
        assert_eq!(maple.ask(ANNA.ask(COURSE)).await.nonce(), after, "{event}");
    }
    assert_eq!(oak.ask(BEN.ask(COURSE)).await.nonce(), elsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_known_for_a_day() {
    let (stage, _secrets) = stage().await;
    let event =
        json!({ "id": "e", "tenant": "maple", "event": "student.erased", "student": "anna" });
    let (status, first) = tell(&stage, MAPLES, &event).await;
    assert_eq!((status, &first["repeated"]), (200, &json!(false)));
    let hours = |count: u64| Duration::from_secs(count * 3600);
    stage.edge.clock().advance(hours(23));
    let text = event.to_string();
    let lines = |ahead_s| signed(MAPLES, now(ahead_s), &text);
    let said = post(address(&stage), &lines(23 * 3600), &text).await;
    assert_eq!(said, (200, repeated(&first)));
    // The same id with anything else is another event: an old answer would be left otherwise.
    let other =
        json!({ "id": "e", "tenant": "maple", "event": "student.erased", "student": "ben" })
            .to_string();
    let lines_of_other = signed(MAPLES, now(23 * 3600), &other);
    let (status, said) = post(address(&stage), &lines_of_other, &other).await;
    assert_eq!((status, &said["repeated"]), (200, &json!(false)));
    stage.edge.clock().advance(hours(1));
    let (status, later) = post(address(&stage), &lines(24 * 3600), &text).await;
    assert_eq!((status, &later["repeated"]), (200, &json!(false)));
    assert!(later["sequence"].as_u64() > first["sequence"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_known_to_the_next_version_and_after_a_crash() {
    let (plan, _secrets) = hearing();
    let mut process = started(plan).await;
    serve(&process.set.blue);
    let tls = process.set.authority.client(&[Http::Two.alpn()]);
    let maple = Client::open(process.address(), MAPLE, tls, Http::Two).await;
    maple.ask(ANNA.ask(COURSE)).await.nonce();
    let text =
        json!({ "id": "e", "tenant": "maple", "event": "student.erased", "student": "anna" })
            .to_string();
    let tell = async |process: &Process| {
        let lines = signed(MAPLES, now(0), &text);
        post(process.named("platform="), &lines, &text).await
    };
    let (status, first) = tell(&process).await;
    assert_eq!((status, &first["objects"]), (200, &json!(1)), "{first}");
    let upgraded = process.command(&["upgrade", "--cold"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    assert_eq!(tell(&process).await, (200, repeated(&first)), "upgraded");
    process.kill().await;
    assert_eq!(tell(&process).await, (200, repeated(&first)), "killed");
    let (_, audit) = process.admin("GET", "/v1/audit", None).await;
    let entries = audit["entries"].as_array().expect("a list").iter();
    let erased = entries.filter(|entry| entry["what"] == "event student.erased");
    assert_eq!(erased.count(), 1, "{audit}");
}

/// A disk with little room, which ends with this value.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where it may not be made.
    fn mounted() -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]);
        let mounted = mount.arg(folder.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder))
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("there is room for a name");
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("it was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let _ended = umount.arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_full_disk_cannot_take_is_refused_and_done_when_there_is_room() {
    let Some(disk) = SmallDisk::mounted() else {
        skipped("only root may mount a small file system");
        return;
    };
    let (plan, _secrets) = hearing();
    let set = plan.set().await;
    std::os::unix::fs::symlink(disk.0.path(), set.folder.path().join("state"))
        .expect("the stage's folder can be written");
    let process = Process::run(set).await;
    serve(&process.set.blue);
    let tls = process.set.authority.client(&[Http::Two.alpn()]);
    let maple = Client::open(process.address(), MAPLE, tls, Http::Two).await;
    let events = process.named("platform=");
    let tell = async |id: usize| {
        let event =
            json!({ "id": id.to_string(), "tenant": "maple", "event": "purge", "tags": ["course:7"] })
                .to_string();
        post(events, &signed(MAPLES, now(0), &event), &event).await
    };
    let (_, first) = tell(0).await;

    disk.fill();
    let mut taken = 0;
    let (status, refused) = loop {
        let said = tell(taken + 1).await;
        if said.0 != 200 {
            break said;
        }
        taken += 1;
        assert!(taken < 2_000, "the disk is never full");
    };
    assert_eq!(status, 500, "{refused}");
    assert!(refused.to_string().contains("No space left"), "{refused}");
    // It serves meanwhile, and knows what it had taken.
    let before = maple.ask(ANNA.ask(COURSE)).await.nonce();
    assert_eq!(maple.ask(ANNA.ask(COURSE)).await.nonce(), before);
    assert_eq!(tell(0).await, (200, repeated(&first)));

    disk.make_room();
    let (status, done) = tell(taken + 1).await;
    assert_eq!((status, &done["repeated"]), (200, &json!(false)), "{done}");
    let after = maple.ask(ANNA.ask(COURSE)).await.nonce();
    assert_ne!(after, before);
    assert_eq!(tell(taken + 1).await, (200, repeated(&done)));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_signed_out_is_nobody_at_once() {
    let (stage, _secrets) = stage().await;
    let client = stage.h2(MAPLE).await;
    client.ask(ANNA.ask(COURSE)).await.nonce();
    stage.blue.on("/api/v1/me", |_| async {
        super::support::reply::Reply::new(401)
    });
    assert_eq!(client.ask(ANNA.ask(COURSE)).await.status, 200);
    let event =
        json!({ "id": "e", "tenant": "maple", "event": "session.ended", "subject": "anna" });
    assert_eq!(tell(&stage, MAPLES, &event).await.0, 200);
    assert_eq!(client.ask(ANNA.ask(COURSE)).await.status, 401);
    let (_, audit) = stage.admin("GET", "/v1/audit", None).await;
    assert!(audit.to_string().contains("event session.ended"), "{audit}");
    assert!(!audit.to_string().contains("anna"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_the_school_for_now_changes_nothing() {
    let (stage, _secrets) = stage().await;
    let client = stage.h2(MAPLE).await;
    let kept = client.ask(ANNA.ask(COURSE)).await.nonce();
    let event = |tenant: &str| {
        json!({ "id": "e", "tenant": tenant, "event": "purge", "tags": ["course:7"] }).to_string()
    };
    let body = event("maple");
    let other = event("oak");
    let good = signed(MAPLES, now(0), &body);
    let table = [
        ("nothing", String::new(), &body, 401),
        (
            "another school's secret",
            signed(OAKS, now(0), &body),
            &body,
            401,
        ),
        (
            "this school's secret for another",
            signed(MAPLES, now(0), &other),
            &other,
            401,
        ),
        (
            "a school that there is not",
            signed(MAPLES, now(0), &event("elm")),
            &event("elm"),
            401,
        ),
        (
            "a path for a school",
            signed(MAPLES, now(0), &event("../maple")),
            &event("../maple"),
            401,
        ),
        ("too early", signed(MAPLES, now(310), &body), &body, 401),
        ("too late", signed(MAPLES, now(-310), &body), &body, 401),
        ("another body", signed(MAPLES, now(0), "{}"), &body, 401),
        (
            "two signatures of one time",
            format!("{good}{good}"),
            &body,
            401,
        ),
        (
            "junk",
            "bellwether-signature: t=1,v1=zz\r\n".to_owned(),
            &body,
            401,
        ),
        (
            "an encoded body",
            format!("{good}content-encoding: gzip\r\n"),
            &body,
            400,
        ),
    ]
    .map(|(what, lines, body, status)| (what, lines, body.clone(), status));
    let mut reasons = Vec::new();
    for (what, lines, body, expected) in table {
        let (status, problem) = post(address(&stage), &lines, &body).await;
        assert_eq!(status, expected, "{what}: {problem}");
        if status == 401 {
            reasons.push(problem["detail"].clone());
        }
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "one answer for all: {reasons:?}");
    for body in [
        r#"{"id":"e","id":"f","tenant":"maple","event":"purge","tags":["a"]}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"purge","tags":[]}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"purge","tags":["a b"]}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"purge","tags":["a"],"subject":"x"}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"purge","tags":["t:oak"]}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"purge","tags":["t:maple","t:oak"]}"#.to_owned(),
        r#"{"id":"","tenant":"maple","event":"purge","tags":["a"]}"#.to_owned(),
        r#"{"id":"e","tenant":"maple","event":"all"}"#.to_owned(),
        json!({ "id": "e", "tenant": "maple", "event": "purge", "tags": vec!["a"; 501] })
            .to_string(),
    ] {
        let (status, problem) = post(address(&stage), &signed(MAPLES, now(0), &body), &body).await;
        assert_eq!(status, 400, "{body}: {problem}");
    }
    let long = " ".repeat(70_000);
    assert_eq!(
        post(address(&stage), &signed(MAPLES, now(0), &long), &long)
            .await
            .0,
        413
    );
    assert_eq!(client.ask(ANNA.ask(COURSE)).await.nonce(), kept);
    // The one that is right is done.
    assert_eq!(post(address(&stage), &good, &body).await.0, 200);
    assert_ne!(client.ask(ANNA.ask(COURSE)).await.nonce(), kept);
    stage.edge.clock().advance(Duration::from_secs(400));
    assert_eq!(
        post(address(&stage), &good, &body).await.0,
        401,
        "the same, later"
    );
}
