//! A certificate authority that only the clients of one test trust.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Signs certificates for the edge.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as they lie in the edge's folder.
pub(crate) struct Pair {
    certificate: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("the authority is well formed"))
    }

    /// A certificate for `names`, with a key of its own.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are host names");
        dated(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.0)
            .expect("the authority can sign");
        Pair {
            certificate: certificate.pem(),
            key,
        }
    }

    /// Its own certificate, for programs that take a file.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The one authority that is trusted.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.0.der().clone())
            .expect("the authority's certificate is one");
        roots
    }

    /// How a client talks TLS that trusts nobody else.
    pub(crate) fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual suites")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Pair {
    /// As a TLS server takes them.
    pub(crate) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let key = PrivateKeyDer::try_from(self.key.serialize_der());
        (vec![chain.expect("PEM")], key.expect("a key"))
    }

    /// Puts it into a folder, each file whole at once.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        place(
            &folder.join(format!("{name}.key")),
            self.key.serialize_pem().as_bytes(),
        );
        place(
            &folder.join(format!("{name}.crt")),
            self.certificate.as_bytes(),
        );
    }

    /// What Chromium calls the key: the SHA-256 of its public half, in base64.
    pub(crate) fn spki_hash(&self) -> String {
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            &self.key.subject_public_key_info(),
        );
        BASE64_STANDARD.encode(digest)
    }
}

/// From yesterday for ninety days, as certificates of public authorities live.
fn dated(params: &mut CertificateParams) {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    // Months and days of a date are never negative.
    let part = |part: i8| u8::try_from(part).unwrap_or(1);
    let midnight =
        |date: Date| rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()));
    params.not_before = midnight(today.saturating_sub(1.day()));
    params.not_after = midnight(today.saturating_add(89.days()));
}

/// Writes a file under another name first, so that nobody reads half of it.
pub(crate) fn place(path: &Path, contents: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, contents).expect("the test's folder can be written");
    fs::rename(&draft, path).expect("the test's folder can be written");
}
