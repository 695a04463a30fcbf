//! What a returning visitor downloads after a deploy, and what publishing costs.
//!
//! The input is real builds of one app in folders `r1`, `r2`, `r3`. Bytes are those of all scripts
//! and styles of the site that are named by their content. The peer is nginx with `brotli_static`:
//! what `brotli -q 11 -w 24` makes of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asset_pipeline::manifest::{File, Kind, Manifest};
use asset_pipeline::publish::{DELTA_RELEASES, Publish, publish};
use asset_pipeline::store::Store;
use serde::Serialize;

use crate::cpu;
use crate::error::BenchError;
use crate::images::{self, Images};
use crate::tools::{BROTLI, GZIP, Tool};

/// The builds, the older first.
const RELEASES: [&str; 3] = ["r1", "r2", "r3"];

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// From each release to the next.
    pub visits: Vec<Visit>,
    /// Of the pictures of the first release.
    pub images: Images,
    /// CPU of publishing the first release into an empty store.
    pub publish: Vec<Cost>,
}

/// What somebody downloads who holds all of one release and visits all of the next. In bytes.
#[derive(Debug, Serialize)]
pub struct Visit {
    /// The release that is held.
    pub from: String,
    /// The one that is visited.
    pub to: String,
    /// Scripts and styles that are not the same.
    pub changed: usize,
    /// Of how many.
    pub files: usize,
    /// From nginx, where the query names the deployment: every URL is new.
    pub nginx_with_dpl: u64,
    /// From nginx, where it does not.
    pub nginx: u64,
    /// From the edge, with or without that query, to a browser that offers the file of the same
    /// name; where there are several, the one that helps least.
    pub by_name: u64,
    /// From the edge, to a client that offers the old file that helps most.
    pub by_best: u64,
}

/// What some way of publishing costs.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// How.
    pub what: String,
    /// CPU time, in seconds.
    pub cpu_s: f64,
    /// Time on the clock, in seconds.
    pub wall_s: f64,
}

/// Publishes the builds and compares.
///
/// # Errors
///
/// The builds or the tools are not there, or a publish failed.
pub async fn measure(builds: &Path, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a temporary folder"))?;
    let mut costs = Vec::new();
    let store = |name: &str| {
        let url = folder.path().join(name).display().to_string();
        Store::open(&url).map_err(|error| BenchError::Publish(error.to_string()))
    };
    let (full, bare) = (store("full")?, store("bare")?);
    for (what, store, deltas, id) in [
        ("publish, deltas off", &bare, 0, "r1"),
        ("the same again", &bare, 0, "r1"),
        ("publish, deltas on", &full, DELTA_RELEASES, "r1"),
        ("then the text edit", &full, DELTA_RELEASES, "r2"),
        ("then the upgrade", &full, DELTA_RELEASES, "r3"),
    ] {
        tell(&format!("{what}: {id}"));
        let (cpu, clock) = (cpu::own(), Instant::now());
        publish_build(builds, store, id, deltas).await?;
        costs.push(Cost::new(what, id, cpu::own() - cpu, clock.elapsed()));
    }
    let mut manifests = Vec::new();
    for id in RELEASES {
        let (app, release) = ("app".parse(), id.parse());
        let (Ok(app), Ok(release)) = (app, release) else {
            return Err(BenchError::Publish(format!("`{id}` is no name")));
        };
        let manifest = full.manifest(&app, &release).await;
        manifests.push(manifest.map_err(|error| BenchError::Publish(error.to_string()))?);
    }
    tell("brotli -q 11 and gzip -9 over the same files");
    let peers = Peers::run(builds, &manifests)?;
    costs.insert(0, peers.cost);
    let visits = manifests.windows(2);
    let visits = visits.map(|pair| Visit {
        from: pair[0].release.to_string(),
        to: pair[1].release.to_string(),
        ..visit(&pair[0], &pair[1], &peers.bytes)
    });
    Ok(Report {
        visits: visits.collect(),
        images: images::measure(&builds.join(RELEASES[0]).join("public"), tell)?,
        publish: costs,
    })
}

async fn publish_build(
    builds: &Path,
    store: &Store,
    id: &str,
    deltas: usize,
) -> Result<(), BenchError> {
    let (Ok(app), Ok(release)) = ("app".parse(), id.parse()) else {
        return Err(BenchError::Publish(format!("`{id}` is no name")));
    };
    let mut what = Publish::new(builds.join(id), app, release, store.clone());
    what.delta_releases = deltas;
    publish(what, &())
        .await
        .map(drop)
        .map_err(|error| BenchError::Publish(error.to_string()))
}

/// What the command line tools make of the builds' files.
struct Peers {
    /// In br, by URL path.
    bytes: BTreeMap<String, u64>,
    /// Of both tools over the first release, of which the publisher encodes the same files.
    cost: Cost,
}

impl Peers {
    fn run(builds: &Path, manifests: &[Manifest]) -> Result<Self, BenchError> {
        let (brotli, gzip) = (BROTLI.find()?, GZIP.find()?);
        let mut bytes = BTreeMap::new();
        let (cpu, clock) = (cpu::waited(), Instant::now());
        let mut cost = None;
        for (manifest, id) in manifests.iter().zip(RELEASES) {
            for (url, file) in &manifest.files {
                if bytes.contains_key(url) || file.encoded.is_empty() {
                    continue;
                }
                let path = on_disk(&builds.join(id), url);
                let br = encoded(BROTLI, &brotli, &["-q", "11", "-w", "24", "-c"], &path)?;
                if id == RELEASES[0] {
                    encoded(GZIP, &gzip, &["-9", "-c"], &path)?;
                }
                bytes.insert(url.clone(), br.min(file.identity.bytes));
            }
            cost.get_or_insert_with(|| {
                let what = "brotli -q 11 and gzip -9";
                Cost::new(what, id, cpu::waited() - cpu, clock.elapsed())
            });
        }
        let cost = cost.ok_or(BenchError::NoCase("builds".to_owned()))?;
        Ok(Self { bytes, cost })
    }
}

fn on_disk(build: &Path, url: &str) -> PathBuf {
    match url.strip_prefix("/_next/") {
        Some(rest) => build.join("_next").join(rest),
        None => build.join("public").join(url.trim_start_matches('/')),
    }
}

fn encoded(tool: Tool, program: &Path, how: &[&str], file: &Path) -> Result<u64, BenchError> {
    let output = Command::new(program)
        .args(how)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::io(tool.program))?;
    if !output.status.success() {
        return Err(BenchError::Failed {
            program: tool.program,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(output.stdout.len() as u64)
}

fn is_code(url: &str, file: &File) -> bool {
    file.kind == Kind::Hashed && (url.ends_with(".js") || url.ends_with(".css"))
}

fn visit(old: &Manifest, new: &Manifest, br: &BTreeMap<String, u64>) -> Visit {
    let code = |manifest: &'_ Manifest| -> Vec<(String, File)> {
        let files = manifest.files.iter();
        files
            .filter(|(url, file)| is_code(url, file))
            .map(|(url, file)| (url.clone(), file.clone()))
            .collect()
    };
    let (old, new) = (code(old), code(new));
    let held: BTreeSet<_> = old.iter().map(|(_, file)| file.identity).collect();
    let bytes = |url: &str, file: &File| br.get(url).copied().unwrap_or(file.identity.bytes);
    let mut visit = Visit {
        from: String::new(),
        to: String::new(),
        changed: 0,
        files: new.len(),
        nginx_with_dpl: new.iter().map(|(url, file)| bytes(url, file)).sum(),
        nginx: 0,
        by_name: 0,
        by_best: 0,
    };
    for (url, file) in &new {
        if old.iter().any(|(held, _)| held == url) {
            continue;
        }
        let whole = file.encoded.values().map(|blob| blob.bytes).min();
        let whole = whole.unwrap_or(file.identity.bytes);
        let told = |from: &dyn Fn(&asset_pipeline::manifest::Blob) -> bool| {
            let deltas = file.deltas.iter().filter(|delta| from(&delta.from));
            deltas.map(|delta| delta.blob.bytes).min().unwrap_or(whole)
        };
        let of_the_name = old
            .iter()
            .filter(|(_, old)| old.dictionary_for == file.dictionary_for)
            .map(|(_, old)| told(&|from| *from == old.identity));
        visit.changed += 1;
        visit.nginx += bytes(url, file);
        visit.by_name += of_the_name.max().unwrap_or(whole).min(whole);
        visit.by_best += told(&|from| held.contains(from)).min(whole);
    }
    visit
}

impl Cost {
    fn new(what: &str, id: &str, cpu: Duration, wall: Duration) -> Self {
        Self {
            what: format!("{what} ({id})"),
            cpu_s: cpu.as_secs_f64(),
            wall_s: wall.as_secs_f64(),
        }
    }
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| returning visitor, scripts and styles | changed | br-11, `?dpl=` | br-11 | edge, by name | share | edge, best | share |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        for visit in &self.visits {
            text.push_str(&format!(
                "| {} to {} | {} of {} | {} | {} | {} | {:.1} % | {} | {:.1} % |\n",
                visit.from,
                visit.to,
                visit.changed,
                visit.files,
                visit.nginx_with_dpl,
                visit.nginx,
                visit.by_name,
                share(visit.by_name, visit.nginx),
                visit.by_best,
                share(visit.by_best, visit.nginx),
            ));
        }
        text.push_str(&self.images.table());
        text.push_str("\n| publish | CPU s | wall s | CPU ratio |\n|---|---|---|---|\n");
        let base = self.publish.first().map_or(0.0, |cost| cost.cpu_s);
        for cost in &self.publish {
            text.push_str(&format!(
                "| {} | {:.2} | {:.2} | {:.2} |\n",
                cost.what,
                cost.cpu_s,
                cost.wall_s,
                cost.cpu_s / base.max(0.01)
            ));
        }
        text
    }
}
