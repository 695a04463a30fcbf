//! What the tests of the publisher share.

#![expect(
    dead_code,
    reason = "each test file is a crate of its own and uses a part of this"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use asset_pipeline::manifest::{Coding, Manifest};
use asset_pipeline::publish::{Publish, PublishError, Report, Verified, publish, verify};
use asset_pipeline::store::Store;

/// A folder that is published, and a store beside it. Both go away with this.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Nothing in the site yet.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("site")).expect("a folder");
        Self { folder }
    }

    /// A copy of the plain site of the fixtures.
    pub(crate) fn of_the_bell() -> Self {
        let place = Self::empty();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/site");
        copy(&from, &place.site());
        place
    }

    /// The folder that is published.
    pub(crate) fn site(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    /// The folder of the store.
    pub(crate) fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The store.
    pub(crate) fn store(&self) -> Store {
        Store::open(&format!("file://{}", self.store_folder().display())).expect("a good URL")
    }

    /// Writes a file of the site.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.site().join(path);
        fs::create_dir_all(path.parent().expect("it lies in the site")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// What would publish the site.
    pub(crate) fn publish_of(&self, release: &str) -> Publish {
        let release = release.parse().expect("a good name");
        Publish::new(self.site(), app(), release, self.store())
    }

    /// Publishes the site.
    pub(crate) async fn publish(&self, release: &str) -> Result<Report, PublishError> {
        publish(self.publish_of(release), &()).await
    }

    /// What is published.
    pub(crate) async fn manifest(&self, release: &str) -> Manifest {
        let release = release.parse().expect("a good name");
        let manifest = self.store().manifest(&app(), &release).await;
        manifest.expect("a release")
    }

    /// The ids of the releases that a reader sees.
    pub(crate) async fn visible(&self) -> Vec<String> {
        match self.store().release_ids(&app()).await {
            Ok(ids) => ids.into_iter().map(String::from).collect(),
            Err(error) if error.is_missing() => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// What is damaged.
    pub(crate) async fn verified(&self) -> Verified {
        let store = self.store();
        verify(&store, None, None, &[], &()).await.expect("a store")
    }
}

/// What lets a collection take everything that the last release does not need, at once.
pub(crate) const COLLECT_ALL: [&str; 7] = [
    "--no-edge",
    "--keep",
    "1",
    "--younger-than",
    "0s",
    "--grace",
    "0s",
];

/// The app of all tests.
pub(crate) fn app() -> asset_pipeline::id::AppId {
    "learn".parse().expect("a good name")
}

/// The text that a release answers at a path.
pub(crate) async fn text(store: &Store, manifest: &Manifest, path: &str) -> String {
    let file = manifest.files.get(path);
    let file = file.unwrap_or_else(|| panic!("{path} is in {:?}", manifest.files.keys()));
    let bytes = store.blob(&file.identity).await.expect("a blob");
    String::from_utf8(bytes.to_vec()).expect("a text")
}

/// Bytes as a client decodes them.
pub(crate) fn decoded(coding: Coding, bytes: &[u8], length: u64) -> Vec<u8> {
    match coding {
        Coding::Br => {
            let mut decoded = Vec::new();
            brotli::BrotliDecompress(&mut &*bytes, &mut decoded).expect("it decodes");
            decoded
        }
        Coding::Gzip => {
            let mut decoded = vec![0; usize::try_from(length).expect("it fits in memory")];
            let count = libdeflater::Decompressor::new()
                .gzip_decompress(bytes, &mut decoded)
                .expect("it decodes");
            decoded.truncate(count);
            decoded
        }
    }
}

/// All files below a folder, by path relative to it.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it lies in the folder");
                found.insert(name.display().to_string(), path);
            }
        }
    }
    found
}

/// A copy of a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, path) in files(from) {
        let to = to.join(name);
        fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("a folder");
        fs::copy(path, to).expect("a copy");
    }
}

/// A real Next.js build, if the fixtures are there; the caller returns when they are not.
pub(crate) fn next_build(release: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/next");
    let build = root.join(release);
    if build.is_dir() {
        return Some(build);
    }
    eprintln!(
        "SKIPPED: the real Next.js builds are not at {}",
        root.display()
    );
    None
}
