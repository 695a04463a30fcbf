//! The targets of `fuzz/` that are the edge's own, with their seeds and a fixed number of changed ones.

#[path = "../../../fuzz/src/edge.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod edge;
#[path = "../../../fuzz/src/replay.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod replay;

#[test]
fn a_range_holds() {
    replay::replay("range", 20_000, edge::range);
}
