//! Answers of the edge's own: every refusal, short, uncacheable, without a word of the request.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use pingora_http::ResponseHeader;

use super::send::{Body, Reply};
use crate::error::Refusal;

/// What a refusal looks like to a client that sent these headers.
///
/// # Errors
/// Never: all values are plain text.
pub fn reply(
    refusal: Refusal,
    method: &Method,
    headers: &HeaderMap,
) -> pingora_core::Result<Reply> {
    let (status, _, _) = refusal.map();
    let (kind, body) = body(status, refusal, headers);
    let mut header = ResponseHeader::build_no_case(status, Some(8))?;
    header.insert_header(CONTENT_TYPE, kind)?;
    header.insert_header(CONTENT_LENGTH, body.len())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    header.insert_header(X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    header.insert_header(
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'",
    )?;
    if let Some(seconds) = refusal.retry_after_s() {
        header.insert_header(RETRY_AFTER, seconds)?;
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2 demands a challenge; people sign in with a form.
        header.insert_header(WWW_AUTHENTICATE, "Session realm=\"school\"")?;
    }
    let body = if method == Method::HEAD {
        Body::Empty
    } else {
        Body::Bytes(Bytes::from(body))
    };
    Ok(Reply {
        header: Box::new(header),
        body,
    })
}

/// The same under `https` (RFC 9110, 15.4.9: the method stays).
///
/// # Errors
/// When the target is no header value, which an admitted one never is.
pub fn to_https(location: &str) -> pingora_core::Result<Reply> {
    let mut header = ResponseHeader::build_no_case(StatusCode::PERMANENT_REDIRECT, Some(4))?;
    header.insert_header(LOCATION, location)?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    Ok(Reply {
        header: Box::new(header),
        body: Body::Empty,
    })
}

/// The answer to a challenge of a certificate authority.
///
/// # Errors
/// Never: all values are plain text.
pub fn to_authority(answer: &str, method: &Method) -> pingora_core::Result<Reply> {
    let mut header = ResponseHeader::build_no_case(StatusCode::OK, Some(4))?;
    header.insert_header(CONTENT_TYPE, "application/octet-stream")?;
    header.insert_header(CONTENT_LENGTH, answer.len())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    let body = match *method {
        Method::HEAD => Body::Empty,
        _ => Body::Bytes(Bytes::copy_from_slice(answer.as_bytes())),
    };
    Ok(Reply {
        header: Box::new(header),
        body,
    })
}

/// People who navigate get a page, programs get a problem document (RFC 9457).
fn body(status: StatusCode, refusal: Refusal, headers: &HeaderMap) -> (&'static str, String) {
    let title = status.canonical_reason().unwrap_or("Error");
    let accepts_html = headers.get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
    });
    if accepts_html {
        let page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>body{{font:1.125rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem;\
             color-scheme:light dark}}</style><h1>{title}</h1><p>{}</p></html>\n",
            refusal.public()
        );
        ("text/html; charset=utf-8", page)
    } else {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": status.as_u16(),
            "detail": refusal.public(),
        });
        ("application/problem+json", problem.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn people_get_a_page_and_programs_a_problem() {
        let mut headers = HeaderMap::new();
        let kind = |headers: &HeaderMap| {
            let reply = reply(Refusal::NoMember, &Method::GET, headers).expect("plain text");
            assert_eq!(reply.header.status, 503);
            assert_eq!(reply.header.headers[CACHE_CONTROL], "no-store");
            assert_eq!(reply.header.headers[RETRY_AFTER], "2");
            reply.header.headers[CONTENT_TYPE].clone()
        };
        assert_eq!(kind(&headers), "application/problem+json");
        headers.insert(ACCEPT, HeaderValue::from_static("text/HTML,*/*;q=0.8"));
        assert_eq!(kind(&headers), "text/html; charset=utf-8");
    }
}
