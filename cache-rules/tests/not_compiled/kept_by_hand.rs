//! A lifetime is what rule and origin gave; nobody lengthens it.

use std::time::Duration;

use cache_rules::answer::{Kept, Memory, Windows};

fn lengthened(mut kept: Kept, fresh_for: Duration) {
    kept.freshness.fresh_for = fresh_for;
}

fn made(ages: (Duration, Duration), stale: Windows, memory: Memory) -> Kept {
    Kept::reopened(ages, stale, memory)
}

fn main() {}
