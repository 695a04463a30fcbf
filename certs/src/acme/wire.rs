//! How an authority is asked: HTTPS that trusts a bundle of roots, each request bounded in time, each answer in size.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::fault::WireFault;
use super::tame::{retry_after, tame};

/// Directories, orders and chains are a few KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Between the steps of one order.
const IDLE: Duration = Duration::from_secs(30);

/// Roots that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("roots of certificate authorities: {}: {why}", file.display())]
pub struct RootsProblem {
    /// The bundle.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The client of every authority.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    patience: Duration,
}

impl Wire {
    /// `roots` is a PEM bundle of who may vouch for an authority's server.
    pub(super) fn new(roots: &Path, patience: Duration) -> Result<Self, RootsProblem> {
        let problem = |why| RootsProblem {
            file: roots.to_owned(),
            why,
        };
        let found = CertificateDer::pem_file_iter(roots).map_err(|_| {
            problem("cannot be read; install ca-certificates, or name a PEM bundle")
        })?;
        let mut store = RootCertStore::empty();
        // A bundle of a system has some that are not understood; the others count.
        store.add_parsable_certificates(found.filter_map(Result::ok));
        if store.is_empty() {
            return Err(problem("holds no certificate; name a PEM bundle"));
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| problem("no TLS version is left"))?
            .with_root_certificates(store)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(patience));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, patience })
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asked = self.client.request(request);
        let patience = self.patience;
        Box::pin(async move {
            let whole = async {
                let answer = asked.await.map_err(|error| match error.is_connect() {
                    true => WireFault::Connect,
                    false => WireFault::Broken,
                })?;
                let (parts, body) = answer.into_parts();
                match parts.status {
                    StatusCode::TOO_MANY_REQUESTS => {
                        return Err(WireFault::TooMany(retry_after(&parts.headers)));
                    }
                    status if status.is_server_error() => {
                        return Err(WireFault::Status(status.as_u16()));
                    }
                    _ => {}
                }
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                    true => WireFault::TooLong(ANSWER_BYTES_MAX),
                    false => WireFault::Broken,
                })?;
                tame(parts, body.to_bytes())
            };
            let answer = tokio::time::timeout(patience, whole).await;
            answer
                .unwrap_or(Err(WireFault::TimedOut(patience)))
                .map_err(|fault| Error::Other(Box::new(fault)))
        })
    }
}
