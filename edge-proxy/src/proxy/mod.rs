//! The hall: the only file that knows pingora's phases. It calls the rooms in their order and holds
//! no policy of its own.
//!
//! Files, reads and refusals are answered in `request_filter` and leave by [`crate::response`]; what
//! is left goes through pingora to a member of the colour that was chosen.

mod bind;
mod mirror;
mod note;
mod pause;
mod picture;
mod serve;

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use cache_rules::rules::Scope;
use certs::CertStore;
use http::Method;
use http::header::{CONNECTION, CONTENT_LENGTH};
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::sync::watch;

use crate::assets::blobs::Blobs;
use crate::assets::images::making::Making;
use crate::assets::release::Hashed;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::checked::{RouteKind, covers};
use crate::error::{After, Refusal};
use crate::exchange::{Exchange, InFlight, Passing, Presence};
use crate::identity::Identities;
use crate::listener::{Peer, Surface};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::pictures::Pictures;
use crate::rate::Rates;
use crate::record::Records;
use crate::rule::{self, Reader, Ruling};
use crate::session;
use crate::split::Reason;
use crate::split::keys::PinKeys;
use crate::upstream::client::Client;
use crate::upstream::leave::Connector;
use crate::upstream::ledger::Class;
use crate::upstream::outlier::Outcome;
use crate::world::{Asking, ColourWorld, World};

/// Members tried before a request is given up: nothing was sent to the first.
const TRIES_MAX: u32 = 2;

/// A body that takes its time on a school's network.
const LARGE_BYTES: u64 = 256 * 1024;

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

/// Where a request goes after the rooms.
enum Next {
    /// It has been answered.
    Answered,
    /// To an origin.
    Pass,
}

/// Why a request ends early.
enum End {
    /// It is answered with a refusal.
    Refused(Refusal),
    /// The connection is of no more use.
    Broken(Box<Error>),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Box<Error>> for End {
    fn from(error: Box<Error>) -> Self {
        Self::Broken(error)
    }
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
        peer.options.connection_timeout = Some(limits.connect);
        peer.options.total_connection_timeout = Some(limits.connect);
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
            peer.options.custom_l4 = Some(Arc::new(Connector {
                ledger: Arc::clone(passing.pool.ledger()),
                limit: limits.connect,
            }));
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
        for (name, value) in &session::introduction(request, &presence.peer, choice.colour) {
            header.insert_header(name, value)?;
        }
        Ok(())
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

impl Hall {
    /// The rooms in their order.
    async fn enter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Next, End> {
        let world = self.world.load_full();
        let config = Arc::clone(&world.config);
        exchange.world = Some(Arc::clone(&world));
        let peer = Arc::clone(Peer::of(session).ok_or(Refusal::Internal("no_peer"))?);
        let upgrade = session.is_upgrade_req();
        if upgrade {
            session::leave_open(session.req_header_mut())?;
        }
        // What follows an upgrade is no body: it may be silent for long, and has no length.
        let body = !upgrade && !session.as_downstream_mut().is_body_empty();
        exchange.presence = Some(Presence::begin(&peer, &self.in_flight, body));
        // Said anew each time: pingora would wait for the next request without limit. When the edge
        // drains, this answer is the connection's last.
        let keep_alive = config.limits.keep_alive.as_secs();
        session.set_keepalive((!*self.draining.borrow()).then_some(keep_alive));
        let silence = if upgrade {
            config.limits.stream_read
        } else {
            config.limits.body_idle
        };
        session.set_read_timeout(Some(silence));
        session.set_write_timeout(Some(config.limits.write));
        session.set_total_drain_timeout(Some(config.limits.body_idle));
        // Interim answers (103) end here: browsers take them over HTTP/2 only, where pingora has no way to
        // send them, and other HTTP/1.1 clients take them for the answer. 100 to who waits for it, and 101, go on.
        session.as_downstream_mut().set_ignore_info_resp(true);

        let admitted = session::admit(
            session.as_downstream_mut(),
            &peer,
            &config,
            &self.certificates,
        )?;
        exchange.request = Some(admitted);
        if peer.surface == Surface::Redirect {
            let admitted = exchange.request.as_ref();
            if let Some(answer) = admitted.and_then(|request| challenge(&world, request)) {
                return self.serve_challenge(session, exchange, answer).await;
            }
            return Err(Refusal::ToHttps.into());
        }
        self.lead(session, exchange, peer).await
    }

    /// From the route on; again, for who has waited while the app was paused.
    async fn lead(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        peer: Arc<Peer>,
    ) -> Result<Next, End> {
        let (Some(world), Some(request)) = (exchange.world.clone(), &exchange.request) else {
            return Err(Refusal::Internal("not_admitted").into());
        };
        let config = Arc::clone(&world.config);
        let path = request.lookup_path();
        let (route, app) = world.place(path).ok_or(Refusal::NoRoute)?;
        exchange.route = Some(Arc::clone(route));
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let mut below = false;
        if is_read && route.kind.is_none() {
            match app.files.hashed(path) {
                Hashed::Found(file) => return self.serve_file(session, exchange, file).await,
                Hashed::Below => below = true,
                Hashed::Elsewhere => {}
            }
        }
        if !config.rates.is_empty() && exchange.held_until.is_none() {
            let taken = self.rates.take(
                &config.rates,
                path,
                request.client,
                &request.tenant,
                Instant::now(),
            );
            if let Err(too_many) = taken {
                exchange.too_many = Some(too_many);
                return Err(Refusal::RateLimited.into());
            }
        }
        let now_s = self.now_s();
        let claims = self.claims(request, app, &config, now_s);
        let asking = Asking {
            tenant: &request.tenant,
            client: request.client,
            claims: &claims,
            now_s,
        };
        let (choice, colour) = app.choose(&asking).ok_or(Refusal::NoMember)?;
        if let (Reason::Deployment | Reason::Pin, Some(ledger)) = (choice.reason, colour.ledger()) {
            ledger.bound();
        }
        let choice = &*exchange.choice.insert(choice);
        let pictures = app.app.pictures.as_ref();
        if let Some(terms) = pictures.filter(|terms| covers(&terms.path, path)) {
            return self.picture(session, exchange, terms, peer).await;
        }
        if below {
            let file = app
                .files
                .release_file(&choice.release, path)
                .ok_or(Refusal::UnknownFile)?;
            return self.serve_file(session, exchange, file).await;
        }
        if is_read && route.kind.is_none() {
            let query = request.query.as_deref();
            let wanted = app.files.picture(&choice.release, path, query);
            let wanted = wanted.inspect_err(|_| self.metrics.image_refused())?;
            let headers = &session.req_header().headers;
            let making = self.making.as_ref();
            if let Some(chosen) = wanted.and_then(|wanted| wanted.choose(headers, making)) {
                return self.serve_picture(session, exchange, &chosen).await;
            }
        }
        check_upgrade(session, route.kind)?;
        let body_bytes_max = route.body_bytes_max.unwrap_or(config.limits.body_bytes_max);
        if request.body_bytes > Some(body_bytes_max) {
            return Err(Refusal::BodyTooLarge.into());
        }
        if app.is_paused() {
            return self.wait(session, exchange, peer, Arc::clone(&world)).await;
        }
        if route.kind.is_none() {
            match rule::of(&world, request, &session.req_header().headers)? {
                Ruling::Read(plan) => {
                    exchange.rule = Some(plan.rule().to_owned());
                    exchange.as_sent = plan.may_vary_on_anything();
                    let introduction = session::introduction(request, &peer, choice.colour);
                    let reader = Reader {
                        config: &config,
                        identities: self.identities.as_ref(),
                        cache: &self.cache,
                        client: &self.client,
                    };
                    let headers = &session.req_header().headers;
                    let pool = colour.pool(route.service);
                    let outcome = reader
                        .read(&plan, request, headers, choice, pool, &introduction)
                        .await?;
                    if let Some(next) = self
                        .serve_read(session, exchange, outcome, plan.scope())
                        .await?
                    {
                        return Ok(next);
                    }
                    if plan.scope() == Scope::Public {
                        serve::forget_cookies(session);
                    }
                    return Ok(pass(self, session, exchange, colour));
                }
                Ruling::Pass(reason) => exchange.reason = Some(reason),
            }
            if is_read && let Some(file) = app.files.release_file(&choice.release, path) {
                return self.serve_file(session, exchange, file).await;
            }
        }
        let colour = match bind::navigates(session.req_header()) {
            true => self.bind(exchange, app, claims, colour),
            false => colour,
        };
        if !app.app.mirrors.is_empty() {
            self.mirror(session, exchange, app);
        }
        Ok(pass(self, session, exchange, colour))
    }
}

/// What a certificate authority, or this edge itself, is answered on port 80 (RFC 8555, 8.3).
fn challenge<'a>(world: &'a World, request: &session::Request) -> Option<&'a str> {
    let token = request.path.strip_prefix("/.well-known/acme-challenge/")?;
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    let answer = world.challenges.get(token).filter(|_| is_read);
    answer.map(String::as_str)
}

/// Hands the request to pingora, which asks `upstream_peer` for a member.
fn pass(hall: &Hall, session: &Session, exchange: &mut Exchange, colour: &ColourWorld) -> Next {
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

/// A connection is given away only where the config says that it may be.
fn check_upgrade(session: &Session, kind: Option<RouteKind>) -> Result<(), Refusal> {
    if session.is_upgrade_req() && kind != Some(RouteKind::Stream) {
        return Err(Refusal::Malformed("upgrade_outside_stream_routes"));
    }
    Ok(())
}

fn bytes_of(header: &ResponseHeader) -> Option<u64> {
    header
        .headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn is_stream(exchange: &Exchange) -> bool {
    exchange
        .route
        .as_ref()
        .is_some_and(|route| route.kind == Some(RouteKind::Stream))
}

fn body_bytes_max(exchange: &Exchange) -> u64 {
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
fn blame(error: &Error) -> Refusal {
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
