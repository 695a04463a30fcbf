//! How the hall sends what the rooms found: files, stored reads, streams, refusals.

use std::sync::Arc;

use asset_pipeline::digest::Digest;
use bytes::Bytes;
use cache_rules::rules::Scope;
use http::header::HeaderValue;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderName, RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Hall;
use super::enter::{End, Next};
use crate::assets::images::Chosen;
use crate::assets::release::Served;
use crate::cache::Read;
use crate::cache::fill::Stream;
use crate::config::checked::RouteKind;
use crate::error::{After, Refusal};
use crate::exchange::Exchange;
use crate::listener::Surface;
use crate::metrics::labels::Cache as Source;
use crate::response::compress::{self, Compressible, Encoder};
use crate::response::negotiate::{Accepted, Coding};
use crate::response::send::Reply;
use crate::response::{dictionary, headers, refuse, send};
use crate::rule::Outcome;

/// What pages can read of the cache's part (Server Timing, 3).
const SERVER_TIMING: &str = "server-timing";
const HIT: HeaderValue = HeaderValue::from_static("cache;desc=hit");
const STALE: HeaderValue = HeaderValue::from_static("cache;desc=stale");
const MISS: HeaderValue = HeaderValue::from_static("cache;desc=miss");

/// draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Fields of one connection (RFC 9110, 7.6.1).
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

impl Hall {
    /// Sends a reply as the request's answer.
    pub(super) async fn serve(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        mut reply: Reply,
    ) -> Result<Next, End> {
        self.finish(&mut reply.header, exchange)?;
        send::send(session, reply).await?;
        Ok(Next::Answered)
    }

    /// Sends a file of a release.
    pub(super) async fn serve_file(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        file: &Arc<Served>,
    ) -> Result<Next, End> {
        exchange.source = Source::File;
        let mut bad: Vec<Digest> = Vec::new();
        let mut reply = loop {
            let request = session.req_header();
            let answer = file.answer_of(&request.method, &request.headers, |blob| {
                !bad.contains(&blob.digest)
            });
            let (coding, status) = (answer.coding, answer.header.status);
            let content = answer.content.as_ref();
            let content = content.map(|content| (content.at.digest, content.cut.bytes()));
            match (self.blobs.reply(answer).await, content) {
                (Ok(reply), content) => {
                    if let (Some((_, sent)), StatusCode::OK) = (content, status) {
                        let saved = file.identity().bytes.saturating_sub(sent);
                        self.metrics.asset_sent(coding, saved);
                    }
                    break reply;
                }
                // Bytes that cannot be had, or are not what they should be: the same file in
                // another coding will do as well.
                (Err(_), Some((digest, _))) if !bad.contains(&digest) => bad.push(digest),
                (Err(_), _) => return Err(Refusal::FileUnavailable.into()),
            }
        };
        reply.header.insert_header(SERVER_TIMING, HIT)?;
        self.serve(session, exchange, reply).await
    }

    /// Sends a picture in the form that was chosen, or as it is where that one's bytes cannot be had.
    pub(super) async fn serve_picture(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        chosen: &Chosen,
    ) -> Result<Next, End> {
        match self.serve_file(session, exchange, &chosen.form).await {
            Err(End::Refused(Refusal::FileUnavailable)) if chosen.format.is_some() => {
                self.metrics.image_sent(None);
                self.serve_file(session, exchange, &chosen.whole).await
            }
            sent => {
                self.metrics.image_sent(chosen.format);
                sent
            }
        }
    }

    /// Sends what a read came to; none: it has to be passed on after all.
    pub(super) async fn serve_read(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        outcome: Outcome,
        scope: Scope,
    ) -> Result<Option<Next>, End> {
        let (entry, source) = match outcome {
            Outcome::Hit(entry) => (entry, Source::Hit),
            Outcome::Bridged(entry) | Outcome::Fetched(Read::Stale(entry)) => {
                (entry, Source::Stale)
            }
            Outcome::Fetched(Read::Entry {
                entry,
                started: true,
            }) => (entry, Source::Miss),
            Outcome::Fetched(Read::Entry {
                entry,
                started: false,
            }) => (entry, Source::Joined),
            Outcome::Fetched(Read::Stream(stream)) => {
                exchange.answered = Some(exchange.led.elapsed());
                exchange.reason = stream.alone.map(|alone| alone.as_str());
                exchange.source = if stream.alone.is_some() {
                    Source::Pass
                } else {
                    Source::Miss
                };
                return self.stream(session, exchange, *stream).await.map(Some);
            }
            Outcome::Fetched(Read::Alone(alone)) => {
                exchange.reason = Some(alone.as_str());
                exchange.source = Source::Pass;
                return Ok(None);
            }
            Outcome::Fetched(Read::Failed(refusal)) => return Err(refusal.into()),
        };
        exchange.source = source;
        if source == Source::Miss {
            exchange.answered = Some(exchange.led.elapsed());
        }
        let request = session.req_header();
        let answer = entry.answer(&request.method, &request.headers, self.clock.now());
        let mut reply = Reply::from(answer);
        if scope == Scope::Public {
            // On a tenant's answers it would tell who was there before.
            let timing = match source {
                Source::Hit => HIT,
                Source::Stale => STALE,
                _ => MISS,
            };
            reply.header.insert_header(SERVER_TIMING, timing)?;
        }
        self.serve(session, exchange, reply).await.map(Some)
    }

    /// Sends an answer as it comes from the origin.
    async fn stream(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        mut stream: Stream,
    ) -> Result<Next, End> {
        let mut header = ResponseHeader::from(stream.head.clone());
        for name in &HOP_BY_HOP {
            header.remove_header(name);
        }
        self.encode(session, &mut header, exchange)?;
        self.consume(&mut header, exchange);
        self.finish(&mut header, exchange)?;
        let bodiless = session.req_header().method == Method::HEAD;
        if in_chunks(session) && !bodiless && !header.headers.contains_key(CONTENT_LENGTH) {
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        session
            .write_response_header(Box::new(header), bodiless)
            .await?;
        if bodiless {
            return Ok(Next::Answered);
        }
        loop {
            let piece = stream
                .piece()
                .await
                .map_err(|error| broken_off(Refusal::from(error)))?;
            let end = piece.is_none();
            let mut piece = piece;
            self.encode_piece(&mut piece, end, exchange)?;
            if end {
                session.write_response_body(piece, true).await?;
                return Ok(Next::Answered);
            }
            if piece.as_ref().is_some_and(|piece| !piece.is_empty()) {
                session.write_response_body(piece, false).await?;
            }
        }
    }

    /// Answers a certificate authority.
    pub(super) async fn serve_challenge(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        answer: &str,
    ) -> Result<Next, End> {
        exchange.source = Source::Edge;
        let reply = refuse::to_authority(answer, &session.req_header().method)?;
        self.serve(session, exchange, reply).await
    }

    /// Sends a refusal.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        refusal: Refusal,
    ) -> Result<()> {
        let (_, after, _) = refusal.map();
        exchange.refusal = Some(refusal);
        exchange.source = Source::Edge;
        if after == After::Close {
            session.set_keepalive(None);
        }
        let request = session.req_header();
        let mut reply = match (refusal, https_location(exchange)) {
            (Refusal::ToHttps, Some(location)) => refuse::to_https(&location)?,
            _ => refuse::reply(refusal, &request.method, &request.headers)?,
        };
        if let Some(too_many) = &exchange.too_many {
            let header = &mut reply.header;
            header.insert_header(RETRY_AFTER, too_many.retry_after_s)?;
            header.insert_header(RATE_LIMIT_POLICY, too_many.policy.as_str())?;
            header.insert_header(RATE_LIMIT, too_many.limit.as_str())?;
        }
        self.finish(&mut reply.header, exchange)?;
        send::send(session, reply).await
    }

    /// Removes what the origin said to the edge alone.
    pub(super) fn consume(&self, header: &mut ResponseHeader, exchange: &Exchange) {
        // Under the RFCs' rules alone the edge is a cache among others, and this is for all of them.
        let targeted = header.headers.get("cdn-cache-control").cloned();
        headers::consume(header);
        if let (Some(targeted), true) = (targeted, exchange.as_sent) {
            // A header value is one.
            let _ = header.insert_header("cdn-cache-control", targeted);
        }
    }

    /// Adds what every answer has.
    pub(super) fn finish(&self, header: &mut ResponseHeader, exchange: &Exchange) -> Result<()> {
        let Some(request) = &exchange.request else {
            return Ok(());
        };
        let public = exchange
            .presence
            .as_ref()
            .is_some_and(|presence| presence.peer.surface == Surface::Public);
        let hsts = exchange
            .world
            .as_ref()
            .filter(|_| public)
            .and_then(|world| world.config.hsts.as_deref());
        let security = exchange
            .world
            .as_ref()
            .map_or(&[][..], |world| &world.config.headers);
        let chosen = exchange.route.as_ref().zip(exchange.choice.as_ref());
        let dictionary =
            exchange
                .world
                .as_ref()
                .zip(chosen)
                .and_then(|(world, (route, choice))| {
                    let app = world.apps().get(route.app)?;
                    app.files.dictionary(&choice.release)
                });
        if let Some(link) = dictionary {
            dictionary::offer(header, link)?;
        }
        if let Some(presence) = &exchange.presence {
            presence.peer.date_answer(&header.headers);
        }
        headers::finish(header, &request.id, hsts, security)
    }

    /// Begins to compress an answer that passes, where that is allowed and of use.
    pub(super) fn encode(
        &self,
        session: &Session,
        header: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let route = exchange.route.as_ref();
        if !route.is_some_and(|route| route.compress && route.kind != Some(RouteKind::Stream)) {
            return Ok(());
        }
        let Some(compressible) = Compressible::of(header) else {
            return Ok(());
        };
        compress::vary(header)?;
        let request = session.req_header();
        let coding = Accepted::of(&request.headers).best(compressible.codings().iter().copied());
        let whole = request.method != Method::HEAD && !request.headers.contains_key(RANGE);
        if whole && coding != Coding::Identity {
            let encoder = Encoder::new(coding, compressible);
            exchange.encoder = Some(encoder.map_err(|_| encoder_failed())?);
            compress::announce(header, coding)?;
            if in_chunks(session) {
                header.insert_header(TRANSFER_ENCODING, "chunked")?;
            }
        }
        Ok(())
    }

    /// Encodes a piece of an answer whose compression has begun.
    pub(super) fn encode_piece(
        &self,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let piece = body.as_deref().unwrap_or_default();
        let encoded = match exchange.encoder.take() {
            None => return Ok(()),
            Some(encoder) if end => encoder.finish(piece),
            Some(mut encoder) => {
                let encoded = if piece.is_empty() {
                    Ok(Bytes::new())
                } else {
                    encoder.push(piece)
                };
                exchange.encoder = Some(encoder);
                encoded
            }
        };
        *body = Some(encoded.map_err(|_| encoder_failed())?);
        Ok(())
    }
}

/// Whether an answer without a length must come in chunks: without them its end is that of the
/// connection, which is then of no more use, and half an answer looks whole. HTTP/1.0 knows no better.
fn in_chunks(session: &Session) -> bool {
    session.req_header().version == Version::HTTP_11
}

fn encoder_failed() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the answer could not be encoded")
}

/// The header is out: the only way left to say that the rest is missing is to break off as well.
fn broken_off(refusal: Refusal) -> End {
    let (_, _, reason) = refusal.map();
    End::Broken(Error::explain(ErrorType::ReadError, reason))
}

fn https_location(exchange: &Exchange) -> Option<String> {
    let (request, world) = (exchange.request.as_ref()?, exchange.world.as_ref()?);
    let port = match world.config.listeners.redirect_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let query = request
        .query
        .as_ref()
        .map_or_else(String::new, |query| format!("?{query}"));
    Some(format!(
        "https://{}{port}{}{query}",
        request.host.as_str(),
        request.path
    ))
}

/// Ends what a write that was done makes old, before its answer goes on.
pub(super) fn end_what_was_written(hall: &Hall, header: &ResponseHeader, exchange: &Exchange) {
    let (Some(request), Some(world)) = (&exchange.request, &exchange.world) else {
        return;
    };
    let asked = (&request.method, &request.host, request.path.as_str());
    let rules = &world.config.rules;
    let ended = rules.ended(asked, header.status, &header.headers);
    if !ended.is_empty() {
        hall.cache.end(&request.tenant, &ended);
    }
}

/// Keeps what the origin says of whose request it was. An answer that sets a cookie may speak of the person
/// that it signs in, and not of the credentials that were shown.
///
/// The credentials are read only now: hardly any answer says it. What the request no longer has by then, the origin did not get.
pub(super) fn take_identity(
    hall: &Hall,
    session: &Session,
    header: &ResponseHeader,
    exchange: &Exchange,
) {
    let Some(said) = header.headers.get("x-edge-identity") else {
        return;
    };
    if !header.status.is_success() || header.headers.contains_key(SET_COOKIE) {
        return;
    }
    let (Some(identities), Some(request), Some(world), Some(passing)) = (
        &hall.identities,
        &exchange.request,
        &exchange.world,
        &exchange.passing,
    ) else {
        return;
    };
    if let (Some(born), false) = (passing.born, world.cache_off)
        && let Ok(Some(credentials)) = identities.credentials(&session.req_header().headers)
    {
        identities.seed(&credentials, request, born, said);
    }
}

/// A public rule's answer is the same for everybody, so nobody's cookies go along.
pub(super) fn forget_cookies(session: &mut Session) {
    session.req_header_mut().remove_header(&COOKIE);
}
