//! Rollouts and freezes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Traffic;
use super::Weights;

/// `POST /v1/apps/{app}/rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// The colour that gets traffic.
    #[schema(example = "green")]
    pub to: String,
    /// Rising weights; the last is `100%`.
    #[schema(example = json!(["1%", "5%", "25%", "50%", "100%"]))]
    pub steps: Vec<String>,
    /// Rings of schools that go before any weight, one after the other.
    #[serde(default)]
    pub rings: Vec<String>,
    /// Seconds for which each step is looked at; 120 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_s: Option<u32>,
    /// Requests to the new version that each step needs; 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Goes on where schools are frozen; needs a reason.
    #[serde(default)]
    pub despite_freeze: bool,
    /// Kept in the audit log; lets a release be tried again that was found to be bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/rollout/{command}`: `pause`, `resume`, `promote` or `abort`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutCommand {
    /// Goes on where schools are frozen; needs a reason.
    #[serde(default)]
    pub despite_freeze: bool,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/apps/{app}/freeze`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Until when no more goes to a newer version, in RFC 3339; none: it is over now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-12-01T16:00:00+01:00")]
    pub until: Option<String>,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a freeze did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FreezeReport {
    /// The app.
    pub app: String,
    /// Until when no more goes to a newer version; none: it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// True: nothing was done.
    pub dry_run: bool,
}

/// A rollout, under way or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutReport {
    /// The app.
    pub app: String,
    /// The colour that gets traffic.
    pub to: String,
    /// Its release.
    pub release: String,
    /// `running`, `paused`, `promoted`, `aborted` or `rolled_back`.
    pub status: String,
    /// Why the judge rolled it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// In order.
    pub steps: Vec<RolloutStep>,
    /// The step in force, from 0.
    pub step: usize,
    /// The weights that requests see now.
    pub weights: Weights,
    /// Seconds for which each step is looked at.
    pub hold_s: u32,
    /// Seconds of them that are left in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// Requests to the new version that each step needs.
    pub requests_min: u64,
    /// What blue was asked in this step.
    pub blue: Traffic,
    /// What green was asked in this step.
    pub green: Traffic,
    /// How strongly something speaks against the new version: 1 is nothing, 100 a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// What the next step waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// One school that alone has trouble on the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<String>,
    /// True: nothing was done.
    pub dry_run: bool,
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStep {
    /// A weight, or `ring:NAME`.
    pub step: String,
    /// Schools on the new version from then on; none where something else than schools is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<usize>,
    /// The schools that it moves.
    pub adds: Vec<String>,
    /// The share of the traffic that is on the new version from then on, by what schools asked of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// It moves no school with traffic, so it is passed over.
    pub skipped: bool,
}
