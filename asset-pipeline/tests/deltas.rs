//! What a returning visitor downloads: files told by what differs from those of earlier releases.

mod support;

use std::collections::BTreeSet;
use std::fs;

use asset_pipeline::digest::Digest;
use asset_pipeline::manifest::{Coding, Delta, DeltaCoding, File, Kind, Manifest};
use asset_pipeline::publish::publish;
use asset_pipeline::store::Store;
use support::{Place, files};

/// Code of about 6 kB that differs with `word` in one place.
fn code(name: &str, word: &str) -> String {
    let mut text: String = (0..200_u64)
        .map(|line| {
            let n = (line + name.len() as u64 * 131).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{name}.f{line}=()=>{n:x};\n")
        })
        .collect();
    text.push_str(&format!("say('{word}')"));
    text
}

fn write(place: &Place, name: &str, text: &str) {
    let hash = &Digest::of(text.as_bytes()).to_string()[..16];
    for (_, path) in files(&place.site().join("_next/static/chunks")) {
        let file = path.file_name().and_then(|name| name.to_str());
        if file.is_some_and(|file| file.starts_with(&format!("{name}-"))) {
            fs::remove_file(path).expect("removed");
        }
    }
    place.write(&format!("_next/static/chunks/{name}-{hash}.js"), text);
}

/// A build whose files can be told apart.
fn build() -> Place {
    let place = Place::empty();
    place.write("BUILD_ID", "b");
    place.write("_next/static/b/_buildManifest.js", "self.x=1");
    for name in ["main", "app", "63"] {
        write(&place, name, &code(name, "one"));
    }
    place.write("public/notes.txt", code("notes", "one"));
    place
}

fn file<'a>(manifest: &'a Manifest, name: &str) -> &'a File {
    let prefix = format!("/_next/static/chunks/{name}-");
    let mut found = manifest.files.iter();
    let found = found.find(|(url, _)| url.starts_with(&prefix));
    found.expect("the file is there").1
}

async fn decodes(store: &Store, file: &File, delta: &Delta) -> bool {
    let from = store.blob(&delta.from).await.expect("a blob");
    let blob = store.blob(&delta.blob).await.expect("a blob");
    let head = match delta.coding {
        DeltaCoding::Dcb => 36,
        DeltaCoding::Dcz => 40,
    };
    assert_eq!(blob[head - 32..head], *delta.from.digest.as_bytes());
    let mut decoded = Vec::new();
    match delta.coding {
        DeltaCoding::Dcb => {
            let mut decoder = brotli::Decompressor::new(&blob[head..], 4096);
            assert!(decoder.attach_dictionary(from.to_vec().into()));
            std::io::copy(&mut decoder, &mut decoded).expect("it decodes");
        }
        // Zstandard skips the head by itself.
        DeltaCoding::Dcz => {
            let mut decoder =
                zstd::stream::read::Decoder::with_ref_prefix(&blob[..], &from).expect("a decoder");
            std::io::copy(&mut decoder, &mut decoded).expect("it decodes");
        }
    }
    Digest::of(&decoded) == file.identity.digest
}

#[tokio::test]
async fn what_changed_is_told_by_what_was_there_before() {
    let place = build();
    let first = place.publish("one").await.expect("it is published");
    assert_eq!(first.returning, None);
    write(&place, "main", &code("main", "two"));
    // Numbered anew, as bundlers do.
    fs::remove_dir_all(place.site().join("_next/static/chunks")).expect("removed");
    for (name, text) in [
        ("main", code("main", "two")),
        ("app", code("app", "one")),
        ("81", code("63", "two")),
        ("new", code("n", "x").to_uppercase()),
    ] {
        write(&place, name, &text);
    }
    place.write("public/notes.txt", code("notes", "two"));
    let report = place.publish("two").await.expect("it is published");
    let manifest = place.manifest("two").await;
    let old = place.manifest("one").await;
    for (name, from) in [
        ("main", Some("main")),
        ("81", Some("63")),
        ("app", None),
        ("new", None),
    ] {
        let file = file(&manifest, name);
        let froms: BTreeSet<_> = file.deltas.iter().map(|delta| delta.from).collect();
        let expected = from.map(|from| self::file(&old, from).identity);
        assert_eq!(froms, expected.into_iter().collect(), "{name}");
        for delta in &file.deltas {
            assert!(delta.blob.bytes * 2 <= file.encoded[&Coding::Br].bytes);
            assert!(
                decodes(&place.store(), file, delta).await,
                "{name} {delta:?}"
            );
        }
        let all_versions = format!("/_next/static/chunks/{name}-*.js");
        assert_eq!(file.dictionary_for.as_deref(), Some(all_versions.as_str()));
    }
    // Whatever is not named by its content is nobody's dictionary.
    for file in manifest
        .files
        .values()
        .filter(|file| file.kind == Kind::Release)
    {
        assert_eq!((&file.dictionary_for, file.deltas.len()), (&None, 0));
    }
    let returning = report.returning.expect("there was a release before");
    assert_eq!((returning.since.as_str(), returning.files), ("one", 3));
    assert!(returning.delta_bytes < returning.encoded_bytes);
    assert_eq!(place.verified().await.damaged, []);

    // The same content again: everything is found, nothing is encoded twice.
    let again = place.publish("three").await.expect("it is published");
    assert_eq!((again.encoded, again.blobs_written), (0, 0), "{again:?}");
    assert_eq!(place.manifest("three").await.files, manifest.files);

    // Elsewhere the same releases are the same bytes.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let store = Store::open(&elsewhere.path().display().to_string()).expect("a store");
    for (id, chunks) in [("one", &old), ("two", &manifest)] {
        let site = tempfile::tempdir().expect("a folder");
        for (url, file) in &chunks.files {
            let path = match url.starts_with("/_next/") {
                true => site.path().join(&url[1..]),
                false => site.path().join("public").join(&url[1..]),
            };
            fs::create_dir_all(path.parent().expect("it lies in the site")).expect("a folder");
            let bytes = place.store().blob(&file.identity).await.expect("a blob");
            fs::write(path, bytes).expect("written");
        }
        fs::write(site.path().join("BUILD_ID"), "b").expect("written");
        let mut what = place.publish_of(id);
        (what.dir, what.store) = (site.path().to_owned(), store.clone());
        let report = publish(what, &()).await.expect("it is published");
        assert_eq!(report.manifest, Digest::of(&chunks.to_bytes()), "{id}");
    }
}

#[tokio::test]
async fn only_the_last_releases_count_and_none_if_none_are_wanted() {
    let place = build();
    for word in ["one", "two", "three", "four"] {
        write(&place, "main", &code("main", word));
        let mut what = place.publish_of(word);
        what.delta_releases = 2;
        // Ids say nothing about age.
        what.now = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(place.visible().await.len() as u64);
        publish(what, &()).await.expect("it is published");
    }
    let of = async |release: &str| file(&place.manifest(release).await, "main").clone();
    let froms: BTreeSet<_> = of("four")
        .await
        .deltas
        .iter()
        .map(|delta| delta.from)
        .collect();
    let expected = BTreeSet::from([of("two").await.identity, of("three").await.identity]);
    assert_eq!(froms, expected);

    write(&place, "main", &code("main", "five"));
    let mut what = place.publish_of("five");
    what.delta_releases = 0;
    publish(what, &()).await.expect("it is published");
    assert_eq!(of("five").await.deltas, []);
}

#[tokio::test]
async fn a_damaged_delta_is_named_and_mended_by_a_repeat() {
    let place = build();
    place.publish("one").await.expect("it is published");
    write(&place, "main", &code("main", "two"));
    place.publish("two").await.expect("it is published");
    let two = place.site().with_extension("two");
    support::copy(&place.site(), &two);
    write(&place, "main", &code("main", "three"));
    place.publish("three").await.expect("it is published");

    let delta = file(&place.manifest("two").await, "main").deltas[0];
    let hex = delta.blob.digest.to_string();
    let blob = place
        .store_folder()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex[2..]);
    for damaged in [&b"junk"[..], b""] {
        fs::write(&blob, damaged).expect("written");
        let found = place.verified().await.damaged;
        let [damage] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(
            (damage.release.as_str(), damage.coding),
            ("two", Some("dcb"))
        );
        let mut what = place.publish_of("two");
        what.dir.clone_from(&two);
        let report = publish(what, &()).await.expect("it is mended");
        assert!(report.repeated && report.mended == 1, "{report:?}");
        assert_eq!(place.verified().await.damaged, []);
    }
}
