use asset_pipeline::digest::Digest;
use http::Method;
use proptest::prelude::*;

use super::*;

fn blob(content: &str) -> Blob {
    Blob {
        digest: Digest::of(content.as_bytes()),
        bytes: content.len() as u64,
    }
}

fn file(kind: Kind, content: &str) -> File {
    File {
        kind,
        content_type: "text/javascript; charset=utf-8".to_owned(),
        identity: blob(content),
        encoded: BTreeMap::new(),
        dictionary_for: None,
        deltas: Vec::new(),
        image: None,
    }
}

fn id(name: &str) -> ReleaseId {
    name.parse().expect("a release id")
}

fn release(name: &str, files: &[(&str, Kind, &str)]) -> Arc<Manifest> {
    Arc::new(Manifest {
        format: manifest::FORMAT,
        app: "learn".parse().expect("an app id"),
        release: id(name),
        build_id: None,
        deployment_id: None,
        hashed_prefixes: vec!["/_next/static/".to_owned()],
        files: files
            .iter()
            .map(|(path, kind, content)| ((*path).to_owned(), file(*kind, content)))
            .collect(),
        pages: BTreeMap::new(),
        dictionary: None,
        images: None,
    })
}

fn content(served: &Served) -> Blob {
    *served.identity()
}

fn two_releases() -> ReleaseTable {
    use Kind::{Hashed, Release};
    let r1 = release(
        "r1",
        &[
            ("/_next/static/chunks/app/[id]/page-1c.js", Hashed, "page"),
            (
                "/_next/static/build1/_buildManifest.js",
                Release,
                "manifest 1",
            ),
            ("/sw.js", Release, "worker 1"),
            ("/old.txt", Release, "old"),
        ],
    );
    let r2 = release(
        "r2",
        &[
            ("/_next/static/chunks/main-2d.js", Hashed, "main"),
            (
                "/_next/static/build2/_buildManifest.js",
                Release,
                "manifest 2",
            ),
            ("/sw.js", Release, "worker 2"),
        ],
    );
    ReleaseTable::build(&[r1, r2], &BTreeSet::from([id("r2")]))
}

#[test]
fn hashed_files_are_found_whatever_the_release() {
    let table = two_releases();
    for path in [
        "/_next/static/chunks/app/[id]/page-1c.js",
        "/_next/static/chunks/main-2d.js",
    ] {
        assert!(matches!(table.hashed(path), Hashed::Found(_)), "{path}");
    }
}

#[test]
fn what_is_not_in_the_table_is_not_served() {
    let table = two_releases();
    for path in [
        "/_next/static/chunks/gone-3e.js",
        "/_next/static/chunks/../../../../etc/passwd",
        "/_next/static/build1/_buildManifest.js",
    ] {
        assert!(matches!(table.hashed(path), Hashed::Below), "{path}");
    }
    for path in ["/", "", "/sw.js", "/_next/staticx", "/etc/passwd", "\0"] {
        assert!(matches!(table.hashed(path), Hashed::Elsewhere), "{path}");
    }
    assert!(table.release_file(&id("r2"), "/etc/passwd").is_none());
}

#[test]
fn release_files_belong_to_the_release_that_is_asked() {
    let table = two_releases();
    let sw = |release: &str| {
        table
            .release_file(&id(release), "/sw.js")
            .map(|f| content(f))
    };
    assert_eq!(sw("r1"), Some(blob("worker 1")));
    assert_eq!(sw("r2"), Some(blob("worker 2")));
    assert_eq!(sw("r3"), None);
    assert!(table.release_file(&id("r2"), "/old.txt").is_none());
}

#[test]
fn a_page_of_the_other_colour_still_gets_its_build_manifest() {
    let table = two_releases();
    let path = "/_next/static/build1/_buildManifest.js";
    let found = table.release_file(&id("r2"), path).map(|f| content(f));
    assert_eq!(found, Some(blob("manifest 1")));
}

#[test]
fn the_older_content_of_a_hashed_name_stays_and_the_clash_is_reported() {
    let path = "/_next/static/a-1.js";
    let old = release("r1", &[(path, Kind::Hashed, "one")]);
    let new = release("r2", &[(path, Kind::Hashed, "two")]);
    let table = ReleaseTable::build(&[old, new], &BTreeSet::from([id("r2")]));
    let Hashed::Found(found) = table.hashed(path) else {
        panic!("the file is there");
    };
    assert_eq!(content(found), blob("one"));
    let conflict = Conflict {
        path: path.to_owned(),
        kept: id("r1"),
        ignored: id("r2"),
    };
    assert_eq!(table.conflicts(), [conflict]);
}

#[test]
fn encodings_come_from_the_release_that_is_mirrored() {
    let path = "/_next/static/a-1.js";
    let with_br = |name: &str, br: &str| {
        let mut manifest = Arc::unwrap_or_clone(release(name, &[(path, Kind::Hashed, "same")]));
        let file = manifest.files.get_mut(path).expect("the file");
        file.encoded.insert(manifest::Coding::Br, blob(br));
        Arc::new(manifest)
    };
    let releases = [with_br("r1", "br 1"), with_br("r2", "br 2")];
    let table = ReleaseTable::build(&releases, &BTreeSet::from([id("r2")]));
    assert!(table.conflicts().is_empty());
    let needed = table.blobs_of(&releases[1]);
    assert!(needed.contains_key(&blob("br 2")) && !needed.contains_key(&blob("br 1")));
    // The older release needs what is served for it, not what it brought along.
    assert_eq!(table.blobs_of(&releases[0]), needed);
}

#[test]
fn the_headers_say_how_long_and_what() {
    let table = two_releases();
    let Hashed::Found(hashed) = table.hashed("/_next/static/chunks/main-2d.js") else {
        panic!("the file is there");
    };
    let answer = hashed.answer(&Method::GET, &HeaderMap::new());
    let fields = &answer.header.headers;
    let expected = [
        ("cache-control", "public, max-age=31536000, immutable"),
        ("content-type", "text/javascript; charset=utf-8"),
        ("content-length", "4"),
        ("x-content-type-options", "nosniff"),
        ("timing-allow-origin", "*"),
        ("accept-ranges", "bytes"),
    ];
    for (name, value) in expected {
        assert_eq!(fields.get(name).expect(name), value);
    }
    assert_eq!(fields["no-vary-search"], "params=(\"dpl\")");
    let worker = table.release_file(&id("r1"), "/sw.js").expect("a file");
    let answer = worker.answer(&Method::GET, &HeaderMap::new());
    assert_eq!(answer.header.headers[CACHE_CONTROL], "no-cache");
    assert!(!answer.header.headers.contains_key("no-vary-search"));
}

#[test]
fn only_files_that_are_named_by_their_content_have_to_do_with_dictionaries() {
    let answer = |kind, pattern: &str| {
        let mut file = file(kind, "new");
        file.encoded.insert(manifest::Coding::Br, blob("br"));
        file.dictionary_for = Some(pattern.to_owned());
        file.deltas.push(Delta {
            from: blob("old"),
            coding: manifest::DeltaCoding::Dcb,
            blob: blob("d"),
        });
        let served = serve(&file);
        let answer = served.answer(&Method::GET, &HeaderMap::new());
        let field = |name: &str| answer.header.headers.get(name).cloned();
        (
            served.forms().count(),
            field("use-as-dictionary"),
            field("vary"),
        )
    };
    let value = |text| Some(HeaderValue::from_static(text));
    assert_eq!(
        answer(Kind::Hashed, "/static/main-*.js"),
        (
            3,
            value("match=\"/static/main-*.js\""),
            value("accept-encoding, available-dictionary")
        )
    );
    let plain = (2, None, value("accept-encoding"));
    assert_eq!(answer(Kind::Release, "/static/main-*.js"), plain);
    // What would end the field's string, or is no path, is not said.
    for bad in ["/a\", id=\"x", "/a(b)*", "https://other/*", ""] {
        assert_eq!(answer(Kind::Hashed, bad), plain, "{bad}");
    }
}

proptest! {
    #[test]
    fn every_listed_path_is_answered_and_no_other(
        listed in proptest::collection::btree_map("/[a-z_/]{0,6}", any::<bool>(), 0..12),
        asked in "/[a-z_/]{0,6}",
    ) {
        let files: Vec<_> = listed
            .iter()
            .map(|(path, hashed)| {
                let kind = if *hashed { Kind::Hashed } else { Kind::Release };
                (path.as_str(), kind, path.as_str())
            })
            .collect();
        let table = ReleaseTable::build(&[release("r1", &files)], &BTreeSet::new());
        for (path, kind, _) in &files {
            let found = match table.hashed(path) {
                Hashed::Found(file) => { prop_assert_eq!(*kind, Kind::Hashed); content(file) }
                _ => content(table.release_file(&id("r1"), path).expect("a listed file")),
            };
            prop_assert_eq!(found, blob(path));
        }
        let found = matches!(table.hashed(&asked), Hashed::Found(_))
            || table.release_file(&id("r1"), &asked).is_some();
        prop_assert_eq!(found, listed.contains_key(&asked));
    }
}

#[test]
fn pages_of_a_release_offer_its_dictionary_if_it_is_the_one_that_is_served() {
    let with = |name: &str, path: &str, content: &str| {
        let mut manifest = release(name, &[(path, Kind::Hashed, content)]);
        let held = Arc::make_mut(&mut manifest);
        held.dictionary = Some(path.to_owned());
        manifest
    };
    let releases = [
        with("r1", "/_next/static/dictionary-1.dat", "one"),
        with("r2", "/_next/static/dictionary-2.dat", "two"),
        // Another content under a name that is taken, and a name that is no plain path.
        with("r3", "/_next/static/dictionary-2.dat", "three"),
        with("r4", "/_next/static/dictionary 4>.dat", "four"),
        release("r5", &[]),
    ];
    let table = ReleaseTable::build(&releases, &BTreeSet::new());
    let offered = |name: &str| {
        table
            .dictionary(&id(name))
            .map(|link| link.to_str().expect("text"))
    };
    assert_eq!(
        ["r1", "r2", "r3", "r4", "r5", "r6"].map(offered),
        [
            Some("</_next/static/dictionary-1.dat>; rel=\"compression-dictionary\""),
            Some("</_next/static/dictionary-2.dat>; rel=\"compression-dictionary\""),
            None,
            None,
            None,
            None,
        ]
    );
}
