//! What a request says of the version that it belongs to, and what of it is true.
//!
//! Three things say so: the operator's signed header, the deployment id that pages of Next.js send
//! along (`x-deployment-id`, `?dpl=`), and the cookie that binds a browser. What is malformed, forged
//! or over is as if it had not been said. The cookie is between the browser and the edge: no origin
//! sees it. An id proves nothing, so it only chooses among versions that are open to anybody.

use std::fmt;

use asset_pipeline::id::AppId;
use cache_rules::tenant::TenantId;
use http::header::{COOKIE, HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use super::keys::PinKeys;
use super::order::OrderKeys;
use super::pins::{COOKIE_NAME, Pins};
use crate::colour::Colour;

/// Where the operator's order is; [`crate::session`] removes it with everything that only the edge may say.
const ORDER: HeaderName = HeaderName::from_static("x-edge-override");
/// What pages of Next.js that have a deployment id send with what they fetch.
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-deployment-id");
/// The same on the URLs that such pages load.
const DEPLOYMENT_QUERY: &str = "dpl";

/// A release's id is no longer, and neither is a commit's.
const DEPLOYMENT_BYTES_MAX: usize = 128;
/// Cookies of our name that are looked at: a browser sends one.
const COOKIES_MAX: usize = 3;

/// What was said; nothing of it is proven.
#[derive(Default)]
pub struct Said {
    order: Option<HeaderValue>,
    deployment: Option<String>,
    cookies: Vec<Vec<u8>>,
}

/// What of it is true of one app and one school.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// The operator wants this colour.
    pub order: Option<Colour>,
    /// The page was made by a release with this deployment id.
    pub deployment: Option<String>,
    /// The browser's unit and what it is bound to.
    pub pins: Option<Pins>,
}

impl fmt::Debug for Said {
    /// Without what was said: cookies and signatures are no business of a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said")
            .field("order", &self.order.is_some())
            .field("deployment", &self.deployment.is_some())
            .field("cookies", &self.cookies.len())
            .finish()
    }
}

impl Said {
    /// Takes it out of a request: the cookie is not there any more afterwards.
    pub fn take(header: &mut RequestHeader) -> Self {
        let deployment = header
            .headers
            .get(DEPLOYMENT)
            .and_then(|value| value.to_str().ok())
            .or_else(|| of_query(header.uri.query()?))
            .filter(|id| (1..=DEPLOYMENT_BYTES_MAX).contains(&id.len()))
            .map(str::to_owned);
        Self {
            order: header.headers.get(ORDER).cloned(),
            deployment,
            cookies: take_cookies(header),
        }
    }

    /// As a URL alone says it.
    pub fn of_query(query: Option<&str>) -> Self {
        Self {
            deployment: query.and_then(of_query).map(str::to_owned),
            ..Self::default()
        }
    }

    /// What of it is true for `app` in `tenant` at `now_s`.
    pub fn prove(
        &self,
        app: &AppId,
        tenant: &TenantId,
        orders: &OrderKeys,
        pins: Option<&PinKeys>,
        now_s: u64,
    ) -> Claims {
        let order = self.order.as_ref().and_then(|order| {
            let text = order.to_str().ok()?;
            orders.proven(text, app, now_s)
        });
        let proven = |keys: &PinKeys| {
            let cookies = self.cookies.iter().take(COOKIES_MAX);
            cookies
                .filter_map(|cookie| std::str::from_utf8(cookie).ok())
                .find_map(|cookie| Pins::proven(cookie, tenant, keys))
        };
        Claims {
            order,
            deployment: self.deployment.clone(),
            pins: pins.and_then(proven),
        }
    }
}

/// The id in a query; ids are letters, digits, `-` and `_`, which nobody encodes.
fn of_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == DEPLOYMENT_QUERY).then_some(value)
    })
}

/// Removes our cookies from the request, and returns their values.
fn take_cookies(header: &mut RequestHeader) -> Vec<Vec<u8>> {
    // Every request comes by here: most are told apart by one look at each cookie's first bytes.
    let has_ours = |value: &HeaderValue| {
        let mut cookies = value.as_bytes().split(|&byte| byte == b';');
        cookies.any(|cookie| cookie.trim_ascii_start().starts_with(COOKIE_NAME))
    };
    if !header.headers.get_all(COOKIE).iter().any(has_ours) {
        return Vec::new();
    }
    let fields: Vec<HeaderValue> = header.headers.get_all(COOKIE).iter().cloned().collect();
    header.remove_header(&COOKIE);
    let mut ours = Vec::new();
    for field in fields {
        let mut others: Vec<&[u8]> = Vec::new();
        for (name, whole) in pieces(&field) {
            if name != COOKIE_NAME {
                others.push(whole);
            } else if let Some(at) = whole.iter().position(|&byte| byte == b'=') {
                ours.push(whole[at + 1..].trim_ascii().to_vec());
            }
        }
        if others.is_empty() {
            continue;
        }
        if let Ok(left) = HeaderValue::from_bytes(&others.join(&b"; "[..])) {
            // Parts of a header value are one.
            let _ = header.append_header(COOKIE, left);
        }
    }
    ours
}

/// The cookies of a field, each with its name.
fn pieces(value: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.as_bytes().split(|&byte| byte == b';').map(|piece| {
        let piece = piece.trim_ascii();
        let name = piece.split(|&byte| byte == b'=').next().unwrap_or(piece);
        (name.trim_ascii_end(), piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut header = RequestHeader::build("GET", target.as_bytes(), None).expect("a request");
        for (name, value) in fields {
            header.append_header(*name, *value).expect("a field");
        }
        header
    }

    #[test]
    fn no_origin_sees_the_cookie_of_the_edge_in_any_spelling() {
        for (sent, left, values) in [
            (vec!["a=1; __Host-edge=x; b=2"], vec!["a=1; b=2"], vec!["x"]),
            (vec!["__Host-edge=x"], vec![], vec!["x"]),
            (vec!["__Host-edge =x;a=1"], vec!["a=1"], vec!["x"]),
            (vec!["a=1;__Host-edge"], vec!["a=1"], vec![]),
            (
                vec!["a=1", "__Host-edge=x", "b=2; __Host-edge=y=="],
                vec!["a=1", "b=2"],
                vec!["x", "y=="],
            ),
            // Not ours: left exactly as it was.
            (vec!["a=1;b=2 ;; c"], vec!["a=1;b=2 ;; c"], vec![]),
            (
                vec!["__host-edge=x; __Host-edges=y"],
                vec!["__host-edge=x; __Host-edges=y"],
                vec![],
            ),
            (vec!["a=__Host-edge=x"], vec!["a=__Host-edge=x"], vec![]),
        ] {
            let fields: Vec<_> = sent.iter().map(|value| ("cookie", *value)).collect();
            let mut header = request("/", &fields);
            let said = Said::take(&mut header);
            let after: Vec<_> = header.headers.get_all(COOKIE).iter().collect();
            assert_eq!(after, left, "{sent:?}");
            let values: Vec<_> = values
                .iter()
                .map(|value| value.as_bytes().to_vec())
                .collect();
            assert_eq!(said.cookies, values, "{sent:?}");
        }
    }

    #[test]
    fn the_header_names_the_deployment_before_the_url_does() {
        let id = |target, fields: &[(&'static str, &str)]| {
            Said::take(&mut request(target, fields)).deployment
        };
        assert_eq!(id("/x?a=1&dpl=d1&dpl=d2", &[]).as_deref(), Some("d1"));
        let both = id("/x?dpl=d1", &[("x-deployment-id", "d2")]);
        assert_eq!(both.as_deref(), Some("d2"));
        assert_eq!(id("/x?adpl=d1&dpl=", &[]), None);
        let long = "d".repeat(DEPLOYMENT_BYTES_MAX + 1);
        assert_eq!(id("/x", &[("x-deployment-id", &long)]), None);
    }

    #[test]
    fn what_was_said_is_not_printed() {
        let mut header = request(
            "/",
            &[
                ("cookie", "__Host-edge=secret"),
                ("x-edge-override", "secret"),
            ],
        );
        assert!(!format!("{:?}", Said::take(&mut header)).contains("secret"));
    }
}
