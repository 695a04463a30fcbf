//! What a request's `Cache-Control` asks of a cache (RFC 9111, 5.2.1).
//!
//! `no-store` makes a request pass and is looked at with the verdict. `only-if-cached` is obeyed for everyone. What
//! would send a request to the origin although there is an answer is obeyed only for the roles that a rule names:
//! otherwise every reload of a class would reach the origin. `max-stale` never widens what a rule allows.

use http::header::{CACHE_CONTROL, HeaderMap};

use crate::directives::{Directive, List, seconds};

/// What a client asks of a stored answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Nothing stored, unless the origin says that it still holds.
    pub no_cache: bool,
    /// Nothing older than this, in seconds.
    pub max_age_s: Option<u64>,
    /// Nothing that is stale sooner than this, in seconds.
    pub min_fresh_s: Option<u64>,
    /// The origin is not to be asked.
    pub only_if_cached: bool,
}

impl Wishes {
    /// Reads the directives; what cannot be read is no wish.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for Directive { name, argument } in List(line.as_bytes()).flatten() {
                let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
                let number = || argument.and_then(seconds);
                if is("no-cache") {
                    wishes.no_cache = true;
                } else if is("only-if-cached") {
                    wishes.only_if_cached = true;
                } else if is("max-age") {
                    wishes.max_age_s = number().or(wishes.max_age_s);
                } else if is("min-fresh") {
                    wishes.min_fresh_s = number().or(wishes.min_fresh_s);
                }
            }
        }
        wishes
    }

    /// Without what sends a request to the origin.
    pub(crate) fn without_reload(self) -> Self {
        Self {
            only_if_cached: self.only_if_cached,
            ..Self::default()
        }
    }

    /// Whether a stored answer of this age, fresh for so long from now on, will do; both in seconds.
    pub fn accept(&self, age_s: u64, fresh_for_s: u64) -> bool {
        !self.no_cache
            && self.max_age_s.is_none_or(|max| age_s <= max)
            && self.min_fresh_s.is_none_or(|min| fresh_for_s >= min)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(text: &'static str) -> Wishes {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(text));
        Wishes::of(&headers)
    }

    #[test]
    fn wishes_are_read_and_junk_is_none() {
        assert_eq!(of("nothing-to-see-here"), Wishes::default());
        assert_eq!(of("max-age=x, min-fresh"), Wishes::default());
        let all = of("No-Cache, max-age=5, min-fresh=\"7\", only-if-cached");
        assert_eq!((all.max_age_s, all.min_fresh_s), (Some(5), Some(7)));
        assert!(all.no_cache && all.only_if_cached);
        assert_eq!(all.without_reload(), of("only-if-cached"));
    }

    #[test]
    fn an_answer_suits_by_its_age_and_by_what_is_left_of_it() {
        for (text, age, left, expected) in [
            ("", 100, 0, true),
            ("no-cache", 0, 100, false),
            ("max-age=5", 5, 0, true),
            ("max-age=5", 6, 100, false),
            ("max-age=0", 0, 100, true),
            ("min-fresh=5", 0, 5, true),
            ("min-fresh=5", 0, 4, false),
        ] {
            assert_eq!(of(text).accept(age, left), expected, "{text} {age} {left}");
        }
    }
}
