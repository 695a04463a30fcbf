//! How everything is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::InFlight;
use super::Reason;

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The edge's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Why it should get no new clients; empty: it is ready.
    pub not_ready: Vec<String>,
    /// The last change that requests see.
    pub sequence: u64,
    /// Open client connections.
    pub connections: u64,
    /// By name.
    pub apps: BTreeMap<String, App>,
    /// The cache of reads.
    pub cache: Cache,
    /// The certificates that are served.
    pub certificates: Vec<Certificate>,
    /// Files of certificates that could not be used, and what became of them.
    #[serde(default)]
    pub certificate_problems: Vec<String>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// The revision of its record, for `If-Match`.
    pub revision: u64,
    /// Blue, then green; a colour that was never deployed is left out.
    pub colours: Vec<ColourStatus>,
    /// Its requests wait.
    #[serde(default)]
    pub paused: bool,
    /// How many wait.
    #[serde(default)]
    pub held: u64,
}

/// One colour of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ColourStatus {
    /// `blue` or `green`.
    pub colour: String,
    /// Its share of the traffic in basis points.
    pub weight_bp: u16,
    /// `idle`, `live`, `draining` or `drained`.
    pub phase: String,
    /// Its files.
    pub release: String,
    /// Whether every file of the release is on this edge.
    pub complete: bool,
    /// Files that are not.
    pub missing: usize,
    /// The database schemas it works with.
    pub schema: String,
    /// What its members were asked in the last minute.
    #[serde(default)]
    pub traffic: Traffic,
    /// Its members.
    pub members: Vec<Member>,
    /// Why weight cannot be moved to it; empty: it can.
    pub refused: Vec<Reason>,
    /// Requests of clients under way.
    #[serde(default)]
    pub in_flight: Vec<InFlight>,
    /// Seconds since an id or a pin last led somebody here; none: never since the edge started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_s: Option<u64>,
    /// How it does with copies of what the other colour is asked; none: there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// How the answers to copies compare to those that clients got from the other colour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mirror {
    /// Copies whose answer had the same status.
    pub same: u64,
    /// Copies whose answer had another one.
    pub differ: u64,
    /// Copies that got no whole answer.
    pub failed: u64,
    /// Copies that were not made, because too many were under way.
    pub left_out: u64,
    /// How long half of the answers took at most that clients got, from the first byte to the last.
    pub given_p50_ms: f64,
    /// How long 95 of 100 took at most.
    pub given_p95_ms: f64,
    /// The same of the answers to the copies.
    pub copied_p50_ms: f64,
    /// As above.
    pub copied_p95_ms: f64,
}

/// What a colour's members were asked, files and stored answers aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Those answered with 5xx, cut off, or not answered in time.
    pub failures: u64,
    /// Half of the answers began within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<u64>,
    /// Nineteen of twenty answers began within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<u64>,
}

/// One member of a colour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its service.
    pub service: String,
    /// Where it listens.
    pub address: String,
    /// Whether it gets requests.
    pub healthy: bool,
    /// What the last check said when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The cache of reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub struct Cache {
    pub off: bool,
    pub entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub hits: u64,
    pub misses: u64,
}

/// A certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The file's name without folder.
    pub file: String,
    /// The names it covers.
    pub names: Vec<String>,
    /// Its last moment, in RFC 3339.
    pub not_after: String,
    /// Whole days until then; negative: it has expired.
    pub days_left: i64,
    /// Where it comes from: `folder`, or the authority that issued it.
    #[serde(default)]
    pub source: String,
    /// How much of its life is left: `good`, `soon` (a quarter or less), `now` (a tenth or less) or `expired`.
    #[serde(default)]
    pub urgency: String,
    /// What happens next, or what somebody has to do.
    #[serde(default)]
    pub next: String,
}
