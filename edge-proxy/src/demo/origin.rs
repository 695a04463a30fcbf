//! The platform behind the edge: a small school platform in one colour, on loopback.
//!
//! It knows nothing of caches. What makes it fast at the edge are a few headers on its answers
//! ([`answer`]): consent, tags, freshness. Every answer is numbered, so that one that came from
//! the edge's memory can be told from one that came from here.

mod answer;
mod api;
mod pages;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use asset_pipeline::id::ReleaseId;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::answer::{Problem, Stamp};
use super::school::{Person, Registry, School, school};
use crate::colour::Colour;

/// The cookie that holds a session's token.
pub(super) const SESSION_COOKIE: &str = "__Host-session";

const BODY_BYTES_MAX: usize = 4 * 1024; // sign-in forms and notes are all that is sent

/// One running colour. Dropping it closes its port.
#[derive(Debug)]
pub(super) struct Origin {
    addr: SocketAddr,
    platform: Arc<Platform>,
    server: JoinHandle<()>,
}

/// What every handler sees.
#[derive(Debug)]
struct Platform {
    colour: Colour,
    release: ReleaseId,
    registry: Arc<Registry>,
    asked: Mutex<BTreeMap<&'static str, u64>>,
}

impl Origin {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) async fn start(
        colour: Colour,
        release: ReleaseId,
        registry: Arc<Registry>,
    ) -> io::Result<Self> {
        let platform = Arc::new(Platform {
            colour,
            release,
            registry,
            asked: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let app = router(Arc::clone(&platform));
        let server = tokio::spawn(async move {
            // Serving ends with an error only when accepting does; the edge's probes then see it.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            addr,
            platform,
            server,
        })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How often a route was asked since the start, such as `courses`.
    pub(super) fn asked(&self, route: &str) -> u64 {
        self.platform.asked.lock().get(route).copied().unwrap_or(0)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/up", get(api::up))
        .route("/dashboard", get(pages::dashboard))
        .route(
            "/api/v1/session",
            get(api::session).post(api::sign_in).delete(api::sign_out),
        )
        .route("/api/v1/me", get(api::me))
        .route("/api/v1/courses", get(api::courses))
        .route("/api/v1/courses/{id}/notes", post(api::add_note))
        .route("/api/v1/catalogue", get(api::catalogue))
        .route("/api/v1/grades", get(api::grades))
        .route("/api/v1/events", get(stream::events))
        .route("/api/v1/socket", get(stream::socket))
        .fallback(pages::not_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&platform), sign))
        .with_state(platform)
}

/// Every answer says that it was made here, so that one of the edge's own can be told from it.
async fn sign(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let colour = HeaderValue::from_static(platform.colour.as_str());
    response.headers_mut().insert("x-origin", colour);
    response
}

impl Platform {
    /// Counts a request of `route` and numbers its answer.
    fn stamp(&self, route: &'static str) -> Stamp {
        *self.asked.lock().entry(route).or_insert(0) += 1;
        Stamp::new(self.colour, &self.release, self.registry.next_serial())
    }
}

/// A request to one school, by somebody or nobody.
struct Visit {
    school: &'static School,
    token: Option<String>,
    person: Option<&'static Person>,
}

impl FromRequestParts<Arc<Platform>> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        platform: &Arc<Platform>,
    ) -> Result<Self, Problem> {
        let named = parts.headers.get("x-edge-tenant");
        let school = named
            .and_then(|id| school(id.to_str().ok()?))
            .ok_or(Problem::NOT_THROUGH_THE_EDGE)?;
        let token = session_token(&parts.headers);
        let person = token
            .as_deref()
            .and_then(|token| platform.registry.signed_in(token));
        Ok(Self {
            school,
            token,
            person,
        })
    }
}

/// A request by somebody who goes to the school that they ask.
struct Member {
    school: &'static School,
    person: &'static Person,
}

impl FromRequestParts<Arc<Platform>> for Member {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        platform: &Arc<Platform>,
    ) -> Result<Self, Problem> {
        let visit = Visit::from_request_parts(parts, platform).await?;
        let person = visit.person.ok_or(Problem::SIGNED_OUT)?;
        if person.school != visit.school.id {
            return Err(Problem::OTHER_SCHOOL);
        }
        Ok(Self {
            school: visit.school,
            person,
        })
    }
}

fn session_token(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, token)| token.to_owned())
}

#[cfg(test)]
mod tests;
