//! Next.js builds are published as the build made them, the real ones of the fixtures too.

mod support;

use std::collections::BTreeSet;
use std::fs;

use asset_pipeline::manifest::{Coding, Kind, Manifest};
use asset_pipeline::publish::{Input, publish};
use support::{Place, app, decoded, files, next_build};

#[tokio::test]
async fn real_builds_come_out_byte_for_byte_in_every_coding() {
    let builds = ["r1", "r2", "r3"].map(|id| next_build(id).map(|dir| (id, dir)));
    let [Some(r1), Some(r2), Some(r3)] = builds else {
        return;
    };
    let place = Place::empty();
    let store = place.store();
    let mut last: Option<Manifest> = None;
    for ((id, build), per_cent) in [(r1, 100), (r2, 2), (r3, 20)] {
        let mut what = place.publish_of(id);
        what.dir.clone_from(&build);
        let report = publish(what, &()).await.expect("it is published");
        assert_eq!(report.warnings, Vec::<String>::new());
        // Nine of ten files are the same in r2, and are found.
        assert_eq!(report.reused > 80, id == "r2", "{id} {report:?}");

        let manifest = place.manifest(id).await;
        assert_eq!(manifest.build_id.as_deref(), Some(id));
        assert_eq!(manifest.deployment_id.as_deref(), Some(id));
        assert_eq!(manifest.hashed_prefixes, ["/_next/static/"]);
        let trees = [("_next/static", "/_next/static/"), ("public", "/")];
        let mut count = 0;
        for (folder, prefix) in trees {
            for (name, path) in files(&build.join(folder)) {
                let bytes = fs::read(&path).expect("a file of the fixtures");
                let file = &manifest.files[&format!("{prefix}{name}")];
                assert_eq!(store.blob(&file.identity).await.expect("a blob"), bytes);
                for (coding, blob) in &file.encoded {
                    let encoded = store.blob(blob).await.expect("a blob");
                    assert!(encoded.len() < bytes.len());
                    assert!(
                        decoded(*coding, &encoded, file.identity.bytes) == bytes,
                        "{name}"
                    );
                }
                count += 1;
            }
        }
        assert_eq!(manifest.files.len(), count);
        let page = "/_next/static/chunks/app/courses/[id]/page-";
        let mut pages = manifest.files.iter();
        let page = pages.find(|(url, _)| url.starts_with(page));
        let (_, page) = page.expect("the build has the page");
        assert_eq!((page.kind, page.encoded.len()), (Kind::Hashed, 2));
        let build_manifest = format!("/_next/static/{id}/_buildManifest.js");
        for path in [build_manifest.as_str(), "/sw.js", "/photos/map.jpg"] {
            assert_eq!(manifest.files[path].kind, Kind::Release, "{path}");
        }
        assert!(manifest.files["/photos/map.jpg"].encoded.is_empty());
        // A page comes with the chunks of its layout, and with those that all pages share.
        let gradebook = &manifest.pages["/gradebook"];
        for part in [
            "/app/gradebook/page-",
            "/app/layout-",
            "/main-app-",
            "/webpack-",
            "/css/",
        ] {
            assert!(gradebook.iter().any(|url| url.contains(part)), "{part}");
        }
        assert_eq!(manifest.pages.len(), 9, "{:?}", manifest.pages.keys());
        if let Some(last) = last {
            let (encoded, best) = returning(&manifest, &last);
            assert!(
                best * 100 <= encoded * per_cent,
                "{id}: {best} of {encoded}"
            );
        }
        last = Some(manifest);
    }
    assert_eq!(place.verified().await.damaged, []);
}

/// The scripts and styles that changed: in br, and by the best of their deltas from that release.
fn returning(manifest: &Manifest, last: &Manifest) -> (u64, u64) {
    let held: BTreeSet<_> = last.files.values().map(|file| file.identity).collect();
    let (mut encoded, mut best) = (0, 0);
    for (url, file) in &manifest.files {
        let code = url.ends_with(".js") || url.ends_with(".css");
        if file.kind != Kind::Hashed || last.files.contains_key(url) || !code {
            continue;
        }
        let br = file
            .encoded
            .get(&Coding::Br)
            .unwrap_or(&file.identity)
            .bytes;
        let deltas = file
            .deltas
            .iter()
            .filter(|delta| held.contains(&delta.from));
        let delta = deltas.map(|delta| delta.blob.bytes).chain([br]).min();
        encoded += br;
        best += delta.unwrap_or(br);
    }
    (encoded, best)
}

/// A project folder after `next build`, as small as it can be.
fn project(deployment: &str) -> Place {
    let place = Place::empty();
    for (path, text) in [
        (".next/BUILD_ID", "b-1"),
        (
            ".next/static/b-1/_buildManifest.js",
            "self.__BUILD_MANIFEST={}",
        ),
        (".next/static/chunks/main-0123456789abcdef.js", "main()"),
        (".next/static/chunks/app.js", "app()"),
        (".next/cache/secret", "not published"),
        (
            ".next/routes-manifest.json",
            r#"{"version":3,"basePath":"/learn"}"#,
        ),
        ("public/robots.txt", "User-agent: *"),
        ("public/index.html", "not a page of Next's"),
        ("package.json", "{}"),
    ] {
        place.write(path, text);
    }
    let config = format!(r#"{{"version":1,"config":{{"deploymentId":"{deployment}"}}}}"#);
    place.write(".next/required-server-files.json", config);
    place
}

#[tokio::test]
async fn a_project_folder_is_known_by_its_build() {
    let place = project("dpl-7");
    place.publish("one").await.expect("it is published");
    let manifest = place.manifest("one").await;
    let paths: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "/learn/_next/static/b-1/_buildManifest.js",
            "/learn/_next/static/chunks/app.js",
            "/learn/_next/static/chunks/main-0123456789abcdef.js",
            "/learn/index.html",
            "/learn/robots.txt",
        ]
    );
    let kind = |path: &str| manifest.files[path].kind;
    assert_eq!(
        kind("/learn/_next/static/chunks/main-0123456789abcdef.js"),
        Kind::Hashed
    );
    assert_eq!(kind("/learn/_next/static/chunks/app.js"), Kind::Release);
    assert_eq!(manifest.hashed_prefixes, ["/learn/_next/static/"]);
    assert_eq!(manifest.build_id.as_deref(), Some("b-1"));
    assert_eq!(manifest.deployment_id.as_deref(), Some("dpl-7"));
}

#[tokio::test]
async fn a_hashed_url_has_one_content_in_all_releases() {
    let place = project("");
    place.publish("one").await.expect("it is published");
    place.write(".next/static/chunks/main-0123456789abcdef.js", "other()");
    let error = place.publish("two").await.expect_err("it is refused");
    assert!(error.is_refusal());
    let text = error.to_string();
    for named in [
        "/learn/_next/static/chunks/main-0123456789abcdef.js",
        "one",
        "two",
    ] {
        assert!(text.contains(named), "{text}");
    }
    assert_eq!(place.visible().await, ["one"]);

    // Other files of a build may change under their names.
    place.write(".next/static/chunks/main-0123456789abcdef.js", "main()");
    place.write(".next/static/chunks/app.js", "other()");
    place.publish("two").await.expect("it is published");
}

#[tokio::test]
async fn a_build_that_did_not_end_well_is_refused() {
    for (path, text, says) in [
        (".next/BUILD_ID", "b-2", "the build did not end well"),
        (".next/routes-manifest.json", "{", "routes-manifest.json"),
        (
            ".next/routes-manifest.json",
            r#"{"basePath":"x/"}"#,
            "basePath",
        ),
        ("public/_next/static/chunks/app.js", "", "both are"),
    ] {
        let place = project("x");
        if path.starts_with("public/_next") {
            place.write(".next/routes-manifest.json", "{}");
        }
        place.write(path, text);
        let error = place.publish("one").await.expect_err("it is refused");
        assert!(error.to_string().contains(says), "{error}");
    }
    let place = Place::of_the_bell();
    let mut next = place.publish_of("one");
    next.from = Input::Next;
    let error = publish(next, &()).await.expect_err("it is refused");
    assert!(
        error.to_string().contains("run `next build` first"),
        "{error}"
    );
}

#[tokio::test]
async fn pages_of_two_deployments_are_refused() {
    let place = project("");
    for (page, id) in [("a", "one"), ("b", "two")] {
        let html = format!("<script src='/learn/_next/static/x.js?dpl={id}'></script>");
        place.write(&format!(".next/server/app/{page}.html"), html);
    }
    let error = place.publish("one").await.expect_err("it is refused");
    let text = error.to_string();
    assert!(
        text.contains("dpl=one") && text.contains("dpl=two"),
        "{text}"
    );
    fs::remove_file(place.site().join(".next/server/app/b.html")).expect("removed");
    place.publish("one").await.expect("it is published");
    let manifest = place
        .store()
        .manifest(&app(), &"one".parse().expect("a name"))
        .await;
    assert_eq!(
        manifest.expect("a release").deployment_id.as_deref(),
        Some("one")
    );
}
