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

#[test]
fn a_deploy_is_planned_compared_and_weighed() {
    let place = Place::of_the_bell();
    let store = place.store_folder().display().to_string();
    let site = place.site().display().to_string();
    let plan = |release: &str| {
        let arguments = [
            "plan",
            &site,
            "--app",
            "learn",
            "--release",
            release,
            "--json",
        ];
        json(&run(&[&arguments[..], &["--store", &store]].concat()))
    };
    let first = plan("one");
    assert!(first["new_contents"].as_u64() > Some(5), "{first}");
    assert!(!place.store_folder().exists(), "a plan writes nothing");
    assert_eq!(code(&publish(&place, &["--release", "one"])), Some(0));
    assert_eq!(plan("one")["repeated"], true);

    place.write("robots.txt", "Disallow: /");
    place.write("bell.css", "h1 { color: teal }");
    let page = "<!doctype html><link rel=stylesheet href=bell.css><p>new</p>";
    place.write("new.html", page);
    let second = plan("two");
    assert_eq!(second["repeated"], false);
    assert!(
        second["new_files"]
            .as_array()
            .is_some_and(|new| new.contains(&"/robots.txt".into()))
    );

    // A budget refuses before anything can be seen.
    let budget = place.site().with_extension("toml");
    let limited = |text: &str, release: &str| {
        std::fs::write(&budget, text).expect("written");
        let file = budget.display().to_string();
        publish(&place, &["--release", release, "--budget", &file])
    };
    let refused = limited("[pages.\"/new.html\"]\nfirst_visit_bytes = 10", "two");
    assert_eq!(code(&refused), Some(3));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("/new.html: first_visit_bytes is"), "{text}");
    assert_eq!(code(&limited("first_visit = 10", "two")), Some(2));
    let list = json(&run(&["releases", "--json", "--store", &store]));
    assert_eq!(list["releases"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        code(&limited("first_visit_bytes = 9000000", "two")),
        Some(0)
    );

    let of = ["--app", "learn", "--store", &store];
    let diff = run(&[&["diff", "one", "two"][..], &of].concat());
    let text = String::from_utf8_lossy(&diff.stdout);
    assert!(
        text.contains("+ /new.html") && text.contains("~ /robots.txt"),
        "{text}"
    );

    let html = place.site().with_extension("html").display().to_string();
    let report = ["report", "two", "--html", &html, "--json"];
    let report = run(&[&report[..], &of].concat());
    assert_eq!(code(&report), Some(0));
    let report = json(&report);
    assert_eq!(report["since"], "one");
    let pages = report["pages"].as_array().expect("pages");
    let page = pages
        .iter()
        .find(|page| page["page"] == "/new.html")
        .expect("the page");
    // The page and its style sheet, under the name that follows its content.
    assert_eq!(page["files"], 2, "{page}");
    let page = std::fs::read_to_string(&html).expect("a page");
    assert!(page.contains("/new.html") && page.contains("returning from one"));
    let over = ["report", "two", "--budget", &budget.display().to_string()];
    std::fs::write(&budget, "first_visit_bytes = 10").expect("written");
    assert_eq!(code(&run(&[&over[..], &of].concat())), Some(3));
}

#[test]
fn a_release_is_signed_and_who_signed_it_can_be_told() {
    let place = Place::of_the_bell();
    let store = place.store_folder().display().to_string();
    let files = ["key", "other"].map(|name| {
        let file = place.site().with_extension(name);
        file.display().to_string()
    });
    let keys = files.each_ref().map(|file| {
        let made = run(&["keygen", file]);
        assert_eq!(code(&made), Some(0));
        String::from_utf8_lossy(&made.stdout).trim().to_owned()
    });
    assert!(keys[0].starts_with("ed25519:") && keys[0] != keys[1]);
    // A key is never written over.
    assert_eq!(code(&run(&["keygen", &files[0]])), Some(1));
    let verify = |key: &str| code(&run(&["verify", "--store", &store, "--trusted", key]));
    assert_eq!(code(&publish(&place, &["--release", "one"])), Some(0));
    assert_eq!(verify(&keys[0]), Some(1));
    // To publish it again signs it.
    let signed = ["--release", "one", "--key", &files[0]];
    assert_eq!(code(&publish(&place, &signed)), Some(0));
    assert_eq!(verify(&keys[0]), Some(0));
    assert_eq!(verify(&keys[1]), Some(1));
    place.write("more.txt", "more");
    let signed = ["--release", "two", "--key", &files[0]];
    assert_eq!(code(&publish(&place, &signed)), Some(0));
    assert_eq!(verify(&keys[0]), Some(0));
    assert_eq!(verify("ed25519:00"), Some(2));
    let wrong = ["--release", "three", "--key", &store];
    assert_eq!(code(&publish(&place, &wrong)), Some(2));
}
