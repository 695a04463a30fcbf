//! `scopes`: what does it cost to prove who somebody is before a stored answer is told?
//!
//! The same bytes under two rules of the edge, in turns: one is for everybody, the other for one school's own
//! people. Their session is known for half a minute; then the origin is asked for it again, as always.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::case::{Case, Protocol, Size, What};
use crate::error::BenchError;
use crate::ground::{Ground, HOST};
use crate::load::Driver;
use crate::origin::SESSION;
use crate::peers::{Peer, Place, Server};
use crate::report::median;

const WARM_UP: Duration = Duration::from_secs(2);
/// Sessions that are asked about in a turn: half a minute each, and what was under way.
const IDENTITY_CHECKS_MAX: u64 = 8;

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often both take their turns.
    pub rounds: usize,
    /// How long a turn is.
    pub seconds: u64,
    /// The edge's binary, if it is not to be built.
    pub edge: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Sizes and protocols.
    pub rows: Vec<Row>,
}

/// One size over one protocol: CPU per request in microseconds, medians of the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// For everybody.
    pub public_us: f64,
    /// For a school.
    pub tenant_us: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
}

/// Measures.
///
/// # Errors
/// When a tool is missing, the edge does not start, or a hit is none.
pub fn measure(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let ground = Ground::new()?;
    let driver = Driver::new(ground.folder())?;
    let place = Place::on(ground, options.edge.as_deref())?;
    let mut stand = Stand {
        server: Peer::Edge.start(&place)?,
        driver,
        place,
    };
    stand.wait()?;
    let time = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();
    for public in Case::all(What::Json) {
        let tenant = Case {
            what: What::Tenant,
            ..public
        };
        for case in [public, tenant] {
            stand.turn(case, WARM_UP)?;
        }
        let mut turns = Vec::new();
        for round in 1..=options.rounds {
            let turn = (stand.hits(public, time)?, stand.hits(tenant, time)?);
            tell(&format!(
                "{}, round {round}: {:.1} us for everybody, {:.1} us for a school",
                public.name(),
                turn.0,
                turn.1
            ));
            turns.push(turn);
        }
        rows.push(Row {
            case: public.name(),
            public_us: median(turns.iter().map(|turn| turn.0).collect()),
            tenant_us: median(turns.iter().map(|turn| turn.1).collect()),
            ratio: median(turns.iter().map(|turn| turn.1 / turn.0).collect()),
        });
    }
    Ok(Report { rows })
}

struct Stand {
    server: Server,
    driver: Driver,
    place: Place,
}

impl Stand {
    /// Until it answers both.
    fn wait(&mut self) -> Result<(), BenchError> {
        let mut last = Ok(0.0);
        for _ in 0..20 {
            self.server.process.still_runs()?;
            last = [What::Json, What::Tenant]
                .into_iter()
                .try_fold(0.0, |_, what| {
                    let case = Case {
                        what,
                        size: Size::Small,
                        protocol: Protocol::H1,
                    };
                    self.turn(case, Duration::from_secs(1))
                });
            if last.is_ok() {
                break;
            }
        }
        last.map(drop)
    }

    /// As a turn; an error if one was none.
    fn hits(&mut self, case: Case, time: Duration) -> Result<f64, BenchError> {
        let asked = |stand: &Self| {
            let origin = &stand.place.origin;
            (origin.asked(case.path()), origin.asked(SESSION))
        };
        let before = asked(self);
        let cpu_us = self.turn(case, time)?;
        let after = asked(self);
        if after.0 > before.0 || after.1 - before.1 > IDENTITY_CHECKS_MAX {
            return Err(BenchError::Differs {
                peer: self.server.peer.name(),
                case: case.name(),
                difference: format!("the origin was asked: {before:?}, then {after:?}"),
            });
        }
        Ok(cpu_us)
    }

    /// CPU of the edge per request, in microseconds.
    fn turn(&mut self, case: Case, time: Duration) -> Result<f64, BenchError> {
        let url = format!(
            "https://{HOST}:{}{}",
            self.server.address.port(),
            case.path()
        );
        let before = self.server.process.cpu();
        let seen = self
            .driver
            .run_as(case.protocol, &url, case.cookie(), time)?;
        // Records that are still to be written are part of the work.
        let logged = self.server.log.settle()?;
        let used = self.server.process.cpu().saturating_sub(before);
        self.server.process.still_runs()?;
        Ok(used.as_secs_f64() * 1e6 / seen.requests.max(logged).max(1) as f64)
    }
}

impl Report {
    /// As a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = "scopes: CPU of the edge per hit, TLS, access log on\n\n\
             | case | for everybody | for a school, identity kept | ratio |\n|---|--:|--:|--:|\n"
            .to_owned();
        for row in &self.rows {
            text.push_str(&format!(
                "| {} | {:.1} us | {:.1} us | {:.2} |\n",
                row.case, row.public_us, row.tenant_us, row.ratio
            ));
        }
        text
    }
}
