//! Where the keys of tokens come from: read at the start, on an interval, and once more for a key that nobody knows.
//!
//! What cannot be read leaves the last good keys in place, for as long as the config says: after
//! that nobody is believed. A token can make the edge read again, but not more than once a minute.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::jwks::{self, KeySet, NotKeys};
use crate::clock::Clock;
use crate::config::checked::{KeySource, Token};
use crate::metrics::Metrics;

/// 32 keys of 4096 bits, and their certificates.
const BYTES_MAX: usize = 256 * 1024;
/// For all of a reading; nobody waits for it longer.
const READ_MAX: Duration = Duration::from_secs(10);
/// Between readings that tokens with unknown keys ask for.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// After a reading that failed.
const AGAIN: Duration = Duration::from_secs(15);

/// The keys of one issuer.
pub(super) struct Keys {
    source: KeySource,
    refresh: Duration,
    stale_max: Duration,
    known: Mutex<Option<Known>>,
    reading: Mutex<Reading>,
    wanted: Notify,
    read: watch::Sender<u64>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

struct Known {
    keys: Arc<KeySet>,
    at: Instant,
}

/// Who reads, and when a token last made somebody read.
#[derive(Default)]
struct Reading {
    under_way: bool,
    asked: Option<Instant>,
}

/// No key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has none of that name.
    Unknown,
    /// Nobody can say: there are no keys, or they are too old.
    Unavailable,
}

/// Why keys were not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("they have more than {BYTES_MAX} bytes, or their end did not come")]
    Body,
    #[error("it took longer than {} s", READ_MAX.as_secs())]
    TimedOut,
    #[error(transparent)]
    NotKeys(#[from] NotKeys),
}

impl Keys {
    pub(super) fn new(config: &Token, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            source: config.keys.clone(),
            refresh: config.refresh,
            stale_max: config.stale,
            known: Mutex::default(),
            // The first reading begins with the task.
            reading: Mutex::new(Reading {
                under_way: true,
                asked: None,
            }),
            wanted: Notify::new(),
            read: watch::Sender::new(0),
            clock,
            metrics,
        }
    }

    /// All keys that there are now, with the one named `kid` among them.
    pub(super) async fn with(&self, kid: &str) -> Result<Arc<KeySet>, NoKey> {
        match self.now() {
            Some(keys) if keys.contains_key(kid) => return Ok(keys),
            _ => self.look_again().await,
        }
        let keys = self.now().ok_or(NoKey::Unavailable)?;
        if keys.contains_key(kid) {
            Ok(keys)
        } else {
            Err(NoKey::Unknown)
        }
    }

    /// The keys, as long as they are young enough.
    fn now(&self) -> Option<Arc<KeySet>> {
        let known = self.known.lock();
        let known = known.as_ref()?;
        let age = self.clock.now().saturating_duration_since(known.at);
        (age < self.stale_max).then(|| Arc::clone(&known.keys))
    }

    /// Waits for the reading that is under way, or for a new one where that is allowed.
    async fn look_again(&self) {
        let mut read = self.read.subscribe();
        {
            let mut reading = self.reading.lock();
            let now = self.clock.now();
            let recently = reading.asked.is_some_and(|at| now < at + ASKED_EVERY);
            if !reading.under_way {
                if recently {
                    return;
                }
                reading.asked = Some(now);
                reading.under_way = true;
                self.wanted.notify_one();
            }
        }
        // Too late is as good as not at all.
        let _ = tokio::time::timeout(READ_MAX, read.changed()).await;
    }

    /// Reads until it is dropped.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            self.reading.lock().under_way = true;
            let outcome = tokio::time::timeout(READ_MAX, load(&self.source)).await;
            let good = match outcome.unwrap_or(Err(ReadError::TimedOut)) {
                Ok(keys) => {
                    self.take(keys);
                    true
                }
                Err(error) => {
                    warn!(%error, "the keys of tokens could not be read; the last good ones stay");
                    false
                }
            };
            self.metrics.identity_keys_read(good);
            self.reading.lock().under_way = false;
            self.read.send_modify(|times| *times += 1);
            let pause = if good { self.refresh } else { AGAIN };
            // Whether time is over or somebody wants it: both mean to read.
            let _ = tokio::time::timeout(pause.min(self.refresh), self.wanted.notified()).await;
        }
    }

    fn take(&self, keys: KeySet) {
        self.metrics
            .identity_keys
            .set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let known = Known {
            keys: Arc::new(keys),
            at: self.clock.now(),
        };
        let before = self.known.lock().replace(known);
        if before.is_none() {
            info!("the keys of tokens were read");
        }
    }
}

async fn load(source: &KeySource) -> Result<KeySet, ReadError> {
    let text = match source {
        KeySource::File(file) => read_file(file).await?,
        KeySource::Http(uri) => {
            let stream = connect(uri, 80).await?;
            get(stream, uri).await?
        }
        KeySource::Https { uri, authorities } => {
            let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::new(tls(authorities.as_deref())?));
            let stream = connector.connect(name, connect(uri, 443).await?).await?;
            get(stream, uri).await?
        }
    };
    Ok(jwks::read(&text)?)
}

async fn read_file(file: &Path) -> Result<Vec<u8>, ReadError> {
    let mut text = Vec::new();
    let file = tokio::fs::File::open(file).await?;
    file.take(BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)
        .await?;
    if text.len() > BYTES_MAX {
        return Err(ReadError::Body);
    }
    Ok(text)
}

async fn connect(uri: &Uri, port: u16) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    TcpStream::connect((host, uri.port_u16().unwrap_or(port))).await
}

/// Read anew each time: authorities change while an edge runs.
fn tls(authorities: Option<&Path>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates = match authorities {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(io::Error::other)?,
        None => rustls_native_certs::load_native_certs()?,
    };
    roots.add_parsable_certificates(certificates);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// One request, one answer: no redirect is followed, since the address is what is trusted.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Vec<u8>, ReadError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let asked = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(ReadError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        let body = body.map_err(|_| ReadError::Body)?;
        Ok(body.to_bytes().to_vec())
    };
    tokio::select! {
        answer = asked => answer,
        // It ends before the answer does only when it breaks.
        Err(error) = connection => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
