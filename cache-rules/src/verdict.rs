//! What the rules say of a request.

use http::{HeaderMap, Method};

use crate::plan::Plan;
use crate::reason::{PassReason, RefuseReason};

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
