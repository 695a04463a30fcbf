//! A host is what was read as one, not what a client wrote.

use cache_rules::identity::Grant;
use cache_rules::key::CacheKey;
use cache_rules::plan::Plan;

fn key(plan: &Plan, grant: &Grant, host: &str) -> CacheKey {
    plan.key(grant, host, "release-1")
}

fn main() {}
