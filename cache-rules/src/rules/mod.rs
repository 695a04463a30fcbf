//! The rules: which reads may be cached.

mod raw;

use std::fmt;

pub use raw::{RawConsent, RawRule, RawRules, RawScope};

use crate::reason::PassReason;
use crate::verdict::{Ask, Verdict};

/// Who may share a stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everyone who can reach the tenant's host.
    Public,
    /// Everyone who is signed in to the tenant.
    Tenant,
}

impl Scope {
    /// The word in rules, and in the origin's `X-Edge-Cache-Scope`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Tenant => "tenant",
        }
    }
}

/// The compiled rules. Empty ones cache nothing.
#[derive(Debug, Default)]
pub struct RuleSet {
    names: Vec<Box<str>>,
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
    /// With every mistake in the file.
    pub fn compile(raw: RawRules) -> Result<Self, Vec<RuleMistake>> {
        let names = raw.rule.into_iter().map(|r| r.name.into()).collect();
        Ok(Self { names })
    }

    /// The rules' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Whether any rule has this scope: tenant rules need someone who knows identities.
    pub fn has(&self, _scope: Scope) -> bool {
        false
    }

    /// What the rules say of a request.
    pub fn verdict(&self, _ask: &Ask<'_>) -> Verdict {
        Verdict::Pass(PassReason::NoRule)
    }
}
