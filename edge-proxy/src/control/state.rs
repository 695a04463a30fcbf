//! What commands change and what survives a restart.
//!
//! Pure values: [`super::store`] keeps them, [`super::admin`] changes them by compare-and-set, and
//! the request path reads them through the `World`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use asset_pipeline::id::{AppId, ReleaseId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rollout::Rollout;
use crate::colour::{Colour, PerColour, SchemaRange, Split};

/// Everything that commands have said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// By app name.
    pub apps: BTreeMap<AppId, AppState>,
    /// The kill switch of the cache of reads.
    #[serde(default)]
    pub cache: CacheState,
    /// What is answered to certificate authorities on port 80, by token.
    #[serde(default)]
    pub challenges: BTreeMap<String, String>,
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
    /// The last rollout, under way or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The colour that was deployed last: more for the other one is a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Colour>,
    /// Until when an operator allows no more for a newer version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_until: Option<Timestamp>,
    /// Its requests wait: something is being changed under both colours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// A deploy under way: it outlives the process that looks whether its version comes up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A colour that has become a new version which was not seen whole and healthy yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which one.
    pub colour: Colour,
    /// What it is again when the version does not come up; none: it was never deployed.
    pub before: Option<ColourState>,
    /// For how long is looked.
    pub wait_s: u32,
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
    /// Its event streams and WebSockets are asked to end: it is being drained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
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
    /// Was left by `drain`: nothing leads here any more.
    Drained,
}

impl ColourState {
    /// Whether it is the same version at the same places, wherever it stands in its deploy.
    pub fn is_same_version(&self, other: &Self) -> bool {
        let (phase, leaving) = (self.phase, self.leaving);
        *self
            == Self {
                phase,
                leaving,
                ..other.clone()
            }
    }
}

impl AppState {
    /// Whether ids and pins lead to this colour: its release has had weight since its deploy, is not unsafe, and works
    /// with a database that the colour with all weight works with too.
    pub fn is_open(&self, colour: Colour) -> bool {
        let Some(deployed) = self.colours.get(colour) else {
            return false;
        };
        let live = self.colours.get(colour.other()).as_ref();
        let fits = match deployed.phase {
            Phase::Idle | Phase::Drained => false,
            Phase::Live => true,
            Phase::Draining => live.is_none_or(|live| live.schema.overlaps(deployed.schema)),
        };
        fits && !self.unsafe_releases.contains(&deployed.release)
    }

    /// The state in which nobody new comes to `colour`: the other one has all weight, and neither an id nor a pin leads here.
    pub fn left(&self, colour: Colour) -> Self {
        let mut next = self.shifted(Split::all(colour.other()));
        if let Some(state) = next.colours.get_mut(colour) {
            state.phase = Phase::Drained;
        }
        next
    }

    /// Nothing but colours and their weights.
    pub fn new(colours: PerColour<Option<ColourState>>, split: Split) -> Self {
        Self {
            colours,
            split,
            unsafe_releases: BTreeSet::new(),
            rollout: None,
            newest: None,
            frozen_until: None,
            paused: false,
            trial: None,
        }
    }

    /// The rings that a rollout has moved ahead of the weight, and where to.
    pub fn ahead(&self) -> Option<(Colour, Vec<&str>)> {
        let rollout = self.rollout.as_ref()?;
        let rings: Vec<&str> = rollout.rings().collect();
        (!rings.is_empty()).then_some((rollout.to, rings))
    }

    /// The version that others are held against: the one with most of the traffic.
    pub fn standing(&self) -> Colour {
        let [one, other] = Colour::BOTH;
        if let Some(rollout) = self
            .rollout
            .as_ref()
            .filter(|rollout| rollout.is_under_way())
        {
            return rollout.to.other();
        }
        match self.split.weight_bp(one) >= self.split.weight_bp(other) {
            true => one,
            false => other,
        }
    }

    /// The state after `colour` got `weight`: phases follow the weights.
    pub fn shifted(&self, split: Split) -> Self {
        let mut next = self.clone();
        next.split = split;
        // Whoever is given traffic by a command is trusted with it.
        for colour in Colour::BOTH {
            if let Some(deployed) = self.colours.get(colour)
                && split.weight_bp(colour) > self.split.weight_bp(colour)
            {
                next.unsafe_releases.remove(&deployed.release);
            }
        }
        let ahead = self.ahead().map(|(colour, _)| colour);
        for colour in Colour::BOTH {
            if let Some(state) = next.colours.get_mut(colour) {
                state.phase = match (state.phase, split.weight_bp(colour)) {
                    _ if ahead == Some(colour) => Phase::Live,
                    (_, 1..) => Phase::Live,
                    (Phase::Idle, 0) => Phase::Idle,
                    (Phase::Drained, 0) => Phase::Drained,
                    (Phase::Live | Phase::Draining, 0) => Phase::Draining,
                };
                state.leaving &= state.phase != Phase::Live;
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
    let paused = if state.paused { ", paused" } else { "" };
    Colour::BOTH.map(colour).join(", ") + paused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blue has had weight, green has all of it.
    fn moved(schema: &str) -> AppState {
        let deployed = |release: &str, schema: &str| ColourState {
            release: release.parse().expect("an id"),
            members: BTreeMap::new(),
            phase: Phase::Idle,
            schema: schema.parse().expect("a range"),
            leaving: false,
        };
        let colours = PerColour {
            blue: Some(deployed("r1", "1..2")),
            green: Some(deployed("r2", schema)),
        };
        let split = Split::all(Colour::Blue);
        AppState::new(colours, split).shifted(split)
    }

    #[test]
    fn ids_and_pins_lead_only_to_what_has_had_weight_is_safe_and_fits_the_database() {
        let before = moved("2..3");
        assert!(before.is_open(Colour::Blue));
        assert!(!before.is_open(Colour::Green), "nobody was given it yet");
        let green = Split::all(Colour::Green);
        let after = before.shifted(green);
        assert!(after.is_open(Colour::Blue) && after.is_open(Colour::Green));
        let apart = moved("3").shifted(green);
        assert!(
            !apart.is_open(Colour::Blue),
            "the database is not its own any more"
        );
        let mut bad = after.clone();
        bad.unsafe_releases.insert("r1".parse().expect("an id"));
        assert!(!bad.is_open(Colour::Blue) && bad.is_open(Colour::Green));
        assert!(!after.left(Colour::Blue).is_open(Colour::Blue));
    }

    #[test]
    fn a_state_of_before_is_read_as_it_was() {
        let old = r#"{"colours":{"blue":{"release":"r1","members":{},"phase":"live","schema":"1..2"},"green":null},"split":{"blue_bp":10000,"green_bp":0}}"#;
        let state: AppState = serde_json::from_str(old).expect("it is read");
        assert!(state.is_open(Colour::Blue) && !state.paused);
        assert_eq!(String::from_utf8(written(&state)).expect("JSON"), old);
    }
}
