//! What happens to a request while its app is paused: what needs no origin is answered, the rest waits and is led anew.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::Method;
use pingora_proxy::Session;

use super::Hall;
use super::enter::{End, Next};
use crate::error::Refusal;
use crate::exchange::Exchange;
use crate::listener::Peer;
use crate::rule::{self, Reader, Ruling};
use crate::world::World;

/// What the window of a connection may hold of a body that nobody reads yet.
const BODY_BYTES: u64 = 256 * 1024;

impl Hall {
    /// Answers what is stored, or waits and leads the request as the world is then.
    pub(super) fn wait<'a>(
        &'a self,
        session: &'a mut Session,
        exchange: &'a mut Exchange,
        peer: Arc<Peer>,
        world: Arc<World>,
    ) -> BoxFuture<'a, Result<Next, End>> {
        Box::pin(async move {
            if let Some(next) = self.without_origin(session, exchange, &world).await? {
                return Ok(next);
            }
            self.hold(session, exchange, &world).await?;
            exchange.world = Some(self.world.load_full());
            exchange.led = Instant::now();
            self.lead(session, exchange, peer).await
        })
    }

    /// Answers with what is here: a stored read, or a file of the release.
    async fn without_origin(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        world: &World,
    ) -> Result<Option<Next>, End> {
        let (Some(request), Some(choice), Some(route)) =
            (&exchange.request, &exchange.choice, &exchange.route)
        else {
            return Ok(None);
        };
        if route.kind.is_some() {
            return Ok(None);
        }
        let headers = &session.req_header().headers;
        if let Ruling::Read(plan) = rule::of(world, request, headers)? {
            let reader = Reader {
                config: &world.config,
                identities: self.identities.as_ref(),
                cache: &self.cache,
                client: &self.client,
            };
            let Some(outcome) = reader.stored(&plan, request, headers, choice) else {
                return Ok(None);
            };
            exchange.rule = Some(plan.rule().to_owned());
            exchange.as_sent = plan.may_vary_on_anything();
            return self
                .serve_read(session, exchange, outcome, plan.scope())
                .await;
        }
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let app = &world.apps()[route.app];
        let file = app
            .files
            .release_file(&choice.release, request.lookup_path());
        match file.filter(|_| is_read) {
            Some(file) => self.serve_file(session, exchange, file).await.map(Some),
            None => Ok(None),
        }
    }

    /// Waits in the queue of the app.
    async fn hold(
        &self,
        session: &Session,
        exchange: &mut Exchange,
        world: &World,
    ) -> Result<(), Refusal> {
        let limits = &world.config.limits;
        let until = exchange.held_until.unwrap_or(Instant::now() + limits.held);
        exchange.held_until = Some(until);
        let (Some(request), Some(route)) = (&exchange.request, &exchange.route) else {
            return Err(Refusal::Internal("not_admitted"));
        };
        let body = match (request.has_body, request.body_bytes) {
            (false, _) => 0,
            (true, bytes) => bytes.unwrap_or(BODY_BYTES).min(BODY_BYTES),
        };
        let fields = session.req_header().headers.iter();
        let header: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let hold = world.apps()[route.app].hold().ok_or(Refusal::NoMember)?;
        hold.wait(header as u64 + body, until, limits).await
    }
}
