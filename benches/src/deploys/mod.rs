//! `deploys`: how many requests does a deploy lose, and how many the replacement of the server itself?
//!
//! Clients without a second try ask all the time, in every way that browsers do; whatever does not come whole is
//! counted. Meanwhile one script runs against every server: a new version of the application starts, gets 10, 50 and
//! 100 % of the traffic, and the one before ends. Then the edge alone replaces its own process, by versions that work
//! and by versions that do not, and is killed once.

mod application;
mod clients;
mod edge;
mod proxies;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::application::Application;
use self::clients::Clients;
pub use self::clients::Tally;
use self::edge::Edge;
use self::proxies::{Kind, Proxy};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::peers::given_or_built;

/// The shares of the new version, one after the other.
const STEPS: [u8; 3] = [10, 50, 100];

/// A server that gives no good answer for so long gives none.
const AGAIN: Duration = Duration::from_secs(20);

/// What is normal is measured for so long, before anything is done.
const QUIET: Duration = Duration::from_secs(10);

/// What is done, and how often.
#[derive(Debug, Clone)]
pub struct Options {
    /// Blue-green cycles of every server.
    pub cycles: usize,
    /// Replacements of the edge's own process.
    pub upgrades: usize,
    /// How long each share is held, and clients ask before and between.
    pub hold: Duration,
    /// The size of slow uploads.
    pub upload_bytes: usize,
    /// The edge's binary; it is built from this tree otherwise.
    pub edge: Option<PathBuf>,
}

/// What was lost.
#[derive(Debug, Serialize)]
pub struct Report {
    /// By server and by what was done.
    pub rows: Vec<Row>,
    /// From the kill of the edge's serving process to the next good answer, in milliseconds.
    pub next_answer_ms: u128,
}

/// One server while one thing was done.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Who.
    pub server: String,
    /// What was done meanwhile, such as `20 blue-green cycles`.
    pub meanwhile: String,
    /// What became of requests.
    #[serde(flatten)]
    pub tally: Tally,
    /// Of small answers, with nothing going on before, in milliseconds.
    pub p99_before_ms: f64,
    /// The same meanwhile.
    pub p99_ms: f64,
}

/// A server that sends traffic to two versions.
trait Server {
    fn address(&self) -> SocketAddr;

    /// The idle colour is this version from now on.
    fn deploy(&mut self, version: SocketAddr) -> Result<(), BenchError>;

    /// The version that was deployed last gets this share.
    fn shift(&mut self, percent: u8) -> Result<(), BenchError>;
}

/// Runs the scripts.
///
/// # Errors
/// When a server does not start or cannot be told what to do.
pub fn measure(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let ground = Ground::new()?;
    let binary = given_or_built(options.edge.as_deref())?;
    let mut rows = Vec::new();
    for kind in Kind::BOTH {
        let (name, first) = (kind.name(), Application::start()?);
        let started = Proxy::start(kind, &ground, first.address());
        match started {
            Ok(mut server) => {
                rows.push(cycles(name, &mut server, first, &ground, options, tell)?.0);
            }
            Err(missing @ BenchError::Missing { .. }) => {
                tell(&format!("NOTE: measured without {name}: {missing}"));
            }
            Err(error) => return Err(error),
        }
    }
    let first = Application::start()?;
    let mut edge = Edge::start(&ground, &binary, first.address())?;
    let (row, last) = cycles("edge", &mut edge, first, &ground, options, tell)?;
    rows.push(row);

    rows.push(during(
        &edge,
        &ground,
        options,
        "edge",
        format!("{} upgrades", options.upgrades),
        || {
            for _ in 0..options.upgrades {
                edge.upgrade(None)?;
                std::thread::sleep(options.hold);
            }
            Ok(())
        },
    )?);
    tell("edge: upgraded");
    let failures = edge.failures()?;
    rows.push(during(
        &edge,
        &ground,
        options,
        "edge",
        format!("{} failed upgrades", failures.len()),
        || {
            for failure in &failures {
                edge.fail(failure)?;
                std::thread::sleep(options.hold);
            }
            Ok(())
        },
    )?);
    tell("edge: upgrades that fail");
    let mut next_answer_ms = 0;
    rows.push(during(
        &edge,
        &ground,
        options,
        "edge",
        "SIGKILL of the serving process".to_owned(),
        || {
            edge.kill_worker()?;
            next_answer_ms = answers("edge", edge.address(), &ground)?.as_millis();
            Ok(())
        },
    )?);
    drop(last);
    Ok(Report {
        rows,
        next_answer_ms,
    })
}

/// The blue-green script; the version that is live at the end comes back.
fn cycles(
    name: &'static str,
    server: &mut dyn Server,
    first: Application,
    ground: &Ground,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> Result<(Row, Application), BenchError> {
    let mut live = first;
    answers(name, server.address(), ground)?;
    let (clients, quiet) = begin(server.address(), ground, options)?;
    for _ in 0..options.cycles {
        let next = Application::start()?;
        server.deploy(next.address())?;
        for percent in STEPS {
            server.shift(percent)?;
            std::thread::sleep(options.hold);
        }
        // What it still answers is answered; idle connections of its clients are closed.
        std::mem::replace(&mut live, next).end();
    }
    let row = row(
        name,
        format!("{} blue-green cycles", options.cycles),
        clients,
        quiet,
    )?;
    tell(&format!("{name}: {} cycles", options.cycles));
    Ok((row, live))
}

fn during(
    server: &Edge,
    ground: &Ground,
    options: &Options,
    name: &str,
    meanwhile: String,
    done: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Row, BenchError> {
    let (clients, quiet) = begin(server.address(), ground, options)?;
    done()?;
    row(name, meanwhile, clients, quiet)
}

/// Waits for a good answer, and says how long it took.
fn answers(
    name: &'static str,
    address: SocketAddr,
    ground: &Ground,
) -> Result<Duration, BenchError> {
    let began = Instant::now();
    while !clients::answers(address, ground) {
        if began.elapsed() > AGAIN {
            return Err(BenchError::Failed {
                program: name,
                said: format!("no good answer within {AGAIN:?}"),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(began.elapsed())
}

/// Starts the clients; which of their answers came when nothing went on.
fn begin(
    address: SocketAddr,
    ground: &Ground,
    options: &Options,
) -> Result<(Clients, Range<usize>), BenchError> {
    let clients = Clients::start(address, ground, options.upload_bytes)?;
    // All connect at once: that is not what is normal.
    std::thread::sleep(options.hold);
    let from = clients.mark();
    std::thread::sleep(QUIET);
    let quiet = from..clients.mark();
    Ok((clients, quiet))
}

fn row(
    name: &str,
    meanwhile: String,
    clients: Clients,
    quiet: Range<usize>,
) -> Result<Row, BenchError> {
    let (tally, times) = clients.stop()?;
    let busy = times.get(quiet.end..).unwrap_or_default();
    let quiet = times.get(quiet).unwrap_or_default();
    Ok(Row {
        server: name.to_owned(),
        meanwhile,
        tally,
        p99_before_ms: p99(quiet),
        p99_ms: p99(busy),
    })
}

fn p99(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * 99 / 100;
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

impl Report {
    /// As people read it.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| server | meanwhile | requests | refused | reset | short | wrong bytes | not 2xx | p99 before | p99 |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for Row {
            server,
            meanwhile,
            tally,
            p99_before_ms,
            p99_ms,
        } in &self.rows
        {
            // Writing to a String does not fail.
            let _written = writeln!(
                text,
                "| {server} | {meanwhile} | {} | {} | {} | {} | {} | {} | {p99_before_ms:.1} ms | {p99_ms:.1} ms |",
                tally.requests, tally.refused, tally.reset, tally.short, tally.wrong, tally.status,
            );
        }
        let asked = self.counted().map(|row| row.tally.requests).sum::<u64>();
        let _written = writeln!(
            text,
            "\nThe edge lost {} of {asked} requests, those that a SIGKILL cuts by nature apart.",
            self.lost(),
        );
        let _written = writeln!(
            text,
            "After a SIGKILL of the edge's serving process the next good answer came in {} ms.",
            self.next_answer_ms
        );
        for row in &self.rows {
            for example in &row.tally.examples {
                let _written = writeln!(text, "{}, {}: {example}", row.server, row.meanwhile);
            }
        }
        text
    }

    /// Requests that the edge lost but for those that a SIGKILL cuts by nature.
    pub fn lost(&self) -> u64 {
        self.counted().map(|row| row.tally.lost()).sum()
    }

    fn counted(&self) -> impl Iterator<Item = &Row> {
        let ours = self.rows.iter().filter(|row| row.server == "edge");
        ours.filter(|row| !row.meanwhile.starts_with("SIGKILL"))
    }
}
