//! What commands change and what survives a restart.
//!
//! Pure values: [`super::store`] keeps them, [`super::admin`] changes them by compare-and-set, and
//! the request path reads them through the `World`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use asset_pipeline::id::{AppId, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::colour::{Colour, PerColour, SchemaRange, Split};

/// Everything that commands have said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// By app name.
    pub apps: BTreeMap<AppId, AppState>,
    /// The kill switch of the cache of reads.
    #[serde(default)]
    pub cache: CacheState,
}

/// The kill switch of the cache of reads: while it is off, no rule is read and nobody's identity is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheState {
    /// Whether every request passes.
    pub off: bool,
}

/// One app's colours and how traffic is split between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppState {
    /// What each colour is; none: never deployed.
    pub colours: PerColour<Option<ColourState>>,
    /// Who gets how much.
    pub split: Split,
    /// Releases that no id and no pin leads to, because they were found to be bad.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsafe_releases: BTreeSet<ReleaseId>,
}

/// One deployed version of all services of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourState {
    /// Its files.
    pub release: ReleaseId,
    /// Members by service.
    pub members: BTreeMap<String, Vec<SocketAddr>>,
    /// Where it stands in a deploy.
    pub phase: Phase,
    /// Database schemas it works with.
    pub schema: SchemaRange,
}

/// Where a colour stands in a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Deployed, has had no weight yet.
    Idle,
    /// Has weight.
    Live,
    /// Has had weight since its deploy and has none now: pins and ids still reach it.
    Draining,
}

impl ColourState {
    /// Whether it is the same version at the same places, wherever it stands in its deploy.
    pub fn is_same_version(&self, other: &Self) -> bool {
        let phase = self.phase;
        *self
            == Self {
                phase,
                ..other.clone()
            }
    }
}

impl AppState {
    /// Whether ids and pins lead to this colour: its release has had weight since its deploy, and is not unsafe.
    pub fn is_open(&self, colour: Colour) -> bool {
        let deployed = self.colours.get(colour).as_ref();
        deployed.is_some_and(|deployed| match deployed.phase {
            Phase::Idle => false,
            Phase::Live | Phase::Draining => !self.unsafe_releases.contains(&deployed.release),
        })
    }

    /// The version that others are held against: the one with most of the traffic.
    pub fn standing(&self) -> Colour {
        let [one, other] = Colour::BOTH;
        match self.split.weight_bp(one) >= self.split.weight_bp(other) {
            true => one,
            false => other,
        }
    }

    /// The state after `colour` got `weight`: phases follow the weights.
    pub fn shifted(&self, split: Split) -> Self {
        let mut next = self.clone();
        next.split = split;
        for colour in Colour::BOTH {
            if let Some(state) = next.colours.get_mut(colour) {
                state.phase = match (state.phase, split.weight_bp(colour)) {
                    (_, 1..) => Phase::Live,
                    (Phase::Idle, 0) => Phase::Idle,
                    (Phase::Live | Phase::Draining, 0) => Phase::Draining,
                };
            }
        }
        next
    }
}

/// As a record keeps it.
pub(super) fn written(state: &AppState) -> Vec<u8> {
    serde_json::to_vec(state).expect("names, addresses and numbers always have a JSON form")
}

/// In one line, for the audit log.
pub(super) fn described(state: &AppState) -> String {
    let colour = |colour: Colour| match state.colours.get(colour) {
        Some(deployed) => format!(
            "{colour} {} {}bp",
            deployed.release,
            state.split.weight_bp(colour)
        ),
        None => format!("{colour} not deployed"),
    };
    Colour::BOTH.map(colour).join(", ")
}
