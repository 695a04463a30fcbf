//! Measures the edge beside nginx and H2O, and what the publisher makes beside brotli and gzip.
//!
//!     cargo run --release -p benches -- hits
//!     cargo run --release -p benches -- connections
//!     cargo run --release -p benches -- certificates
//!     cargo run --release -p benches -- stall
//!     cargo run --release -p benches -- proxy --rounds 3 --only h2 --json

use std::path::PathBuf;

use benches::{
    Options, Peer, Question, assets, certificates, connections, hits, judge, proxy, run, stall,
};
use clap::{Args, Parser, Subcommand};

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
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => print!("{}", report.table()),
            }
            return Ok(());
        }
        Asked::Certificates { count, json } => {
            let report = certificates::measure(count)?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => print!("{}", report.table()),
            }
            return Ok(());
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
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => print!("{}", report.table()),
            }
            return Ok(());
        }
        Asked::Judge { runs, json } => {
            let report = judge::measure(runs, &mut |line| eprintln!("{line}"));
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => print!("{}", report.table()),
            }
            return Ok(());
        }
        Asked::Assets { builds, json } => {
            let runtime = tokio::runtime::Runtime::new()?;
            let report =
                runtime.block_on(assets::measure(&builds, &mut |line| eprintln!("{line}")))?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => print!("{}", report.table()),
            }
            return Ok(());
        }
    };
    let report = answer(&question, &how)?;
    if how.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
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
