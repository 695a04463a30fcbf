//! The OpenAPI document, made from the handlers themselves.

use axum::Json;
use utoipa::OpenApi;

/// The admin API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Edge admin API",
        description = "Spoken over the unix socket that `listeners.admin` names. Errors have the form of RFC 9457."
    ),
    paths(
        super::status_now,
        super::shift,
        super::deploy,
        super::deploying,
        super::freeze,
        super::roll_out,
        super::rolling_out,
        super::steer,
        super::drain,
        super::draining,
        super::pause,
        super::certificates::begin,
        super::certificates::look,
        super::certificates::rekey,
        super::purge,
        super::cache,
        super::explain,
        super::audit
    )
)]
pub(super) struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(of_operators())
}

/// What every edge answers on the operator's socket.
pub(crate) fn of_operators() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
