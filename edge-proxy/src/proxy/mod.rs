//! The hall: the only place that knows pingora's phases. It calls the rooms in their order (`enter`) and holds
//! no policy of its own.
//!
//! Files, reads and refusals are answered in `request_filter` and leave by [`crate::response`]; what
//! is left goes through pingora to a member of the colour that was chosen (`pass`).

mod bind;
mod enter;
mod mirror;
mod note;
mod pass;
mod pause;
mod picture;
mod serve;

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use certs::CertStore;
use http::Method;
use http::header::CONNECTION;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::sync::watch;

use self::enter::{End, Next};
use self::pass::{LARGE_BYTES, blame, body_bytes_max, bytes_of, is_stream};
use crate::assets::blobs::Blobs;
use crate::assets::images::making::Making;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::error::{After, Refusal};
use crate::exchange::{Exchange, InFlight};
use crate::identity::Identities;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::pictures::Pictures;
use crate::rate::Rates;
use crate::record::Records;
use crate::session::{self, Introduction};
use crate::split::keys::PinKeys;
use crate::upstream::client::Client;
use crate::upstream::ledger::Class;
use crate::upstream::outlier::Outcome;
use crate::upstream::{connect, leave};
use crate::world::World;

/// Members tried before a request is given up: nothing was sent to the first.
const TRIES_MAX: u32 = 2;

/// Connections for stream routes are not shared with others.
const STREAM_GROUP: u64 = 1;

/// The edge as pingora sees it.
pub struct Hall {
    pub(crate) world: Arc<ArcSwap<World>>,
    pub(crate) certificates: Arc<CertStore>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) identities: Option<Arc<Identities>>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) making: Option<Arc<Making>>,
    pub(crate) pictures: Arc<Pictures>,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) records: Arc<Records>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) rates: Rates,
    pub(crate) pins: Arc<PinKeys>,
    /// Tells devices apart that fail, until this process ends.
    pub(crate) devices: RandomState,
    pub(crate) mirror: Mirror,
}

#[async_trait]
impl ProxyHttp for Hall {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new()
    }

    /// Nothing: pingora's compression would take the first coding of a list and stall streams.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        match self.enter(session, exchange).await {
            Ok(Next::Answered) => Ok(true),
            Ok(Next::Pass) => Ok(false),
            Err(End::Refused(refusal)) => {
                self.refuse(session, exchange, refusal).await?;
                Ok(true)
            }
            Err(End::Broken(error)) => Err(error),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let is_head = session.req_header().method == Method::HEAD;
        let limits = exchange
            .world
            .as_ref()
            .map(|world| world.config.limits.clone());
        let stream = is_stream(exchange);
        let (Some(passing), Some(limits)) = (&mut exchange.passing, limits) else {
            return Error::e_explain(ErrorType::InternalError, "no pool was chosen");
        };
        passing.tries += 1;
        let Some(lease) = passing.pool.pick(passing.failed) else {
            exchange.refusal = Some(Refusal::NoMember);
            return Error::e_explain(ErrorType::ConnectNoRoute, "no member is healthy");
        };
        let mut peer = lease.peer();
        let limit = limits.connect;
        if lease.is_secure() {
            // With the handshake.
            peer.options.total_connection_timeout = Some(limit);
        }
        peer.options.read_timeout = Some(if stream {
            limits.stream_read
        } else {
            limits.upstream_read
        });
        peer.options.write_timeout = Some(limits.upstream_write);
        peer.options.idle_timeout = Some(limits.upstream_idle);
        // Below TLS nobody can say goodbye in HTTP: such a stream ends with its connection.
        if stream && !is_head && !lease.is_secure() {
            peer.group_key = STREAM_GROUP;
            let ledger = Arc::clone(passing.pool.ledger());
            peer.options.custom_l4 = Some(Arc::new(leave::Connector { ledger, limit }));
        } else {
            peer.options.custom_l4 = Some(Arc::new(connect::Connector { limit }));
        }
        passing.lease = Some(lease);
        passing.began.get_or_insert_with(Instant::now);
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so any method may try another member.
        if let Some(passing) = &mut exchange.passing {
            passing.failed = passing.lease.take().map(|lease| {
                passing.pool.ended(&lease, Outcome::Failed);
                lease.address()
            });
            if passing.tries < TRIES_MAX {
                passing.retry = passing.pool.retry();
            }
            error.set_retry(passing.retry.is_some());
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        header: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if session.is_upgrade_req() {
            session::close_again(header);
        } else if is_stream(exchange) {
            // Its connection follows one answer.
            header.insert_header(CONNECTION, "close")?;
        }
        let (Some(request), Some(presence), Some(choice)) =
            (&exchange.request, &exchange.presence, &exchange.choice)
        else {
            return Error::e_explain(
                ErrorType::InternalError,
                "a request that was not admitted is passed on",
            );
        };
        let introduction = Introduction {
            request,
            surface: presence.peer.surface,
            colour: choice.colour,
        };
        introduction.put_on(header)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        exchange.body_bytes += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if exchange.body_bytes > body_bytes_max(exchange) {
            exchange.refusal = Some(Refusal::BodyTooLarge);
            return Error::e_explain(
                ErrorType::HTTPStatus(413),
                "the request's body is too large",
            );
        }
        if end && let Some(presence) = &mut exchange.presence {
            presence.body_ended();
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        serve::end_what_was_written(self, header, exchange);
        serve::take_identity(self, session, header, exchange);
        self.consume(header, exchange);
        if header.status.is_informational() {
            return Ok(());
        }
        exchange.answered = Some(exchange.led.elapsed());
        if let Some(passing) = &exchange.passing
            && let Some(lease) = &passing.lease
        {
            passing.pool.ended(lease, header.status.into());
        }
        if let Some(passing) = &mut exchange.passing
            && matches!(passing.entry.class(), Class::Page | Class::Api)
            && bytes_of(header).is_some_and(|bytes| bytes > LARGE_BYTES)
        {
            passing.entry.becomes(Class::Download);
        }
        self.encode(session, header, exchange)?;
        bind::give_pin(header, exchange)?;
        self.finish(header, exchange)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        self.encode_piece(body, end, exchange)?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let refusal = exchange.refusal.unwrap_or_else(|| blame(error));
        if let (Some(passing), Refusal::OriginBroken | Refusal::OriginTimedOut) =
            (&exchange.passing, refusal)
            && let Some(lease) = &passing.lease
        {
            passing.pool.ended(lease, Outcome::Failed);
        }
        let (status, after, _) = refusal.map();
        exchange.refusal = Some(refusal);
        // A client that is gone, or has half an answer, cannot be told.
        let gone = *error.esource() == ErrorSource::Downstream && refusal != Refusal::BodyTooLarge;
        if session.response_written().is_none() && !gone {
            // After a failure pingora ends an HTTP/1.1 connection whatever it is told: so is the client.
            session.set_keepalive(None);
            // The answer is the last thing that is tried: a failure to send it leaves nothing to do.
            let _ = self.refuse(session, exchange, refusal).await;
        }
        FailToProxy {
            error_code: status.as_u16(),
            can_reuse_downstream: after == After::Keep,
        }
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&Error>,
        exchange: &mut Exchange,
    ) {
        self.note(session, exchange);
        exchange.passing = None;
        exchange.presence = None;
    }

    /// Errors are in the access record; pingora's text has the peer and the path.
    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, exchange: &Exchange) -> String {
        exchange
            .request
            .as_ref()
            .map_or_else(String::new, |request| format!("request {:?}", request.id))
    }
}
