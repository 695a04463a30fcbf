//! Runs a question: starts everything, verifies, lets the peers take turns, and sums up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::{Case, Question};
use crate::cpu;
use crate::error::BenchError;
use crate::ground::{Ground, HOST};
use crate::load::Driver;
use crate::origin::Origin;
use crate::peers::{Peer, Place, Server};
use crate::report::{CaseReport, Report, Round, Wire};
use crate::verify::{asked_as_it_should, verify};
use crate::visit::Visitor;

/// Before the first round of a case: caches fill, allocators settle, connections to the origin open.
const WARM_UP: Duration = Duration::from_secs(1);
/// Above this load average somebody else uses the machine.
const BUSY: f64 = 0.7;

/// How a question is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many rounds.
    pub rounds: usize,
    /// How long each peer is driven in each round.
    pub seconds: u64,
    /// Only cases with this in their names.
    pub only: Option<String>,
    /// Who takes part, where installed.
    pub peers: Vec<Peer>,
    /// The edge's binary, if it is not to be built.
    pub edge: Option<PathBuf>,
}

/// Answers a question. What happens meanwhile is told through `tell`.
///
/// # Errors
/// When a load tool is missing, a peer does not start, does not answer as it must, or loses a request.
pub fn run(
    question: &Question,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, BenchError> {
    let cases = chosen(question, options)?;
    let load_average = load_average();
    if load_average > BUSY {
        tell(&format!(
            "NOTE: the machine is busy (load average {load_average}); only a quiet one gives figures to keep"
        ));
    }
    if cfg!(debug_assertions) {
        tell("NOTE: this is a debug build, and so is the edge; use `cargo run --release`");
    }
    let peers = installed(&options.peers, tell);
    let ground = Ground::new()?;
    let driver = Driver::new(ground.folder())?;
    let given = match &options.edge {
        // It takes no part: nothing is built.
        None if !peers.contains(&Peer::Edge) => Some(Path::new("")),
        given => given.as_deref(),
    };
    let place = Place::on(ground, given)?;
    let mut servers: Vec<Server> = Vec::new();
    for peer in &peers {
        servers.push(peer.start(&place)?);
    }

    let mut reports = Vec::new();
    for case in cases {
        let stand = Stand {
            case,
            ground: &place.ground,
            origin: &place.origin,
            driver: &driver,
            core: place.cores.server(),
        };
        let mut turns = stand.prepare(&mut servers, tell)?;
        for round in 1..=options.rounds {
            for (server, _, rounds) in &mut turns {
                let turn = stand.turn(server, Duration::from_secs(options.seconds))?;
                tell(&format!(
                    "{}, round {round}: {:5} {:6.1} us of CPU per request, {:6.0} requests/s, core {:.0} % busy, {:.0} % stolen",
                    case.name(),
                    server.peer.name(),
                    turn.cpu_us,
                    turn.requests_per_s,
                    turn.busy_percent,
                    turn.stolen_percent
                ));
                rounds.push(turn);
            }
        }
        let turns = turns.into_iter();
        let turns = turns.map(|(server, wire, rounds)| (server.peer, wire, rounds));
        reports.push(CaseReport::new(case.name(), turns.collect()));
    }
    Ok(Report {
        question: question.name,
        about: question.about,
        rounds: options.rounds,
        seconds: options.seconds,
        versions: peers.iter().map(|peer| peer.version()).collect(),
        load_average,
        cases: reports,
    })
}

fn chosen(question: &Question, options: &Options) -> Result<Vec<Case>, BenchError> {
    let only = options.only.as_deref().unwrap_or_default().to_lowercase();
    let cases = question.cases.iter().copied();
    let cases: Vec<Case> = cases
        .filter(|case| case.name().to_lowercase().contains(&only))
        .collect();
    if cases.is_empty() {
        return Err(BenchError::NoCase(only));
    }
    Ok(cases)
}

fn installed(peers: &[Peer], tell: &mut dyn FnMut(&str)) -> Vec<Peer> {
    let mut found = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| peers.contains(peer)) {
        match peer.installed() {
            Ok(()) => found.push(peer),
            Err(error) => tell(&format!("NOTE: measured without {}: {error}", peer.name())),
        }
    }
    found
}

/// What a case needs.
struct Stand<'a> {
    case: Case,
    ground: &'a Ground,
    origin: &'a Origin,
    driver: &'a Driver,
    core: usize,
}

type Turns<'a> = Vec<(&'a mut Server, Wire, Vec<Round>)>;

impl Stand<'_> {
    /// Verifies and warms up all that can answer the case.
    fn prepare<'s>(
        &self,
        servers: &'s mut [Server],
        tell: &mut dyn FnMut(&str),
    ) -> Result<Turns<'s>, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::io("the runtime of the visitor"))?;
        let visitor = Visitor::new(self.ground).map_err(|error| BenchError::Io {
            what: "the visitor".to_owned(),
            source: std::io::Error::other(error),
        })?;
        let mut turns = Turns::new();
        for server in servers {
            if !self.case.peers().contains(&server.peer) {
                continue;
            }
            let checked = verify(&visitor, server, self.case, self.ground, self.origin);
            let header_bytes = runtime.block_on(checked)?;
            tell(&format!(
                "{}: {} answers as it must, with a header of {header_bytes} bytes",
                self.case.name(),
                server.peer.name()
            ));
            self.turn(server, WARM_UP)?;
            turns.push((server, Wire { header_bytes }, Vec::new()));
        }
        Ok(turns)
    }

    /// Drives one server.
    fn turn(&self, server: &mut Server, time: Duration) -> Result<Round, BenchError> {
        let Case { protocol, .. } = self.case;
        let path = self.case.path();
        let url = format!("https://{HOST}:{}{path}", server.address.port());
        let asked = self.origin.asked(path);
        let before = server.process.cpu();
        let stolen = cpu::stolen(self.core);
        let seen = self.driver.run(protocol, &url, time)?;
        let stolen = cpu::stolen(self.core).saturating_sub(stolen);
        // Records that are still to be written are part of the work.
        let logged = server.log.settle()?;
        let used = server.process.cpu().saturating_sub(before);
        server.process.still_runs()?;
        let asked = self.origin.asked(path) - asked;
        asked_as_it_should(server, self.case, asked, seen.requests)?;
        // The tools do not count what they began or ended outside of their time. On a busy machine
        // that is a lot, and the server did that work too.
        let served = seen.requests.max(logged).max(1);
        Ok(Round {
            requests: seen.requests,
            logged,
            cpu_us: used.as_secs_f64() * 1e6 / served as f64,
            busy_percent: 100.0 * used.as_secs_f64() / seen.seconds,
            stolen_percent: 100.0 * stolen.as_secs_f64() / seen.seconds,
            to_nginx: None,
            requests_per_s: seen.requests as f64 / seen.seconds,
            p99_ms: seen.p99.as_secs_f64() * 1e3,
        })
    }
}

/// Of the last minute; 0 where the system does not say.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.unwrap_or_default()
}
