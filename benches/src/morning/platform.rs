//! The platform behind the edge: it answers at once, and counts what it was asked.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::error::BenchError;

/// How often it was asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Reads that a rule covers.
    pub(super) shared: AtomicU64,
    /// Whose credentials these are.
    pub(super) identity: AtomicU64,
    /// All else: pages, writes, what is nobody else's.
    pub(super) passed: AtomicU64,
}

/// The running platform; it ends when it is dropped.
pub(super) struct Platform {
    pub(super) address: SocketAddr,
    pub(super) asked: Arc<Asked>,
    accepting: AbortHandle,
}

impl Platform {
    /// `tells`: it says beside its pages who somebody is.
    pub(super) async fn start(tells: bool) -> Result<Self, BenchError> {
        let broken = || BenchError::io("the platform cannot be started");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(broken())?;
        let address = listener.local_addr().map_err(broken())?;
        let asked = Arc::new(Asked::default());
        let counted = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request| {
                    let answer = answer(&request, &counted, tells);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // The edge's clock is moved: by a date of this one everything would be old when it comes.
                let served = http1::Builder::new()
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(stream), service);
                // It ends when the edge closes it.
                tokio::spawn(async move { drop(served.await) });
            }
        });
        Ok(Self {
            address,
            asked,
            accepting: accepting.abort_handle(),
        })
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What is the same for a school.
fn is_shared(path: &str) -> bool {
    let own = ["me", "notifications", "progress"];
    path.strip_prefix("/api/v1/")
        .and_then(|rest| rest.split('/').next())
        .is_some_and(|first| !own.contains(&first))
}

fn answer(request: &Request<Incoming>, asked: &Asked, tells: bool) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let mut answer = Response::new(Full::new(Bytes::from_static(b"{\"data\":[]}")));
    let say = |headers: &mut HeaderMap, name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    };
    let headers = answer.headers_mut();
    say(headers, CONTENT_TYPE.as_str(), "application/json");
    say(headers, CACHE_CONTROL.as_str(), "private");
    let who = who(request.headers());
    if path == "/up" {
        return answer;
    }
    if path == "/api/v1/me" {
        count(&asked.identity);
        *answer.body_mut() = Full::new(who.unwrap_or_default().into());
    } else if request.method() == Method::GET && is_shared(path) {
        count(&asked.shared);
        let scope = if path == "/api/v1/school" {
            "public"
        } else {
            "tenant"
        };
        say(headers, CACHE_CONTROL.as_str(), "max-age=60");
        say(headers, "x-edge-cache-scope", scope);
    } else {
        count(&asked.passed);
        if let (Some(who), true) = (who, tells && !path.starts_with("/api/")) {
            say(headers, "x-edge-identity", &who);
        }
    }
    answer
}

/// A session is `SCHOOL-CLASS-PUPIL`.
fn who(headers: &HeaderMap) -> Option<String> {
    let cookie = headers.get(COOKIE)?.to_str().ok()?;
    let session = cookie.strip_prefix("_session=")?;
    let school = session.split('-').next()?;
    Some(format!(
        "{{\"id\":\"{session}\",\"school\":{{\"id\":\"school-{school}\"}}}}"
    ))
}
