//! What moves traffic: shifts, deploys, drains and pauses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Reason;

/// `POST /v1/apps/{app}/shift`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftRequest {
    /// Goes on where schools are frozen; needs a reason.
    #[serde(default)]
    pub despite_freeze: bool,
    /// A colour and its weight: `green=10%`, `green=12.5%` or `green=1250bp`. The other colour gets the rest.
    #[schema(example = "green=10%")]
    pub weight: String,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a shift did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShiftReport {
    /// The app.
    pub app: String,
    /// The weights before.
    pub from: Weights,
    /// The weights that requests see now.
    pub to: Weights,
    /// False: it was so already.
    pub changed: bool,
    /// True: nothing was done.
    pub dry_run: bool,
    /// The revision of the app's record, for `If-Match`.
    pub revision: u64,
}

/// Weights in basis points; their sum is 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub struct Weights {
    pub blue_bp: u16,
    pub green_bp: u16,
}

/// `POST /v1/apps/{app}/deploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The colour that becomes this version: one without weight.
    #[schema(example = "green")]
    pub colour: String,
    /// A published release.
    pub release: String,
    /// The members of every service of the app.
    pub services: BTreeMap<String, Vec<String>>,
    /// The database schemas that it works with, `N` or `MIN..MAX`; those of the other colour if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Seconds until it is undone when it is not whole and healthy; 60 if left out, at most 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
    /// Seconds in which the colour is drained first: its weight goes to the other one, nobody is bound to it any more, and
    /// requests under way get to end. 0 if left out, at most 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_s: Option<u32>,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A deploy, under way or ended: `GET /v1/apps/{app}/deploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployReport {
    /// The app.
    pub app: String,
    /// The colour.
    pub colour: String,
    /// Its release.
    pub release: String,
    /// How far it is.
    pub stage: DeployStage,
    /// What it waits for, or why it was undone; for a dry run, what it would wait for.
    pub lacks: Vec<Reason>,
    /// Since the command came.
    pub seconds: u64,
    /// True: nothing was done.
    pub dry_run: bool,
}

/// How far a deploy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployStage {
    /// Requests under way on the colour end first.
    Draining,
    /// The colour is the new version; its members and files are being looked at.
    Checking,
    /// Whole and healthy: weight can move to it.
    Ready,
    /// It was not whole and healthy in time: the colour is again what it was.
    Undone,
}

/// `POST /v1/apps/{app}/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The colour that is left: all weight goes to the other one, and ids and pins lead here no more.
    #[schema(example = "blue")]
    pub colour: String,
    /// Seconds that requests under way get; 600 if left out, at most 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
    /// Seconds after which event streams and WebSockets are asked to end; 10, or half of the wait, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams_s: Option<u32>,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A drain, under way or ended: `GET /v1/apps/{app}/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainReport {
    /// The app.
    pub app: String,
    /// The colour.
    pub colour: String,
    /// How far it is.
    pub stage: DrainStage,
    /// Who is still there: at the end, who is cut off if the colour's members stop now.
    pub in_flight: Vec<InFlight>,
    /// Event streams and WebSockets that were asked to end, and did.
    pub parted: u64,
    /// Since the command came.
    pub seconds: u64,
    /// True: nothing was done.
    pub dry_run: bool,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrainStage {
    /// Nobody new comes; who is there may finish.
    Draining,
    /// Nobody is there any more: its members can stop.
    Drained,
    /// The time was over before everybody had finished.
    Late,
}

/// Requests of one kind that are under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InFlight {
    /// `page`, `api`, `stream`, `websocket`, `upload`, `download`, `fetch` for those of the edge's own, or `unheard`: another
    /// worker of this edge that has not said yet whether it has any.
    pub class: String,
    /// How many.
    pub count: u64,
    /// How long the oldest has taken.
    pub oldest_s: u64,
}

/// `POST /v1/apps/{app}/pause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// True: requests wait; false: they go on.
    pub paused: bool,
    /// Seconds that those under way get to end before the answer comes; 5 if left out, at most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a pause did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseReport {
    /// The app.
    pub app: String,
    /// How it is now.
    pub paused: bool,
    /// False: it was so already.
    pub changed: bool,
    /// Requests that an origin is still answering, without streams and WebSockets.
    pub in_flight: Vec<InFlight>,
    /// Requests that wait.
    pub held: u64,
    /// True: nothing was done.
    pub dry_run: bool,
}
