//! `purges`: what does a purge of a hundred thousand stored answers cost, and what do hits notice?
//!
//! The edge and Varnish with xkey, one core each, over plain HTTP/1.1. Every round fills both, asks for one
//! stored answer a thousand times a second, first for nothing else and then with a purge in the middle,
//! which names a tag that all the others have. A hit's time runs from when it was due: one that waits
//! behind a purge makes those after it late as well.

mod varnish;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::case::{Size, What};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::inside;
use crate::origin::{ITEMS, Origin};
use crate::peers::Place;
use crate::process::{Process, free_address};
use crate::report::median;

/// Hits of one turn, one a millisecond.
const HITS: u32 = 2_000;
/// When the purge comes.
const PURGE_AT: Duration = Duration::from_millis(700);
/// Fill at once.
const FILLERS: usize = 16;
/// For a server to start.
const PATIENCE: Duration = Duration::from_secs(30);

const RULES: &str = r#"
[[rule]]
name = "lists"
path = "/api/v1/lists/{name}"
scope = "public"
ttl_s = 86400
[[rule]]
name = "items"
path = "/api/v1/items/{id}"
scope = "public"
ttl_s = 86400
tags = ["items"]
"#;
/// Nothing goes but what is purged.
const LIMITS: &str = "cache_bytes_max = 2_147_483_648\ntenant_cache_bytes_max = 2_147_483_648\n";

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often both take their turns.
    pub rounds: usize,
    /// Stored answers with the tag.
    pub objects: usize,
    /// The edge's binary, if it is not to be built.
    pub edge: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Stored answers with the tag.
    pub objects: usize,
    /// Each server's rounds.
    pub servers: Vec<Rounds>,
}

/// One server's.
#[derive(Debug, Clone, Serialize)]
pub struct Rounds {
    /// Its name.
    pub server: &'static str,
    /// One after the other.
    pub rounds: Vec<Round>,
}

/// Two turns.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Until the purge was answered, in milliseconds: for the edge it is on the disk then.
    pub purge_ms: f64,
    /// Without a purge.
    pub quiet: Turn,
    /// With one.
    pub purging: Turn,
}

/// Hits for two seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn {
    /// The 99th percentile of the hits, in milliseconds.
    pub p99_ms: f64,
    /// The longest.
    pub longest_ms: f64,
    /// What the server computed, in milliseconds.
    pub cpu_ms: f64,
}

/// Measures.
///
/// # Errors
/// When a server is not installed, does not start, or a purge leaves something behind.
pub fn measure(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let place = Place::on(Ground::new()?, options.edge.as_deref())?;
    let folder = inside::folder()?;
    let (varnish, varnish_at) = varnish::start(folder.path(), place.origin.address(), place.cores)?;
    let edge_at = free_address()?;
    let origin_at = place.origin.address().to_string();
    let config = inside::write(
        folder.path(),
        1,
        &edge_at.to_string(),
        RULES,
        LIMITS,
        &origin_at,
    )?;
    let mut command = Command::new(&place.edge);
    command.arg("run").arg("--config").arg(config);
    let edge = Process::start("edge", &mut command, place.cores, folder.path())?;
    let admin = folder.path().join("state/admin.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("the runtime"))?;
    let mut servers = [
        Server::new("edge", edge, edge_at, Purges::Socket(admin)),
        Server::new("varnish with xkey", varnish, varnish_at, Purges::Method),
    ];
    for _ in 0..options.rounds {
        for server in &mut servers {
            let round = runtime.block_on(server.round(options.objects, &place.origin))?;
            tell(&format!("{}: {round:?}", server.name));
            server.rounds.push(round);
        }
    }
    let servers = servers.into_iter().map(|server| Rounds {
        server: server.name,
        rounds: server.rounds,
    });
    Ok(Report {
        objects: options.objects,
        servers: servers.collect(),
    })
}

enum Purges {
    /// A command.
    Socket(PathBuf),
    /// A request.
    Method,
}

struct Server {
    name: &'static str,
    process: Process,
    address: SocketAddr,
    purges: Purges,
    rounds: Vec<Round>,
}

impl Server {
    fn new(name: &'static str, process: Process, address: SocketAddr, purges: Purges) -> Self {
        Self {
            name,
            process,
            address,
            purges,
            rounds: Vec::new(),
        }
    }

    async fn round(&mut self, objects: usize, origin: &Origin) -> Result<Round, BenchError> {
        self.fill(objects).await?;
        let before = origin.asked(ITEMS);
        self.fill(objects / 100).await?;
        if origin.asked(ITEMS) > before {
            return Err(self.odd("what was fetched is not stored"));
        }
        let (quiet, _) = self.turn(false).await?;
        let (purging, purge_ms) = self.turn(true).await?;
        self.fill(objects / 100).await?;
        if origin.asked(ITEMS) < before + objects as u64 / 100 {
            return Err(self.odd("what was purged is still there"));
        }
        self.process.still_runs()?;
        Ok(Round {
            purge_ms,
            quiet,
            purging,
        })
    }

    /// Asks for so many items, so that they are stored.
    async fn fill(&mut self, objects: usize) -> Result<(), BenchError> {
        let mut fillers: JoinSet<Result<(), BenchError>> = JoinSet::new();
        for first in 0..FILLERS {
            let mut client = self.client().await?;
            fillers.spawn(async move {
                for number in (first..objects).step_by(FILLERS) {
                    client.get(&format!("/api/v1/items/{number}")).await?;
                }
                Ok(())
            });
        }
        while let Some(filled) = fillers.join_next().await {
            filled.map_err(|error| self.odd(&error.to_string()))??;
        }
        Ok(())
    }

    /// Hits, and in their middle a purge, and how long that one took.
    async fn turn(&self, purges: bool) -> Result<(Turn, f64), BenchError> {
        let mut client = self.client().await?;
        let path = What::Json.path(Size::Small);
        client.get(path).await?;
        let purge = async {
            if !purges {
                return Ok::<f64, BenchError>(0.0);
            }
            tokio::time::sleep(PURGE_AT).await;
            let began = Instant::now();
            self.purge().await?;
            Ok(began.elapsed().as_secs_f64() * 1e3)
        };
        let hits = async {
            let mut times = Vec::new();
            let began = tokio::time::Instant::now();
            for number in 0..HITS {
                let due = began + Duration::from_millis(u64::from(number));
                tokio::time::sleep_until(due).await;
                client.get(path).await?;
                times.push(due.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<Vec<f64>, BenchError>(times)
        };
        let before = self.process.cpu();
        let (mut times, purge_ms) = tokio::try_join!(hits, purge)?;
        let cpu = self.process.cpu().saturating_sub(before);
        times.sort_by(f64::total_cmp);
        let turn = Turn {
            p99_ms: times[times.len() * 99 / 100],
            longest_ms: times[times.len() - 1],
            cpu_ms: cpu.as_secs_f64() * 1e3,
        };
        Ok((turn, purge_ms))
    }

    async fn purge(&self) -> Result<(), BenchError> {
        match &self.purges {
            Purges::Socket(admin) => inside::purge(admin, 0, "items").await,
            Purges::Method => {
                let request = Request::builder().method("PURGE").uri("/");
                let request = request.header("tag", "items");
                self.client().await?.send(request).await
            }
        }
    }

    /// A connection, as soon as it answers.
    async fn client(&self) -> Result<Client, BenchError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answers = async {
                let mut client = Client::to(self.address).await?;
                client.get(What::Json.path(Size::Small)).await?;
                Ok(client)
            };
            match answers.await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn odd(&self, what: &str) -> BenchError {
        BenchError::Failed {
            program: self.name,
            said: format!("{what}\n{}", self.process.said()),
        }
    }
}

struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    async fn to(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(BenchError::io("a connection"))?;
        stream
            .set_nodelay(true)
            .map_err(BenchError::io("a connection"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| BenchError::io("a connection")(std::io::Error::other(error)))?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn get(&mut self, path: &str) -> Result<(), BenchError> {
        self.send(Request::get(path)).await
    }

    async fn send(&mut self, request: hyper::http::request::Builder) -> Result<(), BenchError> {
        let failed = |why: String| BenchError::io("an answer")(std::io::Error::other(why));
        let request = request
            .header("host", "school-0.example")
            .body(Empty::new())
            .map_err(|error| failed(error.to_string()))?;
        let ready = self.0.ready().await;
        ready.map_err(|error| failed(error.to_string()))?;
        inside::success("an answer", self.0.send_request(request)).await
    }
}

impl Report {
    /// As a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "purges: a tag of {} stored answers, while hits are asked for, medians of the rounds\n\n\
             | server | purge answered | hits p99, quiet | purging | longest, quiet | purging | CPU, quiet | purging |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n",
            self.objects
        );
        for Rounds { server, rounds } in &self.servers {
            let of = |part: fn(&Round) -> f64| median(rounds.iter().map(part).collect());
            text.push_str(&format!(
                "| {server} | {:.1} ms | {:.2} ms | {:.2} ms | {:.1} ms | {:.1} ms | {:.0} ms | {:.0} ms |\n",
                of(|round| round.purge_ms),
                of(|round| round.quiet.p99_ms),
                of(|round| round.purging.p99_ms),
                of(|round| round.quiet.longest_ms),
                of(|round| round.purging.longest_ms),
                of(|round| round.quiet.cpu_ms),
                of(|round| round.purging.cpu_ms),
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_medians_of_both() {
        let turn = |p99_ms| Turn {
            p99_ms,
            longest_ms: 9.0,
            cpu_ms: 40.0,
        };
        let round = |purge_ms| Round {
            purge_ms,
            quiet: turn(1.0),
            purging: turn(1.25),
        };
        let rounds = |server| Rounds {
            server,
            rounds: [3.0, 1.0, 2.0].map(round).to_vec(),
        };
        let report = Report {
            objects: 100_000,
            servers: vec![rounds("edge"), rounds("varnish with xkey")],
        };
        let table = report.table();
        let row = "| edge | 2.0 ms | 1.00 ms | 1.25 ms | 9.0 ms | 9.0 ms | 40 ms | 40 ms |";
        assert!(table.contains(row), "{table}");
    }
}
