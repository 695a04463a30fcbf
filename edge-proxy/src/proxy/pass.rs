//! What pingora hands on: to which member, as what it is counted, and who is at fault when it fails.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::enter::Next;
use super::{Hall, bind};
use crate::config::checked::RouteKind;
use crate::error::Refusal;
use crate::exchange::{Exchange, Passing};
use crate::upstream::ledger::Class;
use crate::world::ColourWorld;

/// A body that takes its time on a school's network.
pub(super) const LARGE_BYTES: u64 = 256 * 1024;

/// Hands the request to pingora, which asks `upstream_peer` for a member.
pub(super) fn pass(
    hall: &Hall,
    session: &Session,
    exchange: &mut Exchange,
    colour: &ColourWorld,
) -> Next {
    if let Some(route) = &exchange.route {
        let pool = Arc::clone(colour.pool(route.service));
        exchange.passing = Some(Passing {
            entry: pool.ledger().enter(class(session, exchange)),
            pool,
            lease: None,
            failed: None,
            tries: 0,
            retry: None,
            began: None,
            born: hall.identities.as_ref().map(|identities| identities.now()),
        });
    }
    Next::Pass
}

/// What a request that is passed on is, as far as one can tell before its answer.
fn class(session: &Session, exchange: &Exchange) -> Class {
    let header = session.req_header();
    let has_body = exchange.request.as_ref().is_some_and(|request| {
        request.has_body && request.body_bytes.is_none_or(|bytes| bytes > LARGE_BYTES)
    });
    if session.is_upgrade_req() {
        Class::WebSocket
    } else if is_stream(exchange) {
        Class::Stream
    } else if has_body {
        Class::Upload
    } else if bind::navigates(header) || header.headers.contains_key("rsc") {
        Class::Page
    } else {
        Class::Api
    }
}

pub(super) fn bytes_of(header: &ResponseHeader) -> Option<u64> {
    header
        .headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

pub(super) fn is_stream(exchange: &Exchange) -> bool {
    exchange
        .route
        .as_ref()
        .is_some_and(|route| route.kind == Some(RouteKind::Stream))
}

pub(super) fn body_bytes_max(exchange: &Exchange) -> u64 {
    let of_route = exchange
        .route
        .as_ref()
        .and_then(|route| route.body_bytes_max);
    let of_edge = exchange
        .world
        .as_ref()
        .map(|world| world.config.limits.body_bytes_max);
    of_route.or(of_edge).unwrap_or(0)
}

/// Who is at fault when passing a request on failed, and so what the client is told.
pub(super) fn blame(error: &Error) -> Refusal {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError => Refusal::Unreachable,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout
            if *error.esource() == ErrorSource::Upstream =>
        {
            Refusal::OriginTimedOut
        }
        _ if *error.esource() == ErrorSource::Upstream => Refusal::OriginBroken,
        _ if *error.esource() == ErrorSource::Downstream => Refusal::Malformed("client_broke_off"),
        _ => Refusal::Internal("proxy"),
    }
}
