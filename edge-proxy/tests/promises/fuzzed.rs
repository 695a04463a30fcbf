//! The targets of `fuzz/` that are the edge's own, with their seeds and a fixed number of changed ones.

use edge_proxy::response::range;

#[path = "../../../fuzz/src/edge.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod edge;
#[path = "../../../fuzz/src/ranges.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod ranges;
#[path = "../../../fuzz/src/replay.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod replay;

#[test]
fn a_proxy_header_is_read_to_its_last_byte_and_no_further() {
    replay::replay("proxy_header", 20_000, edge::proxy_header);
}

#[test]
fn what_frames_come_to_does_not_depend_on_where_they_are_cut() {
    replay::replay("frames", 20_000, edge::frames);
}

#[test]
fn a_header_has_one_deadline_and_an_end() {
    replay::replay("header", 20_000, edge::header);
}

#[test]
fn a_range_holds() {
    replay::replay("range", 20_000, ranges::range);
}
