//! The shape of the house: which crate may know which, and where the unsafe code is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The only arrows. The three leaves never know each other, and nothing knows the benches.
const ARROWS: [(&str, &[&str]); 5] = [
    ("asset-pipeline", &[]),
    (
        "benches",
        &["asset-pipeline", "cache-rules", "certs", "edge-proxy"],
    ),
    ("cache-rules", &[]),
    ("certs", &[]),
    ("edge-proxy", &["asset-pipeline", "cache-rules", "certs"]),
];

/// The files that say why they need unsafe code.
const UNSAFE: [&str; 3] = [
    "asset-pipeline/src/image/webp.rs",
    "certs/tests/tls/allocation.rs",
    "edge-proxy/src/listener/sockets.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn toml(path: &Path) -> toml::Table {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of a table, if it is there.
fn names(table: Option<&toml::Value>) -> BTreeSet<String> {
    let table = table.and_then(toml::Value::as_table);
    table
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Every crate that a crate may need, in whatever section.
fn needs(manifest: &toml::Table) -> BTreeSet<String> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(toml::Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| sections.map(|section| names(table.get(section))))
        .flatten()
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" && name != "node_modules" {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_crate_knows_one_that_it_should_not() {
    let root = root();
    let members = toml(&root.join("Cargo.toml"))["workspace"]["members"].clone();
    let members: BTreeSet<String> = members
        .as_array()
        .expect("members are a list")
        .iter()
        .map(|name| name.as_str().expect("members are names").to_owned())
        .collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let known: BTreeSet<String> = arrows.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(members, known, "a crate came or went: say what it may know");
    for (name, allowed) in arrows {
        let manifest = toml(&root.join(name).join("Cargo.toml"));
        let crates: BTreeSet<String> = needs(&manifest).intersection(&members).cloned().collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let new: Vec<_> = crates.difference(&allowed).collect();
        assert!(new.is_empty(), "{name} must not know {new:?}");
    }
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    let root = root();
    for (name, _) in ARROWS {
        let manifest = toml(&root.join(name).join("Cargo.toml"));
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{name}"
        );
        for key in ["edition", "license", "publish", "rust-version", "version"] {
            assert_eq!(
                manifest["package"][key]["workspace"].as_bool(),
                Some(true),
                "{name}: {key}"
            );
        }
        let features = names(manifest.get("features"));
        assert!(
            features.iter().filter(|name| *name != "default").count() <= 2,
            "{name}: {features:?}"
        );
    }
}

#[test]
fn the_rules_are_pure() {
    let needs = needs(&toml(&root().join("cache-rules/Cargo.toml")));
    for forbidden in [
        "tokio",
        "pingora-core",
        "pingora-proxy",
        "rand",
        "getrandom",
        "reqwest",
        "hyper",
    ] {
        assert!(
            !needs.contains(forbidden),
            "cache-rules does without {forbidden}"
        );
    }
}

#[test]
fn unsafe_code_is_where_it_is_known_to_be() {
    let root = root();
    let mut files = Vec::new();
    sources(&root, &mut files);
    // Without the words themselves, this file would find itself.
    let marks = [
        "unsafe_code".to_owned(),
        ["unsafe", " {"].concat(),
        ["unsafe", " fn"].concat(),
        ["unsafe", " impl"].concat(),
    ];
    let found: BTreeSet<String> = files
        .iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            path.file_name() != Some("workspace.rs".as_ref())
                && marks.iter().any(|mark| text.contains(mark))
        })
        .map(|path| {
            path.strip_prefix(&root)
                .expect("it lies in the workspace")
                .display()
                .to_string()
        })
        .collect();
    assert_eq!(found, BTreeSet::from(UNSAFE.map(str::to_owned)));
    let lints = toml(&root.join("Cargo.toml"))["workspace"]["lints"]["rust"]["unsafe_code"].clone();
    assert_eq!(lints.as_str(), Some("deny"));
}
