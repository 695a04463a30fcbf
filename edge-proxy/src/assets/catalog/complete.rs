//! Whether a release is whole on this edge: a colour gets no weight before.

use asset_pipeline::id::{AppId, ReleaseId};

use super::Catalog;
use crate::assets::blobs::{BlobError, Missing};
use crate::assets::release::Conflict;

/// Why a colour must not get weight yet.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Incomplete {
    /// The store does not list it, or its manifest cannot be read.
    #[error(
        "release {0} is not known on this edge: publish it to the store, or wait for the next poll"
    )]
    Unknown(ReleaseId),
    /// Its files are not all mirrored yet.
    #[error("release {release}: {files} files are not mirrored yet, such as {path}")]
    Pending {
        /// The release.
        release: ReleaseId,
        /// How many.
        files: usize,
        /// One of them.
        path: String,
    },
    /// Some of its files cannot be had.
    #[error("release {release}: {files} files cannot be had, such as {path}: {reason}")]
    Missing {
        /// The release.
        release: ReleaseId,
        /// How many.
        files: usize,
        /// One of them.
        path: String,
        /// Why.
        reason: BlobError,
    },
    /// One of its hashed names has another content in an older release.
    #[error("{0}")]
    Conflict(Conflict),
}

impl Catalog {
    /// Whether every file of a release is on this edge.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn complete(&self, app: &AppId, release: &ReleaseId) -> Result<(), Incomplete> {
        let unknown = || Incomplete::Unknown(release.clone());
        let table = self.tables.borrow().get(app).cloned();
        // Loaded but not yet in the table: no request would find its files.
        let table = table
            .filter(|table| table.holds(release))
            .ok_or_else(unknown)?;
        let known = self.known.lock();
        let known = known.get(app).ok_or_else(unknown)?;
        let held = known.releases.iter().find(|held| held.at.id == *release);
        let manifest = &held.ok_or_else(unknown)?.manifest;
        if let Some(conflict) = table.conflicts().iter().find(|c| c.ignored == *release) {
            return Err(Incomplete::Conflict(conflict.clone()));
        }
        let mut pending: Vec<String> = table
            .blobs_of(manifest)
            .into_iter()
            .filter(|(blob, _)| !self.blobs.is_mirrored(blob))
            .map(|(_, path)| path)
            .collect();
        pending.sort_unstable();
        let Some(path) = pending.first().cloned() else {
            return Ok(());
        };
        let (release, files) = (release.clone(), pending.len());
        let failed = known.missing.get(&release).and_then(|all| all.first());
        Err(match failed {
            Some(Missing { path, reason }) => Incomplete::Missing {
                release,
                files,
                path: path.clone(),
                reason: reason.clone(),
            },
            None => Incomplete::Pending {
                release,
                files,
                path,
            },
        })
    }
}
