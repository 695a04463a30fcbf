//! The OpenAPI document, made from the handlers themselves.

use axum::Json;
use utoipa::OpenApi;

use super::{certificates, paths, told};

/// The admin API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Edge admin API",
        description = "Spoken over the unix socket that `listeners.admin` names. Errors have the form of RFC 9457."
    ),
    paths(
        paths::status_now,
        paths::shift,
        paths::deploy,
        paths::deploying,
        paths::freeze,
        paths::roll_out,
        paths::rolling_out,
        paths::steer,
        paths::drain,
        paths::draining,
        paths::pause,
        certificates::begin,
        certificates::look,
        certificates::rekey,
        paths::purge,
        paths::cache,
        told::explain,
        told::audit
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
