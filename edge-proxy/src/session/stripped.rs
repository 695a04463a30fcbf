//! What of a client's header no origin gets: names that only the edge or the operator may set, or that frameworks behind it
//! would obey.

use http::header::HeaderName;
use pingora_http::RequestHeader;

/// Removes it.
pub(super) fn strip(header: &mut RequestHeader) {
    let doomed: Vec<HeaderName> = header
        .headers
        .keys()
        .filter(|name| is_stripped(name))
        .cloned()
        .collect();
    for name in doomed {
        header.remove_header(&name);
    }
}

fn is_stripped(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Rack and CGI fold `_` to `-`, so such a name could stand for any of those below.
    if name.as_bytes().contains(&b'_') {
        return true;
    }
    match name.strip_prefix("x-") {
        Some(rest) => is_stripped_extension(rest),
        None => matches!(
            name,
            "client-ip"
                | "forwarded"
                | "proxy"
                | "surrogate-capability"
                | "traceparent"
                | "tracestate"
                | "true-client-ip"
                | "via"
        ),
    }
}

/// Of names that begin with `x-`, what follows.
fn is_stripped_extension(rest: &str) -> bool {
    const FAMILIES: [&str; 7] = [
        "accel-",
        "edge-",
        "forwarded-",
        "invoke-",
        "middleware-",
        "tenant",
        "vercel-",
    ];
    matches!(
        rest,
        "client-ip"
            | "forwarded"
            | "host"
            | "http-method"
            | "http-method-override"
            | "matched-path"
            | "method-override"
            | "nextjs-matched-path"
            | "now-route-matches"
            | "original-host"
            | "original-url"
            | "real-ip"
            | "request-id"
            | "rewrite-url"
            | "sendfile-type"
            | "user-id"
            | "user-role"
    ) || FAMILIES.iter().any(|family| rest.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_the_edge_may_set_are_removed_in_every_spelling() {
        for name in [
            "x-edge-tenant",
            "X-Edge-Identity",
            "x_edge_tenant",
            "x-forwarded-for",
            "X-Forwarded-Host",
            "x_forwarded_proto",
            "x-forwarded",
            "forwarded",
            "via",
            "proxy",
            "x-middleware-subrequest",
            "x-tenant-id",
            "x-tenant",
            "x-request-id",
            "x-real-ip",
            "x-original-url",
            "x-accel-redirect",
            "x-sendfile-type",
            "traceparent",
        ] {
            assert!(is_stripped(&name.parse().expect("a name")), "{name}");
        }
        for name in [
            "cookie",
            "authorization",
            "x-csrf-token",
            "x-requested-with",
            "x-deployment-id",
            "x-",
            "x",
            "host",
            "rsc",
            "next-router-state-tree",
        ] {
            assert!(!is_stripped(&name.parse().expect("a name")), "{name}");
        }
    }
}
