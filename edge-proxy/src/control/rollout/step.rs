//! The steps of a rollout: rings, then weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::colour::WHOLE_BP;
use crate::control::shift::{Percent, weight_bp};

/// Steps of one rollout: more than anybody looks at.
const STEPS_MAX: usize = 50;

/// What a version gets in one step, beside all that it got before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Step {
    /// The schools of a ring.
    Ring(String),
    /// A weight in basis points.
    Weight(u16),
}

/// Why a text is no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotSteps {
    #[error("a step is a weight such as `5%`, or `ring:NAME`: `{0}` is none")]
    Form(String),
    #[error("steps rise, and end with 100%, such as `1%,5%,25%,50%,100%`; rings come first")]
    Order,
    #[error("a rollout has at most {STEPS_MAX} steps")]
    TooMany,
}

impl FromStr for Step {
    type Err = NotSteps;

    fn from_str(text: &str) -> Result<Self, NotSteps> {
        let form = || NotSteps::Form(text.to_owned());
        match text.strip_prefix("ring:") {
            Some(ring) if !ring.is_empty() => Ok(Self::Ring(ring.to_owned())),
            Some(_) => Err(form()),
            None => weight_bp(text)
                .ok()
                .filter(|&weight_bp| weight_bp > 0)
                .map(Self::Weight)
                .ok_or_else(form),
        }
    }
}

impl TryFrom<String> for Step {
    type Error = NotSteps;

    fn try_from(text: String) -> Result<Self, NotSteps> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(ring) => write!(f, "ring:{ring}"),
            Self::Weight(weight_bp) => Percent(*weight_bp).fmt(f),
        }
    }
}

/// Reads steps: rings first, then rising weights up to everything.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn steps(texts: &[String]) -> Result<Vec<Step>, NotSteps> {
    let steps = texts.iter().map(|text| text.parse());
    let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
    if steps.len() > STEPS_MAX {
        return Err(NotSteps::TooMany);
    }
    let rises = steps.windows(2).all(|pair| match (&pair[0], &pair[1]) {
        (Step::Ring(_), _) => true,
        (Step::Weight(before), Step::Weight(after)) => before < after,
        (Step::Weight(_), Step::Ring(_)) => false,
    });
    if !rises || steps.last() != Some(&Step::Weight(WHOLE_BP)) {
        return Err(NotSteps::Order);
    }
    Ok(steps)
}

/// The last weight of these steps.
pub(super) fn weight_of(steps: &[Step]) -> u16 {
    let weights = steps.iter().rev().filter_map(|step| match step {
        Step::Weight(weight_bp) => Some(*weight_bp),
        Step::Ring(_) => None,
    });
    weights.into_iter().next().unwrap_or(0)
}
