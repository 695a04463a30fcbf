//! What may be kept of what an app's file becomes, the file's answer says.

use std::time::Duration;

use cache_rules::derived::Derived;

fn kept(fresh_for: Duration) -> Derived {
    Derived { fresh_for, tags: Vec::new(), groups: Vec::new() }
}

fn main() {}
