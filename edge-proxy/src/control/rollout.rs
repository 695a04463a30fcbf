//! A new version gets its traffic step by step: the decisions, without I/O.

mod plan;
mod step;

use std::fmt;

use asset_pipeline::id::ReleaseId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::api::Reason;
use super::state::AppState;
use crate::colour::{Colour, PerColour, Split};

pub use self::plan::{Planned, Unit, plan, worth};
use self::step::weight_of;
pub use self::step::{NotSteps, Step, steps};

/// A rollout: what was asked for, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The colour that gets traffic.
    pub to: Colour,
    /// Its release: what is judged.
    pub release: ReleaseId,
    /// What it gets, in order; the last is everything.
    pub steps: Vec<Step>,
    /// Each step is looked at for so long at least.
    pub hold_s: u32,
    /// And until the new version was asked so often.
    pub requests_min: u64,
    /// The step in force.
    pub step: usize,
    /// When it was started: no two of an app are of one moment.
    pub began: Timestamp,
    /// When the step began, or went on after a pause.
    pub since: Timestamp,
    /// An operator said why it goes on where schools are frozen.
    #[serde(default)]
    pub despite_freeze: bool,
    /// Where it stands.
    pub status: Status,
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Goes on by itself.
    Running,
    /// Stays where it is; the judge may still end it.
    Paused,
    /// The new version has everything.
    Promoted,
    /// An operator ended it: the old version has everything, and the new one is unsafe.
    Aborted,
    /// The judge ended it: the old version has everything, and the new one is unsafe.
    RolledBack {
        /// What spoke against the new version.
        why: String,
    },
}

impl Status {
    /// Every word of [`Self::as_str`].
    pub const ALL: [&'static str; 5] = ["running", "paused", "promoted", "aborted", "rolled_back"];

    /// As it is told.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Promoted => "promoted",
            Self::Aborted => "aborted",
            Self::RolledBack { .. } => "rolled_back",
        }
    }
}

impl Rollout {
    /// Whether it is under way: nobody else moves weight then.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// The weight of its step.
    pub fn weight_bp(&self) -> u16 {
        weight_of(&self.steps[..=self.step.min(self.steps.len() - 1)])
    }

    /// The rings that are on the new version whatever the weight.
    pub fn rings(&self) -> impl Iterator<Item = &str> {
        let steps = if self.is_under_way() {
            self.step + 1
        } else {
            0
        };
        self.steps.iter().take(steps).filter_map(|step| match step {
            Step::Ring(ring) => Some(ring.as_str()),
            Step::Weight(_) => None,
        })
    }

    fn is_last(&self) -> bool {
        self.step + 1 >= self.steps.len()
    }
}

/// What a rollout waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// An operator.
    Paused,
    /// The step's time.
    Time {
        /// Seconds.
        left_s: u64,
    },
    /// Requests to the new version: silence promotes nobody.
    Data {
        /// So far.
        requests: u64,
        /// At least.
        of: u64,
    },
    /// What speaks against the new version, and is no verdict yet.
    Doubt {
        /// How strongly.
        evidence: f64,
    },
    /// The new version cannot take more.
    Unready(Vec<Reason>),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused: `rollout resume` lets it go on"),
            Self::Time { left_s } => write!(f, "{left_s} s of this step are left"),
            Self::Data { requests, of } => write!(
                f,
                "not enough data: the new version was asked {requests} times in this step, of {of}"
            ),
            Self::Doubt { evidence } => write!(
                f,
                "something speaks against the new version ({evidence:.0} to 1), not enough for a verdict"
            ),
            Self::Unready(reasons) => {
                f.write_str("the new version cannot take more:")?;
                reasons
                    .iter()
                    .try_for_each(|reason| write!(f, " {reason};"))
            }
        }
    }
}

/// What is known of the step in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Requests to the new version in this step.
    pub requests: u64,
    /// How strongly something speaks against it.
    pub evidence: f64,
    /// Evidence from which on it gets no more.
    pub doubt: f64,
    /// Why it cannot take more.
    pub reasons: Vec<Reason>,
}

/// Where a rollout goes from its step: another step, or none when it is at its end; or why it waits.
///
/// # Errors
/// What it waits for.
pub fn next(
    rollout: &Rollout,
    plan: &[Planned],
    known: &Known,
    now: Timestamp,
) -> Result<Option<usize>, Hold> {
    if rollout.status == Status::Paused {
        return Err(Hold::Paused);
    }
    let passed_s = now.duration_since(rollout.since).as_secs();
    let left_s = i64::from(rollout.hold_s) - passed_s;
    if left_s > 0 {
        let left_s = u64::try_from(left_s).unwrap_or(0);
        return Err(Hold::Time { left_s });
    }
    // Schools ask, but none of those that have moved: this step can tell nothing.
    let idle = plan.get(rollout.step).and_then(|step| step.share) == Some(0.0);
    if known.requests < rollout.requests_min && (!idle || rollout.is_last()) {
        return Err(Hold::Data {
            requests: known.requests,
            of: rollout.requests_min,
        });
    }
    if known.evidence >= known.doubt {
        let evidence = known.evidence;
        return Err(Hold::Doubt { evidence });
    }
    if rollout.is_last() {
        return Ok(None);
    }
    if !known.reasons.is_empty() {
        return Err(Hold::Unready(known.reasons.clone()));
    }
    Ok(Some(match plan.is_empty() {
        true => rollout.step + 1,
        false => worth(plan, rollout.step + 1),
    }))
}

/// The state in which a rollout has begun, or why it must not.
///
/// `trusted`: an operator says why a release that was found to be bad may be tried again.
///
/// # Errors
/// Every reason at once.
pub fn start(
    now: &AppState,
    rollout: Rollout,
    trusted: bool,
    reasons_of_gaining: Vec<Reason>,
) -> Result<AppState, Vec<Reason>> {
    refuse_while_under_way(now)?;
    let to = rollout.to;
    let mut reasons = reasons_of_gaining;
    let has_bp = now.split.weight_bp(to);
    if rollout
        .steps
        .iter()
        .any(|step| matches!(step, Step::Weight(bp) if *bp <= has_bp))
    {
        reasons.push(Reason::HasWeight {
            colour: to.to_string(),
            weight_bp: has_bp,
        });
    }
    if !trusted && now.unsafe_releases.contains(&rollout.release) {
        reasons.push(Reason::Unsafe {
            release: rollout.release.to_string(),
        });
    }
    let mut next = now.clone();
    next.unsafe_releases.remove(&rollout.release);
    let PerColour { blue, green } = &next.colours;
    match (blue, green) {
        (Some(blue), Some(green)) if !blue.schema.overlaps(green.schema) => {
            reasons.push(Reason::SchemasApart {
                blue: blue.schema.to_string(),
                green: green.schema.to_string(),
            });
        }
        (Some(_), Some(_)) => {}
        _ => reasons.push(Reason::NotDeployed {
            colour: if blue.is_none() { "blue" } else { "green" }.into(),
        }),
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    next.rollout = Some(rollout);
    Ok(in_force(next))
}

/// Nobody else moves an app's traffic, or replaces a colour, while a rollout does.
///
/// # Errors
/// That one is under way.
pub fn refuse_while_under_way(now: &AppState) -> Result<(), Vec<Reason>> {
    match &now.rollout {
        Some(rollout) if rollout.is_under_way() => Err(vec![Reason::RolloutUnderWay {
            colour: rollout.to.to_string(),
        }]),
        _ => Ok(()),
    }
}

/// What somebody says of a rollout that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// To another step.
    Step(usize),
    /// Stay where it is.
    Pause,
    /// Go on; the step's time begins anew.
    Resume,
    /// Everything to the new version, now.
    Promote,
    /// Everything back to the old one, and the new one is unsafe.
    Abort,
    /// The same, by the judge.
    RollBack(String),
}

/// The state after a command; none: no rollout is under way.
pub fn obeyed(now: &AppState, command: &Command, at: Timestamp) -> Option<AppState> {
    let mut next = now.clone();
    let rollout = next
        .rollout
        .as_mut()
        .filter(|rollout| rollout.is_under_way())?;
    match command {
        Command::Step(step) => {
            rollout.step = (*step).min(rollout.steps.len() - 1);
            rollout.since = at;
        }
        Command::Pause => rollout.status = Status::Paused,
        Command::Resume => {
            rollout.status = Status::Running;
            rollout.since = at;
        }
        Command::Promote => {
            rollout.step = rollout.steps.len() - 1;
            rollout.status = Status::Promoted;
        }
        Command::Abort => rollout.status = Status::Aborted,
        Command::RollBack(why) => rollout.status = Status::RolledBack { why: why.clone() },
    }
    Some(in_force(next))
}

/// The weights that a rollout asks for.
fn in_force(mut state: AppState) -> AppState {
    let Some(rollout) = &state.rollout else {
        return state;
    };
    let (to, release) = (rollout.to, rollout.release.clone());
    let split = match rollout.status {
        Status::Aborted | Status::RolledBack { .. } => {
            let other = state.colours.get(to.other()).as_ref();
            if other.is_none_or(|other| other.release != release) {
                state.unsafe_releases.insert(release);
            }
            Split::all(to.other())
        }
        Status::Promoted => Split::all(to),
        Status::Running | Status::Paused => {
            // A colour that had some weight before keeps it while rings go first.
            let weight_bp = rollout.weight_bp().max(state.split.weight_bp(to));
            Split::with(to, weight_bp).unwrap_or_else(|_| Split::all(to))
        }
    };
    let named = |colour: &PerColour<_>, release: &ReleaseId| {
        let of = |deployed: &Option<super::state::ColourState>| {
            deployed
                .as_ref()
                .is_some_and(|deployed| deployed.release == *release)
        };
        of(&colour.blue) || of(&colour.green)
    };
    // Nothing leads to a release that no colour names.
    let colours = state.colours.clone();
    state
        .unsafe_releases
        .retain(|release| named(&colours, release));
    state.shifted(split)
}

#[cfg(test)]
mod tests;
