//! See `fuzz::ranges::range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::ranges::range(data));
