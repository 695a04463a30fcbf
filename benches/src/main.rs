//! Measures the edge beside nginx and H2O, and what the publisher makes beside brotli and gzip.
//!
//!     cargo run --release -p benches -- hits
//!     cargo run --release -p benches -- connections
//!     cargo run --release -p benches -- certificates
//!     cargo run --release -p benches -- stall
//!     cargo run --release -p benches -- deploys --cycles 20 --upgrades 20
//!     cargo run --release -p benches -- scopes
//!     cargo run --release -p benches -- purges
//!     cargo run --release -p benches -- entries
//!     cargo run --release -p benches -- morning --plot morning.html
//!     cargo run --release -p benches -- proxy --rounds 3 --only h2 --json

use std::path::PathBuf;
use std::time::Duration;

use benches::{
    Options, Peer, Question, assets, certificates, connections, deploys, entries, hits, judge,
    morning, proxy, purges, run, scopes, stall,
};
use clap::{Args, Parser, Subcommand};

// The edge's: what is measured in this process is laid out in memory as it is there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the edge beside its peers: CPU per request, requests per second, 99th percentile.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    question: Asked,
}

#[derive(Subcommand)]
enum Asked {
    /// What an answer costs that the server has already: files and cached JSON.
    Hits(How),
    /// What it costs to hand a request to the origin and its answer to the client.
    Proxy(How),
    /// What a client costs before it asks, and while it asks nothing: handshakes and idle connections.
    Connections {
        /// Idle connections.
        #[arg(long, default_value_t = 5_000)]
        idle: usize,
        /// Handshakes of each kind.
        #[arg(long, default_value_t = 2_000)]
        handshakes: usize,
        /// The edge's binary; it is built from this tree otherwise.
        #[arg(long)]
        edge: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What many certificates cost: load, memory, lookup.
    Certificates {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What requests notice while the edge loads releases: the 99th percentile with and without.
    Stall {
        /// How often both turns are taken.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// How long a turn is.
        #[arg(long, default_value_t = 12)]
        seconds: u64,
        /// Files of each release.
        #[arg(long, default_value_t = 5_000)]
        files: usize,
        /// The edge's binary; it is built from this tree otherwise.
        #[arg(long)]
        edge: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// How soon the judge of rollouts knows a bad version, and how often it calls a good one bad: a simulation.
    Judge {
        /// Runs of each kind; they take minutes.
        #[arg(long, default_value_t = judge::RUNS, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// How many requests a deploy loses, and the replacement of the server itself.
    Deploys {
        /// Blue-green cycles of every server.
        #[arg(long, default_value_t = 20)]
        cycles: usize,
        /// Replacements of the edge's own process.
        #[arg(long, default_value_t = 20)]
        upgrades: usize,
        /// How many seconds each share of traffic is held.
        #[arg(long, default_value_t = 2.0)]
        hold: f64,
        /// The size of slow uploads in megabytes.
        #[arg(long, default_value_t = 20)]
        upload: usize,
        /// The edge's binary; it is built from this tree otherwise.
        #[arg(long)]
        edge: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What a stored answer costs, from a thousand to a million: memory, a lookup, a purge.
    Entries {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What proving who somebody is adds to a hit.
    Scopes {
        /// How often both turns are taken.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// How long a turn is.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
        /// The edge's binary; it is built from this tree otherwise.
        #[arg(long)]
        edge: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What a purge of many answers costs, and what hits notice, beside Varnish with xkey.
    Purges {
        /// How often both take their turns.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Stored answers with the tag.
        #[arg(long, default_value_t = 100_000)]
        objects: usize,
        /// The edge's binary; it is built from this tree otherwise.
        #[arg(long)]
        edge: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What reaches the platform when schools begin their day.
    Morning {
        /// Schools.
        #[arg(long, default_value_t = 3)]
        schools: usize,
        /// Classes of each.
        #[arg(long, default_value_t = 30)]
        classes: usize,
        /// Pupils of each class.
        #[arg(long, default_value_t = 30)]
        pupils: usize,
        /// Write a page with a plot.
        #[arg(long)]
        plot: Option<PathBuf>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What a returning visitor downloads after a deploy, and what publishing costs.
    Assets {
        /// The folder of three builds of one Next.js app: `r1`, `r2`, `r3`.
        builds: PathBuf,
        /// Print JSON instead of tables.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct How {
    /// How often every server takes its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long a turn is.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Only cases whose names hold this, such as `1 KB, H2`.
    #[arg(long)]
    only: Option<String>,
    /// Leave a server out (`nginx`, `h2o` or `edge`; may be repeated).
    #[arg(long, value_parser = ["edge", "nginx", "h2o"])]
    without: Vec<String>,
    /// The edge's binary; it is built from this tree otherwise.
    #[arg(long)]
    edge: Option<PathBuf>,
    /// Print JSON with every round instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let (question, how) = match Arguments::parse().question {
        Asked::Hits(how) => (hits::question(), how),
        Asked::Proxy(how) => (proxy::question(), how),
        Asked::Connections {
            idle,
            handshakes,
            edge,
            json,
        } => {
            let options = connections::Options {
                idle,
                handshakes,
                edge,
            };
            let report = connections::measure(&options, &mut |line| eprintln!("{line}"))?;
            return show(json, &report, connections::Report::table);
        }
        Asked::Morning {
            schools,
            classes,
            pupils,
            plot,
            json,
        } => {
            let options = morning::Options {
                schools,
                classes,
                pupils,
                seconds: 300,
            };
            let report = morning::measure(&options, &mut |line| eprintln!("{line}"))?;
            if let Some(file) = plot {
                std::fs::write(file, report.page())?;
            }
            return show(json, &report, morning::Report::table);
        }
        Asked::Scopes {
            rounds,
            seconds,
            edge,
            json,
        } => {
            let options = scopes::Options {
                rounds,
                seconds,
                edge,
            };
            let report = scopes::measure(&options, &mut |line| eprintln!("{line}"))?;
            return show(json, &report, scopes::Report::table);
        }
        Asked::Purges {
            rounds,
            objects,
            edge,
            json,
        } => {
            let options = purges::Options {
                rounds,
                objects,
                edge,
            };
            let report = purges::measure(&options, &mut |line| eprintln!("{line}"))?;
            return show(json, &report, purges::Report::table);
        }
        Asked::Entries { json } => {
            let counts = [1_000, 10_000, 100_000, 1_000_000];
            let report = entries::measure(&counts, &mut |line| eprintln!("{line}"))?;
            return show(json, &report, entries::Report::table);
        }
        Asked::Deploys {
            cycles,
            upgrades,
            hold,
            upload,
            edge,
            json,
        } => {
            let options = deploys::Options {
                cycles,
                upgrades,
                hold: Duration::try_from_secs_f64(hold)?,
                upload_bytes: upload * 1_000_000,
                edge,
            };
            let report = deploys::measure(&options, &mut |line| eprintln!("{line}"))?;
            show(json, &report, deploys::Report::table)?;
            let lost = report.lost();
            anyhow::ensure!(lost == 0, "the edge lost {lost} requests");
            return Ok(());
        }
        Asked::Certificates { count, json } => {
            let report = certificates::measure(count)?;
            return show(json, &report, certificates::Report::table);
        }
        Asked::Stall {
            rounds,
            seconds,
            files,
            edge,
            json,
        } => {
            let options = stall::Options {
                rounds,
                seconds,
                files,
                edge,
            };
            let report = stall::measure(&options, &mut |line| eprintln!("{line}"))?;
            return show(json, &report, stall::Report::table);
        }
        Asked::Judge { runs, json } => {
            let report = judge::measure(runs, &mut |line| eprintln!("{line}"));
            return show(json, &report, judge::Report::table);
        }
        Asked::Assets { builds, json } => {
            let runtime = tokio::runtime::Runtime::new()?;
            let report =
                runtime.block_on(assets::measure(&builds, &mut |line| eprintln!("{line}")))?;
            return show(json, &report, assets::Report::table);
        }
    };
    let report = answer(&question, &how)?;
    show(how.json, &report, benches::Report::table)
}

fn answer(question: &Question, how: &How) -> Result<benches::Report, benches::BenchError> {
    let taken = |peer: &Peer| !how.without.iter().any(|name| name == peer.name());
    let options = Options {
        rounds: how.rounds.into(),
        seconds: how.seconds,
        only: how.only.clone(),
        peers: Peer::ALL.into_iter().filter(taken).collect(),
        edge: how.edge.clone(),
    };
    run(question, &options, &mut |line| eprintln!("{line}"))
}

/// For programs or for people.
fn show<R: serde::Serialize>(
    json: bool,
    report: &R,
    table: impl Fn(&R) -> String,
) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(report)?),
        false => print!("{}", table(report)),
    }
    Ok(())
}
