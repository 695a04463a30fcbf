//! `proxy`: what does it cost to hand a request to the origin and its answer to the client?
//!
//! The origin is the same small server for all, on the core of the load tool, over connections that
//! are kept. Its answers cannot be compressed and must not be stored.

use crate::case::{Case, Question, What};

/// Pass-through answers of 1 KB and 64 KB, H1 and H2 to the client, H1 to the origin.
pub fn question() -> Question {
    Question {
        name: "proxy",
        about: "pass-through to an origin with kept connections, TLS to the client, access log on",
        cases: Case::all(What::Pass).collect(),
    }
}
