//! See `fuzz::rules::cache_control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rules::cache_control(data));
