//! In front of every handler: the limits of a command, and `Idempotency-Key`.

use std::time::{Duration, Instant};

use asset_pipeline::digest::Digest;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::super::api::Problem;
use super::super::idempotency::{Answer, Begin, IdempotencyKey, Keys};

/// The largest body of a command.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The largest answer that is kept to be given again: reports are far smaller.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// For a whole command, the disk included.
const COMMAND: Duration = Duration::from_secs(15);

pub(super) async fn once(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(COMMAND, limited(keys, request, next)).await {
        Ok(response) => response.unwrap_or_else(Problem::into_response),
        Err(_) => Problem::late(format!(
            "not done within {COMMAND:?}; `status` shows how things are"
        ))
        .into_response(),
    }
}

async fn limited(keys: Keys, request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let detail = format!("a command has at most {BODY_BYTES_MAX} bytes");
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "too large",
            detail,
        )
    })?;
    let key = match head.headers.get("idempotency-key") {
        Some(value) if head.method == Method::POST => {
            Some(IdempotencyKey::parse(value).ok_or_else(|| {
                Problem::usage("Idempotency-Key is 1 to 128 visible ASCII characters")
            })?)
        }
        Some(_) | None => None,
    };
    let Some(key) = key else {
        return Ok(next.run(Request::from_parts(head, Body::from(body))).await);
    };
    let request = Digest::of(&[head.uri.path().as_bytes(), b"\n", &body].concat());
    let claim = match keys.begin(key, request, Instant::now()) {
        Begin::Do(claim) => claim,
        Begin::Again(answer) => return Ok(again(answer)),
        Begin::Running => {
            let detail = "the command with this Idempotency-Key is still being done";
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "running",
                "being done",
                detail,
            ));
        }
        Begin::Other => {
            let detail = "this Idempotency-Key was used for another command; use a new one";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(
                status,
                "key-reused",
                "another command's key",
                detail,
            ));
        }
    };
    // A task of its own: a client that goes away does not leave its command half known.
    let done = tokio::spawn(async move {
        let response = next.run(Request::from_parts(head, Body::from(body))).await;
        if !response.status().is_success() {
            return response;
        }
        let (head, body) = response.into_parts();
        let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
            return Problem::late("the answer could not be kept").into_response();
        };
        claim.done(Answer {
            status: head.status,
            body: body.clone(),
        });
        Response::from_parts(head, Body::from(body))
    });
    done.await
        .map_err(|_| Problem::late("the command ended in an error of ours"))
}

fn again(answer: Answer) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (
            header::HeaderName::from_static("idempotent-replayed"),
            HeaderValue::from_static("true"),
        ),
    ];
    (answer.status, headers, answer.body).into_response()
}
