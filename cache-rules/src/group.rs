//! Cache groups (RFC 9875): names that the origin gives its answers, and by which its answers to writes end them.
//!
//! A group belongs to one tenant, like a tag, and only the origin names it. Nothing cascades.

use std::collections::BTreeSet;

use http::header::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, List, ListEntry, Parser};

/// RFC 9875, 2.1: at least 32 have to be supported; there is no use for many more, and each is looked at on every hit.
const GROUPS_MAX: usize = 64;
/// RFC 9875, 2.1: at least 32 characters.
const GROUP_BYTES_MAX: usize = 128;

pub(crate) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
pub(crate) const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// The name of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Box<str>);

impl Group {
    /// As the origin wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The groups that a header names, each once. None: it cannot be read, or names more than there may be; an answer
/// with such a header could not be ended by all of its names.
pub(crate) fn named(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<Group>> {
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes())
        .collect();
    if lines.is_empty() {
        return Some(Vec::new());
    }
    let list = Parser::new(&lines.join(&b", "[..])).parse::<List>().ok()?;
    let names: Option<BTreeSet<Group>> = list.into_iter().map(group).collect();
    names
        .filter(|names| names.len() <= GROUPS_MAX)
        .map(|names| names.into_iter().collect())
}

fn group(entry: ListEntry) -> Option<Group> {
    match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::String(text),
            ..
        }) => {
            let text = text.as_str();
            (1..=GROUP_BYTES_MAX)
                .contains(&text.len())
                .then(|| Group(text.into()))
        }
        ListEntry::Item(_) | ListEntry::InnerList(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn groups_are_a_list_of_strings() {
        let many: Vec<String> = (0..=GROUPS_MAX).map(|n| format!("\"{n}\"")).collect();
        let (many, long) = (
            many.join(","),
            format!("\"{}\"", "x".repeat(GROUP_BYTES_MAX + 1)),
        );
        let table: [(&[&str], Option<&[&str]>); 9] = [
            (&[], Some(&[])),
            (&["\"a\""], Some(&["a"])),
            (&["\"b c\", \"a\";x=1", "\"a\""], Some(&["a", "b c"])),
            (&["a"], None),
            (&["\"a"], None),
            (&["(\"a\")"], None),
            (&["\"\""], None),
            (&[&many], None),
            (&[&long], None),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_GROUPS, HeaderValue::from_str(line).expect("a value"));
            }
            let seen = named(&headers, &CACHE_GROUPS);
            let seen = seen
                .as_ref()
                .map(|seen| seen.iter().map(Group::as_str).collect::<Vec<_>>());
            assert_eq!(seen.as_deref(), expected, "{lines:?}");
        }
    }
}
