//! What an authority says, before the library reads it.
//!
//! The library puts URLs of answers into requests, and waits that it is told into its clock, and panics where they do not
//! fit (found by fuzzing): both end here.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Uri};
use instant_acme::BytesResponse;
use serde_json::Value;

use super::fault::WireFault;

/// No authority is waited for longer: what is due is asked for again.
const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// What the library asks next (RFC 8555, 7.1; RFC 9773, 3).
const URLS: [&str; 12] = [
    "newNonce",
    "newAccount",
    "newOrder",
    "newAuthz",
    "revokeCert",
    "keyChange",
    "renewalInfo",
    "url",
    "orders",
    "authorizations",
    "finalize",
    "certificate",
];

/// An answer that the library can read, or refuse, without harm.
pub(super) fn tame(mut parts: Parts, body: Bytes) -> Result<BytesResponse, WireFault> {
    let headers = &mut parts.headers;
    if retry_after(headers).is_some_and(|after| after > RETRY_MAX) {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_MAX.as_secs()));
    }
    let place = headers.get(LOCATION);
    if place.is_some_and(|place| !place.to_str().is_ok_and(is_url)) {
        return Err(WireFault::NotAUrl);
    }
    // What is no JSON is the library's to refuse, or is a chain.
    if let Ok(said) = serde_json::from_slice::<Value>(&body)
        && !has_good_urls(&said)
    {
        return Err(WireFault::NotAUrl);
    }
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

/// When the authority may be asked again.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

fn has_good_urls(said: &Value) -> bool {
    match said {
        Value::Object(members) => {
            members.iter().all(
                |(name, value)| match (URLS.contains(&name.as_str()), value) {
                    (true, Value::String(text)) => is_url(text),
                    (true, Value::Array(list)) => list
                        .iter()
                        .all(|of| of.as_str().is_none_or(is_url) && has_good_urls(of)),
                    (_, value) => has_good_urls(value),
                },
            )
        }
        Value::Array(list) => list.iter().all(has_good_urls),
        _ => true,
    }
}

fn is_url(text: &str) -> bool {
    let url = text.parse::<Uri>().ok();
    url.is_some_and(|url| url.scheme_str() == Some("https") && url.authority().is_some())
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn tamed(retry: &str, place: &str, body: &'static str) -> Result<Option<Duration>, WireFault> {
        let answer = Response::builder()
            .header(RETRY_AFTER, retry)
            .header(LOCATION, place)
            .body(())
            .expect("headers");
        let (parts, ()) = answer.into_parts();
        tame(parts, Bytes::from_static(body.as_bytes()))
            .map(|said| retry_after(&said.parts.headers))
    }

    #[test]
    fn a_wait_is_at_most_a_day_and_a_url_is_one() {
        let here = "https://authority.example/order/1";
        assert_eq!(tamed("60", here, ""), Ok(Some(Duration::from_secs(60))));
        for long in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(tamed(long, here, "{}"), Ok(Some(RETRY_MAX)), "{long}");
        }
        let good = r#"{"finalize":"https://a.example/f","authorizations":["https://a.example/1"],"status":"x"}"#;
        assert_eq!(tamed("", here, good), Ok(None));
        for bad in [
            r#"{"finalize":"https://a.ex|mple/f"}"#,
            r#"{"finalize":"http://a.example/f"}"#,
            r#"{"authorizations":["https://a.example/1","/2"]}"#,
            r#"{"challenges":[{"type":"http-01","url":""}]}"#,
        ] {
            assert_eq!(tamed("", here, bad), Err(WireFault::NotAUrl), "{bad}");
        }
        assert_eq!(tamed("", "/order/1", "{}"), Err(WireFault::NotAUrl));
    }
}
