//! A store without space: a clear error, nothing half published, and it goes on when there is space.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use asset_pipeline::store::Store;
use support::{Place, app};

/// A file system of 1 MiB.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a reader that is still open must not keep it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Random digits do not compress to nothing.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut text = String::new();
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push_str(&format!("{:x}", state >> 20));
    }
    text
}

#[tokio::test]
async fn a_disk_that_is_full_changes_nothing_that_is_live() {
    let place = Place::of_the_bell();
    let Some(_mounted) = Tmpfs::mount(&place.store_folder()) else {
        eprintln!("SKIPPED: a small file system can only be mounted by root");
        return;
    };
    place.publish("one").await.expect("it fits");
    place.write("large.txt", noise(1_200_000));
    let error = place.publish("two").await.expect_err("it does not fit");
    let text = error.to_string();
    assert!(
        text.contains("no space is left") && text.contains("blobs/"),
        "{text}"
    );
    assert_eq!(place.visible().await, ["one"]);
    assert_eq!(place.verified().await.damaged, []);

    place.write("large.txt", "It is short now.");
    place.publish("two").await.expect("it fits");
    assert_eq!(place.verified().await.damaged, []);
}

/// The command, where no file may be larger than `kib`.
fn limited(place: &Place, kib: u32) -> Output {
    // The signal is ignored, so that the write fails as it does on a full disk.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
    Command::new("sh")
        .args([
            "-c",
            &script,
            "sh",
            env!("CARGO_BIN_EXE_asset-pipeline"),
            "publish",
        ])
        .arg(place.site())
        .args(["--app", "learn", "--release", "two", "--store"])
        .arg(place.store_folder())
        .output()
        .expect("a shell")
}

#[tokio::test]
async fn a_file_that_the_store_cannot_take_is_named() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    place.write("large.txt", noise(300_000));
    let output = limited(&place, 64);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no space is left"), "{text}");
    assert_eq!(place.visible().await, ["one"]);
    let store: Store = place.store();
    let one = "one".parse().expect("a name");
    assert!(store.manifest(&app(), &one).await.is_ok());
    place.publish("two").await.expect("it fits");
}
