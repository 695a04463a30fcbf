//! Nothing that is damaged leaves the store as if it were whole; `verify` names it, and publishing
//! the same release again mends it.

mod support;

use std::fs;
use std::path::Path;

use asset_pipeline::manifest::Coding;
use asset_pipeline::store::StoreError;
use support::{Place, app, files};

type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 4] = [
    ("emptied", |file| {
        fs::write(file, b"").expect("written");
    }),
    ("truncated", |file| {
        let length = fs::metadata(file).expect("a file").len();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(file)
            .expect("a file");
        file.set_len(length / 2).expect("cut");
    }),
    ("altered", |file| {
        let mut bytes = fs::read(file).expect("a file");
        bytes[0] ^= 1;
        fs::write(file, bytes).expect("written");
    }),
    ("gone", |file| fs::remove_file(file).expect("removed")),
];

fn blob_file(place: &Place, blob: &asset_pipeline::manifest::Blob) -> std::path::PathBuf {
    let hex = blob.digest.to_string();
    let (shard, rest) = hex.split_at(2);
    place
        .store_folder()
        .join("blobs/sha256")
        .join(shard)
        .join(rest)
}

#[tokio::test]
async fn a_damaged_blob_is_never_handed_out_and_mended_by_a_repeat() {
    for (what, damage) in DAMAGES {
        let place = Place::of_the_bell();
        place.publish("one").await.expect("it is published");
        let manifest = place.manifest("one").await;
        let page = &manifest.files["/index.html"];
        for (coding, blob) in [
            (None, page.identity),
            (Some(Coding::Br), page.encoded[&Coding::Br]),
        ] {
            damage(&blob_file(&place, &blob));
            let error = place.store().blob(&blob).await.expect_err("it is refused");
            assert!(error.is_damaged() || error.is_missing(), "{what}: {error}");
            let error = place
                .store()
                .check_blob(&blob)
                .await
                .expect_err("it is refused");
            assert!(error.is_damaged() || error.is_missing(), "{what}: {error}");

            // The page answers two paths, and each is named.
            let found = place.verified().await.damaged;
            let coded = coding.map(Coding::as_str);
            let named = found.iter().find(|damage| damage.coding == coded);
            let named = named.unwrap_or_else(|| panic!("{what} {coding:?} in {found:?}"));
            assert_eq!(named.path.as_deref(), Some("/"));
            assert!(named.reason.contains("blobs/sha256/"), "{named}");

            let report = place.publish("one").await.expect("it is mended");
            assert!(report.repeated);
            assert_eq!(
                report.mended + report.blobs_written,
                1,
                "{what} {coding:?} {report:?}"
            );
            assert_eq!(place.verified().await.damaged, []);
        }
    }
}

#[tokio::test]
async fn a_damaged_blob_does_not_get_into_a_new_release() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    for path in files(&place.store_folder().join("blobs")).values() {
        DAMAGES[2].1(path);
    }
    // Every blob was there, and none of them was believed.
    let report = place.publish("two").await.expect("it is published");
    assert!(
        report.mended > 10 && report.blobs_written == 0,
        "{report:?}"
    );
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn notes_about_encodings_are_hints_and_no_more() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    let notes = files(&place.store_folder().join("derived"));
    let one_of_them = fs::read(notes.values().next().expect("a note")).expect("a note");
    for (at, note) in notes.values().enumerate() {
        let text = match at % 2 {
            0 => b"{".to_vec(),
            _ => one_of_them.clone(),
        };
        fs::write(note, text).expect("written");
    }
    place.write("new.txt", "so that it is another release");
    place.publish("two").await.expect("it is published");
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn a_release_that_cannot_be_read_is_named_and_stops_no_other() {
    for (name, (what, damage)) in ["manifests", "releases/learn"]
        .into_iter()
        .flat_map(|name| DAMAGES.map(|damage| (name, damage)))
    {
        if (name, what) == ("releases/learn", "gone") {
            continue;
        }
        let place = Place::of_the_bell();
        place.publish("one").await.expect("it is published");
        for path in files(&place.store_folder().join(name)).values() {
            damage(path);
        }
        let store = place.store();
        let id = "one".parse().expect("a name");
        assert!(store.manifest(&app(), &id).await.is_err());
        let found = place.verified().await.damaged;
        assert_eq!(found.len(), 1, "{name} {what}: {found:?}");
        assert_eq!(found[0].release.as_str(), "one");

        place.write("new.txt", "so that it is another release");
        let report = place.publish("two").await.expect("it is published");
        assert_eq!(report.warnings.len(), 1, "{report:?}");
        assert_eq!(place.visible().await, ["one", "two"]);
    }
}

#[tokio::test]
async fn a_folder_that_lost_its_mount_is_absent_and_not_empty() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    let store = place.store();
    assert_eq!(store.release_ids(&app()).await.expect("a store").len(), 1);
    let aside = place.store_folder().with_extension("aside");
    fs::rename(place.store_folder(), &aside).expect("moved");
    fs::create_dir(place.store_folder()).expect("an empty mount point");
    let error = store.release_ids(&app()).await.expect_err("no store");
    assert!(matches!(error, StoreError::Absent { .. }), "{error}");
    fs::remove_dir(place.store_folder()).expect("removed");
    let error = place.store().apps().await.expect_err("no store");
    assert!(error.is_missing(), "{error}");
    fs::rename(aside, place.store_folder()).expect("moved back");
    assert_eq!(store.release_ids(&app()).await.expect("a store").len(), 1);
}
