//! A publish that is killed leaves nothing that a reader could see, and nothing in the way of the next.

mod support;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Place, app, files};

fn start(place: &Place, release: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_asset-pipeline"))
        .arg("publish")
        .arg(place.site())
        .args(["--app", "learn", "--release", release, "--json", "--store"])
        .arg(place.store_folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts")
}

/// Reads every visible release, whole, until it is told to stop; says how many it read.
async fn reader(store: asset_pipeline::store::Store, stop: Arc<AtomicBool>) -> usize {
    let mut read = 0;
    while !stop.load(Ordering::Relaxed) {
        // There is no store before the first publish has made one.
        let ids = store.release_ids(&app()).await.unwrap_or_default();
        for id in ids {
            let manifest = store.manifest(&app(), &id).await.expect("a whole release");
            for blob in manifest.blobs() {
                store.check_blob(&blob).await.expect("a whole release");
            }
            read += 1;
        }
        tokio::task::yield_now().await;
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_a_release_whole_or_not_at_all() {
    let place = Place::of_the_bell();
    for at in 0..30 {
        place.write(
            &format!("text/{at}.txt"),
            format!("The bell rings {at}. ").repeat(200),
        );
    }
    place.publish("before").await.expect("it is published");
    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(reader(place.store(), Arc::clone(&stop)));
    let mut interrupted = 0;
    for kill_after in [0, 1, 2, 5, 9, 20, 40, 60, 80, 100] {
        for at in 0..30 {
            let text = format!("Run {kill_after}, line {at}. ").repeat(200);
            place.write(&format!("text/{at}.txt"), text);
        }
        let release = format!("r{kill_after}");
        let before = files(&place.store_folder()).len();
        let mut child = start(&place, &release);
        let deadline = Instant::now() + Duration::from_secs(60);
        // Killed as soon as that many objects, staged ones included, are there: each run at another point.
        while files(&place.store_folder()).len() < before + kill_after
            && child.try_wait().expect("a child").is_none()
        {
            assert!(Instant::now() < deadline, "the publish hangs");
            tokio::task::yield_now().await;
        }
        child.kill().expect("killed");
        child.wait().expect("a child");
        interrupted += usize::from(!place.visible().await.contains(&release));
        assert_eq!(
            place.verified().await.damaged,
            [],
            "killed after {kill_after}"
        );
        place
            .publish(&release)
            .await
            .expect("it is published again");
        assert!(place.visible().await.contains(&release));
    }
    assert!(interrupted > 0, "no kill came in time");
    stop.store(true, Ordering::Relaxed);
    assert!(reading.await.expect("no release was half there") > 0);
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn what_a_kill_leaves_is_swept_a_day_later() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    let blob = place.manifest("one").await.blobs()[0].digest.to_string();
    let folder = place.store_folder().join("blobs/sha256").join(&blob[..2]);
    let staged = folder.join("0123#1");
    std::fs::write(&staged, "half a bl").expect("written");
    place.write("new.txt", "new");
    place.publish("two").await.expect("it is published");
    assert!(staged.exists(), "it may belong to a publish that runs");

    let file = std::fs::File::options()
        .write(true)
        .open(&staged)
        .expect("a file");
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    file.set_modified(yesterday).expect("an old file");
    place.publish("two").await.expect("it is there");
    assert!(!staged.exists());
    assert_eq!(place.verified().await.damaged, []);
}
