//! Why a colour gets no traffic.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::shift::Percent;

/// Why a colour gets no traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Reason {
    NotDeployed {
        colour: String,
    },
    NoMember {
        service: String,
    },
    Unhealthy {
        service: String,
        member: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    ReleaseUnknown {
        release: String,
    },
    FilesMissing {
        release: String,
        missing: usize,
        first: Vec<String>,
    },
    SchemasApart {
        blue: String,
        green: String,
    },
    NoSchema,
    HasWeight {
        colour: String,
        weight_bp: u16,
    },
    InFlight {
        colour: String,
        requests: u64,
    },
    Bound {
        colour: String,
        seconds: u64,
    },
    RolloutUnderWay {
        colour: String,
    },
    Unsafe {
        release: String,
    },
    Frozen {
        what: String,
        until: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDeployed { colour } => write!(f, "{colour} was never deployed"),
            Self::NoMember { service } => write!(f, "service {service} has no member"),
            Self::Unhealthy {
                service,
                member,
                why,
            } => {
                write!(f, "member {member} of service {service} is unhealthy")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::ReleaseUnknown { release } => {
                write!(f, "release {release} is not in the asset store")
            }
            Self::FilesMissing {
                release,
                missing,
                first,
            } => {
                write!(f, "release {release} lacks {missing} files on this edge")?;
                if !first.is_empty() {
                    write!(f, ": {}", first.join(", "))?;
                }
                Ok(())
            }
            Self::SchemasApart { blue, green } => write!(
                f,
                "blue works with schema {blue}, green with {green}: they cannot both have weight"
            ),
            Self::NoSchema => f.write_str(
                "nothing is deployed that says which database schemas are in use: give `--schema`",
            ),
            Self::HasWeight { colour, weight_bp } => write!(
                f,
                "{colour} has {} of the traffic: shift it to the other colour first, or give `--drain`",
                Percent(*weight_bp)
            ),
            Self::InFlight { colour, requests } => write!(
                f,
                "{colour} is still answering {requests} requests: wait for them with `--drain`"
            ),
            Self::Bound { colour, seconds } => write!(
                f,
                "a browser that is bound to {colour} came {seconds} s ago: end that with `--drain`"
            ),
            Self::RolloutUnderWay { colour } => write!(
                f,
                "a rollout to {colour} is under way: `rollout abort` or `rollout promote` ends it"
            ),
            Self::Frozen { what, until } => write!(
                f,
                "{what} is frozen until {until}: `--despite-freeze --reason WHY` goes on all the same"
            ),
            Self::Unsafe { release } => write!(
                f,
                "release {release} was found to be bad: say with `--reason` why it is tried again"
            ),
        }
    }
}
