//! `hits`: what does an answer cost that the server has already?
//!
//! Files are fingerprinted chunks of a release, sent without coding to all (the client asks for
//! `identity`). JSON was stored from the origin's answer by a rule, or by `proxy_cache`.

use crate::case::{Case, Question, What};

/// Files and cached JSON, 1 KB and 64 KB, H1 and H2.
pub fn question() -> Question {
    Question {
        name: "hits",
        about: "files and cached JSON, TLS, access log on",
        cases: Case::all(What::File).chain(Case::all(What::Json)).collect(),
    }
}
