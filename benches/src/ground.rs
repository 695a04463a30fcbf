//! What all peers share: a folder for the run, one certificate, and the bodies of all answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::case::{Size, What};
use crate::error::BenchError;

/// The name that the certificate is for and that clients ask for. It is in every machine's own table.
pub(crate) const HOST: &str = "localhost";

/// By which a tree of files is known to come from a build, whose id is the folder's name.
const BUILD_MANIFEST: &str = "/_next/static/bench-1/_buildManifest.js";

/// The shared ground. Its folder is removed at the end.
pub(crate) struct Ground {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    bodies: BTreeMap<&'static str, Bytes>,
}

impl Ground {
    /// Makes the certificate and the files.
    pub(crate) fn new() -> Result<Self, BenchError> {
        let unwritable = || BenchError::io("the folder of the run cannot be written");
        let folder = tempfile::Builder::new()
            .prefix("bellwether-bench-")
            .tempdir()
            .map_err(unwritable())?;
        // rcgen's own choice is ECDSA with P-256, the usual kind of certificate today.
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let ground = Self {
            folder,
            certificate: made.cert.der().clone(),
            bodies: bodies(),
        };
        fs::create_dir(ground.certificates()).map_err(unwritable())?;
        fs::write(ground.certificate_file(), made.cert.pem()).map_err(unwritable())?;
        fs::write(ground.key_file(), made.signing_key.serialize_pem()).map_err(unwritable())?;
        let files = Size::ALL.map(|size| What::File.path(size));
        for path in files.into_iter().chain([BUILD_MANIFEST]) {
            let file = ground.site().join(path.trim_start_matches('/'));
            let parent = file.parent().unwrap_or(&file);
            fs::create_dir_all(parent).map_err(unwritable())?;
            fs::write(&file, ground.body(path)).map_err(unwritable())?;
        }
        Ok(ground)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The files as a build leaves them, and as nginx and H2O serve them.
    pub(crate) fn site(&self) -> PathBuf {
        self.folder().join("site")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder().join("certificates")
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.certificates().join("bench.crt")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.certificates().join("bench.key")
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What the answer to a path must hold.
    pub(crate) fn body(&self, path: &str) -> Bytes {
        self.bodies.get(path).cloned().unwrap_or_default()
    }
}

fn bodies() -> BTreeMap<&'static str, Bytes> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut bodies = BTreeMap::from([(
        BUILD_MANIFEST,
        Bytes::from_static(b"self.__BUILD_MANIFEST={};\n"),
    )]);
    for size in Size::ALL {
        let length = size.bytes();
        let framed = |noise: &mut Noise, start: &str, end: &str| {
            let text = noise.letters(length - start.len() - end.len());
            Bytes::from([start.as_bytes(), &text, end.as_bytes()].concat())
        };
        bodies.insert(
            What::File.path(size),
            framed(&mut noise, "export default \"", "\";\n"),
        );
        bodies.insert(
            What::Json.path(size),
            framed(&mut noise, "{\"list\":\"", "\"}"),
        );
        // The same bytes: what differs is who may have them.
        bodies.insert(
            What::Tenant.path(size),
            bodies[What::Json.path(size)].clone(),
        );
        bodies.insert(What::Pass.path(size), noise.bytes(length).into());
    }
    bodies
}

/// Bytes that are the same in every run and that nothing compresses.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    fn letters(&mut self, length: usize) -> Vec<u8> {
        const LETTERS: &[u8; 64] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let mut bytes = self.bytes(length);
        for byte in &mut bytes {
            *byte = LETTERS[usize::from(*byte % 64)];
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_exactly_its_size() {
        let bodies = bodies();
        for what in [What::File, What::Json, What::Tenant, What::Pass] {
            for size in Size::ALL {
                assert_eq!(bodies[what.path(size)].len(), size.bytes());
            }
        }
    }

    #[test]
    fn json_is_json() {
        let bodies = bodies();
        for size in Size::ALL {
            let body = &bodies[What::Json.path(size)];
            let value: Result<serde_json::Value, _> = serde_json::from_slice(body);
            assert!(value.is_ok());
        }
    }
}
