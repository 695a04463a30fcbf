//! Where a URL in a file leads, and how it is written when its target gets another name.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a URL means to a site.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::publish) enum Resolved {
    /// Not a file of this site: another host, `data:`, a fragment.
    Elsewhere,
    /// The decoded path of a file of this site.
    Local(String),
    /// A path that no file can have.
    Nowhere(&'static str),
}

/// Where `url` leads from the document at the decoded path `document`.
pub(in crate::publish) fn resolve(document: &str, base: Option<&str>, url: &str) -> Resolved {
    match base {
        Some(base) if !is_absolute(url) => match resolve(document, None, base) {
            Resolved::Local(base) => resolve(&base, None, url),
            // An empty or fragment-only base means the document itself.
            Resolved::Elsewhere if is_empty(base) => resolve(document, None, url),
            other => other,
        },
        _ => resolve_from(document, url),
    }
}

fn resolve_from(document: &str, url: &str) -> Resolved {
    let url = url.trim_ascii();
    if is_absolute(url) || is_empty(url) {
        return Resolved::Elsewhere;
    }
    let path = &url[..path_end(url)];
    if path.contains('\\') {
        return Resolved::Nowhere("holds a backslash, which browsers read as `/`");
    }
    let mut segments: Vec<String> = Vec::new();
    if !path.starts_with('/') {
        segments.extend(document.split('/').skip(1).map(str::to_owned));
        segments.pop();
    }
    let relative = path.strip_prefix('/').unwrap_or(path);
    let mut parts = relative.split('/').peekable();
    while let Some(part) = parts.next() {
        let Ok(part) = percent_decode_str(part).decode_utf8() else {
            return Resolved::Nowhere("is not UTF-8");
        };
        let last = parts.peek().is_none();
        match part.as_ref() {
            "." if last => segments.push(String::new()),
            "." => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push(String::new());
                }
            }
            part if part.contains('/') => return Resolved::Nowhere("holds an encoded `/`"),
            part => segments.push(part.to_owned()),
        }
    }
    Resolved::Local(format!("/{}", segments.join("/")))
}

/// `url` with another file name: what is before and behind it stays as it was written.
pub(in crate::publish) fn renamed(url: &str, name: &str) -> String {
    let end = path_end(url);
    let start = url[..end].rfind('/').map_or(0, |slash| slash + 1);
    // Space before the URL belongs to what surrounds it.
    let start = start.max(url.len() - url.trim_ascii_start().len());
    format!(
        "{}{}{}",
        &url[..start],
        utf8_percent_encode(name, NAME),
        &url[end..]
    )
}

/// What is always written as it is in a URL, in CSS, in HTML and in JSON.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b'+');

fn path_end(url: &str) -> usize {
    url.find(['?', '#']).unwrap_or(url.trim_ascii_end().len())
}

fn is_empty(url: &str) -> bool {
    matches!(url.trim_ascii().bytes().next(), None | Some(b'#' | b'?'))
}

/// Whether a URL names its host or scheme, and so does not depend on where it stands.
fn is_absolute(url: &str) -> bool {
    let url = url.trim_ascii();
    if url.starts_with("//") || url.starts_with("\\\\") {
        return true;
    }
    let Some((scheme, _)) = url.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_resolve_as_in_a_browser() {
        let local = |path: &str| Resolved::Local(path.to_owned());
        for (base, url, target) in [
            (None, "a.png", local("/help/a.png")),
            (None, " ./a.png ", local("/help/a.png")),
            (None, "../a.png?v=1#x", local("/a.png")),
            (None, "../../../a.png", local("/a.png")),
            (None, "/x/%5Bid%5D/a%20b.png", local("/x/[id]/a b.png")),
            (None, "sub/", local("/help/sub/")),
            (None, "..", local("/")),
            (None, "a:b.png", Resolved::Elsewhere),
            (None, "./a:b.png", local("/help/a:b.png")),
            (None, "#top", Resolved::Elsewhere),
            (None, "", Resolved::Elsewhere),
            (None, "//cdn.example/a.png", Resolved::Elsewhere),
            (None, "HTTPS://cdn.example/a.png", Resolved::Elsewhere),
            (None, "data:image/png;base64,AA", Resolved::Elsewhere),
            (Some("/app/"), "a.png", local("/app/a.png")),
            (Some("../"), "a.png", local("/a.png")),
            (Some(""), "a.png", local("/help/a.png")),
            (Some("https://cdn.example/"), "/a.png", Resolved::Elsewhere),
            (Some("/app/"), "data:,x", Resolved::Elsewhere),
        ] {
            assert_eq!(
                resolve("/help/index.html", base, url),
                target,
                "{base:?} {url}"
            );
        }
        for url in ["a%2Fb.png", "%ff.png", "img\\a.png"] {
            let resolved = resolve("/index.html", None, url);
            assert!(matches!(resolved, Resolved::Nowhere(_)), "{url}");
        }
    }

    #[test]
    fn only_the_file_name_is_exchanged() {
        for (url, new) in [
            ("a.png", "a-1.png"),
            ("../x/a.png?v=1#y", "../x/a-1.png?v=1#y"),
            ("/a.png#/b/c", "/a-1.png#/b/c"),
            (" a.png", " a-1.png"),
        ] {
            assert_eq!(renamed(url, "a-1.png"), new);
        }
        assert_eq!(renamed("x/y", "a (1)&'.png"), "x/a%20%281%29%26%27.png");
    }

    proptest! {
        #[test]
        fn a_renamed_reference_leads_to_the_new_name(
            url in "(\\.\\./|\\./|/)?([a-z]{1,3}/){0,3}[a-z]{1,4}\\.png(\\?[a-z]{0,3})?(#[a-z/]{0,3})?",
            name in "[^/\\\\\u{0}-\u{1f}\u{7f}-\u{9f}.][^/\\\\\u{0}-\u{1f}\u{7f}-\u{9f}]{0,12}",
        ) {
            let document = "/one/two.html";
            let Resolved::Local(before) = resolve(document, None, &url) else {
                return Err(TestCaseError::fail("it is local"));
            };
            let folder = before.rsplit_once('/').map_or("", |(folder, _)| folder);
            prop_assert_eq!(
                resolve(document, None, &renamed(&url, &name)),
                Resolved::Local(format!("{folder}/{name}"))
            );
        }

        #[test]
        fn any_text_resolves_without_a_panic(document in "/\\PC{0,20}", url in "\\PC{0,40}") {
            let _ = resolve(&document, Some(&url), &url);
            let _ = renamed(&url, "x");
        }
    }
}
