//! Where releases are kept: content-named blobs, manifests, and one small record per release.
//!
//! ```text
//! store.json                     says that this is a store; an unmounted folder has none
//! blobs/sha256/ab/cdef...        bytes named by their digest
//! manifests/<sha256>.json        what a release is
//! signatures/<sha256>/<key>      who published the manifest of this digest, if that was signed
//! releases/<app>/<id>            names a manifest; written last, so that a reader sees a whole release or none
//! derived/<sha256>               what was made of a blob before, so that it is not made again
//! in-use/<app>/<edge>            the releases that an edge needs, and when it said so
//! uploads/<id>, sweeps/<id>      a publish, a collection under way: leases that expire
//! gc/marks.json                  what nothing needs, and since when
//! ```
//!
//! A folder, or a bucket of an S3 service. Nothing is ever changed in place. Everything read is checked against
//! the digest that names it.

mod bucket;
mod credentials;
mod error;
mod layout;
#[cfg(feature = "publish")]
mod lease;
mod put;
mod read;
mod reports;
#[cfg(feature = "publish")]
mod sweep;
#[cfg(feature = "publish")]
mod write;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::ReleaseId;

pub use error::StoreError;
#[cfg(feature = "publish")]
pub(crate) use lease::{Lease, Work};
pub use read::MANIFEST_BYTES_MAX;
pub use reports::InUse;
#[cfg(feature = "publish")]
pub(crate) use reports::seconds;
#[cfg(feature = "publish")]
pub(crate) use sweep::{Listed, Marks, Thing};
#[cfg(feature = "publish")]
pub(crate) use write::{Derived, Looks, Put};

/// A place that holds releases.
#[derive(Clone)]
pub struct Store {
    url: Arc<str>,
    place: Arc<Place>,
    // Opened by the first operation: a store that is down when the edge starts may come back.
    objects: Arc<OnceLock<Arc<dyn ObjectStore>>>,
}

/// What its URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Bucket(bucket::Bucket),
}

// By its URL alone: a client of a bucket holds secrets.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.url).finish()
    }
}

/// A release that the store names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRef {
    /// The id a colour names.
    pub id: ReleaseId,
    /// The digest of the manifest's bytes.
    pub manifest: Digest,
    /// When it was published, in seconds since 1970.
    pub published_s: u64,
}

/// What `releases/<app>/<id>` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    manifest: Digest,
    published_s: u64,
}

/// The layout of the store and of its records that this version writes.
const FORMAT: u32 = 1;

impl Store {
    /// Names a store by URL: `file:///srv/assets`, the path of a folder, or
    /// `s3://bucket/prefix?endpoint=https://s3.example&region=eu-1`. Without an endpoint and a region there, the
    /// environment and the usual files of S3 clients say them, as they say who asks.
    ///
    /// Nothing is read yet, so a store that is down is no error here.
    ///
    /// # Errors
    ///
    /// A URL of another scheme, a folder with a host, a query or a relative path, or an endpoint
    /// without TLS that is not on this machine.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let place = layout::place(url)?;
        let url = match &place {
            Place::Folder(folder) => format!("file://{}", folder.display()),
            Place::Bucket(bucket) => bucket.url(),
        };
        Ok(Self {
            url: url.into(),
            place: Arc::new(place),
            objects: Arc::new(OnceLock::new()),
        })
    }

    /// A store over objects that a test breaks.
    #[cfg(test)]
    pub(crate) fn over(folder: &std::path::Path, objects: Arc<dyn ObjectStore>) -> Self {
        let store = Self::open(&folder.display().to_string()).expect("a path");
        Self {
            objects: Arc::new(OnceLock::from(objects)),
            ..store
        }
    }

    /// The URL of this store, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it lies on disk, if it does.
    #[cfg(feature = "publish")]
    pub(crate) fn folder(&self) -> Option<&std::path::Path> {
        match self.place.as_ref() {
            Place::Folder(folder) => Some(folder),
            Place::Bucket(_) => None,
        }
    }

    fn objects(&self) -> Result<&dyn ObjectStore, StoreError> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects.as_ref());
        }
        let objects: Arc<dyn ObjectStore> = match self.place.as_ref() {
            Place::Folder(folder) => {
                let local = LocalFileSystem::new_with_prefix(folder);
                let local = local.map_err(|error| self.not_opened(error))?;
                Arc::new(local.with_fsync(true))
            }
            Place::Bucket(bucket) => bucket.open()?,
        };
        Ok(self.objects.get_or_init(|| objects).as_ref())
    }
}
