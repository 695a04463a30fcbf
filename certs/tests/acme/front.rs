//! What stands before an authority: passes requests on, knows renewal windows (`pebble` 2.4 does not), and is down, slow
//! or busy when a test says so.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Pebble, Servers};

/// How it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Passes everything on.
    Good,
    /// Never answers.
    Slow,
    /// Orders are answered with 429.
    Limited,
    /// Everything is answered with 503.
    Broken,
    /// The directory is longer than any.
    Endless,
}

#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    to: SocketAddr,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

struct State {
    mood: Mood,
    window: Option<(String, String)>,
    replaced: Vec<String>,
}

/// HTTPS to servers that are vouched for.
pub(crate) fn trusting(servers: &Servers) -> HttpsConnector<HttpConnector> {
    let bundle = std::fs::read(servers.roots()).expect("a bundle");
    let root = CertificateDer::from_pem_slice(&bundle).expect("a root");
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let trust = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(trust)
        .https_only()
        .enable_http1()
        .build()
}

impl Front {
    pub(crate) async fn before(pebble: &Pebble, mood: Mood) -> Self {
        let (certificate, key) = pebble.servers.issue();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let front = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(Mutex::new(State {
                mood,
                window: None,
                replaced: Vec::new(),
            })),
            to: pebble.address,
            client: Client::builder(TokioExecutor::new())
                .set_host(false)
                .build(trusting(&pebble.servers)),
        };
        tokio::spawn(
            front
                .clone()
                .serve(listener, TlsAcceptor::from(Arc::new(tls))),
        );
        front
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Windows are suggested from now on.
    pub(crate) fn suggest(&self, from: &str, to: &str) {
        self.state().window = Some((from.to_owned(), to.to_owned()));
    }

    /// What orders said that they take over from.
    pub(crate) fn replaced(&self) -> Vec<String> {
        self.state().replaced.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, listener: TcpListener, tls: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (front, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let answer = service_fn(move |request| {
                    let front = front.clone();
                    async move { Ok::<_, Infallible>(front.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                // A client that leaves is no fault of the test's.
                let _ = connection
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let order = path.contains("order-plz");
        let mood = self.state().mood.clone();
        match mood {
            Mood::Slow => std::future::pending::<()>().await,
            Mood::Limited if order => {
                let problem = json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "slow down" });
                let mut limited = reply(StatusCode::TOO_MANY_REQUESTS, &problem);
                let later = HeaderValue::from_static("3600");
                limited.headers_mut().insert("retry-after", later);
                return limited;
            }
            Mood::Broken => return reply(StatusCode::SERVICE_UNAVAILABLE, &json!({})),
            Mood::Endless => return reply(StatusCode::OK, &json!({ "x": "x".repeat(1 << 20) })),
            Mood::Good | Mood::Limited => {}
        }
        if path.starts_with("/renewal-info/") {
            let Some((start, end)) = self.state().window.clone() else {
                return reply(StatusCode::NOT_FOUND, &json!({}));
            };
            let window = json!({ "suggestedWindow": { "start": start, "end": end } });
            let mut info = reply(StatusCode::OK, &window);
            let again = HeaderValue::from_static("21600");
            info.headers_mut().insert("retry-after", again);
            return info;
        }
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let replaces = order.then(|| replaces(&body)).flatten();
        let target = format!("https://{}{}", self.to, parts.uri);
        parts.uri = target.parse::<Uri>().expect("a target");
        let asked = Request::from_parts(parts, Full::new(body));
        let answer = self.client.request(asked).await.expect("pebble answers");
        let (mut parts, body) = answer.into_parts();
        let mut body = body.collect().await.expect("a body").to_bytes();
        let suggests = self.state().window.is_some();
        if path == "/dir" && suggests {
            let url = format!("https://{}/renewal-info", self.address);
            body = with(&body, "renewalInfo", &url);
        }
        if let Some(replaces) = replaces {
            body = with(&body, "replaces", &replaces);
            self.state().replaced.push(replaces);
        }
        parts.headers.remove("content-length");
        Response::from_parts(parts, Full::new(body))
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// A JSON object with one more key.
fn with(body: &[u8], key: &str, value: &str) -> Bytes {
    let mut object: Value = serde_json::from_slice(body).expect("an object");
    object[key] = value.into();
    object.to_string().into()
}

/// What a signed order says that it takes over from.
fn replaces(body: &[u8]) -> Option<String> {
    let signed: Value = serde_json::from_slice(body).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(signed["payload"].as_str()?)
        .ok()?;
    let order: Value = serde_json::from_slice(&payload).ok()?;
    Some(order["replaces"].as_str()?.to_owned())
}
