//! Byte ranges (RFC 9110, section 14): one range, of the identity form only.
//!
//! A range counts bytes of the representation that is sent, so a range of an encoded form would
//! force caches and clients to remember which coding they hold a part of. A request with a usable
//! `Range` is therefore answered from the identity form, whatever `Accept-Encoding` prefers, unless
//! it refuses identity. Several ranges are answered with the whole (section 14.2 lets a server
//! ignore the field), which also keeps amplification out.

use std::ops::Range;

/// What a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Everything: the field is malformed, of another unit, or asks for several ranges.
    Whole,
    /// These bytes; never empty, never beyond the end.
    Part(Range<u64>),
    /// Nothing that there is: 416.
    Unsatisfiable,
}

/// Reads the value of `Range` for a representation of `length` bytes.
pub fn asked(value: &[u8], length: u64) -> Asked {
    let Some(spec) = single_spec(value) else {
        return Asked::Whole;
    };
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

/// The one range specification after `bytes=`; empty list elements are allowed and mean nothing.
fn single_spec(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut specs = set
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|spec| !spec.is_empty());
    let spec = specs.next()?;
    specs.next().is_none().then_some(spec)
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

    use super::Asked::{Part, Unsatisfiable, Whole};
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
            ("bytes=0-1,4-5", 10, Whole),
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

    proptest! {
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
            }
        }
    }
}
