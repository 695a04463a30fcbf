use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::digest::Digest;
use crate::manifest::{Blob, Delta, DeltaCoding};

fn blob(text: &str, bytes: u64) -> Blob {
    Blob {
        digest: Digest::of(text.as_bytes()),
        bytes,
    }
}

/// A hashed script of 1000 bytes, 300 in br, 400 in gzip.
fn script(name: &str, content: &str, deltas: &[(&str, u64)]) -> (String, File) {
    let file = File {
        kind: Kind::Hashed,
        content_type: "text/javascript".to_owned(),
        identity: blob(content, 1000),
        encoded: BTreeMap::from([
            (Coding::Br, blob("br", 300)),
            (Coding::Gzip, blob("gz", 400)),
        ]),
        dictionary_for: Some(format!("/{name}-*.js")),
        deltas: deltas
            .iter()
            .map(|(from, bytes)| Delta {
                from: blob(from, 1000),
                coding: DeltaCoding::Dcb,
                blob: blob("delta", *bytes),
            })
            .collect(),
        image: None,
    };
    (format!("/{name}-{content}.js"), file)
}

fn document(content: &str) -> (String, File) {
    let (_, mut file) = script("x", content, &[]);
    (file.kind, file.dictionary_for) = (Kind::Release, None);
    ("/index.html".to_owned(), file)
}

fn release(id: &str, files: Vec<(String, File)>) -> Manifest {
    let urls: BTreeSet<String> = files.iter().map(|(url, _)| url.clone()).collect();
    Manifest {
        format: crate::manifest::FORMAT,
        app: "learn".parse().expect("an app"),
        release: id.parse().expect("a release"),
        build_id: None,
        deployment_id: None,
        hashed_prefixes: Vec::new(),
        files: files.into_iter().collect(),
        pages: BTreeMap::from([("/".to_owned(), urls)]),
        dictionary: None,
        images: None,
    }
}

fn two() -> [Manifest; 2] {
    let old = release(
        "r1",
        vec![
            script("main", "m1", &[]),
            script("same", "s1", &[]),
            script("gone", "g1", &[]),
            document("d1"),
        ],
    );
    let new = release(
        "r2",
        vec![
            script("main", "m2", &[("m1", 20), ("g1", 5)]),
            script("same", "s1", &[]),
            script("new", "n1", &[("g1", 10)]),
            document("d1"),
        ],
    );
    [old, new]
}

#[test]
fn a_returning_visitor_downloads_what_the_browser_cannot_tell_by_a_file_of_the_name() {
    let [old, new] = two();
    let weights = weigh(&new, Some(&old));
    let page = &weights.pages[0];
    assert_eq!((page.page.as_str(), page.files), ("/", 4));
    assert_eq!(
        (page.identity_bytes, page.gzip_bytes, page.first_visit_bytes),
        (4000, 1600, 1200)
    );
    // 20 of main, 300 of the new one, whose dictionary has another name; nothing of the others.
    assert_eq!(page.returning_bytes, Some(320));
    assert!((page.first_visit_class_s - 1200.0 * 8.0 * 30.0 / 1e7).abs() < 1e-9);
    assert_eq!(weigh(&new, None).pages[0].returning_bytes, None);
    let text = weights.to_string();
    assert!(text.contains("since r1") && text.contains("320"), "{text}");
}

#[test]
fn budgets_name_the_pages_that_are_over_them() {
    let [old, new] = two();
    let weights = weigh(&new, Some(&old));
    let over = |toml: &str| {
        let budget = Budget::from_toml(toml).expect("a budget");
        let over = budget.exceeded(&weights);
        over.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(over(""), <[&str; 0]>::default());
    assert_eq!(
        over("first_visit_bytes = 1200\nreturning_bytes = 320"),
        <[&str; 0]>::default()
    );
    assert_eq!(
        over("first_visit_bytes = 1199\nreturning_bytes = 319"),
        [
            "/: first_visit_bytes is 1200, and 1199 at most",
            "/: returning_bytes is 320, and 319 at most"
        ]
    );
    // A page's own limit counts in place of the general one.
    assert_eq!(
        over("first_visit_bytes = 1\n[pages.\"/\"]\nfirst_visit_bytes = 1200"),
        <[&str; 0]>::default()
    );
    assert_eq!(
        over("[pages.\"/editro\"]\nfirst_visit_bytes = 9"),
        ["/editro: the budget names it, and the release has no such page"]
    );
    for wrong in [
        "first_visit = 1",
        "first_visit_bytes = -1",
        "[pages.x]\ny = 1",
        "=",
    ] {
        assert!(Budget::from_toml(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_diff_pairs_files_by_their_names() {
    let [old, new] = two();
    let found = diff(&old, &new);
    let lines: Vec<String> = found.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "- /gone-g1.js 300",
            "~ /main-m2.js 300 -> 300, 20 returning (was /main-m1.js)",
            "+ /new-n1.js 300",
        ]
    );
    assert_eq!(found.same, 2);
    assert!(diff(&new, &new).changes.is_empty());
}

#[test]
fn a_chart_is_one_page_in_which_nothing_of_a_build_is_markup() {
    let [old, mut new] = two();
    let urls = new.pages["/"].clone();
    new.pages.insert("/<script>&".to_owned(), urls);
    let html = chart(&weigh(&new, Some(&old)));
    assert!(
        html.contains("/&lt;script&gt;&amp;") && !html.contains("<script"),
        "{html}"
    );
    assert!(html.contains("width:100.0%") && html.contains("returning from r1"));
}
