//! One request over a unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::super::api::Problem;

/// For everything: longer than the edge lets a command take.
const PATIENCE: Duration = Duration::from_secs(25);

/// The largest answer: a status of hundreds of members is far smaller.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CallError {
    #[error(
        "no edge answers at {}: is it running, and is this its admin socket?",
        path.display()
    )]
    Absent { path: PathBuf },
    #[error(
        "the admin socket {} may not be used by this account: run the command as the account that runs the edge",
        path.display()
    )]
    Forbidden { path: PathBuf },
    #[error("the admin socket {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the edge did not answer within {PATIENCE:?}; `status` shows whether the command was done"
    )]
    Late,
    #[error("the edge's answer was cut off: {0}; `status` shows whether the command was done")]
    Cut(String),
    #[error("{}", _0.detail)]
    Problem(Box<Problem>),
}

/// Asks and waits for the whole answer. Its own small runtime: commands have none.
pub(super) fn call(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Vec<u8>, CallError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "edge")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|error| CallError::Cut(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| unconnected(socket, source))?;
    runtime.block_on(async {
        let answered = async { read(send(socket, request).await?) };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Late),
        }
    })
}

fn unconnected(socket: &Path, source: io::Error) -> CallError {
    let path = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::Absent { path },
        io::ErrorKind::PermissionDenied => CallError::Forbidden { path },
        _ => CallError::Io { path, source },
    }
}

/// One request, and its whole answer. How long to wait is the caller's business.
pub(crate) async fn send(
    socket: &Path,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, CallError> {
    let (answer, _driving) = open(socket, request).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| CallError::Cut(error.to_string()))?
        .to_bytes();
    Ok(Response::from_parts(head, body))
}

/// One request, and an answer that comes as long as the second value is there.
pub(crate) async fn open(
    socket: &Path,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, JoinSet<hyper::Result<()>>), CallError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| unconnected(socket, source))?;
    let cut = |error: hyper::Error| CallError::Cut(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answer = sender.send_request(request).await.map_err(cut)?;
    Ok((answer, driving))
}

fn read(answer: Response<Bytes>) -> Result<Vec<u8>, CallError> {
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(body.into());
    }
    match serde_json::from_slice(&body) {
        Ok(problem) => Err(CallError::Problem(Box::new(problem))),
        Err(_) => Err(CallError::Cut(format!("status {}", head.status))),
    }
}
