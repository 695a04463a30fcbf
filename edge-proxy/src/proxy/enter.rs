//! The rooms in their order: from a request to an answer, or to the member that is to give one.

use std::sync::Arc;
use std::time::Instant;

use cache_rules::rules::Scope;
use http::Method;
use pingora_core::{Error, Result};
use pingora_proxy::Session;

use super::pass::pass;
use super::{Hall, bind, serve};
use crate::assets::release::Hashed;
use crate::config::checked::{RouteKind, covers};
use crate::error::Refusal;
use crate::exchange::{Exchange, Presence};
use crate::listener::{Peer, Surface};
use crate::rule::{self, Reader, Ruling};
use crate::session::{self, Introduction};
use crate::split::Reason;
use crate::world::{Asking, World};

/// Where a request goes after the rooms.
pub(super) enum Next {
    /// It has been answered.
    Answered,
    /// To an origin.
    Pass,
}

/// Why a request ends early.
pub(super) enum End {
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

impl Hall {
    /// The rooms in their order.
    pub(super) async fn enter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Next, End> {
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
    pub(super) async fn lead(
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
                    let introduction = Introduction {
                        request,
                        surface: peer.surface,
                        colour: choice.colour,
                    };
                    let reader = Reader {
                        config: &config,
                        identities: self.identities.as_ref(),
                        cache: &self.cache,
                        client: &self.client,
                    };
                    let headers = &session.req_header().headers;
                    let pool = colour.pool(route.service);
                    let outcome = reader
                        .read(&plan, headers, choice, pool, introduction)
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

/// A connection is given away only where the config says that it may be.
fn check_upgrade(session: &Session, kind: Option<RouteKind>) -> Result<(), Refusal> {
    if session.is_upgrade_req() && kind != Some(RouteKind::Stream) {
        return Err(Refusal::Malformed("upgrade_outside_stream_routes"));
    }
    Ok(())
}
