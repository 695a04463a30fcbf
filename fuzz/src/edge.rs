//! Parsers of edge-proxy. Also compiled into its tests.

use edge_proxy::response::range::{Asked, asked};

/// A part is never empty and never beyond the end, however long the thing is.
pub fn range(data: &[u8]) {
    for length in [0, 1, 2, 10, 1 << 40, u64::MAX] {
        if let Asked::Part(part) = asked(data, length) {
            assert!(
                part.start < part.end && part.end <= length,
                "{part:?} of {length}"
            );
        }
    }
}
