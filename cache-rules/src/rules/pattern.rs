//! The path of a rule: literal segments and parameters, and the tags that are made from the latter.
//!
//! A parameter is one whole segment and never an empty one. There are no wildcards over several segments and no
//! regular expressions: whether two patterns can match one path is decided when they are compiled.

use crate::tag::Tag;

/// Deeper than any path of an API; bounds the recursion of the table.
const SEGMENTS_MAX: usize = 32;
/// Room for a UUID and more; what is longer is no id that a tag should hold.
pub(super) const PARAMETER_BYTES_MAX: usize = 48;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Literal(Box<str>),
    Parameter(Box<str>),
    /// `**`, at the end: one segment or more. Only in conformance runs.
    Rest,
}

/// The template of a path, such as `/api/v1/courses/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pattern(Box<[Segment]>);

impl Pattern {
    /// Reads a template, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix('/')
            .ok_or("a path starts with `/`, such as `/api/v1/courses/{id}`")?;
        let mut segments: Vec<Segment> = Vec::new();
        for part in rest.split('/') {
            let segment = parse_segment(part)?;
            if segments.last() == Some(&Segment::Rest) {
                return Err("`**` is the last segment or none".to_owned());
            }
            if matches!(segment, Segment::Parameter(_)) && segments.contains(&segment) {
                return Err(format!(
                    "parameter `{part}` is named twice; give each its own name"
                ));
            }
            segments.push(segment);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("a path has at most {SEGMENTS_MAX} segments"));
        }
        Ok(Self(segments.into()))
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether some path matches both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        for pair in self.0.iter().zip(&other.0) {
            match pair {
                (Segment::Rest, _) | (_, Segment::Rest) => return true,
                (Segment::Literal(a), Segment::Literal(b)) if a != b => return false,
                (Segment::Literal(_) | Segment::Parameter(_), _) => {}
            }
        }
        self.0.len() == other.0.len()
    }

    /// Whether it matches paths of any length.
    pub(super) fn is_open(&self) -> bool {
        self.0.last() == Some(&Segment::Rest)
    }

    /// The place of a parameter among the segments.
    fn place(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|s| matches!(s, Segment::Parameter(n) if **n == *name))
    }
}

fn parse_segment(part: &str) -> Result<Segment, String> {
    if part.is_empty() {
        return Err("a path has no empty segment: no `//` and no `/` at its end".to_owned());
    }
    if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
        let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if fits {
            Ok(Segment::Parameter(name.into()))
        } else {
            Err(format!(
                "`{part}` is no parameter: its name is letters, digits and `_`"
            ))
        };
    }
    if part == "**" {
        return Ok(Segment::Rest);
    }
    if part == "." || part == ".." {
        return Err("a path has no dot segments".to_owned());
    }
    // What canonical paths hold unencoded, without `;`.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
    if part.bytes().all(plain) {
        Ok(Segment::Literal(part.into()))
    } else {
        Err(format!(
            "segment `{part}` is neither plain text nor one whole `{{parameter}}`"
        ))
    }
}

/// A tag with the places of parameters, such as `course:{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TagTemplate(Box<[TagPart]>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TagPart {
    Literal(Box<str>),
    /// The place of the segment in the path.
    Segment(usize),
}

impl TagTemplate {
    /// Reads a template over the parameters of a pattern, or says what is wrong with it.
    pub(super) fn parse(text: &str, pattern: &Pattern) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("`{` without `}`; a parameter is written `{id}`")?;
            let place = pattern
                .place(name)
                .ok_or_else(|| format!("the path has no parameter `{{{name}}}`"))?;
            parts.extend((!before.is_empty()).then(|| TagPart::Literal(before.into())));
            parts.push(TagPart::Segment(place));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| TagPart::Literal(rest.into())));
        let template = Self(parts.into());
        // The longest tag it can make: if that one fits, all do.
        Tag::parse(&template.with(|_| "x".repeat(PARAMETER_BYTES_MAX)))
            .map_err(|e| format!("{e}, also when each parameter has {PARAMETER_BYTES_MAX}"))?;
        Ok(template)
    }

    /// The places of the segments it needs.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|part| match part {
            TagPart::Segment(place) => Some(*place),
            TagPart::Literal(_) => None,
        })
    }

    /// The tag of a path whose parameters are plain ids.
    pub(super) fn tag(&self, path: &str) -> Tag {
        let text = self.with(|place| segment(path, place).to_owned());
        Tag::parse(&text)
            .expect("the template was tried with longest ids, and the path's were checked")
    }

    fn with(&self, value: impl Fn(usize) -> String) -> String {
        let parts = self.0.iter().map(|part| match part {
            TagPart::Literal(text) => text.to_string(),
            TagPart::Segment(place) => value(*place),
        });
        parts.collect()
    }
}

/// A segment of a canonical path by its place.
pub(super) fn segment(path: &str, place: usize) -> &str {
    path.split('/').nth(place + 1).unwrap_or_default()
}

/// Whether a parameter may be part of a tag. A dot or a percent triplet could be a second spelling of the same id
/// (`7` and `7.json`), and a purge of the first would miss the second.
pub(super) fn is_plain_id(text: &str) -> bool {
    (1..=PARAMETER_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_plain_segments_and_whole_parameters() {
        let deepest = "/a".repeat(SEGMENTS_MAX);
        let deep = "/a".repeat(SEGMENTS_MAX + 1);
        for (text, fits) in [
            (&*deepest, true),
            ("/a", true),
            ("/api/v1/courses/{id}", true),
            ("/{a}/{b}", true),
            ("/a:b/c@d", true),
            ("", false),
            ("a", false),
            ("/", false),
            ("/a/", false),
            ("//a", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/a/{}", false),
            ("/a/{i d}", false),
            ("/a/{id}.pdf", false),
            ("/a/*", true),
            ("/a/**", true),
            ("/a/**/b", false),
            ("/{id}/{id}", false),
            ("/a%2Fb", false),
            ("/a;b", false),
            ("/a b", false),
            ("/ä", false),
            ("/a?b", false),
            (&deep, false),
        ] {
            assert_eq!(Pattern::parse(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn patterns_overlap_when_one_path_matches_both() {
        for (a, b, expected) in [
            ("/a/{x}", "/a/b", true),
            ("/a/{x}", "/a/{y}", true),
            ("/{x}/b", "/a/{y}", true),
            ("/a/b", "/a/c", false),
            ("/a/{x}", "/a", false),
            ("/a/{x}", "/b/{x}", false),
            ("/a/{x}/c", "/a/b/d", false),
            ("/a/**", "/a/b/d", true),
            ("/a/**", "/b/c", false),
            ("/a/**", "/a", false),
        ] {
            let pattern = |text| Pattern::parse(text).expect("a pattern");
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn an_id_is_spelled_in_one_way() {
        let long = "a".repeat(PARAMETER_BYTES_MAX + 1);
        for (text, plain) in [
            ("7", true),
            ("a-b_C", true),
            (&long[1..], true),
            (&*long, false),
            ("", false),
            ("7.json", false),
            ("%37", false),
            ("a~b", false),
        ] {
            assert_eq!(is_plain_id(text), plain, "{text}");
        }
    }

    #[test]
    fn a_tag_takes_its_ids_from_the_path() {
        let pattern = Pattern::parse("/v/{kind}/{id}").expect("a pattern");
        let tag = |text| TagTemplate::parse(text, &pattern).map(|t| t.tag("/v/lesson/7"));
        let table = [
            ("all", "all"),
            ("{kind}:{id}", "lesson:7"),
            ("v-{id}-{id}", "v-7-7"),
        ];
        for (text, expected) in table {
            assert_eq!(tag(text).expect(text).as_str(), expected);
        }
        for text in ["", "{no}", "{id", "a b", "a,{id}", "{id}{id}{id}"] {
            assert!(tag(text).is_err(), "{text:?}");
        }
    }
}
