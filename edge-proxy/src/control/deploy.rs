//! Giving an idle colour a new version: the decision, without I/O.
//!
//! A deploy moves no traffic. It names what a colour is from now on, and is undone when the edge
//! does not find all of that version whole and healthy in time.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use asset_pipeline::id::ReleaseId;

use super::api::{DeployRequest, Reason};
use super::rollout::refuse_while_under_way;
use super::state::{AppState, ColourState, Phase};
use crate::colour::{Colour, SchemaRange};

/// Members of one service: what the probes of one edge can keep up with.
const MEMBERS_MAX: usize = 256;

/// What a colour is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Which colour.
    pub colour: Colour,
    /// Its files.
    pub release: ReleaseId,
    /// Members by service.
    pub members: BTreeMap<String, Vec<SocketAddr>>,
    /// The database schemas it works with; none: those of the colour with most of the traffic.
    pub schema: Option<SchemaRange>,
}

/// Somebody whom an id or a pin led to a colour within this time may come again.
const BOUND_S: u64 = 60 * 60;

/// Who is still with a colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InUse {
    /// Requests under way.
    pub in_flight: u64,
    /// Seconds since an id or a pin last led somebody there; none: never.
    pub bound_s: Option<u64>,
}

/// What is wrong with a deploy as it was typed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotADeployment {
    #[error("a colour is `blue` or `green`")]
    Colour,
    #[error("the release: {0}")]
    Release(String),
    #[error("the schema: {0}")]
    Schema(String),
    #[error("service {service}: `{text}` is no address such as 10.0.3.2:3000")]
    Address { service: String, text: String },
    #[error("service {service} has {count} members; at most {MEMBERS_MAX} are probed")]
    TooMany { service: String, count: usize },
    #[error("service {service} names {address} twice")]
    Twice {
        service: String,
        address: SocketAddr,
    },
    #[error("service {0} needs at least one member")]
    Missing(String),
    #[error("the app has no service {0}")]
    Unknown(String),
}

impl Deployment {
    /// Reads what was typed; `services` are those of the app's config.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn of(asked: &DeployRequest, services: &[String]) -> Result<Self, NotADeployment> {
        let mut members = BTreeMap::new();
        for (service, addresses) in &asked.services {
            if !services.contains(service) {
                return Err(NotADeployment::Unknown(service.clone()));
            }
            members.insert(service.clone(), addresses_of(service, addresses)?);
        }
        if let Some(service) = services.iter().find(|&name| !members.contains_key(name)) {
            return Err(NotADeployment::Missing(service.clone()));
        }
        let schema = asked.schema.as_deref().map(str::parse);
        Ok(Self {
            colour: asked.colour.parse().map_err(|_| NotADeployment::Colour)?,
            release: asked
                .release
                .parse()
                .map_err(|error| NotADeployment::Release(format!("{error}")))?,
            members,
            schema: schema
                .transpose()
                .map_err(|error| NotADeployment::Schema(format!("{error}")))?,
        })
    }
}

fn addresses_of(service: &str, texts: &[String]) -> Result<Vec<SocketAddr>, NotADeployment> {
    let mut addresses = Vec::with_capacity(texts.len());
    for text in texts {
        let address = text.parse().map_err(|_| NotADeployment::Address {
            service: service.to_owned(),
            text: text.clone(),
        })?;
        if addresses.contains(&address) {
            let service = service.to_owned();
            return Err(NotADeployment::Twice { service, address });
        }
        addresses.push(address);
    }
    match addresses.len() {
        0 => Err(NotADeployment::Missing(service.to_owned())),
        1..=MEMBERS_MAX => Ok(addresses),
        count => Err(NotADeployment::TooMany {
            service: service.to_owned(),
            count,
        }),
    }
}

/// The state in which the colour is the new version, or why it must not be.
///
/// `in_use`: who is still with the colour.
///
/// # Errors
/// Every reason at once.
pub fn decide(
    now: &AppState,
    deployment: &Deployment,
    in_use: InUse,
) -> Result<AppState, Vec<Reason>> {
    refuse_while_under_way(now)?;
    let colour = deployment.colour;
    let schema = deployment.schema.or_else(|| {
        let others = [colour.other(), colour];
        others
            .into_iter()
            .find_map(|colour| now.colours.get(colour).as_ref())
            .map(|deployed| deployed.schema)
    });
    let Some(schema) = schema else {
        return Err(vec![Reason::NoSchema]);
    };
    let wanted = ColourState {
        release: deployment.release.clone(),
        members: deployment.members.clone(),
        phase: Phase::Idle,
        schema,
        leaving: false,
    };
    let deployed = now.colours.get(colour);
    if deployed
        .as_ref()
        .is_some_and(|deployed| deployed.is_same_version(&wanted))
    {
        return Ok(now.clone());
    }
    let mut reasons = Vec::new();
    let weight_bp = now.split.weight_bp(colour);
    if weight_bp > 0 && deployed.is_some() {
        reasons.push(Reason::HasWeight {
            colour: colour.to_string(),
            weight_bp,
        });
    }
    if in_use.in_flight > 0 {
        reasons.push(Reason::InFlight {
            colour: colour.to_string(),
            requests: in_use.in_flight,
        });
    }
    if let Some(seconds) = in_use.bound_s.filter(|&seconds| seconds < BOUND_S)
        && now.is_open(colour)
    {
        reasons.push(Reason::Bound {
            colour: colour.to_string(),
            seconds,
        });
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut next = now.clone();
    *next.colours.get_mut(colour) = Some(wanted);
    next.newest = Some(colour);
    Ok(next)
}

#[cfg(test)]
mod tests;
