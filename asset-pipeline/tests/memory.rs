//! How much memory a publish takes does not follow from how much there is to publish.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::Place;

/// As many as tell the difference; `BELLWETHER_MEMORY_FILES=20000` measures a large site.
const FILES: usize = 80;
const SMALL: usize = 128 << 10;
const BIG: usize = 8 << 20;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// No two are the same.
fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

/// The most memory that publishing so many small files and three big ones takes, in KiB.
fn peak_kib(files: usize, bytes: usize) -> u64 {
    let place = Place::empty();
    for at in 0..files {
        place.write(&format!("{}/{at}.woff2", at % 100), noise(at, bytes));
    }
    for at in 0..3 {
        place.write(&format!("{at}.big.woff2"), noise(files + at, BIG));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_asset-pipeline"))
        .arg("publish")
        .arg(place.site())
        .args(["--app", "learn", "--release", "one", "--json", "--store"])
        .arg(place.store_folder())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        // The high-water mark: to look often is enough.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    assert!(child.wait().expect("a child").success());
    peak
}

#[test]
fn eight_times_the_files_take_no_more_memory() {
    let asked = std::env::var("BELLWETHER_MEMORY_FILES");
    let measured = asked.ok().and_then(|text| text.parse().ok());
    let (files, bytes) = measured.map_or((FILES, SMALL), |files| (files, 2 << 10));
    let (one, eight) = (peak_kib(files, bytes), peak_kib(files * 8, bytes));
    println!("{files} files: {one} KiB, {} files: {eight} KiB", files * 8);
    // What a manifest says of a file is some KiB; the bytes of the files would be 70 MiB more, and
    // which of them are in memory at the same moment differs from run to run.
    let most = one + 24 * 1024 + 7 * 5 * files as u64;
    assert!(eight < most, "{one} KiB became {eight} KiB");
}
