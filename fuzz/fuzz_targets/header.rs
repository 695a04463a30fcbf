//! See `fuzz::edge::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::edge::header(data));
