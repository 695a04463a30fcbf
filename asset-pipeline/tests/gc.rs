//! What a collection deletes, what stops it, and what it says.

mod support;

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use asset_pipeline::gc::{Collected, Gc, GcError, gc};
use asset_pipeline::id::ReleaseId;
use asset_pipeline::publish::publish;
use support::{COLLECT_ALL, Place, app, files};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A pass so many days from now, by which one release of each app stays.
async fn pass(place: &Place, days: u32) -> Result<Collected, GcError> {
    let gc_then = Gc {
        keep: 1,
        now: SystemTime::now() + DAY * days,
        ..Gc::new(place.store())
    };
    gc(gc_then).await
}

async fn in_use(place: &Place, days: u32, releases: &[&str]) {
    let edge = "e1".parse().expect("a name");
    let ids = releases.iter().map(|id| id.parse().expect("a name"));
    let now = SystemTime::now() + DAY * days;
    let reported = place.store().report_in_use(&app(), &edge, ids, now).await;
    reported.expect("reported");
}

fn ids(gone: &[asset_pipeline::gc::Gone]) -> Vec<&str> {
    gone.iter().map(|gone| gone.release.as_str()).collect()
}

/// Three releases; only the second one has `second.txt`.
async fn three() -> Place {
    let place = Place::of_the_bell();
    publish_after(&place, 0, "one").await;
    place.write("second.txt", "Only in the second. ".repeat(50));
    publish_after(&place, 1, "two").await;
    fs::remove_file(place.site().join("second.txt")).expect("removed");
    place.write("third.txt", "third");
    publish_after(&place, 2, "three").await;
    place
}

/// So many minutes from now.
async fn publish_after(place: &Place, minutes: u64, release: &str) {
    let mut what = place.publish_of(release);
    what.now += Duration::from_secs(60 * minutes);
    publish(what, &()).await.expect("published");
}

#[tokio::test]
async fn what_nothing_needs_goes_after_two_passes_and_no_sooner() {
    let place = three().await;
    in_use(&place, 40, &["one"]).await;
    let before = files(&place.store_folder()).len();
    let first = pass(&place, 40).await.expect("a pass");
    assert_eq!(ids(&first.releases_marked), ["two"]);
    assert_eq!((first.objects_deleted, first.releases_kept), (0, 2));
    // The same day again is too soon.
    let again = pass(&place, 40).await.expect("a pass");
    assert_eq!(ids(&again.releases_marked), ["two"]);
    in_use(&place, 41, &["one"]).await;
    let second = pass(&place, 41).await.expect("a pass");
    assert_eq!(ids(&second.releases_deleted), ["two"]);
    // Edges have until the next pass to forget it.
    assert_eq!(second.objects_deleted, 0);
    assert!(second.objects_marked > 4, "{second:?}");
    in_use(&place, 42, &["one"]).await;
    let third = pass(&place, 42).await.expect("a pass");
    assert_eq!(third.objects_deleted, second.objects_marked);
    assert_eq!(third.bytes_deleted, second.bytes_marked);
    assert_eq!((third.objects_marked, third.releases_kept), (0, 2));
    assert_eq!(place.verified().await.damaged, []);
    let mut visible = place.visible().await;
    visible.sort();
    assert_eq!(visible, ["one", "three"]);
    assert!(files(&place.store_folder()).len() + 4 < before);
    // Published again it is what it was.
    place.write("second.txt", "Only in the second. ".repeat(50));
    fs::remove_file(place.site().join("third.txt")).expect("removed");
    place.publish("two").await.expect("published");
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn without_an_edge_nothing_goes_unless_told() {
    let place = three().await;
    let error = pass(&place, 40).await.expect_err("refused");
    assert!(
        error.is_refusal() && error.to_string().contains("learn"),
        "{error}"
    );
    let mut told = Gc::new(place.store());
    told.no_edge = true;
    told.keep = 1;
    told.now = SystemTime::now() + DAY * 40;
    let first = gc(told).await.expect("a pass");
    assert_eq!(ids(&first.releases_marked), ["one", "two"]);
}

#[tokio::test]
async fn what_cannot_be_read_stops_it() {
    let damaged = |place: &Place, name: &str| {
        let folder = place.store_folder().join(name);
        let found = files(&folder);
        let (_, file) = found.first_key_value().expect("an object");
        fs::write(file, "{").expect("written");
    };
    for name in ["manifests", "releases/learn", "in-use/learn", "uploads"] {
        let place = three().await;
        in_use(&place, 40, &["one"]).await;
        pass(&place, 40).await.expect("marked");
        if name == "uploads" {
            fs::create_dir_all(place.store_folder().join(name)).expect("a folder");
            fs::write(place.store_folder().join("uploads/x"), "{").expect("written");
        }
        damaged(&place, name);
        let before = files(&place.store_folder());
        let error = pass(&place, 45).await.expect_err("it stops");
        assert!(matches!(error, GcError::Store(_)), "{name}: {error}");
        assert_eq!(files(&place.store_folder()), before, "{name}");
    }
    // An edge that uses what is not there: somebody must look.
    let place = three().await;
    in_use(&place, 40, &["seven"]).await;
    let error = pass(&place, 40).await.expect_err("it stops");
    assert!(error.to_string().contains("learn seven"), "{error}");
}

#[tokio::test]
async fn a_publish_under_way_keeps_everything_and_a_dead_one_does_not() {
    let place = three().await;
    in_use(&place, 40, &["one"]).await;
    pass(&place, 40).await.expect("marked");
    let lease = |days: u32| {
        let at = (SystemTime::now() + DAY * days).duration_since(SystemTime::UNIX_EPOCH);
        let at = at.expect("after 1970").as_secs();
        let text = format!(r#"{{"format":1,"what":"learn four","renewed_s":{at}}}"#);
        fs::write(place.store_folder().join("uploads/0123"), text).expect("written");
    };
    lease(41);
    in_use(&place, 41, &["one"]).await;
    let held = pass(&place, 41).await.expect("a pass");
    assert_eq!((held.publishes.len(), held.releases_deleted.len()), (1, 0));
    assert!(held.to_string().contains("learn four"), "{held}");
    in_use(&place, 42, &["one"]).await;
    let free = pass(&place, 42).await.expect("a pass");
    assert_eq!(free.leases_expired, 1);
    assert_eq!(ids(&free.releases_deleted), ["two"]);
    assert!(!place.store_folder().join("uploads/0123").exists());
}

#[tokio::test]
async fn what_a_killed_publish_has_stored_goes() {
    let place = three().await;
    in_use(&place, 1, &["three"]).await;
    let blob = place
        .store_folder()
        .join("blobs/sha256/00")
        .join("1".repeat(62));
    fs::create_dir_all(blob.parent().expect("a folder")).expect("a folder");
    fs::write(&blob, "half of a release").expect("written");
    let foreign = blob.with_file_name(".nfs0001");
    fs::write(&foreign, "not ours").expect("written");
    assert_eq!(pass(&place, 1).await.expect("a pass").objects_marked, 1);
    assert_eq!(pass(&place, 2).await.expect("a pass").objects_deleted, 1);
    assert!(!blob.exists() && foreign.exists());
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn of_old_reports_the_last_one_stays() {
    let place = three().await;
    in_use(&place, 1, &["one"]).await;
    let folder = place.store_folder().join("in-use/learn");
    fs::copy(folder.join("e1"), folder.join("e0")).expect("a copy");
    in_use(&place, 2, &["one"]).await;
    let late = pass(&place, 50).await.expect("an edge was seen");
    // What it used long ago is retained no more.
    assert_eq!(ids(&late.releases_marked), ["one", "two"]);
    assert!(folder.join("e1").exists() && !folder.join("e0").exists());
}

fn command(place: &Place, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asset-pipeline"))
        .args(["gc", "--store"])
        .arg(place.store_folder())
        .args(more)
        .output()
        .expect("the command starts")
}

#[tokio::test]
async fn the_command_refuses_says_and_does() {
    let place = three().await;
    assert_eq!(command(&place, &[]).status.code(), Some(3));
    let before = files(&place.store_folder());
    let dry = [&COLLECT_ALL[..], &["--dry-run", "--json"]].concat();
    let dry = command(&place, &dry);
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    let said: serde_json::Value = serde_json::from_slice(&dry.stdout).expect("JSON");
    assert_eq!(said["releases_marked"][0]["release"], "one");
    assert_eq!(files(&place.store_folder()), before);
    for _ in 0..3 {
        assert_eq!(command(&place, &COLLECT_ALL).status.code(), Some(0));
    }
    assert_eq!(place.visible().await, ["three"]);
    assert_eq!(place.verified().await.damaged, []);
    let three: ReleaseId = "three".parse().expect("a name");
    assert!(place.store().manifest(&app(), &three).await.is_ok());
    assert_eq!(
        command(&place, &["--younger-than", "soon"]).status.code(),
        Some(2)
    );
    let nowhere = Command::new(env!("CARGO_BIN_EXE_asset-pipeline"))
        .args(["gc", "--store", "/nowhere/at/all"])
        .output();
    assert_eq!(nowhere.expect("it runs").status.code(), Some(1));
}
