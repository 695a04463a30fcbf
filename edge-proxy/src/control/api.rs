//! What is said over the admin socket: the same types for the listener, the commands and the OpenAPI document.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shift::Percent;

mod certificate;

pub use certificate::{
    CertificateAction, CertificateReport, CertificateRequest, CertificateStage, RekeyReport,
    RekeyRequest,
};

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

/// `POST /v1/purge`: one school and exactly one of `tag`, `url` and `all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// The school.
    #[schema(example = "oak")]
    pub tenant: String,
    /// What carries this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "course:7")]
    pub tag: Option<String>,
    /// What is stored under this path with any query: a path, or a URL of one of the school's hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/api/v1/courses/7")]
    pub url: Option<String>,
    /// Everything of the school.
    #[serde(default)]
    pub all: bool,
    /// What everyone may see is only stale from now on: it may still bridge a fetch or stand in for a failing
    /// origin where its rule says so. What some may see is ended.
    #[serde(default)]
    pub soft: bool,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeReport {
    /// Its place in the order of all changes: what was stored or fetched before it is not served
    /// again. None for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What was purged, in words.
    pub purged: String,
    /// How many stored answers it ended, counted before; none of them: nothing stored carries such a tag or path.
    pub objects: u64,
    /// Whether that is a count of all stored answers, and not of a part that was brought up to the whole.
    pub exact: bool,
    /// From the command's arrival until requests saw it, in microseconds: mostly the disk's sync.
    pub micros: u64,
    /// True: nothing was done.
    pub dry_run: bool,
}

/// What an event of the platform did: to be filed as the receipt of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventReport {
    /// The event's id.
    pub id: String,
    /// The edge that did it, by the name under which it reports to the store.
    pub edge: String,
    /// True: it was done before, and nothing was done now.
    pub repeated: bool,
    /// Its place in the order of all changes: what was stored or fetched before it is not served again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// How many tags it ended.
    pub tags: usize,
    /// How many stored answers carried one of them.
    pub objects: u64,
}

/// `POST /v1/cache`: the kill switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheRequest {
    /// True: every request passes, no rule is read, and nobody's identity is asked for. Files go on.
    pub off: bool,
    /// Says what would be done and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the kill switch did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheReport {
    /// How it is now.
    pub off: bool,
    /// False: it was so already.
    pub changed: bool,
    /// From the command's arrival until requests saw it, in microseconds.
    pub micros: u64,
    /// True: nothing was done.
    pub dry_run: bool,
}

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
