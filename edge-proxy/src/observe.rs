//! The listener for monitors: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It has no authentication, so it says nothing about a tenant or a person and changes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::exposition;
use crate::surface;

/// What monitors are told about.
#[async_trait]
pub trait Observed: Send + Sync + 'static {
    /// Every metric, in the text format.
    async fn metrics(&self) -> String;

    /// Why the edge should get no new clients; nothing: it should. Draining is a reason.
    async fn not_ready(&self) -> Vec<String>;
}

/// Serves monitors on a bound socket until `stop` turns true.
pub async fn serve(
    listener: TcpListener,
    observed: Arc<dyn Observed>,
    stop: watch::Receiver<bool>,
) {
    surface::serve(listener, router(observed), stop).await;
}

fn router(observed: Arc<dyn Observed>) -> Router {
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
        .with_state(observed)
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text.into()).into_response()
}

async fn scrape(State(observed): State<Arc<dyn Observed>>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, exposition::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, observed.metrics().await)
}

async fn readiness(State(observed): State<Arc<dyn Observed>>) -> Response {
    let reasons = observed.not_ready().await;
    if reasons.is_empty() {
        plain(StatusCode::OK, "ready\n")
    } else {
        let text: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
        plain(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

#[cfg(test)]
mod tests;
