//! See `fuzz::edge::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::edge::frames(data));
