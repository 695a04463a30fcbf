//! URLs in files that are their own source: found by a real parser of each language, and exchanged
//! without touching a byte around them. Script text is never rewritten: nobody can tell a URL from
//! another string there.

mod css;
mod entities;
mod html;
mod import_map;
pub(super) mod reference;
mod source_map;
mod srcset;
mod svg;
mod web_manifest;

/// A language whose URLs are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Html,
    Css,
    WebManifest,
    SourceMap,
    Svg,
}

impl Dialect {
    /// By the name of a file.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        match name.rsplit_once('.')?.1 {
            "html" | "htm" => Some(Self::Html),
            "css" => Some(Self::Css),
            "map" => Some(Self::SourceMap),
            "svg" => Some(Self::Svg),
            "webmanifest" => Some(Self::WebManifest),
            "json" if name == "manifest.json" => Some(Self::WebManifest),
            _ => None,
        }
    }

    /// Shows every reference in `text` to `links`, and exchanges what it wants exchanged.
    ///
    /// # Errors
    ///
    /// The text is not what its name promises.
    pub(super) fn rewrite(self, text: &str, links: &mut dyn Links) -> Result<String, String> {
        match self {
            Self::Html => html::rewrite(text, links),
            Self::Css => css::rewrite(text, None, links),
            Self::WebManifest => web_manifest::rewrite(text, links),
            Self::SourceMap => source_map::rewrite(text, links),
            Self::Svg => svg::rewrite(text),
        }
    }
}

/// A URL where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// What `<base href>` says, where there is one.
    pub(super) base: Option<&'a str>,
    pub(super) url: &'a str,
    pub(super) role: Role,
}

/// What a URL is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A file that a page is made of.
    Asset,
    /// A script that others may import by its plain name; with two names it would run twice.
    Module,
    /// A hint about a file: it takes the name that the file has elsewhere.
    Hint,
    /// What developers' tools ask for: of a style sheet its source map. It may be missing.
    Map,
    /// What a source map names: it takes the name that the file has elsewhere, and may be missing.
    Source,
    /// A file that somebody else asks for by its plain name, so only its presence matters.
    Fixed,
}

/// Hears of references and may exchange them.
pub(super) trait Links {
    /// What to write instead of the reference's URL, if anything.
    fn reference(&mut self, reference: Reference<'_>) -> Option<String>;
    /// The `integrity` of what a reference now leads to, where it is another than the author wrote.
    fn integrity(&mut self, reference: Reference<'_>) -> Option<String>;
}

/// Parts of a text that are exchanged for others.
#[derive(Default)]
struct Edits(Vec<(std::ops::Range<usize>, String)>);

impl Edits {
    fn put(&mut self, range: std::ops::Range<usize>, text: String) {
        self.0.push((range, text));
    }

    /// The text with its edits, which were put in the order of the text.
    fn applied(&self, text: &str) -> String {
        let mut edited = String::with_capacity(text.len() + 32 * self.0.len());
        let mut from = 0;
        for (range, new) in &self.0 {
            edited.push_str(&text[from..range.start]);
            edited.push_str(new);
            from = range.end;
        }
        edited.push_str(&text[from..]);
        edited
    }
}

#[cfg(test)]
mod tests;
