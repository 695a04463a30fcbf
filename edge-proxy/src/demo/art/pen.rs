//! Numbers, paths and chance for drawings that are the same on every machine.

use std::fmt::Write;

/// One decimal is finer than a screen and coarser than the last bit of a sine.
pub(super) fn n(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    let (sign, whole, rest) = (
        if tenths < 0 { "-" } else { "" },
        tenths.abs() / 10,
        tenths.abs() % 10,
    );
    match rest {
        0 => format!("{sign}{whole}"),
        rest => format!("{sign}{whole}.{rest}"),
    }
}

/// A path through points, smooth at each.
pub(super) fn smooth(points: &[(f64, f64)], closed: bool) -> String {
    let count = points.len() as isize;
    let at = |i: isize| {
        let i = if closed {
            i.rem_euclid(count)
        } else {
            i.clamp(0, count - 1)
        };
        points[i as usize]
    };
    let mut path = format!("M{} {}", n(at(0).0), n(at(0).1));
    for i in 0..(if closed { count } else { count - 1 }) {
        let (before, from, to, after) = (at(i - 1), at(i), at(i + 1), at(i + 2));
        let _ = write!(
            path,
            "C{} {} {} {} {} {}",
            n(from.0 + (to.0 - before.0) / 6.0),
            n(from.1 + (to.1 - before.1) / 6.0),
            n(to.0 - (after.0 - from.0) / 6.0),
            n(to.1 - (after.1 - from.1) / 6.0),
            n(to.0),
            n(to.1)
        );
    }
    if closed {
        path.push('Z');
    }
    path
}

/// Chance that falls the same way each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number from `low` to `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * ((self.0 >> 33) as f64 / (1u64 << 31) as f64)
    }
}
