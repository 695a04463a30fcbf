//! pingora-core asks flate2 for its zlib-ng backend, whose crate builds C code with CMake. The
//! edge must build with Rust and a C compiler alone, so `[patch.crates-io]` in the root puts the
//! same API from zlib in its place. The edge itself does not use it: it compresses on its own.

pub use libz_sys::*;
