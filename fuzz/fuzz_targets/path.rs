//! See `fuzz::rules::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rules::path(data));
