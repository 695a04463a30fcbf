//! `stall`: what do requests notice while the edge loads releases?
//!
//! The edge answers a hit over and over. In every other turn releases come into its store, each a manifest of
//! thousands of files: they are read, checked, joined with the others and swapped in while requests go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asset_pipeline::digest::Digest;
use asset_pipeline::manifest::{Blob, FORMAT, File, Kind, Manifest};
use serde::Serialize;

use crate::case::{Protocol, Size, What};
use crate::error::BenchError;
use crate::ground::{Ground, HOST};
use crate::load::Driver;
use crate::peers::{Peer, Place};
use crate::report::median;

/// Releases that come in one turn.
const RELEASES: u64 = 4;
const WARM_UP: Duration = Duration::from_secs(2);

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often both turns are taken.
    pub rounds: usize,
    /// How long a turn is: several looks of the edge at its store.
    pub seconds: u64,
    /// Files of each release.
    pub files: usize,
    /// The edge's binary, if it is not to be built.
    pub edge: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Files of each release.
    pub files: usize,
    /// Turn by turn.
    pub rounds: Vec<Round>,
    /// The median of the rounds' ratios of 99th percentiles.
    pub ratio: f64,
}

/// Both turns of a round: the 99th percentile of the time that an answer takes.
#[derive(Debug, Serialize)]
pub struct Round {
    /// While nothing is loaded.
    pub quiet_p99_ms: f64,
    /// While releases are loaded.
    pub loading_p99_ms: f64,
    /// Releases that the edge has loaded in the second turn.
    pub loaded: usize,
}

/// Measures.
///
/// # Errors
/// When a tool is missing, the edge does not start, or it does not load what comes.
pub fn measure(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let ground = Ground::new()?;
    let driver = Driver::new(ground.folder())?;
    let place = Place::on(ground, options.edge.as_deref())?;
    let mut server = Peer::Edge.start(&place)?;
    let folder = place.ground.folder().join(Peer::Edge.name());
    let mirrored = folder.join("state/mirror/releases/learn");
    let url = format!(
        "https://{HOST}:{}{}",
        server.address.port(),
        What::File.path(Size::Small)
    );
    let turn = |seconds| driver.run(Protocol::H1, &url, seconds);
    until_it_answers(&driver, &url, &mut server)?;
    turn(WARM_UP)?;
    let time = Duration::from_secs(options.seconds);
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let quiet = turn(time)?;
        let before = count(&mirrored);
        let loading = std::thread::scope(|scope| {
            let store = folder.join("store");
            let coming = scope.spawn(move || bring(&store, number, options.files, time));
            let loading = turn(time);
            let came = coming.join();
            came.unwrap_or(Ok(())).and(loading)
        })?;
        server.process.still_runs()?;
        let round = Round {
            quiet_p99_ms: quiet.p99.as_secs_f64() * 1e3,
            loading_p99_ms: loading.p99.as_secs_f64() * 1e3,
            loaded: count(&mirrored).saturating_sub(before),
        };
        tell(&format!(
            "round {}: {:.2} ms quiet, {:.2} ms while {} releases were loaded",
            number + 1,
            round.quiet_p99_ms,
            round.loading_p99_ms,
            round.loaded
        ));
        rounds.push(round);
    }
    if rounds.iter().all(|round| round.loaded == 0) {
        return Err(BenchError::Failed {
            program: "the edge",
            said: format!("it loaded no release\n{}", server.process.said()),
        });
    }
    let ratios = rounds
        .iter()
        .map(|round| round.loading_p99_ms / round.quiet_p99_ms);
    Ok(Report {
        files: options.files,
        ratio: median(ratios.collect()),
        rounds,
    })
}

/// A first answer means that the edge has its own release.
fn until_it_answers(
    driver: &Driver,
    url: &str,
    server: &mut crate::peers::Server,
) -> Result<(), BenchError> {
    let mut last = Ok(());
    for _ in 0..20 {
        server.process.still_runs()?;
        match driver.run(Protocol::H1, url, Duration::from_secs(1)) {
            Ok(_) => return Ok(()),
            Err(error) => last = Err(error),
        }
    }
    last
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Puts releases into the store, one after the other, over the first half of the turn.
fn bring(store: &Path, round: usize, files: usize, time: Duration) -> Result<(), BenchError> {
    for number in 0..RELEASES {
        let id = format!("stall-{round}-{number}");
        let manifest = manifest(&id, files)?;
        let bytes = manifest.to_bytes();
        let digest = Digest::of(&bytes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let record = format!(
            r#"{{"format":1,"manifest":"{digest}","published_s":{}}}"#,
            now.map_or(0, |now| now.as_secs())
        );
        for (name, bytes) in [
            (format!("manifests/{digest}.json"), bytes.as_slice()),
            (format!("releases/learn/{id}"), record.as_bytes()),
        ] {
            let path = store.join(&name);
            let coming = path.with_extension("coming#1");
            let put = fs::write(&coming, bytes).and_then(|()| fs::rename(&coming, &path));
            put.map_err(BenchError::io(name))?;
        }
        std::thread::sleep(time / 2 / RELEASES as u32);
    }
    Ok(())
}

/// A release of files that nobody asks for, as a framework would name them.
fn manifest(id: &str, files: usize) -> Result<Manifest, BenchError> {
    let failed = |error: asset_pipeline::id::NotAName| BenchError::Publish(error.to_string());
    let file = |at: usize| {
        let digest = Digest::of(format!("{id} {at}").as_bytes());
        let hash = &digest.to_string()[..16];
        let file = File {
            kind: Kind::Hashed,
            content_type: "text/javascript; charset=utf-8".to_owned(),
            identity: Blob {
                digest,
                bytes: 1000,
            },
            encoded: Default::default(),
            dictionary_for: Some(format!("/_next/static/chunks/{at}-*.js")),
            image: None,
            deltas: Vec::new(),
        };
        (format!("/_next/static/chunks/{at}-{hash}.js"), file)
    };
    Ok(Manifest {
        format: FORMAT,
        app: "learn".parse().map_err(failed)?,
        release: id.parse().map_err(failed)?,
        build_id: None,
        deployment_id: None,
        hashed_prefixes: vec!["/_next/static/".to_owned()],
        files: (0..files).map(file).collect(),
        pages: Default::default(),
        dictionary: None,
        images: None,
    })
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "p99 of a file of 1 KB over H1, while releases of {} files are loaded\n\n| round | quiet | loading | releases |\n|--:|--:|--:|--:|\n",
            self.files
        );
        for (number, round) in self.rounds.iter().enumerate() {
            text.push_str(&format!(
                "| {} | {:.2} ms | {:.2} ms | {} |\n",
                number + 1,
                round.quiet_p99_ms,
                round.loading_p99_ms,
                round.loaded
            ));
        }
        text.push_str(&format!("\nmedian of the ratios: {:.2}\n", self.ratio));
        text
    }
}
