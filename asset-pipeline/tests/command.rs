//! The command: what it prints, and its exit codes.

mod support;

use std::process::{Command, Output};

use support::Place;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asset-pipeline"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

fn publish(place: &Place, more: &[&str]) -> Output {
    let (site, store) = (place.site(), place.store_folder());
    let (site, store) = (site.display().to_string(), store.display().to_string());
    let mut arguments = vec!["publish", &site, "--app", "learn", "--store", &store];
    arguments.extend(more);
    run(&arguments)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON and nothing else")
}

#[test]
fn what_is_published_is_reported_listed_and_verified() {
    let place = Place::of_the_bell();
    let store = format!("file://{}", place.store_folder().display());
    let published = publish(&place, &["--release", "one", "--json"]);
    assert_eq!(code(&published), Some(0));
    assert!(published.stderr.is_empty());
    assert_eq!(json(&published)["repeated"], false);
    let again = publish(&place, &["--release", "one"]);
    assert_eq!(code(&again), Some(0));
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.contains("learn one was published already"), "{text}");
    let lines = String::from_utf8_lossy(&again.stderr);
    assert!(
        lines.starts_with("reading ") && !lines.contains('\u{1b}'),
        "{lines}"
    );

    let releases = json(&run(&["releases", "--json", "--store", &store]));
    assert_eq!(releases["releases"][0]["release"], "one");
    let verified = run(&["verify", "--json", "--store", &store]);
    assert_eq!(code(&verified), Some(0));
    assert_eq!(json(&verified)["damaged"], serde_json::json!([]));

    for file in support::files(&place.store_folder().join("blobs"))
        .values()
        .take(1)
    {
        std::fs::write(file, "damaged").expect("written");
    }
    let verified = run(&[
        "verify",
        "--app",
        "learn",
        "--release",
        "one",
        "--store",
        &store,
    ]);
    assert_eq!(code(&verified), Some(1));
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(
        text.contains("damaged: learn one /") && text.contains("blobs/sha256/"),
        "{text}"
    );
}

#[test]
fn exit_codes_say_who_must_act() {
    let place = Place::of_the_bell();
    assert_eq!(code(&publish(&place, &["--release", "one"])), Some(0));
    // 2: what was typed.
    for wrong in [
        &["--release", "../one"] as &[&str],
        &["--release", "one", "--from", "somewhere"],
        &[],
    ] {
        assert_eq!(code(&publish(&place, wrong)), Some(2));
    }
    assert_eq!(code(&run(&["releases", "--store", "ftp://x/y"])), Some(2));
    // 1: what was found.
    let absent = run(&["releases", "--store", "/nowhere/at/all"]);
    assert_eq!(code(&absent), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("/nowhere/at/all holds no store"));
    let store = place.store_folder().display().to_string();
    let unknown = run(&[
        "verify",
        "--store",
        &store,
        "--app",
        "learn",
        "--release",
        "none",
    ]);
    assert_eq!(code(&unknown), Some(1));
    // 3: a rule.
    place.write("robots.txt", "Disallow: /");
    assert_eq!(code(&publish(&place, &["--release", "one"])), Some(3));
    place.write("more.html", "<img src=none.png>");
    assert_eq!(code(&publish(&place, &["--release", "two"])), Some(3));
    let allowed = publish(&place, &["--release", "two", "--allow-broken"]);
    assert_eq!(code(&allowed), Some(0));
    let text = String::from_utf8_lossy(&allowed.stdout);
    assert!(
        text.contains("warning: /more.html: `none.png` is not in the folder"),
        "{text}"
    );
}
