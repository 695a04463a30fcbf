//! Who changed what, when and why is kept, and nobody can change it afterwards unseen.

use std::process::Output;
use std::time::{Duration, Instant};

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use super::support::site::APP;
use super::support::stage::{Stage, plan};
use super::support::wait::PATIENCE;

async fn audit(stage: &Stage, more: &[&str]) -> (i32, Value) {
    let words = [&["audit", "log", "--json"], more].concat();
    let Output { status, stdout, .. } = stage.command(&words).await;
    let said = serde_json::from_slice(&stdout);
    let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stdout)));
    (status.code().expect("it ends by itself"), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_in_a_log_that_nobody_changes_unseen() {
    let stage = plan().start().await;
    let told = |words: &'static [&'static str]| stage.command(words);
    for words in [
        &["shift", APP, "blue=100%", "--reason", "is so"][..],
        &["cache", "off", "--reason", "a wrong answer"],
        &["cache", "on"],
        &[
            "purge",
            "--tenant",
            "oak",
            "--all",
            "--reason",
            "their wish",
        ],
    ] {
        let Output { status, .. } = told(words).await;
        assert!(status.success(), "{words:?}");
    }
    let (code, log) = audit(&stage, &[]).await;
    assert_eq!((code, &log["broken"]), (0, &Value::Null), "{log}");
    let entries = log["entries"].as_array().expect("a list").clone();
    let whats: Vec<_> = entries.iter().map(|entry| &entry["what"]).collect();
    // A shift to where the weight is changes nothing, and is no change.
    assert_eq!(whats, ["purge", "cache on", "cache off", "seed learn"]);
    assert_eq!(entries[2]["why"], "a wrong answer");
    assert_eq!(
        (&entries[2]["from"], &entries[2]["to"]),
        (&json!("on"), &json!("off"))
    );
    let Output { status, stdout, .. } = stage.command(&["audit"]).await;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success() && text.contains("their wish"), "{text}");
    let seen = format!(
        "{}:{}",
        entries[1]["sequence"],
        entries[1]["hash"].as_str().expect("a hash")
    );
    assert_eq!(audit(&stage, &["--seen", &seen]).await.0, 0);
    assert_eq!(audit(&stage, &["--seen", "3:00"]).await.0, 2);

    let state = stage.folder().join("state/state.redb");
    let stage = stage
        .restart_after(|| {
            const NOTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notes");
            // The connection of the last command may hold it for a moment.
            let began = Instant::now();
            let database = loop {
                match Database::open(&state) {
                    Ok(database) => break database,
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            let write = database.begin_write().expect("it can be written");
            {
                let mut notes = write.open_table(NOTES).expect("it is there");
                let kept = notes.get(2).expect("it reads").expect("it is there");
                let other = String::from_utf8_lossy(kept.value()).replace("wrong", "right");
                drop(kept);
                notes
                    .insert(2, other.as_bytes())
                    .expect("it can be written");
            }
            write.commit().expect("it can be written");
        })
        .await;
    let (code, log) = audit(&stage, &["--limit", "1"]).await;
    assert_eq!((code, &log["broken"]["sequence"]), (1, &json!(2)), "{log}");
    let Output { status, stdout, .. } = stage.command(&["audit", "log"]).await;
    let text = String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("BROKEN at record 2"), "{text}");
}
