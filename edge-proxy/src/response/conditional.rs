//! Validators and the conditions that clients put on them (RFC 9110, sections 8.8 and 13).

use std::time::SystemTime;

use asset_pipeline::digest::Digest;
use http::header::{
    HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

use super::negotiate::Coding;

/// The value of an `ETag` field, known to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(HeaderValue);

impl ETag {
    /// Takes an origin's value; nothing if it is not an entity tag.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let mut tags = Tags(value.as_bytes());
        match (tags.next()?, tags.next()) {
            (Tag::Tag { .. }, None) => Some(Self(value.clone())),
            _ => None,
        }
    }

    /// The strong tag of bytes with this digest, sent in `coding`: half of the digest is far more
    /// than it takes to tell two files apart.
    pub fn of_digest(digest: &Digest, coding: Coding) -> Self {
        let hex = digest.to_string();
        let text = format!("\"{}{}\"", &hex[..32], coding.etag_suffix());
        Self(HeaderValue::try_from(text).expect("hex digits and a suffix are a header value"))
    }

    /// The tag of the same content in a coding: `"x"` becomes `"x-br"`. A weak tag stays as it is,
    /// since it promises only the same meaning.
    pub fn coded(&self, coding: Coding) -> Self {
        let bytes = self.0.as_bytes();
        if self.weak() || coding == Coding::Identity {
            return self.clone();
        }
        let mut coded = bytes[..bytes.len() - 1].to_vec();
        coded.extend_from_slice(coding.etag_suffix().as_bytes());
        coded.push(b'"');
        Self(HeaderValue::try_from(coded).expect("a tag with a suffix is a header value"))
    }

    /// The field's value.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether it promises only the same meaning, and not the same bytes.
    pub fn weak(&self) -> bool {
        self.0.as_bytes().starts_with(b"W/")
    }

    fn opaque(&self) -> &[u8] {
        let bytes = self.0.as_bytes();
        bytes.strip_prefix(b"W/").unwrap_or(bytes)
    }

    /// Weak comparison: the same opaque part (section 8.8.3.2).
    fn weakly_is(&self, other: &Tag<'_>) -> bool {
        match other {
            Tag::Any => true,
            Tag::Tag { opaque, .. } => *opaque == self.opaque(),
        }
    }

    /// Strong comparison: the same opaque part, and neither is weak.
    fn strongly_is(&self, other: &Tag<'_>) -> bool {
        match other {
            Tag::Any => true,
            Tag::Tag { weak, opaque } => !weak && !self.weak() && *opaque == self.opaque(),
        }
    }
}

/// Whether `If-Match` and `If-Unmodified-Since` let the request through; else 412.
///
/// A malformed `If-Match` names nothing and fails; a malformed date is ignored.
pub fn may_proceed<'a>(
    headers: &HeaderMap,
    mut etags: impl Iterator<Item = &'a ETag>,
    modified: Option<SystemTime>,
) -> bool {
    if headers.contains_key(IF_MATCH) {
        let any = lines(headers, &IF_MATCH).any(|tag| tag == Tag::Any);
        return any
            || etags.any(|etag| lines(headers, &IF_MATCH).any(|tag| etag.strongly_is(&tag)));
    }
    match (date(headers, &IF_UNMODIFIED_SINCE), modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => true,
    }
}

/// Whether the client holds this already: 304.
///
/// `If-Modified-Since` counts only without `If-None-Match`.
pub fn not_modified(
    headers: &HeaderMap,
    etag: Option<&ETag>,
    modified: Option<SystemTime>,
) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return lines(headers, &IF_NONE_MATCH)
            .any(|tag| tag == Tag::Any || etag.is_some_and(|etag| etag.weakly_is(&tag)));
    }
    match (date(headers, &IF_MODIFIED_SINCE), modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether a part of this form is what the client wants: no `If-Range`, or one that is strongly
/// this tag. A date never is: nothing here knows that it is a strong validator (section 13.1.5).
pub fn part_is_current(headers: &HeaderMap, etag: Option<&ETag>) -> bool {
    let Some(value) = headers.get(IF_RANGE) else {
        return true;
    };
    let mut tags = Tags(value.as_bytes());
    match (tags.next(), tags.next(), etag) {
        (Some(tag @ Tag::Tag { .. }), None, Some(etag)) => etag.strongly_is(&tag),
        _ => false,
    }
}

fn lines<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = Tag<'a>> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| Tags(line.as_bytes()))
}

fn date(headers: &HeaderMap, name: &http::HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(value).ok()
}

/// One element of a list of entity tags.
#[derive(Debug, PartialEq, Eq)]
enum Tag<'a> {
    /// `*`.
    Any,
    /// The opaque part with its quotes.
    Tag { weak: bool, opaque: &'a [u8] },
}

/// Entity tags of one field line; ends at the first thing that is none.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let junk = |b: &u8| matches!(b, b' ' | b'\t' | b',');
        let start = self.0.iter().position(|b| !junk(b))?;
        let rest = &self.0[start..];
        self.0 = &[];
        if rest.trim_ascii_end() == b"*" {
            return Some(Tag::Any);
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|b| *b == b'"')?;
        // etagc: visible characters and obs-text (section 8.8.3).
        if inner[..end].iter().any(|b| *b <= b' ' || *b == 0x7f) {
            return None;
        }
        let (opaque, after) = quoted.split_at(end + 2);
        if after
            .iter()
            .find(|b| !matches!(b, b' ' | b'\t'))
            .is_some_and(|b| *b != b',')
        {
            return None;
        }
        self.0 = after;
        Some(Tag::Tag { weak, opaque })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EARLIER: &str = "Sun, 22 Nov 2026 08:00:00 GMT";
    const LATER: &str = "Sun, 22 Nov 2026 09:00:00 GMT";

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                http::HeaderName::try_from(*name).expect("a field name"),
                HeaderValue::from_str(value).expect("a field value"),
            );
        }
        headers
    }

    fn etag(text: &str) -> ETag {
        ETag::parse(&HeaderValue::from_str(text).expect("a field value")).expect("an entity tag")
    }

    #[test]
    fn if_none_match_is_compared_weakly() {
        let table: &[(&str, &str, bool)] = &[
            ("\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "\"b\"", false),
            ("\"a\"", "\"b\", \"a\"", true),
            ("\"a\"", "\"b\",,  ,\"a\" ,", true),
            ("\"a,b\"", "\"a,b\"", true),
            ("\"a\"", "*", true),
            ("\"a\"", " * ", true),
            ("\"a\"", "a", false),
            ("\"a\"", "\"a", false),
            ("\"a\"", "w/\"a\"", false),
            ("\"a\"", "\"a\"junk", false),
            ("\"a\"", "\"A\"", false),
            ("\"\"", "\"\"", true),
        ];
        for (held, sent, expected) in table {
            let sent_headers = headers(&[("if-none-match", sent)]);
            assert_eq!(
                not_modified(&sent_headers, Some(&etag(held)), None),
                *expected,
                "{held} against {sent}"
            );
        }
        let two = headers(&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")]);
        assert!(not_modified(&two, Some(&etag("\"a\"")), None));
    }

    #[test]
    fn dates_count_only_without_tags() {
        let modified = httpdate::parse_http_date(EARLIER).ok();
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[("if-modified-since", EARLIER)], true),
            (&[("if-modified-since", LATER)], true),
            (
                &[("if-modified-since", "Sun, 22 Nov 2026 07:59:59 GMT")],
                false,
            ),
            (&[("if-modified-since", "yesterday")], false),
            (
                &[("if-modified-since", LATER), ("if-modified-since", LATER)],
                false,
            ),
            (
                &[("if-modified-since", LATER), ("if-none-match", "\"b\"")],
                false,
            ),
            (&[], false),
        ];
        for (fields, expected) in table {
            let sent = headers(fields);
            assert_eq!(
                not_modified(&sent, Some(&etag("\"a\"")), modified),
                *expected,
                "{fields:?}"
            );
        }
        assert!(!not_modified(
            &headers(&[("if-modified-since", LATER)]),
            None,
            None
        ));
    }

    #[test]
    fn preconditions_are_compared_strongly() {
        let modified = httpdate::parse_http_date(LATER).ok();
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("if-match", "\"a\"")], true),
            (&[("if-match", "\"b\", \"a\"")], true),
            (&[("if-match", "*")], true),
            (&[("if-match", "W/\"a\"")], false),
            (&[("if-match", "\"b\"")], false),
            (&[("if-match", "junk")], false),
            (
                &[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)],
                true,
            ),
            (&[("if-unmodified-since", EARLIER)], false),
            (&[("if-unmodified-since", LATER)], true),
            (&[("if-unmodified-since", "junk")], true),
        ];
        for (fields, expected) in table {
            let sent = headers(fields);
            let tag = etag("\"a\"");
            assert_eq!(
                may_proceed(&sent, [&tag].into_iter(), modified),
                *expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_range_needs_the_very_same_bytes() {
        let table: &[(Option<&str>, &str, bool)] = &[
            (None, "\"a\"", true),
            (Some("\"a\""), "\"a\"", true),
            (Some("W/\"a\""), "\"a\"", false),
            (Some("\"a\""), "W/\"a\"", false),
            (Some("\"b\""), "\"a\"", false),
            (Some("\"a\", \"b\""), "\"a\"", false),
            (Some("*"), "\"a\"", false),
            (Some(EARLIER), "\"a\"", false),
        ];
        for (sent, held, expected) in table {
            let sent_headers =
                sent.map_or_else(HeaderMap::new, |sent| headers(&[("if-range", sent)]));
            assert_eq!(
                part_is_current(&sent_headers, Some(&etag(held))),
                *expected,
                "{sent:?} {held}"
            );
        }
    }

    #[test]
    fn every_coding_has_its_own_strong_tag() {
        let digest = Digest::of(b"x");
        let tags = Coding::ALL.map(|coding| ETag::of_digest(&digest, coding));
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tag.weak() && ETag::parse(tag.value()).is_some());
            assert!(tags[at + 1..].iter().all(|other| other != tag));
        }
        assert_eq!(etag("\"x\"").coded(Coding::Br), etag("\"x-br\""));
        assert_eq!(etag("W/\"x\"").coded(Coding::Br), etag("W/\"x\""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut sent = HeaderMap::new();
            for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
                sent.insert(name, value.clone());
            }
            let tag = etag("\"a\"");
            let modified = Some(SystemTime::UNIX_EPOCH);
            not_modified(&sent, Some(&tag), modified);
            may_proceed(&sent, [&tag].into_iter(), modified);
            part_is_current(&sent, Some(&tag));
        }

        #[test]
        fn a_tag_is_found_in_every_list_that_holds_it(
            tags in proptest::collection::vec("[!#-~]{0,8}", 1..6),
            at in any::<proptest::sample::Index>(),
            weak in any::<bool>(),
        ) {
            let held = etag(&format!("\"{}\"", at.get(&tags)));
            let line = tags
                .iter()
                .map(|tag| format!("{}\"{tag}\"", if weak { "W/" } else { "" }))
                .collect::<Vec<_>>()
                .join(", ");
            let not_match = headers(&[("if-none-match", &line)]);
            prop_assert!(not_modified(&not_match, Some(&held), None));
            let must_match = headers(&[("if-match", &line)]);
            prop_assert_eq!(may_proceed(&must_match, [&held].into_iter(), None), !weak);
        }
    }
}
