//! Moving weight between colours: the decision, without I/O.

use std::fmt;
use std::str::FromStr;

use super::api::Reason;
use super::rollout::refuse_while_under_way;
use super::state::AppState;
use crate::colour::{Colour, NotAColour, PerColour, Split, WHOLE_BP};

/// A colour and the weight it is to have, such as `green=12.5%` or `green=1250bp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    colour: Colour,
    weight_bp: u16,
}

/// Why a text is not a weight.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotAWeight {
    #[error("a weight is written as COLOUR=WEIGHT, such as `green=10%` or `green=1000bp`")]
    Form,
    #[error("a colour is `blue` or `green`")]
    Colour,
    #[error("a weight ends in `%` or `bp`, such as `10%`, `12.5%` or `1250bp`")]
    Unit,
    #[error("a weight is a number with at most two decimals in `%` and none in `bp`")]
    Number,
    #[error("a weight is at most 100% (10000bp)")]
    TooMuch,
}

impl From<NotAColour> for NotAWeight {
    fn from(_: NotAColour) -> Self {
        Self::Colour
    }
}

impl Weight {
    /// The split that gives the colour its weight and the other one the rest.
    pub(super) fn split(self) -> Split {
        match self.colour {
            Colour::Green => green(self.weight_bp),
            Colour::Blue => green(WHOLE_BP - self.weight_bp),
        }
    }
}

fn green(weight_bp: u16) -> Split {
    Split::with(Colour::Green, weight_bp).unwrap_or_else(|_| Split::all(Colour::Green))
}

impl FromStr for Weight {
    type Err = NotAWeight;

    fn from_str(text: &str) -> Result<Self, NotAWeight> {
        let (colour, weight) = text.split_once('=').ok_or(NotAWeight::Form)?;
        let colour = colour.parse::<Colour>()?;
        let weight_bp = weight_bp(weight)?;
        Ok(Self { colour, weight_bp })
    }
}

/// A weight alone, such as `12.5%` or `1250bp`, in basis points.
pub(super) fn weight_bp(weight: &str) -> Result<u16, NotAWeight> {
    let weight_bp = if let Some(percent) = weight.strip_suffix('%') {
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        let part_bp = match part.len() {
            1 => digits(part)? * 10,
            2 => digits(part)?,
            _ => return Err(NotAWeight::Number),
        };
        digits(whole)? * 100 + part_bp
    } else if let Some(points) = weight.strip_suffix("bp") {
        digits(points)?
    } else {
        return Err(NotAWeight::Unit);
    };
    match u16::try_from(weight_bp) {
        Ok(weight_bp @ ..=WHOLE_BP) => Ok(weight_bp),
        _ => Err(NotAWeight::TooMuch),
    }
}

/// At most five digits, so that no sum of them overflows.
fn digits(text: &str) -> Result<u32, NotAWeight> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAWeight::Number);
    }
    let text = text.trim_start_matches('0');
    match text.len() {
        0 => Ok(0),
        1..=5 => text.parse().map_err(|_| NotAWeight::Number),
        _ => Err(NotAWeight::TooMuch),
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.colour, Percent(self.weight_bp))
    }
}

/// Basis points as people read them: `10%`, `12.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u16);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// Which colour would get more traffic than it has; none: nothing changes.
pub fn gaining(now: &AppState, ask: Weight) -> Option<Colour> {
    let split = ask.split();
    Colour::BOTH
        .into_iter()
        .find(|&colour| split.weight_bp(colour) > now.split.weight_bp(colour))
}

/// The state after the shift, or why it must not be.
///
/// Only the colour that gains is asked for: traffic may always leave a colour that is ill.
///
/// # Errors
/// Every reason at once.
pub fn decide(
    now: &AppState,
    ask: Weight,
    reasons_of_gaining: Vec<Reason>,
) -> Result<AppState, Vec<Reason>> {
    refuse_while_under_way(now)?;
    let Some(colour) = gaining(now, ask) else {
        return Ok(now.clone());
    };
    if now.colours.get(colour).is_none() {
        return Err(vec![Reason::NotDeployed {
            colour: colour.to_string(),
        }]);
    }
    let mut reasons = reasons_of_gaining;
    let next = now.shifted(ask.split());
    let PerColour { blue, green } = &next.colours;
    if let (Some(blue), Some(green)) = (blue, green)
        && Colour::BOTH.iter().all(|&c| next.split.weight_bp(c) > 0)
        && !blue.schema.overlaps(green.schema)
    {
        reasons.push(Reason::SchemasApart {
            blue: blue.schema.to_string(),
            green: green.schema.to_string(),
        });
    }
    if reasons.is_empty() {
        Ok(next)
    } else {
        Err(reasons)
    }
}

#[cfg(test)]
mod tests;
