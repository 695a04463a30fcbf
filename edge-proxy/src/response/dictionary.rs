//! Which bytes a client offers as a dictionary, and whether it may have an answer told by them
//! (RFC 9842).
//!
//! Only files that are named by their content are ever told this way (see [`crate::assets::release`]):
//! sizes of answers that mix secrets and a client's own text would give the secrets away.

use asset_pipeline::digest::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK};
use pingora_http::ResponseHeader;

/// The digest of what the client holds.
pub const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");
/// For which URLs an answer may serve as a dictionary.
pub const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The dictionary that a client holds and may have this answer told by; none where it says anything
/// else than one SHA-256 as a structured field.
pub fn offered(headers: &HeaderMap) -> Option<Digest> {
    let mut lines = headers.get_all(AVAILABLE_DICTIONARY).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let text = line.as_bytes().trim_ascii();
    let text = text.strip_prefix(b":")?.strip_suffix(b":")?;
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let digest = Digest::from_bytes(bytes.try_into().ok()?);
    is_readable(headers).then_some(digest)
}

/// Says beside a page where the dictionary of its release is (RFC 9842, section 3): a browser that knows
/// dictionaries fetches it when it has nothing else to do.
///
/// # Errors
/// When the header takes no more fields.
pub fn offer(header: &mut ResponseHeader, link: &HeaderValue) -> pingora_core::Result<()> {
    let kind = header.headers.get(CONTENT_TYPE);
    let page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if page && header.status == StatusCode::OK {
        header.append_header(LINK, link)?;
    }
    Ok(())
}

/// Whether whoever asks can read the answer anyway, so that its size tells nothing new: the rule of
/// section 9.3.3 for answers without `Access-Control-Allow-Origin`, which no file here has.
fn is_readable(headers: &HeaderMap) -> bool {
    match (headers.get(SEC_FETCH_SITE), headers.get(SEC_FETCH_MODE)) {
        // No browser that knows dictionaries leaves them out.
        (None, _) | (_, None) => true,
        (Some(site), _) if site == "same-origin" => true,
        (Some(_), Some(mode)) => mode == "navigate" || mode == "same-origin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_str(value).expect("a header value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn field(bytes: &[u8]) -> String {
        format!(":{}:", BASE64_STANDARD.encode(bytes))
    }

    #[test]
    fn one_digest_is_an_offer_and_nothing_else_is() {
        let digest = Digest::of(b"held");
        let good = field(digest.as_bytes());
        let name = "available-dictionary";
        assert_eq!(offered(&headers(&[(name, &good)])), Some(digest));
        assert_eq!(
            offered(&headers(&[(name, &format!(" {good} "))])),
            Some(digest)
        );
        for bad in [
            "",
            ":",
            "::",
            good.trim_matches(':'),
            &good[1..],
            &format!("{good}, {good}"),
            &format!("({good})"),
            &field(&digest.as_bytes()[..31]),
            &field(&[digest.as_bytes().as_slice(), b"x"].concat()),
            &good.replace('=', ""),
            &digest.to_string(),
        ] {
            assert_eq!(offered(&headers(&[(name, bad)])), None, "{bad}");
        }
        assert_eq!(offered(&headers(&[(name, &good), (name, &good)])), None);
        assert_eq!(offered(&headers(&[])), None);
    }

    #[test]
    fn only_who_can_read_the_answer_gets_it_told_by_a_dictionary() {
        let digest = field(Digest::of(b"held").as_bytes());
        for (site, mode, told) in [
            ("", "", true),
            ("same-origin", "", true),
            ("same-origin", "no-cors", true),
            ("same-origin", "cors", true),
            ("cross-site", "navigate", true),
            ("none", "navigate", true),
            ("cross-site", "same-origin", true),
            // Without the answer's consent a page of another origin cannot read it.
            ("cross-site", "cors", false),
            ("same-site", "cors", false),
            ("cross-site", "no-cors", false),
            ("same-site", "no-cors", false),
            ("cross-site", "websocket", false),
            ("junk", "junk", false),
        ] {
            let mut headers = headers(&[("available-dictionary", &digest)]);
            for (name, value) in [(SEC_FETCH_SITE, site), (SEC_FETCH_MODE, mode)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
                }
            }
            assert_eq!(offered(&headers).is_some(), told, "{site} {mode}");
        }
    }

    #[test]
    fn only_a_page_that_is_there_offers_a_dictionary() {
        let link = HeaderValue::from_static("</d>; rel=\"compression-dictionary\"");
        for (status, kind, offers) in [
            (200, "text/html", 1),
            (200, "text/html; charset=utf-8", 1),
            (200, "text/css", 0),
            (404, "text/html", 0),
            (304, "text/html", 0),
        ] {
            let mut header = ResponseHeader::build(status, None).expect("a status");
            header.insert_header(CONTENT_TYPE, kind).expect("a type");
            header
                .insert_header(LINK, "</x>; rel=preload")
                .expect("a link");
            offer(&mut header, &link).expect("it takes a field");
            assert_eq!(
                header.headers.get_all(LINK).iter().count(),
                1 + offers,
                "{status} {kind}"
            );
        }
    }
}
