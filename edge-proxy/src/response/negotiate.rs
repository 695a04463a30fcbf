//! Which content coding a client gets (RFC 9110, section 12.5.3).
//!
//! Weights are integers from 0 to 1000, so that nothing depends on floating point. Two departures,
//! both on the safe side: a request without `Accept-Encoding` gets the identity form although any
//! coding would be allowed, and one that refuses everything that there is gets the identity form
//! instead of a 406 (section 12.4.1 lets a server disregard the field). Codings with a dictionary
//! (RFC 9842) are taken only by who names them: `*` does not mean them.

use std::cmp::Reverse;

use asset_pipeline::manifest;
use http::header::{ACCEPT_ENCODING, HeaderMap};

/// What a body is encoded with; in the order of preference when the client has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// `dcb`: Brotli with a dictionary that the client holds (RFC 9842).
    Dcb,
    /// `dcz`: Zstandard with a dictionary that the client holds (RFC 9842).
    Dcz,
    /// `br` (RFC 7932).
    Br,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
    /// No coding at all.
    Identity,
}

impl Coding {
    /// All, best first.
    pub const ALL: [Self; 6] = [
        Self::Dcb,
        Self::Dcz,
        Self::Br,
        Self::Zstd,
        Self::Gzip,
        Self::Identity,
    ];

    /// The token of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    /// What follows the opaque part of the identity form's `ETag`, so that no two codings share a
    /// strong validator.
    pub fn etag_suffix(self) -> &'static str {
        match self {
            Self::Dcb => "-dcb",
            Self::Dcz => "-dcz",
            Self::Br => "-br",
            Self::Zstd => "-zst",
            Self::Gzip => "-gz",
            Self::Identity => "",
        }
    }
}

impl From<manifest::Coding> for Coding {
    fn from(coding: manifest::Coding) -> Self {
        match coding {
            manifest::Coding::Br => Self::Br,
            manifest::Coding::Gzip => Self::Gzip,
        }
    }
}

impl From<manifest::DeltaCoding> for Coding {
    fn from(coding: manifest::DeltaCoding) -> Self {
        match coding {
            manifest::DeltaCoding::Dcb => Self::Dcb,
            manifest::DeltaCoding::Dcz => Self::Dcz,
        }
    }
}

/// How much a client likes each coding: 0 is "not acceptable", 1000 is most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted([u16; CODINGS]);

const CODINGS: usize = Coding::ALL.len();

impl Accepted {
    /// Identity and nothing else: what a client without `Accept-Encoding` gets.
    pub const IDENTITY: Self = Self([0, 0, 0, 0, 0, 1000]);

    /// Reads all `Accept-Encoding` lines. The first mention of a coding counts; an element with a
    /// malformed weight is skipped.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut named: [Option<u16>; CODINGS] = [None; CODINGS];
        let mut any: Option<u16> = None;
        let mut sent = false;
        for line in headers.get_all(ACCEPT_ENCODING) {
            sent = true;
            for element in line.as_bytes().split(|b| *b == b',') {
                let Some((token, weight)) = element_of(element) else {
                    continue;
                };
                let slot = match token {
                    b"*" => &mut any,
                    _ => match coding_of(token) {
                        Some(coding) => &mut named[coding as usize],
                        None => continue,
                    },
                };
                slot.get_or_insert(weight);
            }
        }
        if !sent {
            return Self::IDENTITY;
        }
        let mut weights = named.map(|weight| weight.or(any).unwrap_or(0));
        for coding in [Coding::Dcb, Coding::Dcz] {
            weights[coding as usize] = named[coding as usize].unwrap_or(0);
        }
        // Identity is acceptable unless it, or `*`, says otherwise: liked least of all.
        if named[Coding::Identity as usize].is_none() && any.is_none() {
            weights[Coding::Identity as usize] = 1;
        }
        Self(weights)
    }

    /// The weight of one coding.
    pub fn weight(self, coding: Coding) -> u16 {
        self.0[coding as usize]
    }

    /// Whether the client takes this coding at all.
    pub fn takes(self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// How well a form of this many bytes suits: more is better, and the fewer bytes the better
    /// among codings that are liked the same. None where the coding is not acceptable.
    pub fn rank(self, coding: Coding, bytes: u64) -> Option<(u16, Reverse<(u64, Coding)>)> {
        let weight = self.weight(coding);
        (weight > 0).then_some((weight, Reverse((bytes, coding))))
    }

    /// The best of what is `available`, where sizes are not known yet; identity is always there.
    pub fn best(self, available: impl IntoIterator<Item = Coding>) -> Coding {
        let mut best = Coding::Identity;
        for coding in available {
            let (weight, held) = (self.weight(coding), self.weight(best));
            if weight > 0 && (weight > held || (weight == held && coding < best)) {
                best = coding;
            }
        }
        best
    }
}

fn coding_of(token: &[u8]) -> Option<Coding> {
    if token.eq_ignore_ascii_case(b"x-gzip") {
        return Some(Coding::Gzip);
    }
    Coding::ALL
        .into_iter()
        .find(|coding| token.eq_ignore_ascii_case(coding.as_str().as_bytes()))
}

/// A token and its weight, or nothing for junk.
fn element_of(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = element.split(|b| *b == b';');
    let token = parts.next()?.trim_ascii();
    let mut weight = 1000;
    for parameter in parts {
        let parameter = parameter.trim_ascii();
        let [b'q' | b'Q', b'=', value @ ..] = parameter else {
            return None;
        };
        weight = weight_of(value)?;
    }
    (!token.is_empty()).then_some((token, weight))
}

/// `0`, `0.`, `0.5`, `1.000` and the like; nothing above 1 and no more than three decimals.
fn weight_of(value: &[u8]) -> Option<u16> {
    let (&whole, rest) = value.split_first()?;
    let decimals = match rest {
        [] => rest,
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = (0..3).fold(0, |sum: u16, at| {
        sum * 10 + decimals.get(at).map_or(0, |digit| u16::from(digit - b'0'))
    });
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepted(lines: &[&str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                ACCEPT_ENCODING,
                HeaderValue::from_str(line).expect("a header value"),
            );
        }
        Accepted::of(&headers)
    }

    #[test]
    fn the_best_coding_by_weight_then_by_our_order() {
        use Coding::{Br, Gzip, Identity, Zstd};
        let all: &[Coding] = &[Br, Zstd, Gzip];
        let table: &[(&[&str], &[Coding], Coding)] = &[
            (&[], all, Identity),
            (&[""], all, Identity),
            (&["gzip, deflate, br, zstd"], all, Br),
            (&["gzip, deflate, br, zstd"], &[Gzip, Zstd], Zstd),
            (&["gzip, deflate"], all, Gzip),
            (&["GZIP"], all, Gzip),
            (&["x-gzip"], all, Gzip),
            (&["gzip;q=1.0, br;q=0.5"], all, Gzip),
            (&["gzip;q=0.8, br;q=0.801"], all, Br),
            (&["br;q=0, gzip"], all, Gzip),
            (&["*"], all, Br),
            (&["*;q=0.5, gzip"], all, Gzip),
            (&["br;q=0.001"], all, Br),
            (&["identity;q=0.5, gzip;q=0.4"], all, Identity),
            (&["identity;q=0.5, gzip;q=0.5"], all, Gzip),
            (&["identity;q=0"], &[], Identity),
            (&["identity;q=0, br"], all, Br),
            (&["*;q=0"], all, Identity),
            (&["*;q=0, gzip"], all, Gzip),
            (&["gzip", "br"], all, Br),
            (&["br;q=0", "br"], all, Identity),
            (&["br ; q=1 , gzip;Q=0.9"], all, Br),
            (&["br;q=1.001, gzip;q=0.2"], all, Gzip),
            (&["br;q=0.0001"], all, Identity),
            (&["br;q=abc"], all, Identity),
            (&["br;level=11"], all, Identity),
            (&[",,;q=1,br"], all, Br),
            (&["brotli, \u{e4}"], all, Identity),
        ];
        for (lines, available, expected) in table {
            assert_eq!(
                accepted(lines).best(available.iter().copied()),
                *expected,
                "{lines:?} of {available:?}"
            );
        }
    }

    #[test]
    fn dictionaries_are_for_those_who_name_them() {
        let takes = |line: &str| {
            let accepted = accepted(&[line]);
            [Coding::Dcb, Coding::Dcz].map(|coding| accepted.takes(coding))
        };
        assert_eq!(takes("gzip, deflate, br, zstd, dcb, dcz"), [true, true]);
        assert_eq!(takes("*, dcb"), [true, false]);
        assert_eq!(takes("dcb;q=0, *;q=1"), [false, false]);
        assert!(!Accepted::IDENTITY.takes(Coding::Dcb));
    }

    #[test]
    fn among_equals_the_smallest_is_sent() {
        let best = |line: &str, forms: &[(Coding, u64)]| {
            let accepted = accepted(&[line]);
            let ranked = forms.iter().filter_map(|(coding, bytes)| {
                accepted.rank(*coding, *bytes).map(|rank| (rank, *coding))
            });
            ranked.max().map(|(_, coding)| coding)
        };
        use Coding::{Br, Dcb, Dcz, Gzip, Identity};
        let forms = [(Identity, 100), (Gzip, 40), (Br, 30), (Dcb, 5), (Dcz, 4)];
        assert_eq!(best("gzip, br, dcb, dcz", &forms), Some(Dcz));
        assert_eq!(best("gzip, br, dcb", &forms), Some(Dcb));
        assert_eq!(best("gzip, br, dcb;q=0.9", &forms), Some(Br));
        assert_eq!(best("gzip, br", &[(Gzip, 20), (Br, 21)]), Some(Gzip));
        assert_eq!(best("gzip, br", &[(Gzip, 20), (Br, 20)]), Some(Br));
        assert_eq!(best("br;q=0, gzip;q=0, identity;q=0", &forms), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let Ok(value) = HeaderValue::from_bytes(&line) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT_ENCODING, value);
            let accepted = Accepted::of(&headers);
            let best = accepted.best(Coding::ALL);
            prop_assert!(best == Coding::Identity || accepted.takes(best));
        }

        #[test]
        fn nothing_that_is_liked_more_is_left_behind(weights in proptest::array::uniform6(0u16..=1000)) {
            let line = Coding::ALL
                .iter()
                .map(|coding| {
                    let weight = weights[*coding as usize];
                    format!("{};q={}.{:03}", coding.as_str(), weight / 1000, weight % 1000)
                })
                .collect::<Vec<_>>()
                .join(", ");
            let accepted = accepted(&[&line]);
            let best = accepted.best(Coding::ALL);
            let most = *weights.iter().max().expect("six weights");
            prop_assert_eq!(accepted.weight(best), if most == 0 { 0 } else { most });
        }
    }
}
