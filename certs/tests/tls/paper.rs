//! A certificate authority of our own, certificates of every kind, and the folder they are put into.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::CertStore;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// Root and intermediate: chains of two, as public authorities give them.
pub(crate) struct Authority {
    pub(crate) root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
}

/// A chain and its key, as they would come from an authority.
pub(crate) struct Paper {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) leaf_pem: String,
    pub(crate) issuer_pem: String,
    pub(crate) key_pem: String,
}

/// The dates of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) from: i32,
    pub(crate) to: i32,
}

/// As long as any test runs.
pub(crate) const LONG: Life = Life {
    from: 2020,
    to: 2120,
};

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        let root_key = KeyPair::generate().expect("a key is made");
        let root = ca("root").self_signed(&root_key).expect("a root is signed");
        let root_issuer = Issuer::new(ca("root"), root_key);
        let key = KeyPair::generate().expect("a key is made");
        let intermediate = ca("intermediate")
            .signed_by(&key, &root_issuer)
            .expect("an intermediate is signed");
        Self {
            root: root.der().clone(),
            issuer_pem: intermediate.pem(),
            issuer: Issuer::new(ca("intermediate"), key),
        }
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Paper {
        self.issue_for(names, LONG)
    }

    pub(crate) fn issue_for(&self, names: &[&str], life: Life) -> Paper {
        self.sign(names, life, &KeyPair::generate().expect("a key is made"))
    }

    pub(crate) fn issue_rsa(&self, names: &[&str]) -> Paper {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
            .expect("an RSA key is made");
        self.sign(names, LONG, &key)
    }

    fn sign(&self, names: &[&str], life: Life, key: &KeyPair) -> Paper {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are host names");
        params.not_before = date_time_ymd(life.from, 1, 1);
        params.not_after = date_time_ymd(life.to, 1, 1);
        let leaf = params
            .signed_by(key, &self.issuer)
            .expect("a certificate is signed");
        Paper {
            leaf: leaf.der().clone(),
            leaf_pem: leaf.pem(),
            issuer_pem: self.issuer_pem.clone(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Paper {
    pub(crate) fn chain_pem(&self) -> String {
        format!("{}{}", self.leaf_pem, self.issuer_pem)
    }
}

/// A folder of pairs that goes away with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder for the test"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts a file there in one step, as a deploy tool does.
    pub(crate) fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let staged = self.file(&format!(".{name}.new"));
        fs::write(&staged, text).expect("a file is written");
        fs::rename(staged, self.file(name)).expect("a file is renamed");
    }

    pub(crate) fn put_pair(&self, name: &str, paper: &Paper) {
        self.put(&format!("{name}.crt"), paper.chain_pem());
        self.put(&format!("{name}.key"), &paper.key_pem);
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("a file is removed");
    }

    pub(crate) fn open(&self) -> Arc<CertStore> {
        CertStore::open(self.path()).expect("the folder holds a good pair")
    }
}
