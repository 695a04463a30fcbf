//! Bytes that a client sent are no key.

use cache_rules::key::CacheKey;

fn key(bytes: &[u8]) -> CacheKey {
    CacheKey(bytes.into())
}

fn main() {}
