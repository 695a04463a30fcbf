//! Replacements of the process that serves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/upgrade`: another version takes over, or nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The program; the one at the path that was started if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// How long it has to become ready; 60 s if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
    /// Start and check it, and end it again.
    #[serde(default)]
    pub dry_run: bool,
    /// The supervisor becomes that version too: the same process executes it, once it serves.
    #[serde(default)]
    pub supervisor: bool,
    /// The new worker begins with an empty cache of reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An upgrade, under way or ended: `GET /v1/upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeReport {
    /// The program.
    pub binary: String,
    /// Its version, once it has said it.
    pub version: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// How far it is.
    pub stage: UpgradeStage,
    /// Why it failed.
    pub why: Option<String>,
    /// Its last lines, if it failed.
    pub log: Vec<String>,
    /// What requests through its whole stack met.
    pub probes: Vec<String>,
    /// Workers from before that still answer what they accepted.
    pub retiring: usize,
    /// Since the command came.
    pub seconds: u64,
    /// True: it was only checked.
    pub dry_run: bool,
    /// Stored answers that the worker before left to the new one.
    #[serde(default)]
    pub inherited: u64,
    /// What they weigh.
    #[serde(default)]
    pub inherited_bytes: u64,
    /// Why they are not all, or none.
    #[serde(default)]
    pub not_inherited: Option<String>,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeStage {
    /// The new worker starts.
    Starting,
    /// It has started; it is walked through.
    Checking,
    /// It accepts, and the one before retires; after a dry run: it could.
    Done,
    /// The worker accepts; the supervisor becomes that version.
    Following,
    /// The worker accepts, but the supervisor did not start as that version, and is what it was.
    WorkerAlone,
    /// It was ended; nothing has changed.
    Failed,
}
