//! The name that a hashed file keeps while its content changes.

use std::ops::Range;

/// The URLs of all versions of a file: its own path with the hash left open, as the `match` of
/// `Use-As-Dictionary` (RFC 9842, section 2.1.1). `/chunks/main-5762c9ba.js` gives `/chunks/main-*.js`.
///
/// Whatever could mean something in a URL pattern, or is sent percent-encoded, is left open too.
pub(super) fn all_versions(url: &str, hash: Range<usize>) -> String {
    let mut pattern = String::with_capacity(url.len());
    for (at, letter) in url.char_indices() {
        let literal =
            letter.is_ascii_alphanumeric() || matches!(letter, '/' | '.' | '-' | '_' | '~');
        if literal && !hash.contains(&at) {
            pattern.push(letter);
        } else if !pattern.ends_with('*') {
            pattern.push('*');
        }
    }
    pattern
}

/// Where the hash of a URL's file name is: the last part of eight hex digits or more.
pub(super) fn hex_hash(url: &str) -> Option<Range<usize>> {
    let start = url.rfind('/').map_or(0, |slash| slash + 1);
    let mut end = url.len();
    for part in url[start..].rsplit(['-', '.', '_']) {
        let from = end - part.len();
        let hash = part.len() >= 8
            && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            // Eight letters may be a word.
            && part.bytes().any(|b| b.is_ascii_digit());
        if hash {
            return Some(from..end);
        }
        end = from.saturating_sub(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_left_open_and_nothing_else_can_be_a_pattern() {
        for (url, pattern) in [
            (
                "/_next/static/chunks/main-5762c9bac7a9c7d4.js",
                "/_next/static/chunks/main-*.js",
            ),
            (
                "/_next/static/chunks/4bd1b696-739e62e430d87022.js",
                "/_next/static/chunks/4bd1b696-*.js",
            ),
            (
                "/_next/static/chunks/app/courses/[id]/page-74aae693085a566d.js",
                "/_next/static/chunks/app/courses/*id*/page-*.js",
            ),
            ("/css/68fb4c1730a5dec2.css", "/css/*.css"),
            ("/a(b)+{c}:d?/é/x-0123456789abcdef.js", "/a*b*c*d*/*/x-*.js"),
            (
                "/media/Main-Bold.c3fb5ac2.min.woff2",
                "/media/Main-Bold.*.min.woff2",
            ),
        ] {
            let hash = hex_hash(url).expect("it has a hash");
            assert_eq!(all_versions(url, hash), pattern);
        }
    }

    #[test]
    fn a_hash_in_a_name_is_eight_hex_digits_or_more() {
        for name in [
            "/_next/static/1a2b3c4d5e6f/_buildManifest.js",
            "/_next/static/r1/_ssgManifest.js",
            "/_next/static/chunks/main.js",
            "/_next/static/facade-deadbeef.js",
            "/_next/static/chunks/63-30780364F4E637FB.js",
            "",
        ] {
            assert_eq!(hex_hash(name), None, "{name}");
        }
        let found =
            hex_hash("/x/63-30780364f4e637fb.js").map(|hash| &"/x/63-30780364f4e637fb.js"[hash]);
        assert_eq!(found, Some("30780364f4e637fb"));
    }
}
