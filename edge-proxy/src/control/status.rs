//! Joins what was decided and how the edge is into one picture.

use super::api::{App, ColourStatus, Member, Status, Traffic};
use super::edge::{ColourFacts, Edge};
use super::follow::Applied;
use super::observed::Observed;
use super::state::{AppState, ColourState, Phase};
use crate::colour::Colour;

pub(super) async fn compose(edge: &dyn Edge, applied: &Applied, observed: &Observed) -> Status {
    let facts = edge.facts().await;
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: facts.uptime.as_secs(),
        not_ready: facts.not_ready,
        sequence: applied.sequence.0,
        connections: facts.connections,
        apps: std::collections::BTreeMap::new(),
        cache: facts.cache,
        certificates: facts.certificates,
        certificate_problems: facts.certificate_problems,
    };
    for (id, app) in &applied.state.apps {
        let (mut colours, mut held) = (Vec::new(), 0);
        for colour in Colour::BOTH {
            if let Some(deployed) = app.colours.get(colour) {
                let facts = edge.colour(id, colour).await;
                held = facts.held.max(held);
                let mut shown = colour_status(app, colour, deployed, &facts);
                shown.traffic = observed.last_minute(id, colour);
                colours.push(shown);
            }
        }
        let revision = applied.revisions.get(id).map_or(0, |revision| revision.0);
        let app = App {
            revision,
            colours,
            paused: app.paused,
            held,
        };
        status.apps.insert(id.to_string(), app);
    }
    status
}

fn colour_status(
    app: &AppState,
    colour: Colour,
    deployed: &ColourState,
    facts: &ColourFacts,
) -> ColourStatus {
    let phase = match deployed.phase {
        Phase::Idle => "idle",
        Phase::Live => "live",
        Phase::Draining => "draining",
        Phase::Drained => "drained",
    };
    let members = facts.services.iter().flat_map(|(service, members)| {
        members.iter().map(|member| Member {
            service: service.clone(),
            address: member.address.to_string(),
            healthy: member.healthy,
            why: member.why.clone(),
        })
    });
    let release = facts.release.as_ref();
    ColourStatus {
        colour: colour.to_string(),
        weight_bp: app.split.weight_bp(colour),
        phase: phase.into(),
        release: deployed.release.to_string(),
        complete: release.is_some_and(|release| release.known && release.missing == 0),
        missing: release.map_or(0, |release| release.missing),
        schema: deployed.schema.to_string(),
        traffic: Traffic::default(),
        members: members.collect(),
        refused: facts.reasons(),
        in_flight: facts.lines.clone(),
        bound_s: facts.bound_s,
        mirror: facts.mirror,
    }
}
