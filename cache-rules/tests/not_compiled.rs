//! What does not compile: each file of `not_compiled/` breaks one promise of isolation, and the `.stderr` beside it
//! says how the compiler refuses that. A file that compiles, or fails for another reason, fails this test.
//!
//! The compiler's words are those of `rust-version` in the workspace's Cargo.toml. Where another one says the same in
//! other words, `TRYBUILD=overwrite cargo test -p cache-rules --test not_compiled` writes them anew: look at the
//! difference, no error code may change.

#[test]
fn what_would_break_isolation_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/not_compiled/*.rs");
}
