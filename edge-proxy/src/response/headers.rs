//! Header fields that every answer gets, and those of the origin that no client may see.

use std::mem;

use http::Response;
use http::header::{HeaderName, HeaderValue, SERVER, STRICT_TRANSPORT_SECURITY};
use http::response::Parts;
use pingora_core::ErrorType::InvalidHTTPHeader;
use pingora_core::OrErr;
use pingora_http::ResponseHeader;

use crate::session::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Said by the origin to the edge: consumed, and never sent on.
const CONSUMED: [&str; 8] = [
    "x-edge-cache-scope",
    "x-edge-identity",
    "surrogate-key",
    "surrogate-control",
    "cache-tag",
    "cache-groups",
    "cache-group-invalidation",
    "cdn-cache-control",
];

/// Removes what the origin said to the edge alone.
pub fn consume(header: &mut ResponseHeader) {
    for name in CONSUMED {
        header.remove_header(name);
    }
    let ours: Vec<HeaderName> = header
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-edge-"))
        .cloned()
        .collect();
    for name in ours {
        header.remove_header(&name);
    }
}

/// What runs behind the edge is nobody's business but an attacker's.
const REVEALING: [HeaderName; 3] = [
    SERVER,
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
];

/// Adds what every answer has; `security` only where the origin said nothing. `hsts` is only sent over TLS (RFC 6797, 7.2).
///
/// # Errors
/// When `hsts` is no header value, which a checked config rules out.
pub fn finish(
    header: &mut ResponseHeader,
    id: &RequestId,
    hsts: Option<&str>,
    security: &[(HeaderName, HeaderValue)],
) -> pingora_core::Result<()> {
    for name in &REVEALING {
        header.remove_header(name);
    }
    let mut id = id.to_value();
    // Never seen again: HTTP/2 shall not push values that repeat out of its table for it (RFC 7541, 6.2.3).
    id.set_sensitive(true);
    let unsaid = security
        .iter()
        .filter(|(name, _)| !header.headers.contains_key(name));
    let mut fields: Vec<(HeaderName, HeaderValue)> = unsaid.cloned().collect();
    fields.push((X_REQUEST_ID, id));
    if let Some(hsts) = hsts {
        let hsts = HeaderValue::from_str(hsts).or_err(InvalidHTTPHeader, "hsts")?;
        fields.push((STRICT_TRANSPORT_SECURITY, hsts));
    }
    set(header, fields)
}

/// Sets fields. For the sake of their case pingora spells the name of each and reads it again; an answer of the edge's
/// own has no case to keep, so its map is taken out for that time.
fn set(
    header: &mut ResponseHeader,
    fields: Vec<(HeaderName, HeaderValue)>,
) -> pingora_core::Result<()> {
    if header.has_case() {
        for (name, value) in fields {
            header.insert_header(name, value)?;
        }
        return Ok(());
    }
    let nothing = ResponseHeader::from(Response::new(()).into_parts().0);
    let mut parts = Parts::from(mem::replace(header, nothing));
    for (name, value) in fields {
        parts.headers.insert(name, value);
    }
    *header = parts.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the edge's own, and one that came from an origin over HTTP/1.1.
    fn answers() -> [ResponseHeader; 2] {
        let own = ResponseHeader::build_no_case(200, None).expect("a header");
        let passed = ResponseHeader::build(200, None).expect("a header");
        [own, passed]
    }

    #[test]
    fn every_answer_says_the_same_whoever_made_it() {
        let security = [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
        ];
        let security = security.map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        for mut header in answers() {
            header.set_status(404).expect("a status");
            for (name, value) in [
                ("Server", "nginx"),
                ("X-Powered-By", "Next.js"),
                ("X-Frame-Options", "SAMEORIGIN"),
                ("X-Request-Id", "the origin's"),
                ("Content-Type", "text/html"),
            ] {
                header.insert_header(name, value).expect("a field");
            }
            let id = RequestId::new();
            finish(&mut header, &id, Some("max-age=9"), &security).expect("it is finished");
            let mut said: Vec<(&str, &str)> = header
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
                .collect();
            said.sort_unstable();
            let expected = [
                ("content-type", "text/html"),
                ("strict-transport-security", "max-age=9"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "SAMEORIGIN"),
                ("x-request-id", id.as_str()),
            ];
            assert_eq!(said, expected);
            assert_eq!(header.status, 404);
            assert!(header.headers["x-request-id"].is_sensitive());
        }
    }

    #[test]
    fn a_passed_answer_keeps_the_case_of_its_names() {
        let [_, mut header] = answers();
        header.insert_header("X-School", "oak").expect("a field");
        finish(&mut header, &RequestId::new(), None, &[]).expect("it is finished");
        let mut wire = Vec::new();
        header.header_to_h1_wire(&mut wire);
        let wire = String::from_utf8(wire).expect("text");
        assert!(wire.contains("X-School: oak\r\n"), "{wire}");
    }
}
