//! The files of `deploy/` mean something to those that read them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// systemd's own figure for what is left open; 10 is everything.
const EXPOSURE_MAX: &str = "20";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

/// What a tool says; none: it is not on this machine.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("SKIPPED: {command:?}: {error}");
            None
        }
    }
}

#[test]
fn systemd_understands_the_units_and_finds_them_tight() {
    let service = deploy("systemd/bellwether.service");
    let text = std::fs::read_to_string(&service).expect("the unit is there");
    // The program is not where a package puts it.
    let folder = tempfile::tempdir().expect("a folder");
    let placed = text.replace("/usr/bin/edge-proxy", env!("CARGO_BIN_EXE_edge-proxy"));
    let placed_at = folder.path().join("bellwether.service");
    std::fs::write(&placed_at, placed).expect("it is written");
    let socket_at = folder.path().join("bellwether.socket");
    std::fs::copy(deploy("systemd/bellwether.socket"), &socket_at).expect("it is copied");
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").args([&placed_at, &socket_at]);
    let Some(verified) = tool(&mut verify) else {
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("bellwether"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--offline=true", "--threshold", EXPOSURE_MAX])
        .arg(&placed_at);
    let judged = tool(&mut security).expect("it was there a moment ago");
    assert!(judged.status.success(), "{judged:?}");
}

#[test]
fn kubernetes_manifests_render_and_leave_time_to_drain() {
    let folder = deploy("kubernetes");
    let mut render = Command::new("kubectl");
    let Some(rendered) = tool(render.arg("kustomize").arg(&folder)) else {
        return;
    };
    assert!(rendered.status.success(), "{rendered:?}");
    let text = String::from_utf8_lossy(&rendered.stdout).into_owned();
    let number = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
        let value = line.map(str::trim).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {key} in\n{text}"))
    };
    // preStop, the default of limits.drain_s, and what a worker gets to say goodbye.
    let needed = number("seconds:") + 25 + 15;
    assert!(number("terminationGracePeriodSeconds:") > needed);
    for path in ["/readyz", "/healthz"] {
        assert!(text.contains(&format!("path: {path}")), "{path}");
    }
}
