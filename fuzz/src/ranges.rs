//! `Range` fields. Also compiled into the tests of edge-proxy.

use super::range::{Asked, PARTS_MAX, asked};

/// A part is never empty and never beyond the end, however long the thing is; of several, no byte is in two.
pub fn range(data: &[u8]) {
    for length in [0, 1, 2, 10, 1 << 40, u64::MAX] {
        let mut parts = match asked(data, length) {
            Asked::Whole | Asked::Unsatisfiable => continue,
            Asked::Part(part) => vec![part],
            Asked::Parts(parts) => parts,
        };
        assert!(parts.len() <= PARTS_MAX, "{parts:?}");
        parts.sort_by_key(|part| part.start);
        for part in &parts {
            assert!(
                part.start < part.end && part.end <= length,
                "{part:?} of {length}"
            );
        }
        assert!(
            parts.is_sorted_by(|before, after| before.end <= after.start),
            "{parts:?}"
        );
    }
}
