//! TLS from the edge to the members of a service: a pinned authority, a name, and the edge's own certificate if they ask
//! for one. Verifying is not an option that can be left out: without a name there is no [`Secure`].

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use asset_pipeline::digest::Digest;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Requests of the edge itself over TLS.
pub(super) type Pooled = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// How the members of a service are spoken to over TLS.
pub struct Secure {
    name: String,
    config: ClientConfig,
    /// For pingora, which builds a configuration of its own for each connection.
    authorities: Arc<CaType>,
    own: Option<Arc<CertKey>>,
    fingerprint: Digest,
    pooled: OnceLock<Pooled>,
}

/// The files of the edge's own certificate for members that ask for one.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its chain, as PEM.
    pub certificate: &'a Path,
    /// Its key, as PEM.
    pub key: &'a Path,
}

/// Why members cannot be spoken to; which key of the config is to blame, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSecure {
    /// No name, or one that no certificate can have.
    Name(&'static str),
    /// The bundle of authorities.
    Authorities(&'static str),
    /// The edge's own certificate.
    Certificate(&'static str),
    /// Its key.
    Key(&'static str),
}

impl Secure {
    /// Reads the files.
    ///
    /// # Errors
    /// What cannot be used, without a word of what the files hold.
    pub fn read(name: &str, authorities: &Path, own: Option<Own<'_>>) -> Result<Self, NotSecure> {
        if ServerName::try_from(name).is_err() {
            return Err(NotSecure::Name(
                "is no name: write the one that the members' certificates have, such as `api.internal`",
            ));
        }
        let trusted = certificates(authorities).map_err(NotSecure::Authorities)?;
        let mut roots = RootCertStore::empty();
        for authority in &trusted {
            let added = roots.add(authority.clone());
            added.map_err(|_| NotSecure::Authorities("holds what is no authority"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| NotSecure::Authorities("leaves no version of TLS"))?
            .with_root_certificates(roots);
        let mut parts = vec![name.as_bytes().to_vec()];
        parts.extend(trusted.iter().map(|of| of.as_ref().to_vec()));
        let (config, own) = match own {
            None => (builder.with_no_client_auth(), None),
            Some(own) => {
                let chain = certificates(own.certificate).map_err(NotSecure::Certificate)?;
                let key = PrivateKeyDer::from_pem_file(own.key)
                    .map_err(|_| NotSecure::Key("holds no key that can be read, as PEM"))?;
                parts.extend(chain.iter().map(|of| of.as_ref().to_vec()));
                parts.push(key.secret_der().to_vec());
                let raw = chain.iter().map(|of| of.as_ref().to_vec()).collect();
                let pair = CertKey::new(raw, key.secret_der().to_vec());
                let config = builder.with_client_auth_cert(chain, key).map_err(|_| {
                    NotSecure::Key("is not the key of the certificate beside it, or of a kind that is not used")
                })?;
                (config, Some(Arc::new(pair)))
            }
        };
        let wrapped = trusted
            .into_iter()
            .map(|of| WrappedX509::new(of.to_vec(), parse_x509));
        Ok(Self {
            name: name.to_owned(),
            config,
            authorities: wrapped.collect::<Vec<_>>().into(),
            own,
            fingerprint: Digest::of(&framed(&parts)),
            pooled: OnceLock::new(),
        })
    }

    /// How pingora speaks to a member.
    pub fn peer(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, true, self.name.clone());
        peer.options.ca = Some(Arc::clone(&self.authorities));
        peer.options.verify_cert = true;
        peer.options.verify_hostname = true;
        peer.client_cert_key = self.own.clone();
        // Connections that were made before the files changed are not used afterwards.
        let [a, b, c, d, e, f, g, h, ..] = *self.fingerprint.as_bytes();
        peer.group_key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        peer
    }

    /// How the edge's own requests reach members; `idle`: how long a connection is kept.
    pub(super) fn pooled(
        &self,
        begin: impl FnOnce(HttpsConnector<HttpConnector>) -> Pooled,
        connect: Duration,
    ) -> &Pooled {
        self.pooled.get_or_init(|| {
            let mut connector = HttpConnector::new();
            connector.enforce_http(false);
            connector.set_connect_timeout(Some(connect));
            connector.set_nodelay(true);
            let name = ServerName::try_from(self.name.clone());
            let name = name.expect("a name that was read as one stays one");
            begin(
                HttpsConnectorBuilder::new()
                    .with_tls_config(self.config.clone())
                    .https_only()
                    .with_server_name_resolver(FixedServerNameResolver::new(name))
                    .enable_http1()
                    .wrap_connector(connector),
            )
        })
    }
}

/// The same files under the same name are the same.
impl PartialEq for Secure {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Secure {}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Every part with its length before it: where one ends and the next begins makes a difference.
fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
    let framed = parts.iter().flat_map(|part| {
        let length = (part.len() as u64).to_be_bytes();
        length.into_iter().chain(part.iter().copied())
    });
    framed.collect()
}

/// The certificates of a PEM file, each of which both TLS libraries can read.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found = CertificateDer::pem_file_iter(file).map_err(|_| "cannot be read")?;
    let mut certificates = Vec::new();
    for certificate in found {
        let certificate = certificate.map_err(|_| "is damaged: a PEM section is cut off")?;
        if X509Certificate::from_der(&certificate).is_err() {
            return Err("holds a certificate that is not valid X.509");
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err("holds no certificate, as PEM");
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_nothing_is_spoken_to() {
        for name in ["", " ", "a b", "*.internal", "."] {
            let refused = Secure::read(name, Path::new("/nowhere"), None);
            assert!(
                matches!(refused, Err(NotSecure::Name(_))),
                "`{name}`: {refused:?}"
            );
        }
        let nowhere = Secure::read("api.internal", Path::new("/nowhere"), None);
        assert_eq!(
            nowhere.err(),
            Some(NotSecure::Authorities("cannot be read"))
        );
    }
}
