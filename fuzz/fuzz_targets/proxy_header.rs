//! See `fuzz::edge::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::edge::proxy_header(data));
