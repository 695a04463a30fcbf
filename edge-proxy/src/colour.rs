//! Blue and green: the two versions of an app, and how traffic is split between them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two versions of an app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Colour {
    Blue,
    Green,
}

impl Colour {
    /// Both, in the order in which they are listed everywhere.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// As it is written in config, commands and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A colour is `blue` or `green`.
#[derive(Debug, thiserror::Error)]
#[error("a colour is `blue` or `green`")]
pub struct NotAColour;

impl FromStr for Colour {
    type Err = NotAColour;

    fn from_str(text: &str) -> Result<Self, NotAColour> {
        match text {
            "blue" => Ok(Self::Blue),
            "green" => Ok(Self::Green),
            _ => Err(NotAColour),
        }
    }
}

/// One value for each colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerColour<T> {
    /// Of blue.
    pub blue: T,
    /// Of green.
    pub green: T,
}

impl<T> PerColour<T> {
    /// Makes both values.
    pub fn each(mut make: impl FnMut(Colour) -> T) -> Self {
        Self {
            blue: make(Colour::Blue),
            green: make(Colour::Green),
        }
    }

    /// The value of one colour.
    pub fn get(&self, colour: Colour) -> &T {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// The value of one colour, to change it.
    pub fn get_mut(&mut self, colour: Colour) -> &mut T {
        match colour {
            Colour::Blue => &mut self.blue,
            Colour::Green => &mut self.green,
        }
    }
}

/// The database schemas that a version works with, such as `12..14`.
///
/// Two colours in rotation must overlap: a user's API calls may reach either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchemaRange {
    min: u32,
    max: u32,
}

/// A schema range is `N` or `MIN..MAX`, both included.
#[derive(Debug, thiserror::Error)]
#[error("a schema range is `N` or `MIN..MAX` with MIN <= MAX, both included")]
pub struct NotASchemaRange;

impl SchemaRange {
    /// Whether some schema suits both.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl FromStr for SchemaRange {
    type Err = NotASchemaRange;

    fn from_str(text: &str) -> Result<Self, NotASchemaRange> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.parse::<u32>().map_err(|_| NotASchemaRange);
        let (min, max) = (number(min)?, number(max)?);
        if min <= max {
            Ok(Self { min, max })
        } else {
            Err(NotASchemaRange)
        }
    }
}

impl TryFrom<String> for SchemaRange {
    type Error = NotASchemaRange;

    fn try_from(text: String) -> Result<Self, NotASchemaRange> {
        text.parse()
    }
}

impl From<SchemaRange> for String {
    fn from(range: SchemaRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for SchemaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// How much of the traffic green gets, in basis points; blue gets the rest, so the sum is always 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSplit", into = "RawSplit")]
pub struct Split {
    green_bp: u16,
}

/// All traffic, in basis points.
pub const WHOLE_BP: u16 = 10_000;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSplit {
    blue_bp: u16,
    green_bp: u16,
}

/// The weights of both colours must add up to all traffic.
#[derive(Debug, thiserror::Error)]
#[error("the weights of blue and green are {0} basis points in sum, not 10000")]
pub struct NotAWhole(u32);

impl Split {
    /// All traffic to one colour.
    pub fn all(colour: Colour) -> Self {
        match colour {
            Colour::Blue => Self { green_bp: 0 },
            Colour::Green => Self { green_bp: WHOLE_BP },
        }
    }

    /// Gives each colour its weight in basis points.
    ///
    /// # Errors
    /// When the weights are not 10,000 in sum.
    pub fn of(weight_bp: PerColour<u16>) -> Result<Self, NotAWhole> {
        let sum = u32::from(weight_bp.blue) + u32::from(weight_bp.green);
        if sum != u32::from(WHOLE_BP) {
            return Err(NotAWhole(sum));
        }
        Ok(Self {
            green_bp: weight_bp.green,
        })
    }

    /// Gives one colour its weight and the other the rest.
    ///
    /// # Errors
    /// When the weight is more than all.
    pub fn with(colour: Colour, weight_bp: u16) -> Result<Self, NotAWhole> {
        if weight_bp > WHOLE_BP {
            return Err(NotAWhole(weight_bp.into()));
        }
        Ok(match colour {
            Colour::Green => Self {
                green_bp: weight_bp,
            },
            Colour::Blue => Self {
                green_bp: WHOLE_BP - weight_bp,
            },
        })
    }

    /// The weight of one colour in basis points.
    pub fn weight_bp(self, colour: Colour) -> u16 {
        match colour {
            Colour::Green => self.green_bp,
            Colour::Blue => WHOLE_BP - self.green_bp,
        }
    }
}

impl TryFrom<RawSplit> for Split {
    type Error = NotAWhole;

    fn try_from(raw: RawSplit) -> Result<Self, NotAWhole> {
        Self::of(PerColour {
            blue: raw.blue_bp,
            green: raw.green_bp,
        })
    }
}

impl From<Split> for RawSplit {
    fn from(split: Split) -> Self {
        Self {
            blue_bp: split.weight_bp(Colour::Blue),
            green_bp: split.weight_bp(Colour::Green),
        }
    }
}
