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
//! Nothing is ever changed in place. Everything read is checked against the digest that names it.

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
pub(crate) use write::{Derived, Put};

/// A place that holds releases.
#[derive(Debug, Clone)]
pub struct Store {
    url: Arc<str>,
    folder: Arc<PathBuf>,
    // Opened by the first operation: a store that is down when the edge starts may come back.
    objects: Arc<OnceLock<Arc<dyn ObjectStore>>>,
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
    /// Names a store by URL: `file:///srv/assets`, or the path of a folder.
    ///
    /// Nothing is read yet, so a store that is down is no error here.
    ///
    /// # Errors
    ///
    /// A URL of another scheme, with a host, a query or a relative path.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let folder = layout::folder(url)?;
        Ok(Self {
            url: format!("file://{}", folder.display()).into(),
            folder: Arc::new(folder),
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

    fn objects(&self) -> Result<&dyn ObjectStore, StoreError> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects.as_ref());
        }
        let local = LocalFileSystem::new_with_prefix(self.folder.as_ref())
            .map_err(|error| self.not_opened(error))?
            .with_fsync(true);
        Ok(self.objects.get_or_init(|| Arc::new(local)).as_ref())
    }
}
