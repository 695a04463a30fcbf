//! What ends stored answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// True: it was done before, nothing was done now, and the rest says what was done then.
    pub repeated: bool,
    /// Its place in the order of all changes: what was stored or fetched before it is not served again.
    pub sequence: u64,
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
