//! Where a request's header ends and its body begins, as its bytes say it.
//!
//! The parsed map has already lost a `Content-Length` beside `Transfer-Encoding`, and what pingora's parser lets through
//! another one may read differently: so the bytes themselves are looked at, once.

use memchr::memchr3;

use crate::config::checked::Limits;
use crate::error::Refusal;

/// What is wrong with a line that ends in another way than all others.
const BARE: Refusal = Refusal::Malformed("bare_line_feed");
const CONTROL: Refusal = Refusal::Malformed("control_character_in_header");

/// Refuses a header of HTTP/1.1 that two parsers could read in two ways.
///
/// # Errors
/// A [`Refusal`] that says what is ambiguous.
pub(super) fn check(raw: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if raw.len() > limits.header_bytes_max {
        return Err(Refusal::HeaderTooLarge);
    }
    let (target, mut rest) = line(raw)?;
    // The parsed target has lost its fragment, which no client sends (RFC 9112, 3.2).
    if target.contains(&b'#') {
        return Err(Refusal::Malformed("fragment_in_target"));
    }
    let (mut lengths, mut encodings, mut hosts) = (0, 0, 0);
    while !rest.is_empty() {
        let (field, after) = line(rest)?;
        match field.first() {
            Some(b' ' | b'\t') => return Err(Refusal::Malformed("folded_header_line")),
            Some(b'c' | b'C') => lengths += usize::from(is(field, b"content-length")),
            Some(b't' | b'T') => encodings += usize::from(is(field, b"transfer-encoding")),
            Some(b'h' | b'H') => hosts += usize::from(is(field, b"host")),
            _ => {}
        }
        rest = after;
    }
    if hosts != 1 {
        return Err(Refusal::Malformed("not_exactly_one_host"));
    }
    if lengths + encodings > 1 {
        return Err(Refusal::Malformed("ambiguous_body_length"));
    }
    Ok(())
}

/// The next line without its end, and what comes after it.
fn line(raw: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (line, end) = raw.split_at(memchr3(b'\r', b'\n', 0, raw).ok_or(BARE)?);
    match end {
        [b'\r', b'\n', after @ ..] => Ok((line, after)),
        [b'\n', ..] => Err(BARE),
        _ => Err(CONTROL),
    }
}

/// Whether a field is of this name.
fn is(field: &[u8], name: &[u8]) -> bool {
    field
        .split_at_checked(name.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(name) && matches!(rest, [] | [b':', ..])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Result<(), &'static str> {
        let outcome = check(header.as_bytes(), &Limits::default());
        outcome.map_err(|refusal| refusal.map().2)
    }

    #[test]
    fn a_header_that_can_be_read_in_one_way_is_let_through() {
        for header in [
            "GET / HTTP/1.1\r\nHost: oak.example\r\n\r\n",
            "GET / HTTP/1.1\r\nhOST: oak.example\r\nX: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: oak.example\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: oak.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHosts: many\r\nhost: oak.example\r\ncontent-lengthy: 1\r\ncontent-length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nX: \u{e9}\tb: c\r\nHost: oak.example\r\n\r\n",
        ] {
            assert_eq!(of(header), Ok(()), "{header:?}");
        }
    }

    #[test]
    fn what_two_parsers_may_read_differently_is_refused() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", "not_exactly_one_host"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n",
                "not_exactly_one_host",
            ),
            ("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", "bare_line_feed"),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_line_feed"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_line_feed"),
            ("GET / HTTP/1.1\r\nHost: a", "bare_line_feed"),
            ("", "bare_line_feed"),
            (
                "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n",
                "control_character_in_header",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
                "control_character_in_header",
            ),
            ("GET / HTTP/1.1\r\nHost: a\r", "control_character_in_header"),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded_header_line"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
                "folded_header_line",
            ),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "fragment_in_target"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "ambiguous_body_length",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n",
                "ambiguous_body_length",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x\r\nTransfer-encoding: chunked\r\n\r\n",
                "ambiguous_body_length",
            ),
        ];
        for (header, why) in cases {
            assert_eq!(of(header), Err(why), "{header:?}");
        }
    }

    #[test]
    fn a_header_is_as_long_as_the_limit_at_most() {
        let limits = Limits {
            header_bytes_max: 40,
            ..Limits::default()
        };
        let header = |bytes: usize| {
            let start = "GET / HTTP/1.1\r\nHost: ";
            format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
        };
        assert_eq!(check(header(40).as_bytes(), &limits), Ok(()));
        assert_eq!(
            check(header(41).as_bytes(), &limits),
            Err(Refusal::HeaderTooLarge)
        );
    }
}
