//! The school of a host is the one that the table of hosts says, not a text.

use cache_rules::identity::{Grant, Identity};

fn public(host: &str) -> Grant {
    Grant::public(host)
}

fn tenant(identity: &Identity, host: &str) {
    let _ = Grant::tenant(identity, host);
}

fn main() {}
