//! URLs of style sheets: `url()`, `@import`, `image-set()`, and where their source map is.
//!
//! cssparser tells the tokens apart; what is not a URL is copied from the source as it stands.

use std::ops::Range;

use cssparser::{ParseError, Parser, ParserInput, Token, serialize_string};

use super::{Edits, Links, Reference, Role};

/// Real style sheets nest a handful of blocks.
const DEPTH_MAX: usize = 128;

/// Exchanges the URLs of a style sheet, or of a `style` attribute.
pub(super) fn rewrite(
    text: &str,
    base: Option<&str>,
    links: &mut dyn Links,
) -> Result<String, String> {
    let mut input = ParserInput::new(text);
    let mut walk = Walk {
        text,
        base,
        links,
        edits: Edits::default(),
    };
    walk.tokens(&mut Parser::new(&mut input), Strings::AreText, 0)?;
    Ok(walk.edits.applied(text))
}

/// What a quoted string is where the walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strings {
    AreText,
    AreUrls,
}

struct Walk<'a> {
    text: &'a str,
    base: Option<&'a str>,
    links: &'a mut dyn Links,
    edits: Edits,
}

impl Walk<'_> {
    fn tokens(
        &mut self,
        parser: &mut Parser<'_, '_>,
        strings: Strings,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("its blocks are nested too deep".to_owned());
        }
        // `@import "x"`: the string right behind the keyword is a URL too.
        let mut import = false;
        loop {
            let start = parser.position().byte_index();
            let Ok(token) = parser.next_including_whitespace_and_comments() else {
                return Ok(());
            };
            let token = token.clone();
            let range = start..parser.position().byte_index();
            let inside = match &token {
                Token::UnquotedUrl(url) => {
                    self.unquoted(range, url);
                    None
                }
                Token::Comment(comment) => {
                    self.map(range, comment);
                    None
                }
                Token::QuotedString(url) if import || strings == Strings::AreUrls => {
                    self.quoted(range, url);
                    None
                }
                Token::Function(name) if is_url_function(name) => Some(Strings::AreUrls),
                Token::Function(_)
                | Token::ParenthesisBlock
                | Token::SquareBracketBlock
                | Token::CurlyBracketBlock => Some(Strings::AreText),
                _ => None,
            };
            import = match &token {
                Token::AtKeyword(name) => name.eq_ignore_ascii_case("import"),
                Token::WhiteSpace(_) | Token::Comment(_) => import,
                _ => false,
            };
            if let Some(strings) = inside {
                let mut result = Ok(());
                // The closure reads to the end of its block, so there is nothing left to fail.
                let _ = parser.parse_nested_block(|block| -> Result<(), ParseError<'_, ()>> {
                    result = self.tokens(block, strings, depth + 1);
                    while block.next_including_whitespace_and_comments().is_ok() {}
                    Ok(())
                });
                result?;
            }
        }
    }

    fn quoted(&mut self, range: Range<usize>, url: &str) {
        let Some(new) = self.exchanged(url) else {
            return;
        };
        let raw = &self.text[range.clone()];
        let inner = raw.get(1..raw.len() - 1);
        let written = match (inner, raw.chars().next()) {
            (Some(inner), Some(quote)) if inner == url && is_plain(&new) => {
                format!("{quote}{new}{quote}")
            }
            _ => string(&new),
        };
        self.edits.put(range, written);
    }

    fn unquoted(&mut self, range: Range<usize>, url: &str) {
        let Some(new) = self.exchanged(url) else {
            return;
        };
        let raw = &self.text[range.clone()];
        // Space within the parentheses stays; escapes do not, and are quoted instead.
        let at = raw.find('(').map_or(0, |at| at + 1);
        let written = match raw[at..].find(url) {
            Some(found) if is_plain(&new) && !new.contains(['(', ')', ' ', '\t']) => {
                let start = at + found;
                format!("{}{new}{}", &raw[..start], &raw[start + url.len()..])
            }
            _ => format!("url({})", string(&new)),
        };
        self.edits.put(range, written);
    }

    /// `/*# sourceMappingURL=app.css.map */`
    fn map(&mut self, range: Range<usize>, comment: &str) {
        let Some(url) = comment
            .strip_prefix(['#', '@'])
            .and_then(|said| said.trim_start().strip_prefix("sourceMappingURL="))
            .and_then(|rest| rest.split_whitespace().next())
        else {
            return;
        };
        let new = self.links.reference(Reference {
            base: None,
            url,
            role: Role::Map,
        });
        if let (Some(new), Some(at)) = (new, self.text[range.clone()].find(url)) {
            let start = range.start + at;
            self.edits.put(start..start + url.len(), new);
        }
    }

    fn exchanged(&mut self, url: &str) -> Option<String> {
        self.links.reference(Reference {
            base: self.base,
            url,
            role: Role::Asset,
        })
    }
}

fn is_url_function(name: &str) -> bool {
    ["url", "src", "image-set", "-webkit-image-set"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a URL can stand between quotes as it is.
fn is_plain(url: &str) -> bool {
    !url.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\'))
}

fn string(url: &str) -> String {
    let mut written = String::new();
    serialize_string(url, &mut written).expect("writing to memory");
    written
}
