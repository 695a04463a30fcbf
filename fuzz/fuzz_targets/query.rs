//! See `fuzz::rules::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rules::query(data));
