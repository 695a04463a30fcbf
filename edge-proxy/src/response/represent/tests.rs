use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const BODY: &[u8] = b"0123456789";

fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::try_from(*name).expect("a field name"),
                HeaderValue::from_str(value).expect("a field value"),
            )
        })
        .collect()
}

fn etag(text: &str) -> Option<ETag> {
    ETag::parse(&HeaderValue::from_str(text).expect("a field value"))
}

fn source(tag: &str, bytes: &'static [u8]) -> Source<Bytes> {
    Source {
        etag: etag(tag),
        bytes: bytes.len() as u64,
        at: Bytes::from_static(bytes),
    }
}

fn file() -> Representation<Bytes> {
    Representation::complete(
        fields(&[("content-type", "text/css"), ("cache-control", "no-cache")]),
        source("\"a\"", BODY),
        vec![
            (Coding::Gzip, source("\"a-gz\"", b"gzipped")),
            (Coding::Br, source("\"a-br\"", b"brotli")),
        ],
    )
}

fn ask(held: &Representation<Bytes>, request: &[(&str, &str)]) -> Answer<Bytes> {
    held.answer(&Method::GET, &fields(request))
}

fn field<'a>(answer: &'a Answer<Bytes>, name: &str) -> &'a str {
    answer
        .header
        .headers
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

fn body(answer: &Answer<Bytes>) -> &[u8] {
    answer.content.as_ref().map_or(b"", |content| {
        let Cut::Part(part) = &content.cut else {
            panic!("one part was expected");
        };
        &content.at[part.start as usize..part.end as usize]
    })
}

/// The body of an answer with several parts, as it is sent.
fn framed(answer: &Answer<Bytes>) -> String {
    let content = answer.content.as_ref().expect("a body");
    let Cut::Parts(parts) = &content.cut else {
        panic!("several parts were expected");
    };
    let mut sent = Vec::new();
    for (head, part) in &parts.pieces {
        sent.extend_from_slice(head);
        sent.extend_from_slice(&content.at[part.start as usize..part.end as usize]);
    }
    sent.extend_from_slice(&parts.end);
    assert_eq!(sent.len() as u64, content.cut.bytes());
    String::from_utf8(sent).expect("text")
}

#[test]
fn several_ranges_are_framed() {
    let answer = ask(&file(), &[("range", "bytes=0-1,3-4,-1")]);
    assert_eq!(answer.header.status, 206);
    assert_eq!(field(&answer, "content-range"), "");
    assert_eq!(field(&answer, "etag"), "\"a\"");
    let of = field(&answer, "content-type");
    let boundary = of
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a boundary");
    let sent = framed(&answer);
    let expected = [
        "bytes 0-1/10\r\n\r\n01",
        "bytes 3-4/10\r\n\r\n34",
        "bytes 9-9/10\r\n\r\n9",
    ];
    let expected = expected
        .map(|part| format!("\r\n--{boundary}\r\nContent-Type: text/css\r\nContent-Range: {part}"));
    assert_eq!(sent, format!("{}\r\n--{boundary}--\r\n", expected.concat()));
    assert_eq!(field(&answer, "content-length"), sent.len().to_string());
    // No two answers have the same boundary, so no file can hold it.
    let again = ask(&file(), &[("range", "bytes=0-1,3-4,-1")]);
    assert_ne!(field(&again, "content-type"), of);
    let stale = [("range", "bytes=0-1,3-4"), ("if-range", "\"b\"")];
    assert_eq!(body(&ask(&file(), &stale)), BODY);
    let request = fields(&[("range", "bytes=0-1,3-4")]);
    let head = file().answer(&Method::HEAD, &request);
    assert_eq!((head.header.status, head.content), (StatusCode::OK, None));
}

#[test]
fn requests_and_what_they_get() {
    type Row = (
        &'static [(&'static str, &'static str)],
        u16,
        &'static str,
        &'static [u8],
    );
    let table: &[Row] = &[
        (&[], 200, "\"a\"", BODY),
        (
            &[("accept-encoding", "br, gzip")],
            200,
            "\"a-br\"",
            b"brotli",
        ),
        (&[("accept-encoding", "gzip")], 200, "\"a-gz\"", b"gzipped"),
        (&[("if-none-match", "\"a\"")], 304, "\"a\"", b""),
        (&[("if-none-match", "\"b\"")], 200, "\"a\"", BODY),
        (
            &[("if-none-match", "*"), ("accept-encoding", "br")],
            304,
            "\"a-br\"",
            b"",
        ),
        // Held as gzip, would get brotli now: what it holds is as good.
        (
            &[
                ("if-none-match", "\"a-gz\""),
                ("accept-encoding", "br, gzip"),
            ],
            304,
            "\"a-gz\"",
            b"",
        ),
        (
            &[("if-none-match", "\"a-gz\""), ("accept-encoding", "br")],
            200,
            "\"a-br\"",
            b"brotli",
        ),
        (&[("if-match", "\"a-br\"")], 200, "\"a\"", BODY),
        (&[("if-match", "\"b\"")], 412, "", b""),
        (
            &[("if-match", "\"b\""), ("if-none-match", "\"a\"")],
            412,
            "",
            b"",
        ),
        (&[("range", "bytes=2-4")], 206, "\"a\"", b"234"),
        (
            &[("range", "bytes=2-4"), ("accept-encoding", "br")],
            206,
            "\"a\"",
            b"234",
        ),
        (
            &[
                ("range", "bytes=2-4"),
                ("accept-encoding", "br, identity;q=0"),
            ],
            200,
            "\"a-br\"",
            b"brotli",
        ),
        (
            &[("range", "bytes=2-4"), ("if-range", "\"a\"")],
            206,
            "\"a\"",
            b"234",
        ),
        (
            &[
                ("range", "bytes=2-4"),
                ("if-range", "\"a-br\""),
                ("accept-encoding", "br"),
            ],
            200,
            "\"a-br\"",
            b"brotli",
        ),
        (
            &[("range", "bytes=2-4"), ("if-none-match", "\"a\"")],
            304,
            "\"a\"",
            b"",
        ),
        (&[("range", "bytes=20-")], 416, "", b""),
        (
            &[("range", "bytes=20-"), ("if-range", "\"b\"")],
            200,
            "\"a\"",
            BODY,
        ),
        (&[("range", "bytes=0-1,1-4")], 200, "\"a\"", BODY),
        (
            &[("range", "bytes=0-0,2-2,4-4,6-6,8-8")],
            200,
            "\"a\"",
            BODY,
        ),
        (&[("range", "lines=0-1")], 200, "\"a\"", BODY),
    ];
    for (request, status, tag, bytes) in table {
        let answer = ask(&file(), request);
        assert_eq!(answer.header.status, *status, "{request:?}");
        assert_eq!(field(&answer, "etag"), *tag, "{request:?}");
        assert_eq!(body(&answer), *bytes, "{request:?}");
    }
}

#[test]
fn a_part_says_what_it_is_a_part_of() {
    let answer = ask(&file(), &[("range", "bytes=-3")]);
    assert_eq!(field(&answer, "content-range"), "bytes 7-9/10");
    assert_eq!(field(&answer, "content-length"), "3");
    assert_eq!(field(&answer, "content-encoding"), "");
    let beyond = ask(&file(), &[("range", "bytes=10-")]);
    assert_eq!(field(&beyond, "content-range"), "bytes */10");
    assert_eq!(field(&beyond, "cache-control"), "no-store");
    assert_eq!(field(&beyond, "content-length"), "0");
}

#[test]
fn head_has_the_header_of_get_and_no_body() {
    let request = fields(&[("accept-encoding", "br"), ("range", "bytes=0-1")]);
    let answer = file().answer(&Method::HEAD, &request);
    assert_eq!(answer.header.status, 200);
    assert_eq!(field(&answer, "content-length"), "6");
    assert_eq!(field(&answer, "content-encoding"), "br");
    assert_eq!(answer.content, None);
}

#[test]
fn a_304_repeats_what_caches_need_and_no_more() {
    let answer = ask(&file(), &[("if-none-match", "\"a\"")]);
    assert_eq!(field(&answer, "cache-control"), "no-cache");
    assert_eq!(field(&answer, "vary"), "accept-encoding");
    assert_eq!(field(&answer, "content-type"), "");
    assert_eq!(field(&answer, "content-length"), "");
}

#[test]
fn only_the_identity_form_offers_ranges_and_only_a_choice_is_in_vary() {
    assert_eq!(field(&ask(&file(), &[]), "accept-ranges"), "bytes");
    assert_eq!(field(&ask(&file(), &[]), "vary"), "accept-encoding");
    assert_eq!(
        field(&ask(&file(), &[("accept-encoding", "br")]), "accept-ranges"),
        ""
    );
    let plain = Representation::complete(HeaderMap::new(), source("\"a\"", BODY), Vec::new());
    assert_eq!(
        field(&ask(&plain, &[("accept-encoding", "br")]), "vary"),
        ""
    );
}

#[test]
fn codings_of_a_cached_read_come_later_with_tags_of_their_own() {
    let origin = fields(&[
        ("content-type", "application/json"),
        ("content-length", "99"),
        ("vary", "accept-language"),
        ("last-modified", "Sun, 22 Nov 2026 08:00:00 GMT"),
    ]);
    let held = Representation::growing(origin, source("\"x\"", BODY));
    let br = [("accept-encoding", "br")];
    let before = ask(&held, &br);
    assert_eq!(
        (field(&before, "etag"), field(&before, "content-length")),
        ("\"x\"", "10")
    );
    assert_eq!(before.header.headers.get_all("vary").iter().count(), 2);

    held.add_encoded(vec![(Coding::Br, 6, Bytes::from_static(b"brotli"))]);
    held.add_encoded(vec![(Coding::Br, 3, Bytes::from_static(b"two"))]);
    let after = ask(&held, &br);
    assert_eq!(
        (field(&after, "etag"), body(&after)),
        ("\"x-br\"", &b"brotli"[..])
    );
    // The copy from before is still good.
    let again = ask(
        &held,
        &[("accept-encoding", "br"), ("if-none-match", "\"x\"")],
    );
    assert_eq!(
        (again.header.status.as_u16(), field(&again, "etag")),
        (304, "\"x\"")
    );
    let dated = ask(
        &held,
        &[("if-modified-since", "Sun, 22 Nov 2026 09:00:00 GMT")],
    );
    assert_eq!(dated.header.status, 304);
}

proptest! {
    #[test]
    fn a_200_or_206_is_as_long_as_it_says(
        coding in "(br|gzip|identity|\\*)(;q=(0|0\\.5|1))?(, (br|gzip|identity)(;q=0)?)?",
        range in proptest::option::of("bytes=[0-9]{0,2}-[0-9]{0,2}"),
        if_range in proptest::option::of(Just("\"a\"")),
        if_none_match in proptest::option::of("\"(a|a-br|b)\""),
    ) {
        let mut request = fields(&[("accept-encoding", &coding)]);
        for (name, value) in [("range", &range), ("if-none-match", &if_none_match)] {
            if let Some(value) = value {
                request.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("text"));
            }
        }
        if let Some(value) = if_range {
            request.insert("if-range", HeaderValue::from_static(value));
        }
        let answer = file().answer(&Method::GET, &request);
        let length = field(&answer, "content-length").to_owned();
        match answer.header.status.as_u16() {
            200 => prop_assert_eq!(body(&answer).len().to_string(), length),
            206 => {
                prop_assert!(range.is_some() && !body(&answer).is_empty());
                prop_assert_eq!(body(&answer).len().to_string(), length);
                prop_assert!(BODY.windows(body(&answer).len()).any(|part| part == body(&answer)));
            }
            304 => prop_assert!(if_none_match.is_some() && answer.content.is_none()),
            416 => prop_assert!(range.is_some() && answer.content.is_none()),
            other => prop_assert!(false, "{}", other),
        }
    }
}

fn digest(of: &[u8]) -> Digest {
    Digest::of(of)
}

fn offer(of: &[u8]) -> String {
    use base64::Engine as _;
    let bytes = digest(of);
    format!(
        ":{}:",
        base64::prelude::BASE64_STANDARD.encode(bytes.as_bytes())
    )
}

/// A file that is told by two older ones.
fn told() -> Representation<Bytes> {
    let vary = "accept-encoding, available-dictionary";
    Representation::with_deltas(
        fields(&[("vary", vary), ("use-as-dictionary", "match=\"/a-*.js\"")]),
        source("\"a\"", BODY),
        vec![(Coding::Br, source("\"a-br\"", b"brotli"))],
        vec![
            (digest(b"old"), Coding::Dcb, source("\"1-dcb\"", b"dcb")),
            (digest(b"old"), Coding::Dcz, source("\"1-dcz\"", b"cz")),
            (digest(b"older"), Coding::Dcb, source("\"2-dcb\"", b"old")),
        ],
    )
}

#[test]
fn a_file_is_told_by_the_very_dictionary_that_the_client_holds() {
    let told = told();
    let all = "gzip, deflate, br, zstd, dcb, dcz";
    for (accept, held, etag, content) in [
        (all, Some(&b"old"[..]), "\"1-dcz\"", &b"cz"[..]),
        ("br, dcb", Some(b"old"), "\"1-dcb\"", b"dcb"),
        (all, Some(b"older"), "\"2-dcb\"", b"old"),
        ("br, dcz", Some(b"older"), "\"a-br\"", b"brotli"),
        (all, Some(b"another"), "\"a-br\"", b"brotli"),
        (all, None, "\"a-br\"", b"brotli"),
        ("br", Some(b"old"), "\"a-br\"", b"brotli"),
        (
            "br, dcb;q=0.5, dcz;q=0",
            Some(b"old"),
            "\"a-br\"",
            b"brotli",
        ),
        ("*", Some(b"old"), "\"a-br\"", b"brotli"),
    ] {
        let held = held.map(offer);
        let mut request = vec![("accept-encoding", accept)];
        request.extend(held.as_deref().map(|held| ("available-dictionary", held)));
        let answer = ask(&told, &request);
        assert_eq!(field(&answer, "etag"), etag, "{accept} {held:?}");
        assert_eq!(body(&answer), content, "{accept} {held:?}");
        assert_eq!(
            field(&answer, "vary"),
            "accept-encoding, available-dictionary"
        );
        assert_eq!(field(&answer, "use-as-dictionary"), "match=\"/a-*.js\"");
        // A page of another origin that cannot read the answer does not get to know its size.
        request.extend([
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ]);
        let elsewhere = ask(&told, &request);
        assert!(matches!(elsewhere.coding, Coding::Br), "{accept}");
    }
}

#[test]
fn a_part_is_no_dictionary_and_a_told_copy_is_still_good() {
    let told = told();
    let old = offer(b"old");
    let part = ask(
        &told,
        &[
            ("accept-encoding", "br, dcb"),
            ("available-dictionary", &old),
            ("range", "bytes=2-3"),
        ],
    );
    assert_eq!(part.header.status, 206);
    assert_eq!(body(&part), b"23");
    assert_eq!(field(&part, "use-as-dictionary"), "");
    // It was decoded when it came: that the dictionary is gone since does not matter.
    let again = ask(
        &told,
        &[("accept-encoding", "br"), ("if-none-match", "\"1-dcb\"")],
    );
    assert_eq!(again.header.status, 304);
    assert_eq!(field(&again, "etag"), "\"1-dcb\"");
}

#[test]
fn forms_that_cannot_be_had_are_passed_over() {
    let told = told();
    let request = fields(&[
        ("accept-encoding", "br, dcb, dcz"),
        ("available-dictionary", &offer(b"old")),
    ]);
    let mut bad: Vec<Bytes> = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..5 {
        let answer = told.answer_of(&Method::GET, &request, |at| !bad.contains(at));
        sent.push(body(&answer).to_vec());
        bad.push(answer.content.expect("a body").at);
    }
    let expected: [&[u8]; 5] = [b"cz", b"dcb", b"brotli", BODY, BODY];
    assert_eq!(sent, expected);
}
