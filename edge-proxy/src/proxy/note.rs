//! The last look at a request: one record, and the counters of its route.

use std::hash::BuildHasher;
use std::time::SystemTime;

use pingora_proxy::Session;

use http::header::{AUTHORIZATION, COOKIE, USER_AGENT};

use super::Hall;
use crate::error::Refusal;
use crate::exchange::Exchange;
use crate::metrics::Counted;
use crate::metrics::labels::{Cache, Method};
use crate::record::Record;
use crate::tally::Outcome;

impl Hall {
    /// Counts and records a request that has ended.
    pub(super) fn note(&self, session: &Session, exchange: &mut Exchange) {
        let header = session.req_header();
        let method = Method::from(&header.method);
        let status = session
            .response_written()
            .map_or(0, |header| header.status.as_u16());
        let duration = exchange.began.elapsed();
        if let Some(mirrored) = exchange.mirrored.take() {
            // A copy that is over already is not compared.
            let _ = mirrored.send((status, exchange.led.elapsed()));
        }
        let colour = exchange.choice.as_ref().map(|choice| choice.colour);
        let reason = exchange
            .refusal
            .map(|refusal| refusal.map().2)
            .or(exchange.reason);
        if let Some(route) = &exchange.route {
            route.metrics.count(&Counted {
                method,
                status,
                colour,
                cache: exchange.source,
                duration,
            });
        }
        self.tally(session, exchange, status);
        match (exchange.refusal, exchange.reason) {
            (Some(refusal), _) if refusal.map().0.is_client_error() => {
                self.metrics.malformed(refusal.map().2)
            }
            (None, Some(reason)) => self.metrics.pass(reason),
            (Some(_) | None, _) => {}
        }
        let app = exchange.world.as_ref().zip(exchange.route.as_ref());
        let peer = exchange.presence.as_ref().map(|presence| &presence.peer);
        self.records.write(&Record {
            at: SystemTime::now() - duration,
            request_id: exchange
                .request
                .as_ref()
                .map_or("", |request| request.id.as_str()),
            tenant: exchange
                .request
                .as_ref()
                .map(|request| request.tenant.as_str()),
            app: app.map(|(world, route)| world.apps()[route.app].app.id.as_str()),
            route: exchange.route.as_ref().map_or("", |route| &route.prefix),
            rule: exchange.rule.as_deref(),
            method,
            status,
            cache: exchange.source,
            reason,
            colour,
            release: exchange
                .choice
                .as_ref()
                .map(|choice| choice.release.as_str()),
            bytes_sent: session.body_bytes_sent() as u64,
            bytes_received: session.body_bytes_read() as u64,
            duration,
            upstream: exchange
                .passing
                .as_ref()
                .and_then(|passing| passing.began.map(|began| began.elapsed())),
            http: header.version,
            tls: peer.and_then(|peer| peer.tls),
            client: exchange
                .request
                .as_ref()
                .map(|request| request.client)
                .or(peer.map(|peer| peer.address.ip())),
        });
    }

    /// Counts what came of asking a colour's members, if they were asked.
    fn tally(&self, session: &Session, exchange: &Exchange, status: u16) {
        let (Some(world), Some(route), Some(choice), Some(request)) = (
            &exchange.world,
            &exchange.route,
            &exchange.choice,
            &exchange.request,
        ) else {
            return;
        };
        let Some((tally, outcome)) = world.apps()[route.app]
            .tally
            .as_ref()
            .zip(outcome(exchange, status))
        else {
            return;
        };
        tally.count(&request.tenant, choice.colour, outcome, || {
            // A school's devices come from one address: what they say of themselves tells them apart.
            let headers = &session.req_header().headers;
            let said = [USER_AGENT, COOKIE, AUTHORIZATION];
            let said = said.map(|name| headers.get(name).map(|value| value.as_bytes()));
            self.devices.hash_one((request.client, said))
        });
    }
}

/// What came of asking a colour's members; none: they were not asked, or it is not their doing.
fn outcome(exchange: &Exchange, status: u16) -> Option<Outcome> {
    let took = exchange.answered;
    match exchange.refusal {
        Some(
            Refusal::IdentityUnavailable
            | Refusal::FileUnavailable
            | Refusal::NoMember
            | Refusal::Unreachable
            | Refusal::OriginTimedOut
            | Refusal::OriginBroken,
        ) => Some(Outcome { failed: true, took }),
        // Whoever breaks off before there was an answer has waited for it.
        Some(Refusal::Malformed("client_broke_off")) if exchange.passing.is_some() => {
            let took = took.or_else(|| Some(exchange.led.elapsed()));
            Some(Outcome {
                failed: false,
                took,
            })
        }
        Some(_) => None,
        None => {
            let asked = exchange.passing.is_some() || exchange.source == Cache::Miss;
            let failed = status == 0 || status >= 500;
            asked.then_some(Outcome { failed, took })
        }
    }
}
