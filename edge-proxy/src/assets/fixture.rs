//! A store in a folder, written by hand so that tests can break it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::manifest::{self, Blob, Coding, File, Kind, Manifest};
use asset_pipeline::store::Store;
use bytes::Bytes;
use tempfile::TempDir;

use super::blobs::{Blobs, Opened};
use super::in_use::Reporting;
use super::mirror::Mirror;

pub(super) struct Shop(TempDir);

/// Path, kind, bytes, and the bytes of its `br` form.
pub(super) type Good<'a> = (&'a str, Kind, &'a [u8], Option<&'a [u8]>);

impl Shop {
    pub(super) fn new() -> Self {
        let shop = Self(tempfile::tempdir().expect("a temporary folder"));
        shop.write("store/store.json", b"{}");
        shop
    }

    pub(super) fn store(&self) -> Store {
        let url = format!("file://{}", self.path("store").display());
        Store::open(&url).expect("a folder is a store")
    }

    pub(super) fn blobs(&self) -> Arc<Blobs> {
        let mirror = Mirror::open(self.path("mirror"), 8 << 20).expect("a mirror");
        Blobs::new(self.store(), mirror, 8 << 20)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn blob(&self, bytes: &[u8]) -> Blob {
        let blob = blob(bytes);
        self.write(&format!("store/{}", in_store(&blob)), bytes);
        blob
    }

    pub(super) fn publish(&self, id: &str, published_s: u64, goods: &[Good<'_>]) -> Arc<Manifest> {
        let files = goods.iter().map(|(path, kind, bytes, br)| {
            let file = File {
                kind: *kind,
                content_type: "text/plain".to_owned(),
                identity: self.blob(bytes),
                dictionary_for: None,
                deltas: Vec::new(),
                image: None,
                encoded: br.iter().map(|br| (Coding::Br, self.blob(br))).collect(),
            };
            ((*path).to_owned(), file)
        });
        let manifest = Manifest {
            format: manifest::FORMAT,
            app: app(),
            release: release(id),
            build_id: None,
            deployment_id: None,
            hashed_prefixes: vec!["/static/".to_owned()],
            files: files.collect::<BTreeMap<_, _>>(),
            pages: BTreeMap::new(),
            dictionary: None,
            images: None,
        };
        let bytes = manifest.to_bytes();
        let digest = Digest::of(&bytes);
        self.write(&format!("store/manifests/{digest}.json"), &bytes);
        let record = format!(r#"{{"format":1,"manifest":"{digest}","published_s":{published_s}}}"#);
        self.write(&format!("store/releases/learn/{id}"), record.as_bytes());
        Arc::new(manifest)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    pub(super) fn go_down(&self) {
        fs::rename(self.path("store"), self.path("away")).expect("the store goes");
    }

    pub(super) fn come_back(&self) {
        fs::rename(self.path("away"), self.path("store")).expect("the store is back");
    }
}

/// Who tells the store what is in use.
pub(super) fn reporting() -> Reporting {
    Reporting {
        edge: "e1".parse().expect("an edge's name"),
        sent: Default::default(),
        failed: Default::default(),
    }
}

pub(super) fn app() -> AppId {
    "learn".parse().expect("an app id")
}

pub(super) fn release(id: &str) -> ReleaseId {
    id.parse().expect("a release id")
}

pub(super) fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
    }
}

/// Where a store has a blob.
pub(super) fn in_store(blob: &Blob) -> String {
    let hex = blob.digest.to_string();
    format!("blobs/sha256/{}/{}", &hex[..2], &hex[2..])
}

/// Where a mirror has a blob.
pub(super) fn in_mirror(blob: &Blob) -> String {
    let hex = blob.digest.to_string();
    format!("mirror/blobs/{}/{}", &hex[..2], &hex[2..])
}

/// All bytes of a blob.
pub(super) async fn read(blobs: &Arc<Blobs>, blob: &Blob) -> Option<Bytes> {
    match blobs.open(blob).await.ok()? {
        Opened::Bytes(bytes) => Some(bytes),
        Opened::File(file) => {
            use std::os::unix::fs::FileExt as _;
            let mut bytes = vec![0; blob.bytes as usize];
            file.read_exact_at(&mut bytes, 0).ok()?;
            Some(bytes.into())
        }
    }
}
