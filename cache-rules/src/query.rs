//! The query of a cached read: the pairs that the rule allows, in the order of the client, in one form.
//!
//! Split at `&` and the first `=` only. `;` is data, and is sent as `%3B`; a second `?` is data, a name that is there
//! twice is kept twice: what the origin makes of them is part of the key. A pair that the key does not hold never
//! reaches the origin.

use crate::rules::{Policy, Rule};
use crate::target::{canonical_query_value, decoded_query_part};

/// More than any page of ours sends; it bounds what one request makes us compare.
const PAIRS_MAX: usize = 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueryProblem {
    /// Refused: it can be read in two ways.
    Malformed,
    /// Passed on untouched.
    TooMany,
    /// Passed on untouched.
    Unlisted,
}

/// Adds `?name=value&...` to the path, or nothing when no pair is left.
pub(crate) fn add_canonical(
    raw: &str,
    rule: &Rule,
    target: &mut String,
) -> Result<(), QueryProblem> {
    if rule.policy == Policy::Rfc9111 {
        if decoded_query_part(raw).is_none() {
            return Err(QueryProblem::Malformed);
        }
        if !raw.is_empty() {
            target.push('?');
            target.push_str(raw);
        }
        return Ok(());
    }
    let mut pairs = 0;
    let mut unlisted = false;
    let mut separator = '?';
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        pairs += 1;
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        };
        let name = decoded_query_part(name).ok_or(QueryProblem::Malformed)?;
        if value.is_some_and(|value| decoded_query_part(value).is_none()) {
            return Err(QueryProblem::Malformed);
        }
        if rule.ignore.iter().any(|have| **have == *name) {
            continue;
        }
        let Some(have) = rule.query.iter().find(|have| *have.decoded == *name) else {
            unlisted = true;
            continue;
        };
        target.push(separator);
        separator = '&';
        target.push_str(&have.encoded);
        // `a` and `a=` are two things for some origins.
        if let Some(value) = value {
            target.push('=');
            target.push_str(&canonical_query_value(value));
        }
    }
    if pairs > PAIRS_MAX {
        Err(QueryProblem::TooMany)
    } else if unlisted {
        Err(QueryProblem::Unlisted)
    } else {
        Ok(())
    }
}
