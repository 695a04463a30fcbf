//! How the platform answers: numbered JSON, the headers that the edge reads, and problems.

use asset_pipeline::id::ReleaseId;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::colour::Colour;

const CACHE_SCOPE: HeaderName = HeaderName::from_static("x-edge-cache-scope");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Which answer this is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stamp {
    colour: Colour,
    release: ReleaseId,
    serial: u64,
    at: String,
}

impl Stamp {
    pub(super) fn new(colour: Colour, release: &ReleaseId, serial: u64) -> Self {
        Self {
            colour,
            release: release.clone(),
            serial,
            at: jiff::Timestamp::now().to_string(),
        }
    }
}

/// Who may be given the same answer, and for how long.
pub(super) enum Sharing {
    /// Only who asked, only now.
    Nobody,
    /// Everybody who is signed in at the same school: the edge has asked who they are.
    School {
        /// What a purge can name.
        tags: String,
    },
    /// Everybody.
    Everybody {
        /// What a purge can name.
        tags: &'static str,
    },
}

impl Sharing {
    fn mark(self, response: &mut Response) {
        let (freshness, scope, tags) = match self {
            Self::Nobody => ("private, no-store", None, None),
            Self::School { tags } => (
                "max-age=60",
                Some("tenant"),
                HeaderValue::try_from(tags).ok(),
            ),
            Self::Everybody { tags } => (
                "public, max-age=300",
                Some("public"),
                Some(HeaderValue::from_static(tags)),
            ),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(freshness));
        if let Some(scope) = scope {
            headers.insert(CACHE_SCOPE, HeaderValue::from_static(scope));
        }
        if let Some(tags) = tags {
            headers.insert(SURROGATE_KEY, tags);
        }
    }
}

/// A JSON answer that carries its stamp as `origin`.
pub(super) fn answer(
    status: StatusCode,
    sharing: Sharing,
    stamp: Stamp,
    mut body: Value,
) -> Response {
    body["origin"] = json!(stamp);
    let mut response = (status, Json(body)).into_response();
    sharing.mark(&mut response);
    response
}

/// A refusal, as RFC 9457 writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
}

impl Problem {
    pub(super) const NOT_THROUGH_THE_EDGE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        title: "No school",
        detail: "The edge names the school in X-Edge-Tenant; ask through it.",
    };
    pub(super) const SIGNED_OUT: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        title: "Not signed in",
        detail: "Sign in with a POST to /api/v1/session.",
    };
    pub(super) const OTHER_SCHOOL: Self = Self {
        status: StatusCode::FORBIDDEN,
        title: "Another school",
        detail: "This session belongs to another school.",
    };
    pub(super) const WRONG_SIGN_IN: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        title: "Name and passphrase do not fit",
        detail: "In the demo everybody's passphrase is `wool`.",
    };
    pub(super) const NO_SUCH_COURSE: Self = Self {
        status: StatusCode::NOT_FOUND,
        title: "No such course",
        detail: "The school does not teach a course with this number.",
    };
    pub(super) const BAD_NOTE: Self = Self {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        title: "Not a note",
        detail: "A note has 1 to 140 characters.",
    };
    pub(super) const NOT_HERE: Self = Self {
        status: StatusCode::NOT_FOUND,
        title: "Nothing here",
        detail: "The platform has no such address.",
    };
    pub(super) const NOT_A_WEBSOCKET: Self = Self {
        status: StatusCode::UPGRADE_REQUIRED,
        title: "Not a WebSocket",
        detail: "Ask with Upgrade: websocket over HTTP/1.1.",
    };
    pub(super) const NO_RANDOMNESS: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "No session can be made",
        detail: "The system gave no random bytes.",
    };
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "status": self.status.as_u16(),
            "title": self.title,
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        Sharing::Nobody.mark(&mut response);
        response
    }
}
