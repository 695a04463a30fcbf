//! HTTP clients: one connection each, with a chosen server name, host and protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wait::soon;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

impl Http {
    pub(crate) const BOTH: [Self; 2] = [Self::One, Self::Two];

    pub(crate) fn alpn(self) -> &'static str {
        match self {
            Self::One => "http/1.1",
            Self::Two => "h2",
        }
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: Method,
    target: String,
    host: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Ask {
    pub(crate) fn get(target: &str) -> Self {
        Self::new(Method::GET, target)
    }

    /// The same with another method.
    pub(crate) fn method(mut self, method: &Method) -> Self {
        self.method = method.clone();
        self
    }

    pub(crate) fn new(method: Method, target: &str) -> Self {
        Self {
            method,
            target: target.to_owned(),
            host: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Another host than that of the connection.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("tests use names that are names");
        let value = HeaderValue::try_from(value).expect("tests use values that are values");
        self.headers.append(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The value of a header that is text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the answer is no JSON: {error}: {:?}", self.body))
    }
}

/// An answer whose body is still coming.
pub(crate) struct Coming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Coming {
    /// The next piece; none: the end. An error: it broke off.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            match soon("a piece of the answer arrives", self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => {}
                },
            }
        }
    }

    /// The rest of the body.
    pub(crate) async fn rest(mut self) -> Result<Bytes, hyper::Error> {
        let mut rest = Vec::new();
        while let Some(piece) = self.piece().await? {
            rest.extend_from_slice(&piece);
        }
        Ok(rest.into())
    }
}

/// One connection to the edge.
#[derive(Clone)]
pub(crate) struct Client {
    host: String,
    secure: bool,
    sender: Sender,
}

#[derive(Clone)]
enum Sender {
    /// One request after the other.
    One(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// Connects and shakes hands.
pub(crate) async fn tls(
    address: SocketAddr,
    sni: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(sni.to_owned()).map_err(std::io::Error::other)?;
    soon(
        "the handshake is over",
        TlsConnector::from(config).connect(name, tcp),
    )
    .await
}

impl Client {
    /// Over TLS, with `host` as server name and host.
    pub(crate) async fn open(
        address: SocketAddr,
        host: &str,
        config: Arc<ClientConfig>,
        http: Http,
    ) -> Self {
        let stream = tls(address, host, config)
            .await
            .unwrap_or_else(|error| panic!("no connection for {host}: {error}"));
        let sender = match http {
            Http::One => one(TokioIo::new(stream)).await,
            Http::Two => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                        .await
                        .expect("the edge speaks HTTP/2");
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Self {
            host: host.to_owned(),
            secure: true,
            sender,
        }
    }

    /// Without TLS, HTTP/1.1.
    pub(crate) async fn open_plain(address: SocketAddr, host: &str) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the edge accepts connections");
        Self {
            host: host.to_owned(),
            secure: false,
            sender: one(TokioIo::new(stream)).await,
        }
    }

    /// A GET, read whole.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Ask::get(target)).await
    }

    /// A request, read whole.
    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let what = format!("{} {}", ask.method, ask.target);
        match self.try_ask(ask).await {
            Ok(answer) => answer,
            Err(error) => panic!("{what} broke off: {error:?}"),
        }
    }

    /// As [`Self::ask`]; an error: the connection or the answer broke off.
    pub(crate) async fn try_ask(&self, ask: Ask) -> Result<Answer, hyper::Error> {
        let response = self.send(ask).await?;
        let (head, body) = response.into_parts();
        let body = soon("the answer is complete", body.collect()).await?;
        Ok(Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// A request whose body is read piece by piece.
    pub(crate) async fn begin(&self, ask: Ask) -> Coming {
        let (head, body) = self
            .send(ask)
            .await
            .expect("the answer begins")
            .into_parts();
        Coming {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn send(&self, ask: Ask) -> Result<Response<Incoming>, hyper::Error> {
        let host = ask.host.as_deref().unwrap_or(&self.host);
        let mut request = Request::new(Full::new(ask.body));
        *request.method_mut() = ask.method;
        *request.headers_mut() = ask.headers;
        let sending = async {
            match &self.sender {
                Sender::One(sender) => {
                    *request.uri_mut() = uri(&ask.target);
                    let host = HeaderValue::try_from(host).expect("a host is a header value");
                    request.headers_mut().insert(HOST, host);
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Two(sender) => {
                    let scheme = if self.secure { "https" } else { "http" };
                    *request.uri_mut() = uri(&format!("{scheme}://{host}{}", ask.target));
                    *request.version_mut() = Version::HTTP_2;
                    let mut sender = sender.clone();
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        soon("the answer begins", sending).await
    }
}

async fn one<I>(io: I) -> Sender
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(io)
        .await
        .expect("HTTP/1.1 has no handshake that could fail");
    tokio::spawn(connection.with_upgrades());
    Sender::One(Arc::new(tokio::sync::Mutex::new(sender)))
}

fn uri(text: &str) -> Uri {
    text.parse()
        .unwrap_or_else(|error| panic!("{text} is no URI: {error}"))
}
