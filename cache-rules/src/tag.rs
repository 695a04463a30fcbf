//! Tags (surrogate keys): the names under which stored answers are purged.
//!
//! A tag is opaque here. It belongs to a tenant by where it is kept, never by its text.

use std::fmt;
use std::sync::Arc;

/// Enough for `kind:` and two UUIDs.
const TAG_BYTES_MAX: usize = 128;

/// A name that is purged: 1 to 128 visible ASCII characters without a comma.
///
/// ```
/// use cache_rules::tag::Tag;
///
/// assert_eq!(Tag::parse("course:7")?.as_str(), "course:7");
/// assert!(Tag::parse("two tags").is_err());
/// # Ok::<(), cache_rules::tag::NotATag>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// A text that is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tag is 1 to 128 visible ASCII characters without a comma")]
pub struct NotATag;

impl Tag {
    /// Takes a tag as it is; the case counts.
    ///
    /// # Errors
    /// When it is empty, too long, or holds a space, a comma, a control or a non-ASCII character: these separate
    /// tags in the headers that carry them.
    pub fn parse(text: &str) -> Result<Self, NotATag> {
        let fits = (1..=TAG_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(NotATag)
        }
    }

    /// The tag as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_visible_ascii_without_separators() {
        let longest = "x".repeat(TAG_BYTES_MAX);
        for text in ["a", "course:7", "{}[]\"'%", longest.as_str()] {
            assert_eq!(Tag::parse(text).as_ref().map(Tag::as_str), Ok(text));
        }
        let longer = "x".repeat(TAG_BYTES_MAX + 1);
        for text in [
            "",
            " ",
            "a b",
            "a,b",
            "a\tb",
            "a\0",
            "\u{7f}",
            "ä",
            longer.as_str(),
        ] {
            assert_eq!(Tag::parse(text), Err(NotATag), "{text:?}");
        }
    }
}
