//! Byte ranges (RFC 9110, section 14): up to [`PARTS_MAX`] ranges, of the identity form only.
//!
//! A range counts bytes of the representation that is sent, so a range of an encoded form would
//! force caches and clients to remember which coding they hold a part of. A request with a usable
//! `Range` is therefore answered from the identity form, whatever `Accept-Encoding` prefers, unless
//! it refuses identity. More ranges, and ranges that overlap, are answered with the whole (section 14.2
//! lets a server ignore the field), which keeps amplification out. Of several ranges those that lie
//! beyond the end are left out; one that is left is answered like a single one.

use std::ops::Range;

/// The ranges that one answer may have: what readers of documents ask for at once.
pub const PARTS_MAX: usize = 4;

/// What a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Everything: the field is malformed, of another unit, or asks for too many ranges.
    Whole,
    /// These bytes; never empty, never beyond the end.
    Part(Range<u64>),
    /// Two or more such parts that have no byte in common, in the order in which they were asked for.
    Parts(Vec<Range<u64>>),
    /// Nothing that there is: 416.
    Unsatisfiable,
}

/// Reads the value of `Range` for a representation of `length` bytes.
pub fn asked(value: &[u8], length: u64) -> Asked {
    let Some(specs) = specs(value) else {
        return Asked::Whole;
    };
    let mut parts: Vec<Range<u64>> = Vec::new();
    for spec in specs {
        match one(spec, length) {
            Asked::Part(part) => parts.push(part),
            Asked::Unsatisfiable => {}
            Asked::Parts(_) | Asked::Whole => return Asked::Whole,
        }
    }
    let overlap = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
    let first_of = |at: usize| parts[..at].iter().any(|before| overlap(before, &parts[at]));
    match parts.len() {
        0 => Asked::Unsatisfiable,
        1 => Asked::Part(parts.swap_remove(0)),
        count if (1..count).any(first_of) => Asked::Whole,
        _ => Asked::Parts(parts),
    }
}

/// Reads one range.
fn one(spec: &[u8], length: u64) -> Asked {
    let Some(dash) = spec.iter().position(|b| *b == b'-') else {
        return Asked::Whole;
    };
    let (first, last) = (spec[..dash].trim_ascii(), spec[dash + 1..].trim_ascii());
    match (
        number(first),
        number(last),
        first.is_empty(),
        last.is_empty(),
    ) {
        (None, Some(suffix), true, false) => match (suffix, length) {
            (0, _) => Asked::Unsatisfiable,
            // A 206 cannot name a part of nothing.
            (_, 0) => Asked::Whole,
            _ => Asked::Part(length.saturating_sub(suffix)..length),
        },
        (Some(first), None, false, true) => from(first, length, length),
        (Some(first), Some(last), false, false) if first <= last => {
            from(first, last.saturating_add(1), length)
        }
        _ => Asked::Whole,
    }
}

fn from(first: u64, end: u64, length: u64) -> Asked {
    if first < length {
        Asked::Part(first..end.min(length))
    } else {
        Asked::Unsatisfiable
    }
}

/// What stands after `bytes=`, if it is not too much; empty list elements are allowed and mean nothing.
fn specs(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let specs = set
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|spec| !spec.is_empty());
    let specs: Vec<&[u8]> = specs.take(PARTS_MAX + 1).collect();
    (1..=PARTS_MAX).contains(&specs.len()).then_some(specs)
}

/// Digits only; a number that no file reaches is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Asked::{Part, Parts, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn one_range_is_cut_to_what_there_is() {
        let table: &[(&str, u64, Asked)] = &[
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-9", 10, Part(0..10)),
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=9-", 10, Part(9..10)),
            ("bytes=3-100", 10, Part(3..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-30", 10, Part(0..10)),
            ("Bytes=2-3", 10, Part(2..4)),
            ("bytes= 2 - 3 ", 10, Part(2..4)),
            ("bytes=2-3,", 10, Part(2..4)),
            ("bytes=,2-3", 10, Part(2..4)),
            ("bytes=0-99999999999999999999999", 10, Part(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=0-1,", 10, Part(0..2)),
            ("bytes=0-1,50-", 10, Part(0..2)),
            ("bytes=50-,60-", 10, Unsatisfiable),
            ("bytes=0-1,5-3", 10, Whole),
            ("bytes=0-5,5-6", 10, Whole),
            ("bytes=0-5,-5", 10, Whole),
            ("bytes=0-0,2-2,4-4,6-6,8-8", 10, Whole),
            ("bytes=5-3", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=1", 10, Whole),
            ("bytes=--1", 10, Whole),
            ("bytes=1-2-3", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes 0-1", 10, Whole),
            ("items=0-1", 10, Whole),
            ("", 10, Whole),
        ];
        for (value, length, expected) in table {
            assert_eq!(
                asked(value.as_bytes(), *length),
                *expected,
                "{value} of {length}"
            );
        }
    }

    #[test]
    fn several_ranges_keep_their_order() {
        for (value, expected) in [
            ("bytes=0-1,4-5", &[0..2, 4..6][..]),
            ("bytes=8-,0-1", &[8..10, 0..2]),
            ("bytes=0-0, 2-2 ,,4-4,-1", &[0..1, 2..3, 4..5, 9..10]),
            ("bytes=0-1,2-3", &[0..2, 2..4]),
            ("bytes=0-1,77-,3-3", &[0..2, 3..4]),
        ] {
            assert_eq!(
                asked(value.as_bytes(), 10),
                Parts(expected.to_vec()),
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn several_parts_lie_within_and_apart(
            value in proptest::collection::vec("[0-9]{0,2}-[0-9]{0,2}", 1..7), length in 0u64..120
        ) {
            let value = format!("bytes={}", value.join(","));
            if let Parts(parts) = asked(value.as_bytes(), length) {
                prop_assert!((2..=PARTS_MAX).contains(&parts.len()));
                let bytes: Vec<u64> = parts.iter().cloned().flatten().collect();
                let once: std::collections::BTreeSet<u64> = bytes.iter().copied().collect();
                prop_assert_eq!(bytes.len(), once.len());
                prop_assert!(once.iter().all(|at| *at < length));
            }
        }

        #[test]
        fn a_part_lies_within_and_is_not_empty(value in ".{0,40}", length in any::<u64>()) {
            if let Part(part) = asked(value.as_bytes(), length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }

        #[test]
        fn a_well_formed_range_is_the_slice_it_names(first in 0u64..40, last in 0u64..40, length in 0u64..30) {
            let bytes: Vec<u64> = (0..length).collect();
            let expected: Vec<u64> = bytes.iter().copied().filter(|at| (first..=last).contains(at)).collect();
            match asked(format!("bytes={first}-{last}").as_bytes(), length) {
                Part(part) => prop_assert_eq!((part.start..part.end).collect::<Vec<_>>(), expected),
                Unsatisfiable => prop_assert!(expected.is_empty() && first <= last),
                Whole => prop_assert!(last < first),
                Parts(parts) => prop_assert!(false, "one range became {parts:?}"),
            }
        }
    }
}
