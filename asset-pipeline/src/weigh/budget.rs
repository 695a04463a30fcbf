//! What pages may weigh, as a team writes it down.
//!
//! ```toml
//! first_visit_bytes = 300000      # of every page
//! returning_bytes = 20000
//!
//! [pages."/editor"]               # of one page, in place of these
//! first_visit_bytes = 600000
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Weights;

/// Limits for pages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Of every page's first visit, in bytes.
    first_visit_bytes: Option<u64>,
    /// Of every page for who comes back, in bytes.
    returning_bytes: Option<u64>,
    /// Of one page, by its path.
    #[serde(default)]
    pages: BTreeMap<String, Limits>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    first_visit_bytes: Option<u64>,
    returning_bytes: Option<u64>,
}

/// A file that is no budget.
#[derive(Debug, thiserror::Error)]
#[error("it is no budget: {0}")]
pub struct NotABudget(#[from] toml::de::Error);

/// A page that weighs more than it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exceeded {
    /// The page's path.
    pub page: String,
    /// The limit's name.
    pub limit: &'static str,
    /// What the page weighs, in bytes. None: the budget names a page that the release does not have.
    pub bytes: Option<u64>,
    /// What it may weigh.
    pub budget_bytes: u64,
}

impl Budget {
    /// Reads a budget.
    ///
    /// # Errors
    ///
    /// It is not the TOML that a budget is; unknown keys are errors.
    pub fn from_toml(text: &str) -> Result<Self, NotABudget> {
        Ok(toml::from_str(text)?)
    }

    /// What is over budget. A page that is named and not there is over it too: it was renamed, or
    /// its name is misspelt, and nobody would notice.
    pub fn exceeded(&self, weights: &Weights) -> Vec<Exceeded> {
        let mut over = Vec::new();
        for page in &weights.pages {
            let own = self.pages.get(&page.page);
            let first = own.and_then(|own| own.first_visit_bytes);
            let again = own.and_then(|own| own.returning_bytes);
            let mut hold = |limit, budget: Option<u64>, bytes: Option<u64>| {
                if let (Some(budget_bytes), Some(bytes)) = (budget, bytes)
                    && bytes > budget_bytes
                {
                    over.push(Exceeded {
                        page: page.page.clone(),
                        limit,
                        bytes: Some(bytes),
                        budget_bytes,
                    });
                }
            };
            hold(
                "first_visit_bytes",
                first.or(self.first_visit_bytes),
                Some(page.first_visit_bytes),
            );
            hold(
                "returning_bytes",
                again.or(self.returning_bytes),
                page.returning_bytes,
            );
        }
        let known = |name: &String| weights.pages.iter().any(|page| page.page == *name);
        let gone = self.pages.iter().filter(|(name, _)| !known(name));
        over.extend(gone.map(|(name, limits)| Exceeded {
            page: name.clone(),
            limit: "first_visit_bytes",
            bytes: None,
            budget_bytes: limits.first_visit_bytes.unwrap_or(0),
        }));
        over
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            page,
            limit,
            budget_bytes,
            ..
        } = self;
        match self.bytes {
            Some(bytes) => write!(f, "{page}: {limit} is {bytes}, and {budget_bytes} at most"),
            None => write!(
                f,
                "{page}: the budget names it, and the release has no such page"
            ),
        }
    }
}
