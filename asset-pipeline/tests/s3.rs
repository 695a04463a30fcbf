//! A bucket of a real S3 server is a store like a folder.

mod support;
#[path = "support/weed.rs"]
mod weed;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{COLLECT_ALL, Place};
use weed::{SECRETS, Weed};

struct Shop {
    place: Place,
    weed: Weed,
}

impl Shop {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asset-pipeline"));
        command.envs(self.weed.environment()).args(words).args([
            "--json",
            "--store",
            &self.weed.url("of/learn"),
        ]);
        command
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(words).output().expect("it runs");
        (output.status.code(), said(&output))
    }

    fn publish(&self, release: &str) -> Value {
        let (code, report) = self.run(&self.publish_words(release));
        assert_eq!(code, Some(0), "{report}");
        report
    }

    fn publish_words<'a>(&'a self, release: &'a str) -> [&'a str; 6] {
        let site = self.place.site().display().to_string();
        // The test is short: its folder's name may live as long.
        [
            "publish",
            Box::leak(site.into_boxed_str()),
            "--app",
            "learn",
            "--release",
            release,
        ]
    }

    fn start(&self, release: &str) -> Child {
        let mut command = self.command(&self.publish_words(release));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    fn is_whole(&self) {
        let (code, verified) = self.run(&["verify"]);
        assert_eq!(
            (code, &verified["damaged"]),
            (Some(0), &serde_json::json!([]))
        );
    }

    fn releases(&self) -> Vec<String> {
        let (_, found) = self.run(&["releases"]);
        let rows = found["releases"].as_array().expect("a list").iter();
        rows.map(|row| row["release"].as_str().expect("a name").to_owned())
            .collect()
    }
}

fn said(output: &Output) -> Value {
    for secret in SECRETS {
        for text in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(text).contains(secret));
        }
    }
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn a_bucket_is_a_store_like_a_folder() {
    let Some(weed) = Weed::start() else {
        return;
    };
    let place = Place::of_the_bell();
    for at in 0..40 {
        place.write(
            &format!("text/{at}.txt"),
            format!("The bell rings {at}. ").repeat(100),
        );
    }
    let mut shop = Shop { place, weed };

    // Nothing is there yet, and that is said.
    let (code, error) = shop.run(&["releases"]);
    assert_eq!(code, Some(1));
    assert!(
        error
            .as_str()
            .is_some_and(|text| text.contains("s3://assets/of/learn holds no store")),
        "{error}"
    );

    let first = shop.publish("one");
    assert!(first["blobs_written"].as_u64() > Some(80), "{first}");
    shop.is_whole();
    assert_eq!(shop.publish("one")["repeated"], true);
    assert_eq!(shop.releases(), ["one"]);

    // What is there is not sent again, and nobody's id is taken over.
    shop.place.write("text/7.txt", "The seventh. ".repeat(50));
    let second = shop.publish("two");
    assert!(second["blobs_written"].as_u64() <= Some(4), "{second}");
    shop.place.write("text/8.txt", "The eighth. ".repeat(50));
    assert_eq!(shop.run(&shop.publish_words("two")).0, Some(3));
    shop.is_whole();

    // Who may not gets a reason, and no word of it is secret.
    let mut stranger = shop.command(&["releases"]);
    let refused = stranger
        .env("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
        .output();
    let refused = refused.expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("the service refuses who asks"), "{text}");
    said(&refused);

    // What nothing needs goes.
    let all = [&["gc"][..], &COLLECT_ALL].concat();
    let collected: Vec<Value> = (0..3).map(|_| shop.run(&all).1).collect();
    assert_eq!(collected[1]["releases_deleted"][0]["release"], "one");
    assert!(
        collected[2]["objects_deleted"].as_u64() >= Some(3),
        "{collected:?}"
    );
    assert_eq!(shop.releases(), ["two"]);
    shop.is_whole();

    // Killed at any point, it goes on from there.
    let mut interrupted = 0;
    for (turn, wait_ms) in [40_u64, 90, 160, 250, 400].into_iter().enumerate() {
        for at in 0..40 {
            let text = format!("Turn {turn}, line {at}. ").repeat(100);
            shop.place.write(&format!("text/{at}.txt"), text);
        }
        let release = format!("k{turn}");
        let mut child = shop.start(&release);
        let until = Instant::now() + Duration::from_millis(wait_ms);
        while Instant::now() < until && child.try_wait().expect("a child").is_none() {
            std::thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("a child");
        interrupted += usize::from(!shop.releases().contains(&release));
        shop.is_whole();
        shop.publish(&release);
        shop.is_whole();
    }
    assert!(interrupted > 0, "no kill came in time");
    // They have left a sign, which keeps what they had sent for an hour.
    let (code, held) = shop.run(&all);
    assert_eq!(code, Some(0));
    assert_eq!(held["releases_deleted"], serde_json::json!([]), "{held}");

    // A server that comes back is waited for.
    shop.weed.down();
    shop.place
        .write("text/9.txt", "After the outage. ".repeat(50));
    let mut child = shop.start("late");
    assert!(shop.weed.up(), "it starts where it was");
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < deadline, "the publish hangs");
        std::thread::sleep(Duration::from_millis(20));
    }
    let late = child.wait_with_output().expect("a child");
    assert_eq!(late.status.code(), Some(0), "{}", said(&late));
    shop.is_whole();
}
