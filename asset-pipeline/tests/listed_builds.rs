//! Builds that say which of their files are named by their content: Vite and Rails' Propshaft.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use asset_pipeline::manifest::{Kind, Manifest};
use asset_pipeline::publish::{Input, publish};
use support::{Place, files};

/// A real build of Vite 7: a page, a lazy chunk, a style sheet, an image and two files of `public`.
fn vite(release: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vite");
    fixtures.join(release)
}

fn hashed(manifest: &Manifest) -> Vec<(&str, Option<&str>)> {
    let files = manifest.files.iter();
    files
        .filter(|(_, file)| file.kind == Kind::Hashed)
        .map(|(url, file)| (url.as_str(), file.dictionary_for.as_deref()))
        .collect()
}

async fn same_bytes(place: &Place, manifest: &Manifest, folder: &Path, base: &str) {
    for (name, path) in files(folder) {
        if name.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        let file = &manifest.files[&format!("{base}{name}")];
        let stored = place.store().blob(&file.identity).await.expect("a blob");
        assert_eq!(stored, fs::read(path).expect("a file"), "{name}");
    }
}

#[tokio::test]
async fn a_vite_build_is_published_as_it_was_built() {
    let place = Place::empty();
    for release in ["r1", "r2"] {
        let mut what = place.publish_of(release);
        what.dir = vite(release);
        let report = publish(what, &()).await.expect("it is published");
        assert_eq!(report.warnings, Vec::<String>::new());
        let manifest = place.manifest(release).await;
        same_bytes(&place, &manifest, &vite(release), "/learn/").await;
    }
    let [r1, r2] = [place.manifest("r1").await, place.manifest("r2").await];
    assert_eq!(r1.hashed_prefixes, ["/learn/assets/"]);
    assert_eq!(
        hashed(&r1),
        [
            (
                "/learn/assets/bell-Bdl9z0YQ.svg",
                Some("/learn/assets/bell-*.svg")
            ),
            (
                "/learn/assets/index-BgrtGj__.js",
                Some("/learn/assets/index-*.js")
            ),
            (
                "/learn/assets/index-CtT_u35P.css",
                Some("/learn/assets/index-*.css")
            ),
            (
                "/learn/assets/lessons-i-KJ5ySU.js",
                Some("/learn/assets/lessons-*.js")
            ),
        ]
    );
    // The page answers its folder, and is of its release.
    for page in ["/learn/", "/learn/index.html"] {
        assert_eq!(r1.files[page].kind, Kind::Release, "{page}");
    }
    let page: Vec<&str> = r1.pages["/learn/"].iter().map(String::as_str).collect();
    assert_eq!(
        page,
        [
            "/learn/assets/index-BgrtGj__.js",
            "/learn/assets/index-CtT_u35P.css",
            "/learn/index.html"
        ]
    );
    let main = &r2.files["/learn/assets/index-BHv_B_xP.js"];
    let held = r1.files["/learn/assets/index-BgrtGj__.js"].identity;
    assert!(main.deltas.iter().all(|delta| delta.from == held) && !main.deltas.is_empty());
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn a_vite_build_that_is_not_whole_is_refused() {
    let page = |url: &str| format!("<script type=module src='{url}'></script>");
    for (path, text, says) in [
        (".vite/manifest.json", "{".to_owned(), "manifest.json"),
        (
            ".vite/manifest.json",
            r#"{"a":{"file":"assets/gone-12345678.js"}}"#.to_owned(),
            "which is not there",
        ),
        (
            ".vite/manifest.json",
            r#"{"a":{"file":"../../../etc/passwd"}}"#.to_owned(),
            "which is not there",
        ),
        (
            "other.html",
            page("/other/assets/index-BgrtGj__.js"),
            "`/learn/` and at `/other/`",
        ),
        (
            "index.html",
            page("https://cdn.example/assets/index-BgrtGj__.js"),
            "a `base` that is a path",
        ),
    ] {
        let place = Place::empty();
        support::copy(&vite("r1"), &place.site());
        place.write(path, text);
        let error = place.publish("one").await.expect_err("it is refused");
        assert!(error.to_string().contains(says), "{error}");
    }
    let place = Place::of_the_bell();
    for (from, says) in [
        (Input::Vite, "`build.manifest`"),
        (Input::Propshaft, "assets:precompile"),
    ] {
        let mut what = place.publish_of("one");
        what.from = from;
        let error = publish(what, &()).await.expect_err("it is refused");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A Rails project after `assets:precompile`.
fn rails() -> Place {
    let place = Place::empty();
    place.write("config.ru", "run Rails.application");
    place.write("public/404.html", "<h1>404</h1>");
    place.write(
        "public/assets/application-8b441ae0.css",
        "h1 { color: teal }",
    );
    place.write(
        "public/assets/controllers/bell_controller-30b1a2c9.js",
        "export default 1",
    );
    place.write(
        "public/assets/stimulus-9e107d9.digested.js",
        "export default 2",
    );
    place.write(
        "public/assets/.manifest.json",
        r#"{
            "application.css": "application-8b441ae0.css",
            "controllers/bell_controller.js": {
                "digested_path": "controllers/bell_controller-30b1a2c9.js", "integrity": "sha384-x"
            },
            "stimulus-9e107d9.digested.js": "stimulus-9e107d9.digested.js"
        }"#,
    );
    place
}

#[tokio::test]
async fn a_rails_project_is_known_by_propshafts_manifest() {
    let place = rails();
    let report = place.publish("one").await.expect("it is published");
    assert_eq!(report.warnings, Vec::<String>::new());
    let manifest = place.manifest("one").await;
    assert_eq!(manifest.hashed_prefixes, ["/assets/"]);
    assert_eq!(
        hashed(&manifest),
        [
            (
                "/assets/application-8b441ae0.css",
                Some("/assets/application-*.css")
            ),
            (
                "/assets/controllers/bell_controller-30b1a2c9.js",
                Some("/assets/controllers/bell_controller-*.js")
            ),
            (
                "/assets/stimulus-9e107d9.digested.js",
                Some("/assets/stimulus-*.digested.js")
            ),
        ]
    );
    assert_eq!(manifest.files["/404.html"].kind, Kind::Release);
    assert_eq!(manifest.files.len(), 4);
    same_bytes(&place, &manifest, &place.site().join("public"), "/").await;

    // The public folder alone is the same.
    let mut what = place.publish_of("two");
    what.dir = place.site().join("public");
    publish(what, &()).await.expect("it is published");
    assert_eq!(place.manifest("two").await.files, manifest.files);

    // A hashed URL has one content.
    place.write(
        "public/assets/application-8b441ae0.css",
        "h1 { color: red }",
    );
    let error = place.publish("three").await.expect_err("it is refused");
    assert!(error.is_refusal(), "{error}");
    let text = error.to_string();
    assert!(text.contains("three") && text.contains("one"), "{text}");

    // What the manifest names is there.
    fs::remove_file(place.site().join("public/assets/application-8b441ae0.css")).expect("removed");
    let error = place.publish("four").await.expect_err("it is refused");
    assert!(
        error.to_string().contains("application-8b441ae0.css"),
        "{error}"
    );
}
