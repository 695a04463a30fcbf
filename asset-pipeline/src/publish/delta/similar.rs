//! How much of a file occurs in another one, told from a sample of both.
//!
//! A window of [`WINDOW`] bytes moves over the file; its hash decides by itself whether it is part of
//! the sample, so equal passages are sampled equally wherever they lie.

use std::collections::HashSet;

/// As long as a short statement of minified code.
const WINDOW: usize = 16;
/// One window of so many is taken.
const ONE_OF: u64 = 16;
/// Rolling hash: a prime base, modulo 2^64.
const BASE: u64 = 0x0100_0000_01b3;

/// A sample of a file's windows.
#[derive(Debug, Default)]
pub(super) struct Sample(HashSet<u64>);

impl Sample {
    /// Takes a sample of a file.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut windows = HashSet::new();
        let out = (1..WINDOW).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        let mut hash = 0_u64;
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(gone) = at.checked_sub(WINDOW) {
                hash = hash.wrapping_sub(out.wrapping_mul(u64::from(bytes[gone])));
            }
            hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte));
            if at + 1 >= WINDOW {
                let mixed = mix(hash);
                if mixed.is_multiple_of(ONE_OF) {
                    windows.insert(mixed);
                }
            }
        }
        Self(windows)
    }

    /// The share of this file, in thousandths, that occurs in `other`.
    pub(super) fn share_in(&self, other: &Self) -> usize {
        let common = self.0.iter().filter(|hash| other.0.contains(hash));
        common.count() * 1000 / self.0.len().max(1)
    }
}

/// The low bits of a rolling hash depend on the last bytes only.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, length: u32) -> Vec<u8> {
        (0..length)
            .flat_map(|at| {
                (at ^ seed)
                    .wrapping_mul(2_654_435_761)
                    .rotate_left(at % 31)
                    .to_le_bytes()
            })
            .collect()
    }

    #[test]
    fn the_same_passages_are_found_wherever_they_lie() {
        let (a, b) = (noise(1, 5_000), noise(77, 5_000));
        let sample = Sample::of(&a);
        assert_eq!(sample.share_in(&Sample::of(&a)), 1000);
        let moved = [&b[..333], &a[..]].concat();
        assert!(sample.share_in(&Sample::of(&moved)) > 990);
        let half = [&a[..10_000], &b[..10_000]].concat();
        let share = Sample::of(&half).share_in(&sample);
        assert!((400..600).contains(&share), "{share}");
        assert!(sample.share_in(&Sample::of(&b)) < 20);
        assert_eq!(Sample::of(b"short").share_in(&sample), 0);
    }
}
