//! The store is a bucket of a real S3 server, which comes and goes while the edge serves.

#[path = "../../../asset-pipeline/tests/support/weed.rs"]
mod weed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asset_pipeline::publish::{Publish, publish};
use asset_pipeline::store::Store;

use super::{Outcome, PATIENCE, Running, edge_proxy, write_config};
use weed::{SECRETS, Weed};

/// All files below a folder, by path relative to it.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                found.insert(name.display().to_string(), path);
            }
        }
    }
    found
}

/// Publishes one page as a release of a folder, and puts that folder into the bucket.
async fn release(folder: &Path, weed: &Weed, id: &str) -> Outcome {
    let site = folder.join(format!("site-{id}"));
    fs::create_dir(&site)?;
    fs::write(site.join("bell.txt"), text(id))?;
    let store = folder.join("published");
    let store_of = Store::open(&store.display().to_string())?;
    publish(
        Publish::new(site, "learn".parse()?, id.parse()?, store_of),
        &(),
    )
    .await?;
    // The release last, as a publisher would.
    for part in ["store.json", "blobs", "manifests", "releases"] {
        let path = store.join(part);
        match path.is_dir() {
            true => {
                for (name, file) in files(&path) {
                    let to = format!("/buckets/assets/of/learn/{part}/{name}");
                    weed.filer("PUT", &to, &fs::read(file)?);
                }
            }
            false => {
                let to = format!("/buckets/assets/of/learn/{part}");
                weed.filer("PUT", &to, &fs::read(path)?);
            }
        }
    }
    Ok(())
}

fn text(id: &str) -> String {
    format!("The bell of {id} rings. ").repeat(80)
}

struct Edge {
    running: Running,
    at: String,
    said: String,
}

impl Edge {
    fn start(folder: &Path, weed: &Weed) -> Result<Self, Box<dyn std::error::Error>> {
        let mut command = edge_proxy(folder, &["run"]);
        command.envs(weed.environment());
        let running = Running::of(command)?;
        let said = running.says("the edge accepts connections")?;
        let at = said
            .split("plain=[")
            .nth(1)
            .and_then(|rest| rest.split(']').next());
        let at = at.ok_or("the log names the plain listener")?.to_owned();
        Ok(Self { running, at, said })
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let host = "oak.school.test";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn serves(&self, id: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/bell.txt")?;
            if answer.starts_with("HTTP/1.1 200") && answer.ends_with(&text(id)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{id} is not served: {answer}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mirrored_is_served_whatever_the_bucket_does() -> Outcome {
    let Some(mut weed) = Weed::start() else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    write_config(folder.path(), &weed.url("of/learn"))?;
    release(folder.path(), &weed, "r1").await?;
    let mut edge = Edge::start(folder.path(), &weed)?;
    edge.serves("r1")?;
    // The bucket was told what is in use; the state folder has its bytes.
    let id = fs::read_to_string(folder.path().join("state/edge-id"))?;
    let report = format!("/buckets/assets/of/learn/in-use/learn/{}", id.trim());
    let deadline = Instant::now() + PATIENCE;
    while !fs::exists(folder.path().join("state/mirror/releases/learn/r1"))? {
        assert!(Instant::now() < deadline, "nothing is mirrored");
        std::thread::sleep(Duration::from_millis(20));
    }
    let reported = weed.filer("GET", &report, b"");
    assert!(reported.contains(r#""releases":["r1"]"#), "{reported}");

    weed.down();
    for _ in 0..5 {
        edge.serves("r1")?;
    }
    // A request to a server that is gone is tried again for a while first.
    let patiently = edge.running.says("asset store");
    patiently.or_else(|_| edge.running.says("asset store"))?;
    // Also from the start on.
    drop(edge);
    edge = Edge::start(folder.path(), &weed)?;
    edge.serves("r1")?;
    for secret in SECRETS {
        assert!(!edge.said.contains(secret));
    }

    // What comes is taken when the server is back.
    assert!(weed.up(), "it starts where it was");
    release(folder.path(), &weed, "r2").await?;
    let mirrored = folder.path().join("state/mirror/releases/learn/r2");
    let deadline = Instant::now() + PATIENCE * 4;
    while !fs::exists(&mirrored)? {
        assert!(Instant::now() < deadline, "the new release is not seen");
        edge.serves("r1")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    edge.serves("r1")?;
    Ok(())
}
