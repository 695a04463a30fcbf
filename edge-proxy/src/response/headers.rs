//! Header fields that every answer gets, and those of the origin that no client may see.

use http::header::{HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
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
const REVEALING: [&str; 3] = ["server", "x-powered-by", "x-aspnet-version"];

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
    for name in REVEALING {
        header.remove_header(name);
    }
    for (name, value) in security {
        if !header.headers.contains_key(name) {
            header.insert_header(name, value)?;
        }
    }
    let mut id = id.to_value();
    // Never seen again: HTTP/2 shall not push values that repeat out of its table for it (RFC 7541, 6.2.3).
    id.set_sensitive(true);
    header.insert_header(X_REQUEST_ID, id)?;
    if let Some(hsts) = hsts {
        header.insert_header(STRICT_TRANSPORT_SECURITY, hsts)?;
    }
    Ok(())
}
