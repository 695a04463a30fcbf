//! The tour's browser: HTTP/1.1 and HTTP/2 over TLS that trusts the demo's authority alone, plain
//! HTTP, and the operator's socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// What the tour saw that it should not have seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Surprise {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the tour asked badly: {0}")]
    Asked(#[from] http::Error),
    #[error("the tour has bad TLS settings: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Seen(String),
}

/// Which protocol is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speak {
    H1,
    H2,
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) speak: Speak,
    pub(super) method: Method,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) json: Option<Value>,
}

impl<'a> Ask<'a> {
    /// A GET over HTTP/2.
    pub(super) fn get(host: &'a str, path: &'a str) -> Self {
        Self {
            speak: Speak::H2,
            method: Method::GET,
            host,
            path,
            headers: &[],
            json: None,
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    async fn read(response: Response<Incoming>) -> Result<Self, Surprise> {
        let (parts, body) = response.into_parts();
        Ok(Self {
            version: parts.version,
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// A header as text; empty when it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON; null when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Opens a connection per request: nothing that is seen depends on what was asked before.
pub(super) struct Client {
    public: SocketAddr,
    plain: SocketAddr,
    admin: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Client {
    pub(super) fn new(
        public: SocketAddr,
        plain: SocketAddr,
        admin: PathBuf,
        ca: CertificateDer<'static>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates([ca]);
        Self {
            public,
            plain,
            admin,
            roots: Arc::new(roots),
        }
    }

    /// Asks the edge over TLS and reads the answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Seen, Surprise> {
        Seen::read(self.open(ask).await?).await
    }

    /// Asks the edge over TLS; the body is still to come.
    pub(super) async fn open(&self, ask: Ask<'_>) -> Result<Response<Incoming>, Surprise> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        tls.alpn_protocols = match ask.speak {
            Speak::H1 => vec![b"http/1.1".to_vec()],
            Speak::H2 => vec![b"h2".to_vec()],
        };
        let name = ServerName::try_from(ask.host.to_owned())
            .map_err(|error| Surprise::Seen(error.to_string()))?;
        let io = TcpStream::connect(self.public).await?;
        let io = TlsConnector::from(Arc::new(tls)).connect(name, io).await?;

        let authority = format!("{}:{}", ask.host, self.public.port());
        let mut request = Request::builder().method(ask.method);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let body = match ask.json {
            Some(json) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::from(json.to_string())
            }
            None => Full::default(),
        };
        match ask.speak {
            Speak::H1 => {
                let request = request.uri(ask.path).header(HOST, authority).body(body)?;
                one(io, request).await
            }
            Speak::H2 => {
                let uri = format!("https://{authority}{}", ask.path);
                let request = request.uri(uri).body(body)?;
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
                        .await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Asks the plain port.
    pub(super) async fn plain(&self, host: &str, path: &str) -> Result<Seen, Surprise> {
        let io = TcpStream::connect(self.plain).await?;
        let request = Request::get(path)
            .header(HOST, host)
            .body(Full::default())?;
        Seen::read(one(io, request).await?).await
    }

    /// Gives the edge a command, as `edge-proxy shift` and `edge-proxy purge` do.
    pub(super) async fn command(&self, path: &str, json: Value) -> Result<Value, Surprise> {
        let io = UnixStream::connect(&self.admin).await?;
        let request = Request::post(path)
            .header(HOST, "admin")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(json.to_string()))?;
        let seen = Seen::read(one(io, request).await?).await?;
        if seen.status != StatusCode::OK {
            let why = String::from_utf8_lossy(&seen.body).into_owned();
            return Err(Surprise::Seen(format!("the command was refused: {why}")));
        }
        Ok(seen.json())
    }
}

/// One HTTP/1.1 exchange; the connection lives as long as the body does.
async fn one<S>(io: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Surprise>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
