//! `Cache-Control` and `CDN-Cache-Control`, read strictly.
//!
//! RFC 9111, 5.2 and RFC 9213. Where the RFC lets a cache guess, we do not: a list that cannot be read, a lifetime
//! that is no number, or one that is there twice, is an error, and an error is never stored. RFC 9213 ignores an
//! invalid `CDN-Cache-Control`; we take it for a mistake in something that matters.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// RFC 9111, 1.2.2: what a larger number counts as.
const SECONDS_MAX: u64 = 1 << 31;

/// What we act on. Unknown directives are skipped; they can only be there for somebody else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    /// `must-revalidate` or `proxy-revalidate`: for a shared cache they say the same.
    pub(crate) must_revalidate: bool,
    pub(crate) must_understand: bool,
    public: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
}

/// No list of directives, or one that says a lifetime twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Directives {
    /// All lines of a header as one list; none if there is no line.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Unreadable> {
        let mut found = None;
        for line in headers.get_all(name) {
            found
                .get_or_insert_with(Self::default)
                .add_line(line.as_bytes())?;
        }
        Ok(found)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        for directive in List(line) {
            let Directive { name, argument } = directive?;
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            // An argument narrows `private` and `no-cache` to some headers. We do not keep answers with holes.
            if is("no-store") {
                self.no_store = true;
            } else if is("no-cache") {
                self.no_cache = true;
            } else if is("private") {
                self.private = true;
            } else if is("must-revalidate") || is("proxy-revalidate") {
                self.must_revalidate = true;
            } else if is("must-understand") {
                self.must_understand = true;
            } else if is("public") {
                self.public = true;
            } else if is("max-age") {
                set_once(&mut self.max_age, argument)?;
            } else if is("s-maxage") {
                set_once(&mut self.s_maxage, argument)?;
            } else if is("stale-while-revalidate") {
                set_once(&mut self.stale_while_revalidate, argument)?;
            } else if is("stale-if-error") {
                set_once(&mut self.stale_if_error, argument)?;
            }
        }
        Ok(())
    }

    /// As [`Self::of`] for a cache that guesses as RFC 9111 lets it: what cannot be read is skipped, and a lifetime that
    /// cannot be read is over. Conformance runs only.
    pub(crate) fn lenient(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(name) {
            for part in outside_quotes(line.as_bytes()) {
                let mut one = Self::default();
                if one.add_line(part).is_ok() {
                    found.join(one);
                } else if starts_with(part, "s-maxage") {
                    found.s_maxage = Some(0);
                } else if starts_with(part, "max-age") {
                    found.max_age = Some(0);
                }
            }
        }
        found
    }

    /// RFC 9213, 2.1: a dictionary. None when it cannot be read or is empty: then it is ignored. Conformance runs only.
    pub(crate) fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|line| line.as_bytes())
            .collect();
        let dictionary: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let item = |key: &str| match dictionary.get(key)? {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        let flag = |key| matches!(item(key), Some(BareItem::Boolean(true)));
        let number = |key| match item(key)? {
            BareItem::Integer(number) => u64::try_from(*number).ok().map(|n| n.min(SECONDS_MAX)),
            _ => None,
        };
        Some(Self {
            no_store: flag("no-store"),
            no_cache: flag("no-cache"),
            private: flag("private"),
            must_revalidate: flag("must-revalidate") || flag("proxy-revalidate"),
            must_understand: flag("must-understand"),
            public: flag("public"),
            max_age: number("max-age"),
            s_maxage: number("s-maxage"),
            stale_while_revalidate: number("stale-while-revalidate"),
            stale_if_error: number("stale-if-error"),
        })
    }

    /// The sum of two lists: of two lifetimes the shorter one.
    fn join(&mut self, other: Self) {
        let shorter = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.no_store |= other.no_store;
        self.no_cache |= other.no_cache;
        self.private |= other.private;
        self.must_revalidate |= other.must_revalidate;
        self.must_understand |= other.must_understand;
        self.public |= other.public;
        self.max_age = shorter(self.max_age, other.max_age);
        self.s_maxage = shorter(self.s_maxage, other.s_maxage);
        self.stale_while_revalidate =
            shorter(self.stale_while_revalidate, other.stale_while_revalidate);
        self.stale_if_error = shorter(self.stale_if_error, other.stale_if_error);
    }

    /// RFC 9111, 3.5: what allows to share the answer to a request with `Authorization`.
    pub(crate) fn shared_despite_authorization(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// How long a shared cache may keep the answer, in seconds.
    pub(crate) fn lifetime_s(&self) -> Option<u64> {
        self.s_maxage.or(self.max_age)
    }

    /// Whether a shared cache may not serve the answer once it is stale (RFC 9111, 4.2.4): `s-maxage` says that, too.
    pub(crate) fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.s_maxage.is_some() || self.no_cache
    }
}

fn starts_with(part: &[u8], name: &str) -> bool {
    let part = part.trim_ascii_start();
    part.len() >= name.len() && part[..name.len()].eq_ignore_ascii_case(name.as_bytes())
}

/// The parts between the commas that are in no quoted string.
fn outside_quotes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |&byte| {
        let plain = !std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && plain => escaped = true,
            b'"' if plain => quoted = !quoted,
            _ => {}
        }
        byte == b',' && !quoted
    })
}

fn set_once(slot: &mut Option<u64>, argument: Option<&[u8]>) -> Result<(), Unreadable> {
    let seconds = seconds(argument.ok_or(Unreadable)?).ok_or(Unreadable)?;
    match slot.replace(seconds) {
        None => Ok(()),
        Some(_) => Err(Unreadable),
    }
}

/// Delta-seconds: digits only, in a token or in quotes.
pub(crate) fn seconds(text: &[u8]) -> Option<u64> {
    let digits = text
        .strip_prefix(b"\"")
        .map_or(Some(text), |rest| rest.strip_suffix(b"\""))?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum: u64, digit| {
        let digit = u64::from(digit - b'0');
        sum.saturating_mul(10)
            .saturating_add(digit)
            .min(SECONDS_MAX)
    });
    Some(number)
}

/// One entry of a list; the argument with its quotes.
pub(crate) struct Directive<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) argument: Option<&'a [u8]>,
}

/// RFC 9110, 5.6.1 and RFC 9111, 5.2: `#( token [ "=" ( token / quoted-string ) ] )`, empty elements skipped.
pub(crate) struct List<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = Result<Directive<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let skip = self.0.iter().take_while(|b| b" \t,".contains(b)).count();
        self.0 = &self.0[skip..];
        if self.0.is_empty() {
            return None;
        }
        let directive = self.directive();
        if directive.is_none() {
            self.0 = b"";
        }
        Some(directive.ok_or(Unreadable))
    }
}

impl<'a> List<'a> {
    fn directive(&mut self) -> Option<Directive<'a>> {
        let name = self.take(token_len(self.0))?;
        let argument = match self.0.strip_prefix(b"=") {
            None => None,
            Some(rest) => {
                self.0 = rest;
                let len = quoted_len(rest).unwrap_or_else(|| token_len(rest));
                Some(self.take(len)?)
            }
        };
        let spaces = self.0.iter().take_while(|b| b" \t".contains(b)).count();
        self.0 = &self.0[spaces..];
        matches!(self.0.first(), None | Some(b',')).then_some(Directive { name, argument })
    }

    /// None for nothing: neither a token nor a quoted string is ever empty.
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).filter(|_| len > 0)?;
        self.0 = rest;
        Some(taken)
    }
}

fn token_len(text: &[u8]) -> usize {
    let tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    text.iter().take_while(|b| tchar(b)).count()
}

/// With both quotes; none if there is no whole quoted string.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        match inner.get(at)? {
            b'"' => return Some(at + 2),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CACHE_CONTROL;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Directives>, Unreadable> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).expect("a value"));
        }
        Directives::of(&headers, &CACHE_CONTROL)
    }

    #[test]
    fn directives_are_read_from_all_lines_in_any_case() {
        let life = |lines| read(lines).expect("readable").expect("there").lifetime_s();
        assert_eq!(read(&[]), Ok(None));
        for (lines, expected) in [
            (&[""][..], None),
            (&["public"], None),
            (&["max-age=60"], Some(60)),
            (&["MAX-AGE=60"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&[" , ,max-age=60 , "], Some(60)),
            (&["public", "max-age=60"], Some(60)),
            (&["max-age=60, s-maxage=5"], Some(5)),
            (&["s-maxage=0, max-age=60"], Some(0)),
            (&["max-age=007"], Some(7)),
            (&["max-age=99999999999999999999999"], Some(1 << 31)),
            (&["x=\"max-age=60\", max-age=7"], Some(7)),
            (&["x=\"a, \\\"max-age=60\", max-age=7"], Some(7)),
            (&["xmax-age=60"], None),
            (&["max-age-x=60"], None),
        ] {
            assert_eq!(life(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_forbids_counts_wherever_and_however_it_is_written() {
        for line in [
            "no-store",
            "No-Store",
            "max-age=60, no-store",
            "no-store=x",
            "no-store=\"x\"",
            "x, no-store",
        ] {
            assert!(read(&[line]).expect(line).expect(line).no_store, "{line}");
            assert!(
                read(&["max-age=1", line.trim_start_matches("max-age=60,")])
                    .expect(line)
                    .expect(line)
                    .no_store
            );
        }
        for line in ["private", "PRIVATE", "private=\"set-cookie\"", "private=x"] {
            assert!(read(&[line]).expect(line).expect(line).private, "{line}");
        }
        for line in ["no-cache", "No-Cache=\"x-y\""] {
            assert!(read(&[line]).expect(line).expect(line).no_cache, "{line}");
        }
        let quoted = read(&["x=\"no-store, private\""])
            .expect("readable")
            .expect("there");
        assert!(!quoted.no_store && !quoted.private);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=+1",
            "max-age=1.5",
            "max-age=1s",
            "max-age= 60",
            "max-age =60",
            "max-age=\"60",
            "max-age=\"60\"x",
            "max-age=60 60",
            "max-age=60; public",
            "max-age=60, max-age=60",
            "max-age=60, max-age=61",
            "s-maxage=1, s-maxage=1",
            "=60",
            "(",
            "public private",
            "x=\"\\",
            "max-age='60'",
        ] {
            assert_eq!(read(&[line]), Err(Unreadable), "{line}");
            assert_eq!(read(&["public", line]), Err(Unreadable), "{line}");
        }
        assert_eq!(read(&["max-age=1", "max-age=1"]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_run_on(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(List(&bytes).count() <= bytes.len());
            let _ = Directives::default().add_line(&bytes);
            let _ = seconds(&bytes);
        }

        /// The oracle writes a list from parts that it knows.
        #[test]
        fn a_written_list_is_read_back(
            parts in proptest::collection::vec(("[a-z-]{1,9}", proptest::option::of("[a-z0-9]{1,5}|\"[ -!#-\\[\\]-~]{0,9}\"")), 0..6),
            gap in "[ \t]{0,2},[ \t,]{0,3}",
        ) {
            let text: Vec<String> = parts.iter().map(|(name, argument)| match argument {
                Some(argument) => format!("{name}={argument}"),
                None => name.clone(),
            }).collect();
            let text = text.join(&gap);
            let seen: Result<Vec<_>, _> = List(text.as_bytes()).map(|d| d.map(|d| (d.name.to_vec(), d.argument.map(<[u8]>::to_vec)))).collect();
            let expected: Vec<_> = parts.into_iter().map(|(n, a)| (n.into_bytes(), a.map(String::into_bytes))).collect();
            prop_assert_eq!(seen, Ok(expected));
        }
    }
}
