//! How a browser is bound to the version that made its page: only where the app's unit is the client,
//! and only by the answer to a navigation that passed through. Nothing that could be stored, no file
//! and no API answer carries the cookie.

use std::time::UNIX_EPOCH;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
};
use http::{Method, StatusCode};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::Hall;
use crate::config::checked::Config;
use crate::exchange::Exchange;
use crate::session::Request;
use crate::split::claims::Claims;
use crate::split::pins::Pins;
use crate::split::{Choice, Reason, SplitBy};
use crate::world::{AppWorld, Asking, ColourWorld};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Hall {
    /// The time that orders and pins are held against.
    pub(super) fn now_s(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    /// What is true of what a request says of its version.
    pub(super) fn claims(
        &self,
        request: &Request,
        app: &AppWorld,
        config: &Config,
        now_s: u64,
    ) -> Claims {
        let (app, tenant) = (&app.app, &request.tenant);
        let pins = (app.split_by == SplitBy::Client).then_some(&*self.pins);
        request
            .said
            .prove(&app.id, tenant, &config.orders, pins, now_s)
    }

    /// Binds the browser that navigates to the colour that weight gave it; who had no unit yet gets
    /// one here, and with it perhaps another colour.
    pub(super) fn bind<'a>(
        &self,
        exchange: &mut Exchange,
        app: &'a AppWorld,
        claims: Claims,
        colour: &'a ColourWorld,
    ) -> &'a ColourWorld {
        let (Some(request), Some(choice)) = (&exchange.request, &exchange.choice) else {
            return colour;
        };
        if app.app.split_by != SplitBy::Client || !matches!(choice.reason, Reason::Weight { .. }) {
            return colour;
        }
        let now_s = self.now_s();
        let pins = match &claims.pins {
            Some(pins) => pins.clone(),
            None => Pins::of_unit(rand::random()),
        };
        let asking = Asking {
            tenant: &request.tenant,
            client: request.client,
            claims: &Claims {
                pins: Some(pins.clone()),
                ..claims
            },
            now_s,
        };
        let Some((choice, colour)) = app.choose(&asking) else {
            return colour;
        };
        let until_s = now_s + app.app.pin.as_secs();
        let pins = pins.bound(&app.app.id, &choice.release, now_s, until_s);
        let cookie = pins.cookie(&request.tenant, &self.pins);
        // Names, digits and base64 are header values.
        exchange.pin = HeaderValue::try_from(cookie).ok();
        exchange.choice = Some(Choice { ..choice });
        colour
    }
}

/// Whether somebody goes to a page, rather than a page fetches something.
pub(super) fn navigates(header: &RequestHeader) -> bool {
    if header.method != Method::GET {
        return false;
    }
    let of = |name| {
        let value: Option<&HeaderValue> = header.headers.get(name);
        value.and_then(|value| value.to_str().ok())
    };
    match of(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => of(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Adds the cookie to a page's answer.
pub(super) fn give_pin(header: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    match exchange.pin.take() {
        Some(pin) if is_page(header.status, &header.headers) => {
            header.append_header(SET_COOKIE, pin).map(drop)
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether an answer is a page, or leads to one, and is for one reader alone.
fn is_page(status: StatusCode, headers: &HeaderMap) -> bool {
    let of = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let html = of(CONTENT_TYPE).starts_with("text/html");
    let shared = ["public", "s-maxage"]
        .iter()
        .any(|word| of(CACHE_CONTROL).to_ascii_lowercase().contains(word));
    // Nobody is bound to a version that fails.
    (status.is_redirection() || html) && !status.is_server_error() && !shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_somebody_goes_to() {
        for (method, fields, expected) in [
            ("GET", &[("sec-fetch-mode", "navigate")][..], true),
            ("GET", &[("accept", "text/html,*/*;q=0.8")], true),
            (
                "GET",
                &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
                false,
            ),
            ("GET", &[("accept", "*/*")], false),
            ("GET", &[], false),
            ("POST", &[("sec-fetch-mode", "navigate")], false),
        ] {
            let mut header = RequestHeader::build(method, b"/", None).expect("a request");
            for (name, value) in fields {
                header.append_header(*name, *value).expect("a field");
            }
            assert_eq!(navigates(&header), expected, "{method} {fields:?}");
        }
    }

    #[test]
    fn nothing_that_may_be_shared_or_failed_binds_anybody() {
        for (status, fields, expected) in [
            (
                200,
                &[("content-type", "text/html; charset=utf-8")][..],
                true,
            ),
            (404, &[("content-type", "text/html")], true),
            (302, &[], true),
            (304, &[], true),
            (500, &[("content-type", "text/html")], false),
            (200, &[("content-type", "application/json")], false),
            (200, &[], false),
            (
                200,
                &[
                    ("content-type", "text/html"),
                    ("cache-control", "Public, max-age=60"),
                ],
                false,
            ),
            (302, &[("cache-control", "s-maxage=60")], false),
        ] {
            let mut header = ResponseHeader::build(status, None).expect("a status");
            for (name, value) in fields {
                header.append_header(*name, *value).expect("a field");
            }
            let mut exchange = Exchange::new();
            exchange.pin = Some(HeaderValue::from_static("__Host-edge=x"));
            give_pin(&mut header, &mut exchange).expect("it fits");
            let given = header.headers.contains_key(SET_COOKIE);
            assert_eq!(given, expected, "{status} {fields:?}");
        }
    }
}
