//! Which requests are copied to the other colour, and what of them.

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request};
use pingora_proxy::Session;

use super::Hall;
use super::serve::HOP_BY_HOP;
use crate::config::checked::{RouteKind, covers};
use crate::exchange::Exchange;
use crate::session::Introduction;
use crate::world::AppWorld;

/// Tells an origin that nobody waits for its answer.
const MIRROR: HeaderName = HeaderName::from_static("x-edge-mirror");
const YES: HeaderValue = HeaderValue::from_static("1");

impl Hall {
    /// Sends a copy of a request that is passed on, if it is one of those that the config chooses.
    pub(super) fn mirror(&self, session: &Session, exchange: &mut Exchange, app: &AppWorld) {
        let (Some(request), Some(choice), Some(route), Some(presence)) = (
            &exchange.request,
            &exchange.choice,
            &exchange.route,
            &exchange.presence,
        ) else {
            return;
        };
        let path = request.lookup_path();
        let chosen = app
            .app
            .mirrors
            .iter()
            .find(|mirror| covers(&mirror.path, path));
        let Some(chosen) = chosen else {
            return;
        };
        let copied = request.method == Method::GET
            && !request.has_body
            && route.kind != Some(RouteKind::Stream)
            && rand::random_range(0..10_000) < chosen.share_bp;
        let other = app
            .colour(choice.colour.other())
            .filter(|other| !other.is_left());
        let (true, Some(other)) = (copied, other) else {
            return;
        };
        let target = match &request.query {
            Some(query) => format!("{}?{query}", request.path),
            None => request.path.clone(),
        };
        let Ok(mut copy) = Request::builder().uri(target).body(()) else {
            return;
        };
        let fields = copy.headers_mut();
        *fields = session.req_header().headers.clone();
        for name in &HOP_BY_HOP {
            fields.remove(name);
        }
        if !chosen.credentials {
            fields.remove(COOKIE);
            fields.remove(AUTHORIZATION);
            fields.remove(PROXY_AUTHORIZATION);
        }
        let introduction = Introduction {
            request,
            surface: presence.peer.surface,
            colour: choice.colour.other(),
        };
        introduction.put(fields);
        fields.insert(MIRROR, YES);
        if let Ok(host) = HeaderValue::try_from(request.authority()) {
            fields.insert(HOST, host);
        }
        exchange.mirrored = self
            .mirror
            .send(other.pool(route.service), &other.release, copy);
    }
}
