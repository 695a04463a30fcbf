//! What is said over the admin socket: the same types for the listener, the commands and the OpenAPI document.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod cache;
mod certificate;
mod reason;
mod record;
mod rollout;
mod status;
mod traffic;
mod upgrade;

pub use cache::{CacheReport, CacheRequest, EventReport, PurgeReport, PurgeRequest};
pub use certificate::{
    CertificateAction, CertificateReport, CertificateRequest, CertificateStage, RekeyReport,
    RekeyRequest,
};
pub use reason::Reason;
pub use record::{AuditEntry, AuditReport, BrokenRecord, Explanation, Step};
pub use rollout::{
    FreezeReport, FreezeRequest, RolloutCommand, RolloutReport, RolloutRequest, RolloutStep,
};
pub use status::{App, Cache, Certificate, ColourStatus, Member, Mirror, Status, Traffic};
pub use traffic::{
    DeployReport, DeployRequest, DeployStage, DrainReport, DrainRequest, DrainStage, InFlight,
    PauseReport, PauseRequest, ShiftReport, ShiftRequest, Weights,
};
pub use upgrade::{UpgradeReport, UpgradeRequest, UpgradeStage};

/// An error in the form of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind: the last part of the URN is stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:bellwether:not-ready")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and what to do.
    pub detail: String,
    /// True: the command was understood and a policy forbids it now.
    #[serde(default)]
    pub refused: bool,
    /// Why a colour gets no traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}
