//! The listener for monitors: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It has no authentication, so it says nothing about a tenant or a person and changes nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::{Metrics, exposition};
use crate::surface;

/// Says why the edge should get no new clients; nothing: it should. Draining is a reason.
pub type NotReady = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

#[derive(Clone)]
struct Observed {
    metrics: Arc<Metrics>,
    not_ready: NotReady,
}

/// Serves monitors on a bound socket until `stop` turns true.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    not_ready: NotReady,
    stop: watch::Receiver<bool>,
) {
    surface::serve(listener, router(metrics, not_ready), stop).await;
}

fn router(metrics: Arc<Metrics>, not_ready: NotReady) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || plain(StatusCode::OK, "ok\n")))
        .route("/readyz", get(readiness))
        .fallback(async || {
            plain(
                StatusCode::NOT_FOUND,
                "only /metrics, /healthz and /readyz\n",
            )
        })
        .with_state(Observed { metrics, not_ready })
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text.into()).into_response()
}

async fn scrape(State(observed): State<Observed>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, exposition::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, observed.metrics.text())
}

async fn readiness(State(observed): State<Observed>) -> Response {
    let reasons = (observed.not_ready)();
    if reasons.is_empty() {
        plain(StatusCode::OK, "ready\n")
    } else {
        let text: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
        plain(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

#[cfg(test)]
mod tests;
