//! See `fuzz::rules::rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rules::rules(data));
