//! The request target: what every route demands of it, and the one form that a cached read has.
//!
//! RFC 3986 lets one resource be written in many ways, and servers differ in which of them they take for the same.
//! A route that is passed on keeps the client's bytes; only what two servers could read as another directory is
//! refused. A cached read has one form: it is matched, keyed and sent to the origin in it.

use std::borrow::Cow;

/// Why a target is refused. It does not repeat the target: that may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It does not start with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// A byte outside visible ASCII, or `#`.
    #[error("the target holds a byte that no URL has")]
    Byte,
    /// `%` without two hex digits.
    #[error("the path holds a broken percent triplet")]
    Triplet,
    /// A control character, encoded.
    #[error("the path holds an encoded control character")]
    Control,
    /// A backslash, raw or encoded.
    #[error("the path holds a backslash")]
    Backslash,
    /// `.` or `..`, raw or encoded.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// Not UTF-8 once decoded.
    #[error("the path is not UTF-8")]
    NotText,
    /// `%2F`: a slash for some servers and a character for others.
    #[error("the path holds an encoded slash")]
    EncodedSlash,
    /// `%25`: a second decoding would change it.
    #[error("the path is encoded twice")]
    EncodedTwice,
    /// `;`, raw or encoded: some servers cut the segment there.
    #[error("the path holds a semicolon")]
    Semicolon,
    /// `//`: some servers merge the two.
    #[error("the path holds an empty segment")]
    EmptySegment,
}

/// What every route demands of a target, path and query together, whether or not it is cached.
///
/// # Errors
/// For bytes that no URL has; in the path also for broken percent triplets, control characters, backslashes and dot
/// segments, raw or encoded.
///
/// ```
/// use cache_rules::target::{TargetError, check};
///
/// assert_eq!(check("/files/a%2Fb?q=100%"), Ok(()));
/// assert_eq!(check("/files/%2e%2e/secret"), Err(TargetError::DotSegment));
/// ```
pub fn check(raw_target: &str) -> Result<(), TargetError> {
    let (path, query) = raw_target.split_once('?').unwrap_or((raw_target, ""));
    if !query.bytes().all(in_url) {
        return Err(TargetError::Byte);
    }
    check_path(path)
}

fn check_path(path: &str) -> Result<(), TargetError> {
    if !path.starts_with('/') {
        return Err(TargetError::NotAbsolute);
    }
    if is_plain(path) {
        return Ok(());
    }
    if !path.bytes().all(in_url) {
        return Err(TargetError::Byte);
    }
    let decoded = decode(path)?;
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(TargetError::Control);
    }
    if decoded.contains(&b'\\') {
        return Err(TargetError::Backslash);
    }
    let mut segments = decoded.split(|&b| b == b'/');
    if segments.any(|segment| segment == b"." || segment == b"..") {
        return Err(TargetError::DotSegment);
    }
    Ok(())
}

/// The path decoded once, to look a file up: `/a/[id].js` and `/a/%5Bid%5D.js` are one file.
///
/// # Errors
/// As [`check`], and for what no file name holds: an encoded slash and bytes that are not UTF-8. That is no reason
/// to refuse the request; no file has such a name.
///
/// ```
/// use cache_rules::target::decoded;
///
/// assert_eq!(decoded("/_next/%5Bid%5D/page.js")?, "/_next/[id]/page.js");
/// # Ok::<(), cache_rules::target::TargetError>(())
/// ```
pub fn decoded(raw_path: &str) -> Result<Cow<'_, str>, TargetError> {
    check_path(raw_path)?;
    if !raw_path.contains('%') {
        return Ok(Cow::Borrowed(raw_path));
    }
    if triplets(raw_path).any(|byte| byte == Some(b'/')) {
        return Err(TargetError::EncodedSlash);
    }
    let text = String::from_utf8(decode(raw_path)?).map_err(|_| TargetError::NotText)?;
    Ok(Cow::Owned(text))
}

/// A path in the one form that rules match, keys hold and the origin of a cached read is asked for.
///
/// Percent triplets of unreserved characters are decoded, the others are in upper case, and what no URI holds raw is
/// one. Nothing else is changed: what would need a guess is refused.
///
/// ```
/// use cache_rules::target::{CanonicalPath, TargetError};
///
/// assert_eq!(CanonicalPath::parse("/%63ourses/caf%c3%a9")?.as_str(), "/courses/caf%C3%A9");
/// assert_eq!(CanonicalPath::parse("/courses%2F7").err(), Some(TargetError::EncodedSlash));
/// # Ok::<(), TargetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl<'a> CanonicalPath<'a> {
    /// Reads a path as the client wrote it.
    ///
    /// # Errors
    /// As [`decoded`], and for semicolons, empty segments and `%25`.
    pub fn parse(raw_path: &'a str) -> Result<Self, TargetError> {
        if is_canonical(raw_path) {
            return Ok(Self(Cow::Borrowed(raw_path)));
        }
        check_path(raw_path)?;
        if raw_path.contains("//") {
            return Err(TargetError::EmptySegment);
        }
        if raw_path.contains(';') {
            return Err(TargetError::Semicolon);
        }
        for byte in triplets(raw_path).flatten() {
            match byte {
                b'/' => return Err(TargetError::EncodedSlash),
                b'%' => return Err(TargetError::EncodedTwice),
                b';' => return Err(TargetError::Semicolon),
                _ => {}
            }
        }
        if raw_path.contains('%') {
            let text = String::from_utf8(decode(raw_path)?).map_err(|_| TargetError::NotText)?;
            if text.contains(char::is_control) {
                return Err(TargetError::Control);
            }
        }
        Ok(Self(canonical(raw_path)))
    }

    /// The path in its one form, still encoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes that a target may hold.
fn in_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Most paths: nothing to decode, and no dot at the start of a segment.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let plain = match byte {
            b'.' => before != b'/',
            b'%' | b'\\' | b'#' => false,
            _ => byte.is_ascii_graphic(),
        };
        before = byte;
        plain
    })
}

/// Most paths, in one turn over their bytes: in their one form already. What it says no to may still be.
fn is_canonical(path: &str) -> bool {
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let dot_or_empty = before == b'/' && matches!(byte, b'.' | b'/');
            before = byte;
            IN_PATH[usize::from(byte)] && !dot_or_empty
        })
}

/// What stands for itself in a canonical path.
const IN_PATH: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = in_uri(byte) && byte != b'?';
        byte += 1;
    }
    table
};

/// The value of each percent triplet; none for a broken one.
fn triplets(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.split('%')
        .skip(1)
        .map(|rest| hex_pair(rest.as_bytes()))
}

/// The two hex digits at the start. They are ASCII, so a text may be cut after them.
fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn decode(text: &str) -> Result<Vec<u8>, TargetError> {
    let mut parts = text.split('%');
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts.map(str::as_bytes) {
        out.push(hex_pair(part).ok_or(TargetError::Triplet)?);
        out.extend_from_slice(&part[2..]);
    }
    Ok(out)
}

/// RFC 3986, 6.2.2: triplets of unreserved characters decoded, the other triplets in upper case, and what no URI holds
/// raw (such as `[` in a path) as a triplet. None are broken here.
fn canonical(text: &str) -> Cow<'_, str> {
    if text.bytes().all(in_uri) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match hex_pair(after) {
            Some(decoded) if byte == b'%' => {
                push_encoded(&mut out, decoded);
                rest = &after[2..];
            }
            _ if in_uri(byte) => out.push(char::from(byte)),
            _ => push_encoded(&mut out, byte),
        }
    }
    Cow::Owned(out)
}

/// RFC 3986, 2.2, 2.3 and 3.4: what stands for itself in a path or a query, without `%`, and without `;`: paths
/// hold none, and in a query Rack 2 would end a pair there, so that a name that no rule lists reached the origin.
const fn in_uri(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\''
        | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b'/' | b'?')
}

/// One text in its one encoded form.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.bytes().for_each(|byte| push_encoded(&mut out, byte));
    out
}

fn push_encoded(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(char::from(byte));
    } else {
        out.push('%');
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// A name or value of a query, decoded once: as it is compared. A `+` stays one.
pub(crate) fn decoded_query_part(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.bytes().all(in_url) {
        return None;
    }
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let text = String::from_utf8(decode(raw).ok()?).ok()?;
    (!text.contains(char::is_control)).then_some(Cow::Owned(text))
}

/// A value of a query, that has passed [`decoded_query_part`], in its one form.
pub(crate) fn canonical_query_value(raw: &str) -> Cow<'_, str> {
    canonical(raw)
}

/// What the most generous origin would make of a path that has no canonical form: decoded twice, backslashes taken
/// for slashes, segments cut at `;`. Only to find out whether a cached read is meant; never keyed or sent.
pub(crate) fn loosest(raw_path: &str) -> String {
    let once = decode_what_can_be(raw_path.as_bytes());
    let twice = decode_what_can_be(&once);
    let slashes: Vec<u8> = twice
        .into_iter()
        .map(|byte| if byte == b'\\' { b'/' } else { byte })
        .collect();
    let segments = slashes
        .split(|&b| b == b'/')
        .map(|segment| segment.split(|&b| b == b';').next().unwrap_or_default());
    let path = segments.collect::<Vec<_>>().join(&b'/');
    String::from_utf8_lossy(&path).into_owned()
}

fn decode_what_can_be(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let pair = (byte == b'%').then(|| hex_pair(after)).flatten();
        out.push(pair.unwrap_or(byte));
        rest = if pair.is_some() { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests;
