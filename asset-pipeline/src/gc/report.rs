//! What a collection did.

use std::fmt;

use serde::Serialize;

use super::survey::Visible;
use crate::id::{AppId, ReleaseId};
use crate::publish::Size;

/// What a collection did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Collected {
    /// Nothing was written.
    pub dry_run: bool,
    /// Releases that stay: the last ones, the young ones, those in use.
    pub releases_kept: usize,
    /// Releases that nobody can see any more.
    pub releases_deleted: Vec<Gone>,
    /// Releases that a later run deletes, unless something retains them by then.
    pub releases_marked: Vec<Gone>,
    /// Blobs, manifests, signatures and notes that are gone.
    pub objects_deleted: usize,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Those that a later run deletes, unless a release needs them by then.
    pub objects_marked: usize,
    /// Their bytes.
    pub bytes_marked: u64,
    /// What killed publishes and collections have left of themselves.
    pub leases_expired: usize,
    /// Publishes under way: while there is one, nothing is deleted.
    pub publishes: Vec<String>,
}

/// A release that nothing retains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// What it was of.
    pub app: AppId,
    /// Its id.
    pub release: ReleaseId,
}

impl Gone {
    pub(super) fn of(release: &Visible) -> Self {
        Self {
            app: release.app.clone(),
            release: release.at.id.clone(),
        }
    }
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for publish in &self.publishes {
            writeln!(
                f,
                "a publish is under way ({publish}): nothing is deleted by this run"
            )?;
        }
        let would = if self.dry_run { "would be " } else { "" };
        for Gone { app, release } in &self.releases_deleted {
            writeln!(f, "{would}deleted: {app} {release}")?;
        }
        for Gone { app, release } in &self.releases_marked {
            writeln!(f, "{would}marked: {app} {release}")?;
        }
        write!(
            f,
            "{} releases stay; {} objects {would}deleted, {}; {} {would}marked for a later run, {}",
            self.releases_kept,
            self.objects_deleted,
            Size(self.bytes_deleted),
            self.objects_marked,
            Size(self.bytes_marked),
        )
    }
}
