//! The target of `fuzz/` that is about authorities, with its seeds and a fixed number of changed ones.

#[path = "../../../fuzz/src/acme.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod acme;
#[path = "../../../fuzz/src/replay.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate has it as its own module")]
mod replay;

#[test]
fn whatever_an_authority_says_an_order_ends_and_leaves_nothing_out() {
    acme::answers(b"");
    replay::replay("acme", 1_500, acme::answers);
}
