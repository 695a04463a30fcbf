//! `rules.toml` as it was typed.

use schemars::JsonSchema;
use serde::Deserialize;

/// `rules.toml`: the reads that may be cached. What is not listed is never cached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRules {
    /// One `[[rule]]` per read.
    #[serde(default)]
    pub rule: Vec<RawRule>,
}

/// One read that may be cached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// Its name in metrics, records and `explain`: 1 to 64 lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// `GET`, `HEAD` or both (the default). Nothing else is ever cached.
    #[serde(default = "reads")]
    pub methods: Vec<String>,
    /// The path with its parameters, such as `/api/v1/courses/{id}`. A parameter is one whole segment.
    pub path: String,
    /// Who may share the answer.
    pub scope: RawScope,
    /// The query names that are part of the key. A request with any other name is passed on untouched.
    #[serde(default)]
    pub query: Vec<String>,
    /// Query names that are dropped, from the key and from what the origin is asked.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Request headers that the answer may depend on: part of the key, and the only ones that the origin sees.
    #[serde(default)]
    pub vary: Vec<String>,
    /// The languages that the answer is there in. `Accept-Language` is then reduced to the best of them, the first
    /// where none is asked for: key and origin see that one word.
    #[serde(default)]
    pub locales: Vec<String>,
    /// The answer is there in each of `types`. `Accept` is then reduced to the best of them, the first where none is
    /// asked for: key and origin see that one type.
    #[serde(default)]
    pub negotiate: bool,
    /// The content types that may be stored.
    #[serde(default = "json")]
    pub types: Vec<String>,
    /// The longest an answer may be kept, in seconds from when it was made; the origin's lifetime counts if shorter.
    pub ttl_s: u32,
    /// For how long after its lifetime an answer is still given while a fresh one is fetched, in seconds: at most 60,
    /// and 10 for other than public answers. The origin can forbid or shorten it.
    #[serde(default)]
    pub stale_while_revalidate_s: u32,
    /// For how long after its lifetime an answer is still given while the origin fails, in seconds: at most 3600, and
    /// 300 for other than public answers, which also need the origin's `stale-if-error`.
    #[serde(default)]
    pub stale_if_error_s: u32,
    /// The roles whose `Cache-Control: no-cache`, `max-age` and `min-fresh` are obeyed: a teacher who presses reload.
    /// Nobody else's are, or every reload would reach the origin. Not for public rules.
    #[serde(default)]
    pub reload_roles: Vec<String>,
    /// Tags under which the answer is purged, beside those that the origin sends. `{id}` is the path's parameter.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Tags that a write to this path ends, such as that of the list which the changed thing is on. What is stored
    /// under the path itself, and under the `Location` of the answer, is ended anyway.
    #[serde(default)]
    pub invalidates: Vec<String>,
    /// Who must agree that the answer is cached.
    #[serde(default)]
    pub consent: RawConsent,
    /// The answer is the same in both colours: it survives a deploy. Public rules only.
    #[serde(default)]
    pub across_colours: bool,
    /// How much is asked of an answer before it is stored.
    #[serde(default)]
    pub policy: RawPolicy,
}

/// How much is asked of an answer before it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawPolicy {
    /// All that this file says.
    #[default]
    Strict,
    /// No more than RFC 9111 does: any status, type, query and `Vary`. For conformance runs of a public rule, and only
    /// where every host of every tenant is a loopback address.
    DangerRfc9111,
}

/// Who may share an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawScope {
    /// Everyone who can reach the tenant's host, signed in or not.
    Public,
    /// Everyone who is signed in to the tenant.
    Tenant,
    /// Everyone in the tenant who has the very same roles.
    Role,
}

/// Who must agree that an answer is cached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawConsent {
    /// The rule and the origin, which says `X-Edge-Cache-Scope: <scope>` on each answer.
    #[default]
    Origin,
    /// The rule alone. Public rules only.
    Rule,
}

fn reads() -> Vec<String> {
    vec!["GET".to_owned(), "HEAD".to_owned()]
}

fn json() -> Vec<String> {
    vec!["application/json".to_owned()]
}
