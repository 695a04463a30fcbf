//! A school's picture: proven, looked up, made, sent.

use std::sync::Arc;

use http::Method;
use pingora_proxy::Session;

use super::Hall;
use super::enter::{End, Next};
use crate::assets::images;
use crate::config::checked::Pictures;
use crate::error::Refusal;
use crate::exchange::Exchange;
use crate::listener::Peer;
use crate::metrics::labels::{Cache as Source, Picture};
use crate::pictures::address::admit;
use crate::pictures::{self, By, Key};
use crate::response::send::Reply;
use crate::session::Introduction;

impl Hall {
    /// Answers below the prefix of an app's pictures: only who shows a signature for this school gets anything there.
    pub(super) async fn picture(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        terms: &Pictures,
        peer: Arc<Peer>,
    ) -> Result<Next, End> {
        let (Some(world), Some(request), Some(route), Some(choice)) = (
            exchange.world.clone(),
            &exchange.request,
            &exchange.route,
            &exchange.choice,
        ) else {
            return Err(Refusal::Internal("not_admitted").into());
        };
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Refusal::MethodNotAllowed.into());
        }
        let query = request.query.as_deref();
        let wanted = admit(terms, &request.tenant, &request.path, query, self.now_s())?;
        let headers = &session.req_header().headers;
        let app = &world.apps()[route.app];
        let key = Key {
            tenant: request.tenant.clone(),
            app: app.app.id.clone(),
            path: wanted.path.clone(),
            form: wanted.form(images::Client::of(headers)),
        };
        let keep = !world.cache_off;
        let found = self.pictures.found(&key).filter(|_| keep);
        let (made, outcome) = match found {
            Some(made) => (made, Picture::Kept),
            None if app.is_paused() => return self.wait(session, exchange, peer, world).await,
            None => {
                // The config says that files are the same app's.
                let (place, _) = world.place(&wanted.source).ok_or(Refusal::NoRoute)?;
                let colour = app.colour(choice.colour).filter(|_| place.app == route.app);
                let pool = colour.ok_or(Refusal::NoMember)?.pool(place.service);
                let introduction = Introduction {
                    request,
                    surface: peer.surface,
                    colour: choice.colour,
                };
                let asked = pictures::request(&wanted.source, introduction)?;
                match self.pictures.make(&key, &asked, pool, keep).await {
                    Ok((made, By::Own)) => (made, Picture::Made),
                    Ok((made, By::Other)) => (made, Picture::Joined),
                    Err(refusal) => {
                        self.metrics.picture(match refusal {
                            Refusal::NoPicture(_) => Picture::Unknown,
                            Refusal::Busy => Picture::Busy,
                            _ => Picture::Failed,
                        });
                        return Err(refusal.into());
                    }
                }
            }
        };
        let headers = &session.req_header().headers;
        let answer = made.answer(&request.method, headers, &wanted, &self.clock);
        let Some(answer) = answer else {
            self.metrics.picture(Picture::Unfit);
            return Err(Refusal::NoPicture("picture_unfit").into());
        };
        self.metrics.picture(outcome);
        exchange.source = match outcome {
            Picture::Kept => Source::Hit,
            Picture::Joined => Source::Joined,
            _ => Source::Miss,
        };
        self.serve(session, exchange, Reply::from(answer)).await
    }
}
