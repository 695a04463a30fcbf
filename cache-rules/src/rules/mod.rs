//! The rules: which reads may be cached, for whom, and how a request finds its rule.
//!
//! `raw` is what was typed, `compile` checks it, `table` finds a path's rule. Nothing here looks at an answer of the
//! origin: that is [`crate::answer`].

mod compile;
mod pattern;
mod raw;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use raw::{RawConsent, RawPolicy, RawRule, RawRules, RawScope};

use crate::host::HostName;
use crate::review::{self, Operation, Review};
use crate::tag::Tag;
use crate::target::{self, CanonicalPath};
use crate::verdict::{self, Ask, Verdict};
use crate::writes::{self, Ended};
use pattern::{Pattern, Segment, TagTemplate};
use table::Table;

/// Who may share a stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everyone who can reach the tenant's host.
    Public,
    /// Everyone who is signed in to the tenant.
    Tenant,
    /// Everyone in the tenant who has the very same roles.
    Role,
}

impl Scope {
    /// Every scope, the widest first.
    pub const ALL: [Self; 3] = [Self::Public, Self::Tenant, Self::Role];

    /// The word in rules, and in the origin's `X-Edge-Cache-Scope`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Tenant => "tenant",
            Self::Role => "role",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who must agree that an answer is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Consent {
    Origin,
    Rule,
}

/// How much is asked of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Policy {
    Strict,
    /// Conformance runs.
    Rfc9111,
}

/// One checked rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Box<str>,
    pub(crate) scope: Scope,
    pub(crate) get: bool,
    pub(crate) head: bool,
    pattern: Pattern,
    pub(crate) query: Box<[QueryName]>,
    pub(crate) ignore: Box<[Box<str>]>,
    /// Sorted by name.
    pub(crate) vary: Box<[VaryOn]>,
    /// Lower case, without parameters.
    pub(crate) types: Box<[Box<str>]>,
    /// What the origin of a cached read is asked for: the types.
    pub(crate) accept: HeaderValue,
    pub(crate) ttl: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) reload_roles: Box<[Box<str>]>,
    tags: Box<[TagTemplate]>,
    invalidates: Box<[TagTemplate]>,
    pub(crate) consent: Consent,
    pub(crate) across_colours: bool,
    pub(crate) policy: Policy,
    /// Of all that is above: a changed rule never reads what a looser one stored.
    pub(crate) digest: u64,
}

/// An allowed query name, decoded as it is compared, and encoded as it is keyed and sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryName {
    pub(crate) decoded: Box<str>,
    pub(crate) encoded: Box<str>,
}

/// A request header that answers may depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct VaryOn {
    pub(crate) name: HeaderName,
    pub(crate) take: Take,
}

/// What of a header's value is keyed and sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Take {
    /// All of it.
    Value,
    /// The best of these languages.
    Locale(Box<[Box<str>]>),
    /// The best of these media types.
    Type(Box<[Box<str>]>),
}

impl Rule {
    pub(crate) fn varies_on(&self, name: &HeaderName) -> bool {
        self.vary.iter().any(|on| on.name == *name)
    }

    pub(crate) fn covers(&self, method: &Method) -> bool {
        (self.get && *method == Method::GET) || (self.head && *method == Method::HEAD)
    }

    /// Whether every parameter that a tag needs is a plain id.
    pub(crate) fn fits_tags(&self, path: &str) -> bool {
        let mut places = self.tags.iter().flat_map(TagTemplate::places);
        places.all(|place| pattern::is_plain_id(pattern::segment(path, place)))
    }

    /// What a write to this path ends. A tag whose parameter is no plain id was never given to anything.
    pub(crate) fn ended_tags(&self, path: &str) -> Vec<Tag> {
        let plain = |template: &&TagTemplate| {
            let mut places = template.places();
            places.all(|place| pattern::is_plain_id(pattern::segment(path, place)))
        };
        let templates = self.invalidates.iter().filter(plain);
        templates.map(|template| template.tag(path)).collect()
    }

    /// The rule's own tags of a path that [`Self::fits_tags`].
    pub(crate) fn tags(&self, path: &str) -> Vec<Tag> {
        self.tags
            .iter()
            .map(|template| template.tag(path))
            .collect()
    }
}

/// The compiled rules. Empty ones cache nothing.
///
/// ```
/// use cache_rules::rules::{RawRules, RuleSet};
///
/// let raw: RawRules = toml::from_str(r#"
///     [[rule]]
///     name = "course"
///     path = "/api/v1/courses/{id}"
///     scope = "tenant"
///     ttl_s = 30
///     tags = ["course:{id}"]
/// "#)?;
/// let rules = RuleSet::compile(raw).expect("no mistakes");
/// assert_eq!(rules.names().collect::<Vec<_>>(), ["course"]);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    table: Table,
}

/// What is wrong with a rules file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMistake {
    /// The key, such as `rule[2].path`; places count from 0.
    pub at: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for RuleMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl RuleSet {
    /// Rules that cache nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Checks the rules and builds the table that requests are looked up in.
    ///
    /// # Errors
    /// With every mistake in the file. Patterns of different scope that match one path are one, and so are patterns
    /// that are the same.
    pub fn compile(raw: RawRules) -> Result<Self, Vec<RuleMistake>> {
        compile::compile(raw)
    }

    /// The rules' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_ref())
    }

    /// Whether any rule has this scope: all but public ones need someone who knows identities.
    pub fn has(&self, scope: Scope) -> bool {
        self.rules.iter().any(|rule| rule.scope == scope)
    }

    /// What the rules say of a request. Called on every one: a request without a rule costs a walk over its path.
    ///
    /// ```
    /// use cache_rules::{reason::PassReason, rules::RuleSet, verdict::{Ask, Verdict}};
    /// use http::{HeaderMap, Method};
    ///
    /// let headers = HeaderMap::new();
    /// let ask = Ask { method: &Method::GET, path: "/", query: None, headers: &headers, has_body: false };
    /// let verdict = RuleSet::empty().verdict(&ask);
    /// assert!(matches!(verdict, Verdict::Pass(PassReason::NoRule)));
    /// ```
    pub fn verdict(&self, ask: &Ask<'_>) -> Verdict {
        verdict::verdict(self, ask)
    }

    /// Holds the rules against an API's description.
    pub fn review<'a>(&'a self, operations: &'a [Operation]) -> Review<'a> {
        review::review(self, operations)
    }

    /// What the answer to a request ends: method, host and path as the client wrote it, and what the origin said.
    pub fn ended(
        &self,
        asked: (&Method, &HostName, &str),
        status: StatusCode,
        answer: &HeaderMap,
    ) -> Ended {
        writes::ended(self, asked, status, answer)
    }

    /// Some path that a rule for GET covers, for a walk through an edge; identifiers in it are `0`.
    pub fn a_path(&self) -> Option<String> {
        let rule = self.rules.iter().find(|rule| rule.get)?;
        let segments = rule.pattern.segments().iter();
        let segments = segments.map(|segment| match segment {
            Segment::Literal(text) => &**text,
            Segment::Parameter(_) | Segment::Rest => "0",
        });
        Some(segments.flat_map(|segment| ["/", segment]).collect())
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Rule> {
        let rule = self.rules.iter().find(|rule| *rule.name == *name);
        rule.map(Arc::as_ref)
    }

    pub(crate) fn of_path(&self, path: &CanonicalPath<'_>) -> Option<&Arc<Rule>> {
        let rest = path.as_str().get(1..)?;
        self.table
            .find(rest.split('/'))
            .map(|place| &self.rules[place])
    }

    /// The rule that some origin could see in a path that has no canonical form.
    pub(crate) fn of_ambiguous_path(&self, raw_path: &str) -> Option<&Arc<Rule>> {
        let guess = target::loosest(raw_path);
        let segments = guess.split('/').filter(|segment| !segment.is_empty());
        self.table.find(segments).map(|place| &self.rules[place])
    }
}
