//! What would happen to a request, and what was changed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/explain`: what would happen to a request, room by room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The outcome in one sentence.
    pub summary: String,
    /// The rooms that the request would go through, in order.
    pub steps: Vec<Step>,
}

/// What one room says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The room: `session`, `route`, `split`, `rule`, `cache`, `assets`, `upstream`.
    pub room: String,
    /// Its decision in few words, such as `pass: no_rule`.
    pub outcome: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /v1/audit`: who changed what, in a chain of hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// How many records are kept, all of which were checked.
    pub records: u64,
    /// The first record that is not what it was when it was written; none: all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenRecord>,
    /// The newest records, newest first.
    pub entries: Vec<AuditEntry>,
}

/// A record that is not what it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokenRecord {
    /// Its place.
    pub sequence: u64,
    /// What is wrong with it.
    pub why: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The change's place in the order of all changes.
    pub sequence: u64,
    /// Of this record and of all before it, in hexadecimal.
    pub hash: String,
    /// When the command came, in RFC 3339.
    pub at: String,
    /// The account that gave it.
    pub who: String,
    /// The command.
    pub what: String,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// The operator's reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
