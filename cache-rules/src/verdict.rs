//! What the rules say of a request.
//!
//! Whose request it is does not matter yet: a [`Plan`] says which scope its answer has, and the edge then proves that
//! the client may share it before anything is looked up.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL, UPGRADE};
use http::{HeaderMap, Method};

use crate::directives::Directives;
use crate::plan::Plan;
use crate::query::{self, QueryProblem};
use crate::reason::{PassReason, RefuseReason};
use crate::rules::{Policy, Rule, RuleSet, Scope};
use crate::target::CanonicalPath;
use crate::vary;
use crate::wishes::Wishes;

/// A request, as far as the rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as the client wrote it, still encoded.
    pub path: &'a str,
    /// What follows the first `?`, if there is one.
    pub query: Option<&'a str>,
    /// The request's headers, without those that the edge never takes from a client.
    pub headers: &'a HeaderMap,
    /// Whether a body follows.
    pub has_body: bool,
}

/// What to do with a request. Passing on is the default; storing needs a named rule.
#[derive(Debug)]
pub enum Verdict {
    /// A rule covers it: authorize, look up, else ask the origin as the plan says.
    Store(Plan),
    /// Passed on as it is.
    Pass(PassReason),
    /// Answered with 400.
    Refuse(RefuseReason),
}

pub(crate) fn verdict(rules: &RuleSet, ask: &Ask<'_>) -> Verdict {
    match CanonicalPath::parse(ask.path) {
        Ok(path) => match rules.of_path(&path) {
            Some(rule) => covered(rule, path.as_str(), ask),
            None => Verdict::Pass(PassReason::NoRule),
        },
        Err(_) => match rules.of_ambiguous_path(ask.path) {
            Some(rule) if rule.covers(ask.method) => Verdict::Refuse(RefuseReason::PathAmbiguous),
            Some(_) | None => Verdict::Pass(PassReason::NoRule),
        },
    }
}

fn covered(rule: &Arc<Rule>, path: &str, ask: &Ask<'_>) -> Verdict {
    if !rule.covers(ask.method) {
        return Verdict::Pass(PassReason::Method);
    }
    if ask.has_body {
        return Verdict::Refuse(RefuseReason::Body);
    }
    let mut target = path.to_owned();
    let query = query::add_canonical(ask.query.unwrap_or_default(), rule, &mut target);
    if query == Err(QueryProblem::Malformed) {
        return Verdict::Refuse(RefuseReason::QueryMalformed);
    }
    let fits = || -> Result<Plan, PassReason> {
        fits_request(rule, ask.headers)?;
        query.map_err(|problem| match problem {
            QueryProblem::TooMany => PassReason::QueryTooMany,
            QueryProblem::Unlisted | QueryProblem::Malformed => PassReason::QueryUnlisted,
        })?;
        if !rule.fits_tags(path) {
            return Err(PassReason::PathParameter);
        }
        let vary = vary::values(&rule.vary, ask.headers)?;
        let wishes = Wishes::of(ask.headers);
        let plan = Plan::new(rule.clone(), target.into(), path.len(), vary, wishes);
        Ok(match rule.policy {
            Policy::Strict => plan,
            Policy::Rfc9111 => plan.asking_for_all(ask.headers),
        })
    };
    fits().map_or_else(Verdict::Pass, Verdict::Store)
}

/// What else `Cache-Control` asks for is looked at once it is known who asks: [`Plan::wishes`].
fn fits_request(rule: &Rule, headers: &HeaderMap) -> Result<(), PassReason> {
    if rule.policy == Policy::Rfc9111 {
        let no_store = Directives::lenient(headers, &CACHE_CONTROL).no_store;
        return if no_store {
            Err(PassReason::RequestNoStore)
        } else {
            Ok(())
        };
    }
    if rule.scope == Scope::Public && headers.contains_key(AUTHORIZATION) {
        return Err(PassReason::Authorization);
    }
    if headers.contains_key(UPGRADE) {
        return Err(PassReason::Upgrade);
    }
    match Directives::of(headers, &CACHE_CONTROL) {
        Ok(None) => Ok(()),
        Ok(Some(directives)) if !directives.no_store => Ok(()),
        Ok(Some(_)) | Err(_) => Err(PassReason::RequestNoStore),
    }
}

#[cfg(test)]
mod tests;
