//! Every error of the admin listener, as RFC 9457 wants it.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use super::api::{Problem, Reason};
use super::store::StoreError;

pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A command's body.
pub(crate) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::usage(format!("the body: {error}")))
}

impl Problem {
    /// `kind` is the stable word, `title` its meaning, `detail` what was wrong and what to do.
    pub(crate) fn new(
        status: StatusCode,
        kind: &str,
        title: &str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:bellwether:{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            refused: false,
            reasons: Vec::new(),
        }
    }

    /// The request makes no sense.
    pub(crate) fn usage(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "usage",
            "not a valid command",
            detail,
        )
    }

    /// Something else is under way.
    pub(crate) fn conflict(kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// It names something that is not there.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", "no such thing", detail)
    }

    /// A policy forbids it now.
    pub(crate) fn refused(detail: impl Into<String>, reasons: Vec<Reason>) -> Self {
        Self {
            refused: true,
            reasons,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "refused",
                "refused by policy",
                detail,
            )
        }
    }

    /// It could not be done in time, and everything is as it was.
    pub(super) fn undone(detail: impl Into<String>, reasons: Vec<Reason>) -> Self {
        Self {
            reasons,
            ..Self::new(
                StatusCode::FAILED_DEPENDENCY,
                "undone",
                "not done, and undone",
                detail,
            )
        }
    }

    /// The time was over before everybody had finished.
    pub(super) fn cut_off(detail: impl Into<String>) -> Self {
        let title = "not everybody had finished";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "late", title, detail)
    }

    /// Nobody answers, or somebody who knows nothing of what was begun: yet, when the edge has just been started again.
    pub(super) fn is_away(&self) -> bool {
        ["unreachable", "worker", "unknown"]
            .iter()
            .any(|kind| self.kind.strip_prefix("urn:bellwether:") == Some(kind))
    }

    /// Somebody else changed it in between.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT.as_u16()
    }

    /// Nobody answered, or not in words that are understood; no HTTP status was given.
    pub(super) fn unreachable(detail: impl Into<String>) -> Self {
        Self {
            status: 0,
            ..Self::new(StatusCode::BAD_GATEWAY, "unreachable", "no answer", detail)
        }
    }

    /// It may or may not have been done.
    pub(super) fn late(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "late", "took too long", detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "changed by someone else",
                detail,
            ),
            StoreError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many commands",
                detail,
            ),
            StoreError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the edge is stopping",
                detail,
            ),
            StoreError::CutOff => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "cut-off",
                "the state does not answer",
                detail,
            ),
            StoreError::Compacted { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Failed { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "state",
                "the state could not be used",
                detail,
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}
