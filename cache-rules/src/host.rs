//! The name of a host, in the one form that is compared, keyed and looked up.
//!
//! Not a resolver and not an IDNA library: browsers send the ASCII form, so anything else is refused.

use std::borrow::Borrow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// RFC 1035: a name in text form without its final dot.
const NAME_BYTES_MAX: usize = 253;
/// RFC 1035: one label.
const LABEL_BYTES_MAX: usize = 63;

/// Lower-case ASCII, without port and without final dot; a name of letters, digits and hyphens, or an IP literal.
///
/// ```
/// use cache_rules::host::HostName;
///
/// let host = HostName::parse("Oak.School.Example.")?;
/// assert_eq!(host.as_str(), "oak.school.example");
/// assert!(HostName::parse("oak.school.example:443").is_err());
/// # Ok::<(), cache_rules::host::HostError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// Why a text names no host. It does not repeat the text: that came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes, or a label of more than 63.
    #[error("the host is longer than a name may be")]
    TooLong,
    /// An empty label, a hyphen at its edge, or a character other than letter, digit and hyphen.
    #[error("the host is not a name: labels hold letters, digits and inner hyphens")]
    NotAName,
    /// The last label is a number, but the whole is no IPv4 address in its usual spelling; or no IPv6 in brackets.
    #[error("the host looks like an IP address and is none")]
    NotAnAddress,
    /// Not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    NotAPort,
}

impl HostName {
    /// Reads a host without port, in any case, with or without the final dot.
    ///
    /// # Errors
    /// When the text is empty, too long, holds anything but letters, digits, hyphens and dots, or is a number that
    /// some parsers take for an address and others do not (`127.1`, `0x7f.0.0.1`).
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner
                .strip_suffix(']')
                .and_then(|inner| inner.parse().ok())
                .ok_or(HostError::NotAnAddress)?;
            return Ok(Self(format!("[{address}]").into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(HostError::TooLong);
        }
        let mut last = "";
        for label in name.split('.') {
            check_label(label)?;
            last = label;
        }
        if is_number(last) && name.parse::<Ipv4Addr>().is_err() {
            return Err(HostError::NotAnAddress);
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Ok(Self(name.to_ascii_lowercase().into()))
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name in its one form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(label: &str) -> Result<(), HostError> {
    if label.len() > LABEL_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    let fits = !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(HostError::NotAName)
    }
}

/// What the URL standard calls a number: such a last label makes the whole an IPv4 address or nothing.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client writes into `Host` or `:authority`: a host, and a port when it is not the scheme's own.
///
/// ```
/// use cache_rules::host::Authority;
///
/// let authority = Authority::parse("Oak.example:8443")?;
/// assert_eq!((authority.host.as_str(), authority.port), ("oak.example", Some(8443)));
/// assert!(Authority::parse("pupil@oak.example").is_err());
/// # Ok::<(), cache_rules::host::HostError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: HostName,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    /// As [`HostName::parse`]; also for userinfo, an empty port and a port of 0.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        // The colons of an IPv6 literal are inside its brackets.
        let after_literal = text.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match text.get(after_literal..).and_then(|rest| rest.find(':')) {
            Some(at) => {
                let (host, port) = text.split_at(after_literal + at);
                (host, Some(parse_port(&port[1..])?))
            }
            None => (text, None),
        };
        Ok(Self {
            host: HostName::parse(host)?,
            port,
        })
    }
}

fn parse_port(text: &str) -> Result<u16, HostError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(HostError::NotAPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        let table = [
            ("oak.example", "oak.example"),
            ("OAK.Example", "oak.example"),
            ("oak.example.", "oak.example"),
            ("xn--schler-xxa.example", "xn--schler-xxa.example"),
            ("localhost", "localhost"),
            ("3com.example", "3com.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ];
        // As long as may be: RFC 1035, 2.3.4.
        let label = "a".repeat(63);
        let name = format!("{}{}", "a.".repeat(125), "abc");
        assert_eq!(name.len(), 253);
        for (text, expected) in table
            .into_iter()
            .chain([(&*label, &*label), (&name, &name)])
        {
            let host = HostName::parse(text).expect(text);
            assert_eq!(host.as_str(), expected);
            assert_eq!(host.to_string(), expected);
            assert_eq!(Borrow::<str>::borrow(&host), expected);
            assert_eq!(HostName::parse(host.as_str()), Ok(host.clone()));
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        use HostError::{Empty, NotAName, NotAnAddress, TooLong};
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        let table = [
            ("", Empty),
            (".", Empty),
            ("..", NotAName),
            ("oak..example", NotAName),
            (".oak", NotAName),
            ("-oak.example", NotAName),
            ("oak-.example", NotAName),
            ("oak_tree.example", NotAName),
            ("oak example", NotAName),
            ("oak.example:443", NotAName),
            ("user@oak.example", NotAName),
            ("oäk.example", NotAName),
            ("oak\0.example", NotAName),
            ("oak.example/", NotAName),
            ("127.1", NotAnAddress),
            ("2130706433", NotAnAddress),
            ("0x7f.0.0.1", NotAnAddress),
            ("127.0.0.0x1", NotAnAddress),
            ("127.0.0.01", NotAnAddress),
            ("127.0.0.256", NotAnAddress),
            ("[::1", NotAnAddress),
            ("[127.0.0.1]", NotAnAddress),
            ("[fe80::1%25eth0]", NotAnAddress),
            (&long_label, TooLong),
            (&long_name, TooLong),
        ];
        for (text, expected) in table {
            assert_eq!(HostName::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let table = [
            ("oak.example", Some(("oak.example", None))),
            ("Oak.example.:8443", Some(("oak.example", Some(8443)))),
            ("[::1]:8443", Some(("[::1]", Some(8443)))),
            ("[::1]", Some(("[::1]", None))),
            ("[::1]8443", None),
            ("oak.example:", None),
            ("oak.example:0", None),
            ("oak.example:65536", None),
            ("oak.example:+1", None),
            ("oak.example:1:2", None),
            ("user:word@oak.example", None),
            ("user@oak.example:1", None),
            ("[::1]x:1", None),
            (":443", None),
            ("", None),
        ];
        for (text, expected) in table {
            let seen = Authority::parse(text).ok();
            let seen = seen.as_ref().map(|a| (a.host.as_str(), a.port));
            assert_eq!(seen, expected, "{text:?}");
        }
    }
}
