use super::*;
use crate::assets::fixture::blob;

fn put(mirror: &Mirror, bytes: &[u8]) -> Blob {
    let blob = blob(bytes);
    let mut file = mirror.coming().expect("a file");
    file.write_all(bytes).expect("written");
    mirror.put(file, &blob).expect("placed");
    blob
}

fn holds(mirror: &Mirror, blob: &Blob) -> bool {
    mirror.get(&blob.digest).expect("readable").is_some()
}

#[test]
fn the_least_recently_used_loose_blob_goes_first_and_kept_ones_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = Mirror::open(folder.path().into(), 30).expect("a mirror");
    let kept = put(&mirror, &[0; 40]);
    assert!(!holds(&mirror, &kept), "nothing said that it must stay");
    mirror.keep(HashSet::from([kept.digest]));
    let kept = put(&mirror, &[0; 40]);
    let [a, b, c] = [1, 2, 3].map(|byte| put(&mirror, &[byte; 10]));
    assert!(holds(&mirror, &a));
    let d = put(&mirror, &[4; 10]);
    assert!(!holds(&mirror, &b), "used longest ago");
    assert!([kept, a, c, d].iter().all(|blob| holds(&mirror, blob)));
    mirror.keep(HashSet::new());
    assert!(
        !holds(&mirror, &kept),
        "no longer named, and too large to be loose"
    );
}

#[test]
fn what_is_loose_is_counted_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = Mirror::open(folder.path().into(), 100).expect("a mirror");
    let blobs = [1, 2, 3].map(|byte| put(&mirror, &[byte; 30]));
    let mirror = Mirror::open(folder.path().into(), 30).expect("a mirror");
    assert!(!mirror.is_checked(&blobs[0].digest), "not since this start");
    mirror.keep(HashSet::new());
    assert_eq!(blobs.iter().filter(|blob| holds(&mirror, blob)).count(), 1);
}

#[test]
fn a_write_that_was_cut_off_leaves_nothing_for_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = Mirror::open(folder.path().into(), 100).expect("a mirror");
    let mut cut = mirror.coming().expect("a file");
    cut.write_all(b"half").expect("written");
    let (file, path) = cut.keep().expect("left behind");
    Mirror::open(folder.path().into(), 100).expect("a mirror");
    assert!(path.exists(), "another process may be writing it");
    let long_ago = std::time::SystemTime::now() - 2 * HALF_WRITTEN;
    file.set_modified(long_ago).expect("its time is set");
    Mirror::open(folder.path().into(), 100).expect("a mirror");
    assert!(!path.exists());
}

#[test]
fn damaged_files_are_kept_for_a_look_but_not_without_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = Mirror::open(folder.path().into(), 1000).expect("a mirror");
    for byte in 0..20 {
        let blob = put(&mirror, &[byte; 8]);
        mirror.set_aside(&blob.digest).expect("set aside");
        assert!(!holds(&mirror, &blob));
    }
    let aside = fs::read_dir(folder.path().join("aside")).expect("a folder");
    assert_eq!(aside.count(), ASIDE_MAX);
}

#[test]
fn releases_come_back_as_they_were_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = Mirror::open(folder.path().into(), 1000).expect("a mirror");
    let app: AppId = "learn".parse().expect("an app");
    let release = ReleaseRef {
        id: "r1".parse().expect("a release"),
        manifest: Digest::of(b"manifest"),
        published_s: 7,
    };
    mirror
        .put_release(&app, &release, None, b"manifest")
        .expect("kept");
    let kept = mirror.releases(&app);
    let [one] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((&one.at, &one.bytes[..]), (&release, &b"manifest"[..]));
    mirror.remove_release(&app, &release).expect("removed");
    mirror
        .remove_release(&app, &release)
        .expect("a second time is no error");
    assert!(mirror.releases(&app).is_empty());
}
