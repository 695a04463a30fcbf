//! The edge's own requests to origins: fills, identity checks, health probes.
//!
//! Passing a client's request through is pingora's work; this is for requests that the edge makes
//! itself. Every wait has a limit, and a body is read only as far as its reader asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::outlier::Outcome;
use super::pool::{Lease, Pool};
use crate::config::checked::Limits;

/// Connections kept per member for the next fill.
const IDLE_PER_MEMBER_MAX: usize = 32;

/// Sends requests to members of pools.
#[derive(Debug, Clone)]
pub struct Client {
    pooled: Pooled<HttpConnector, Empty<Bytes>>,
    read: Duration,
    connect: Duration,
    idle: Duration,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields.
    pub head: http::response::Parts,
    body: Incoming,
    read: Duration,
    _lease: Lease,
}

/// Why an origin gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Every member is known to be unhealthy.
    #[error("no member of the pool is healthy")]
    NoMember,
    /// No connection: nothing was sent.
    #[error("no connection to the member")]
    Connect,
    /// Neither header nor more of the body in time.
    #[error("the member was silent for too long")]
    TimedOut,
    /// The connection broke, or what came was not HTTP.
    #[error("the member's answer broke off")]
    Broken,
    /// The body is longer than its reader allows.
    #[error("the member's answer is too long")]
    TooLong,
    /// The request could not be built from its parts.
    #[error("the request is not valid")]
    Invalid,
}

impl Client {
    /// With the limits of the config.
    pub fn new(limits: &Limits) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits.connect));
        connector.set_nodelay(true);
        Self {
            pooled: pooled(limits.upstream_idle, connector),
            read: limits.upstream_read,
            connect: limits.connect,
            idle: limits.upstream_idle,
        }
    }

    /// A GET to some member of `pool`: when no connection to the first can be made, to another.
    ///
    /// `request` has the target in origin form and its `Host`.
    ///
    /// # Errors
    /// When no member answered in time.
    pub async fn get(&self, pool: &Pool, request: Request<()>) -> Result<Answer, ClientError> {
        self.get_within(pool, request, self.read).await
    }

    /// As [`Self::get`], for somebody who waits no longer than `limit` for the answer to begin.
    ///
    /// # Errors
    /// When no member answered in time.
    pub async fn get_within(
        &self,
        pool: &Pool,
        request: Request<()>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let limit = limit.min(self.read);
        let lease = pool.pick(None).ok_or(ClientError::NoMember)?;
        let first = lease.address();
        match self.told(pool, lease, request.clone(), limit).await {
            Err(ClientError::Connect) => {
                let _retry = pool.retry().ok_or(ClientError::Connect)?;
                let other = pool.pick(Some(first)).ok_or(ClientError::Connect)?;
                self.told(pool, other, request, limit).await
            }
            outcome => outcome,
        }
    }

    /// A GET to one member; its pool is told how it ended.
    async fn told(
        &self,
        pool: &Pool,
        lease: Lease,
        request: Request<()>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let member = lease.again();
        let outcome = self.ask(lease, request, limit).await;
        let ended = outcome
            .as_ref()
            .map_or(Outcome::Failed, |answer| answer.head.status.into());
        pool.ended(&member, ended);
        outcome
    }

    /// A GET to one member.
    ///
    /// # Errors
    /// When it did not begin to answer within `limit`.
    pub async fn ask(
        &self,
        lease: Lease,
        request: Request<()>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let (mut parts, ()) = request.into_parts();
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let secure = lease.secure().map(Arc::clone);
        let scheme = if secure.is_some() { "https" } else { "http" };
        parts.uri = Uri::builder()
            .scheme(scheme)
            .authority(lease.address().to_string())
            .path_and_query(target)
            .build()
            .map_err(|_| ClientError::Invalid)?;
        let request = Request::from_parts(parts, Empty::new());
        let response = match &secure {
            None => self.pooled.request(request),
            Some(secure) => secure
                .pooled(|connector| pooled(self.idle, connector), self.connect)
                .request(request),
        };
        let response = match tokio::time::timeout(limit, response).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(ClientError::Connect),
            Ok(Err(_)) => return Err(ClientError::Broken),
            Err(_) => return Err(ClientError::TimedOut),
        };
        let (head, body) = Response::into_parts(response);
        Ok(Answer {
            head,
            body,
            read: self.read,
            _lease: lease,
        })
    }
}

fn pooled<C>(idle: Duration, connector: C) -> Pooled<C, Empty<Bytes>>
where
    C: Connect + Clone,
{
    Pooled::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .pool_max_idle_per_host(IDLE_PER_MEMBER_MAX)
        // A fresh connection is cheap on a local network; a retry that nobody counted is not.
        .retry_canceled_requests(true)
        .set_host(false)
        .build(connector)
}

impl Answer {
    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// When it stalls or breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match tokio::time::timeout(self.read, self.body.frame()).await {
                Err(_) => return Err(ClientError::TimedOut),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(ClientError::Broken),
                // Trailers are dropped: nothing that is stored may change after its header.
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is longer than `bytes_max`, stalls or breaks off.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > bytes_max {
                return Err(ClientError::TooLong);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}
