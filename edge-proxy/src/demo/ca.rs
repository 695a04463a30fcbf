//! A certificate authority of the demo's own, and a certificate for each school.
//!
//! Each school gets its exact name: browsers accept no `*.localhost`, because a wildcard directly
//! below a top-level name would speak for everybody.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;
/// Nobody should find a trusted demo authority on their machine a year later.
const DAYS: i64 = 30;

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The library refused.
    #[error("the demo's certificate for {name} could not be made: {source}")]
    Make {
        /// Whose.
        name: String,
        /// What it said.
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("{path} could not be written: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The authority. Its key is never written anywhere: when the demo ends, it can sign no more.
#[derive(Debug)]
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Ca {
    /// Makes one.
    pub(super) fn new() -> Result<Self, CaError> {
        let make = |source| CaError::Make {
            name: "the authority".to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params("Bellwether demo CA", Vec::new()).map_err(make)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// What a client must trust.
    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// Writes the certificate that a browser or curl must trust.
    pub(super) fn write(&self, path: &Path) -> Result<(), CaError> {
        write(path, PUBLIC, &self.pem)
    }

    /// Writes `HOST.crt` and `HOST.key` for one exact name.
    pub(super) fn issue(&self, host: &str, folder: &Path) -> Result<(), CaError> {
        let make = |source| CaError::Make {
            name: host.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params(host, vec![host.to_owned()]).map_err(make)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        write(
            &folder.join(format!("{host}.key")),
            PRIVATE,
            &key.serialize_pem(),
        )?;
        write(
            &folder.join(format!("{host}.crt")),
            PUBLIC,
            &certificate.pem(),
        )
    }
}

fn params(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    // Months and days of a date are never negative.
    let part = |part: i8| u8::try_from(part).unwrap_or(1);
    let midnight =
        |date: Date| rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()));
    params.not_before = midnight(today.saturating_sub(1.day()));
    params.not_after = midnight(today.saturating_add(DAYS.days()));
    Ok(params)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), CaError> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            // A narrow umask must not hide the authority from the browser's user.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())
        });
    written.map_err(|source| CaError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn a_certificate_speaks_for_its_school_alone_and_keys_are_private() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca = Ca::new().expect("an authority");
        ca.write(&folder.path().join("ca.pem")).expect("written");
        ca.issue("maple.localhost", folder.path()).expect("issued");
        let mode = |name: &str| {
            let file = fs::metadata(folder.path().join(name)).expect("there");
            file.mode() & 0o777
        };
        assert_eq!(mode("ca.pem"), 0o644);
        assert_eq!(mode("maple.localhost.key"), 0o600);

        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let leaf = CertificateDer::from_pem_file(folder.path().join("maple.localhost.crt"))
            .expect("a certificate");
        let verify = |host: &'static str| {
            let name = ServerName::try_from(host).expect("a name");
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
        };
        assert!(verify("maple.localhost").is_ok());
        assert!(verify("cedar.localhost").is_err());
    }
}
