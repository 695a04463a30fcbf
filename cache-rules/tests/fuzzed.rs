//! The targets of `fuzz/`, with their seeds and a fixed number of changed ones.

#[path = "../../fuzz/src/covered.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod covered;
#[path = "../../fuzz/src/replay.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod replay;
#[path = "../../fuzz/src/rules.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod rules;

use replay::replay;

/// A second or two for each.
const TIMES: usize = 20_000;

#[test]
fn cache_control_holds() {
    replay("cache_control", TIMES, rules::cache_control);
}

#[test]
fn vary_holds() {
    replay("vary", TIMES, rules::vary);
}

#[test]
fn a_path_holds() {
    replay("path", TIMES, rules::path);
}

#[test]
fn a_query_holds() {
    replay("query", TIMES, rules::query);
}

#[test]
fn rules_hold() {
    replay("rules", TIMES / 4, rules::rules);
}
