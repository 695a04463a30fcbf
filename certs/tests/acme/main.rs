//! Certificates from a real authority: `pebble`, with its nonce errors on, and a front before it that is down, slow, or
//! says that it was asked too often.
//!
//! Where `pebble` is not installed (Debian package `pebble`) each test says SKIPPED.

mod authority;
mod faults;
mod front;
mod fuzzed;
mod handover;
mod issuing;
mod place;
