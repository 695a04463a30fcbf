use proptest::prelude::*;

use super::*;

#[test]
fn what_no_route_accepts_is_refused_everywhere() {
    use TargetError::{Backslash, Byte, Control, DotSegment, NotAbsolute, Triplet};
    let table = [
        ("/", Ok(())),
        ("/a/b.c?d=e", Ok(())),
        ("/a//b;c/%2F/%25/[id]", Ok(())),
        ("/a?q=100%&x=\\", Ok(())),
        ("/a?q=../..", Ok(())),
        ("/.well-known/x", Ok(())),
        ("/a/...", Ok(())),
        ("/a/.b", Ok(())),
        ("", Err(NotAbsolute)),
        ("*", Err(NotAbsolute)),
        ("a", Err(NotAbsolute)),
        ("?a", Err(NotAbsolute)),
        ("http://oak.example/", Err(NotAbsolute)),
        ("/a b", Err(Byte)),
        ("/a\u{7f}", Err(Byte)),
        ("/a\0", Err(Byte)),
        ("/ä", Err(Byte)),
        ("/a#b", Err(Byte)),
        ("/a?b#c", Err(Byte)),
        ("/a?b c", Err(Byte)),
        ("/a?ä", Err(Byte)),
        ("/a%", Err(Triplet)),
        ("/a%2", Err(Triplet)),
        ("/a%zz", Err(Triplet)),
        ("/a%2%30", Err(Triplet)),
        ("/a%00", Err(Control)),
        ("/a%0d%0a", Err(Control)),
        ("/a%7F", Err(Control)),
        ("/a\\b", Err(Backslash)),
        ("/a%5cb", Err(Backslash)),
        ("/..", Err(DotSegment)),
        ("/.", Err(DotSegment)),
        ("/a/../b", Err(DotSegment)),
        ("/a/./b", Err(DotSegment)),
        ("/a/%2e%2E/b", Err(DotSegment)),
        ("/a/.%2e", Err(DotSegment)),
        ("/a%2f..%2fb", Err(DotSegment)),
        ("/a/..%2fb", Err(DotSegment)),
    ];
    for (target, expected) in table {
        assert_eq!(check(target), expected, "{target:?}");
    }
}

#[test]
fn a_file_is_looked_up_by_its_decoded_path() {
    use TargetError::{DotSegment, EncodedSlash, NotText, Triplet};
    let table = [
        ("/a/[id].js", Ok("/a/[id].js")),
        ("/a/%5Bid%5d.js", Ok("/a/[id].js")),
        ("/caf%C3%A9", Ok("/café")),
        ("/a%20b", Ok("/a b")),
        ("/a%2525", Ok("/a%25")),
        ("/a//b", Ok("/a//b")),
        ("/a%2Fb", Err(EncodedSlash)),
        ("/a%FF", Err(NotText)),
        ("/a%", Err(Triplet)),
        ("/%2e%2e/a", Err(DotSegment)),
    ];
    for (path, expected) in table {
        assert_eq!(
            decoded(path).as_deref(),
            expected.as_ref().map(|t| *t),
            "{path:?}"
        );
    }
}

#[test]
fn a_cached_path_has_one_form_or_is_refused() {
    use TargetError::{
        Backslash, Control, DotSegment, EmptySegment, EncodedSlash, EncodedTwice, NotText,
        Semicolon,
    };
    let table = [
        ("/api/v1/courses", Ok("/api/v1/courses")),
        ("/api/v1/courses/", Ok("/api/v1/courses/")),
        ("/%61pi/%7e%2D%5f%2E", Ok("/api/~-_.")),
        ("/caf%c3%a9", Ok("/caf%C3%A9")),
        ("/a%20b%5bc", Ok("/a%20b%5Bc")),
        (
            "/[id]/{x}|\"<>^`",
            Ok("/%5Bid%5D/%7Bx%7D%7C%22%3C%3E%5E%60"),
        ),
        ("/a:@!$&'()*+,=", Ok("/a:@!$&'()*+,=")),
        ("/a%3A%40", Ok("/a%3A%40")),
        ("/a%2Fb", Err(EncodedSlash)),
        ("/a%2fb", Err(EncodedSlash)),
        ("/a%25b", Err(EncodedTwice)),
        ("/a%252fb", Err(EncodedTwice)),
        ("/a;b", Err(Semicolon)),
        ("/a%3bb", Err(Semicolon)),
        ("/a//b", Err(EmptySegment)),
        ("//a", Err(EmptySegment)),
        ("/a%80", Err(NotText)),
        ("/a%c2%85", Err(Control)),
        ("/a%00", Err(Control)),
        ("/a/..", Err(DotSegment)),
        ("/a/%2e", Err(DotSegment)),
        ("/a%5c", Err(Backslash)),
    ];
    for (path, expected) in table {
        let seen = CanonicalPath::parse(path);
        let seen = seen.as_ref().map(CanonicalPath::as_str);
        assert_eq!(seen, expected.as_ref().map(|t| *t), "{path:?}");
    }
}

#[test]
fn the_loosest_reading_sees_through_what_hides_a_path() {
    for path in [
        "/a/b", "//a/b", "/a%2Fb", "/a%2fb", "/a%252Fb", "/a/b;x=1", "/a;x/b", "/a%3bx/b",
        "/a%5cb", "/%61/b%",
    ] {
        let seen = loosest(path);
        let segments: Vec<&str> = seen.split('/').filter(|s| !s.is_empty()).collect();
        assert_eq!(segments[0], "a", "{path}");
        assert!(segments[1].starts_with('b'), "{path}");
    }
}

/// Paths with a taste for trouble.
fn path() -> impl Strategy<Value = String> {
    "/([a-c./;\\\\~\\[|\"]|%(2[eEfF5]|6[1-3]|00|3[bB]|[cC]3%[aA]9|5[cCbB]|7e|80|)){0,8}"
}

proptest! {
    #[test]
    fn nothing_from_outside_makes_the_parsers_panic(text in "\\PC*", path in path()) {
        for text in [text.as_str(), path.as_str()] {
            let _ = check(text);
            let _ = decoded(text);
            let _ = CanonicalPath::parse(text);
            let _ = loosest(text);
            let _ = decoded_query_part(text);
        }
    }

    #[test]
    fn the_canonical_form_is_its_own_form(path in path()) {
        if let Ok(once) = CanonicalPath::parse(&path) {
            let twice = CanonicalPath::parse(once.as_str());
            prop_assert_eq!(twice.as_ref().map(CanonicalPath::as_str), Ok(once.as_str()));
            prop_assert!(once.as_str().parse::<http::Uri>().is_ok());
        }
    }

    /// The oracle is the decoded text: two spellings of one text have one form, two texts have two.
    #[test]
    fn one_text_has_one_form(a in path(), b in path()) {
        if let (Ok(one), Ok(other)) = (CanonicalPath::parse(&a), CanonicalPath::parse(&b)) {
            let texts = (decoded(&a), decoded(&b));
            prop_assert!(one != other || texts.0 == texts.1);
            // What was decoded is never a path with more segments than the form has.
            let text = texts.0.expect("what has a canonical form can be decoded");
            prop_assert_eq!(text.split('/').count(), one.as_str().split('/').count());
        }
    }

    #[test]
    fn the_strict_form_is_only_for_what_every_route_accepts(path in path()) {
        if CanonicalPath::parse(&path).is_ok() {
            prop_assert_eq!(check(&path), Ok(()));
            prop_assert!(decoded(&path).is_ok());
        }
    }

    /// The short way to a yes agrees with the long one.
    #[test]
    fn what_is_in_its_one_form_at_a_glance_is_so_after_all_checks(path in path()) {
        if is_canonical(&path) {
            prop_assert_eq!(check(&path), Ok(()));
            prop_assert!(!path.contains(['%', ';', '?']) && !path.contains("//"));
            prop_assert_eq!(canonical(&path), path.as_str());
        }
    }
}
