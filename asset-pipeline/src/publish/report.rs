//! What a publish did.

use std::fmt;

use serde::Serialize;

use super::deposit::Deposited;
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{File, Kind, Manifest};

/// What a publish did. All sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the release is of.
    pub app: AppId,
    /// The id that a colour names.
    pub release: ReleaseId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The same release was there already: nothing was written, unless something had to be mended.
    pub repeated: bool,
    /// URL paths that carry a hash.
    pub hashed_files: usize,
    /// URL paths that do not.
    pub release_files: usize,
    /// Of every URL path, as they are.
    pub identity_bytes: u64,
    /// Of every URL path, in its smallest coding.
    pub smallest_bytes: u64,
    /// Encodings that were made now.
    pub encoded: usize,
    /// Encodings that an earlier publish had made.
    pub reused: usize,
    /// Blobs that the store did not hold.
    pub blobs_written: usize,
    /// Their bytes.
    pub bytes_written: u64,
    /// Blobs that were damaged in the store and are whole again.
    pub mended: usize,
    /// Things to look at that did not stop the publish.
    pub warnings: Vec<String>,
}

impl Report {
    pub(super) fn of(
        manifest: &Manifest,
        digest: Digest,
        deposited: Option<&Deposited>,
        warnings: Vec<String>,
    ) -> Self {
        let files = manifest.files.values();
        let hashed = files
            .clone()
            .filter(|file| file.kind == Kind::Hashed)
            .count();
        let smallest = |file: &File| {
            let encoded = file.encoded.values().map(|blob| blob.bytes).min();
            encoded.unwrap_or(file.identity.bytes)
        };
        let nothing = Deposited::default();
        let done = deposited.unwrap_or(&nothing);
        Self {
            app: manifest.app.clone(),
            release: manifest.release.clone(),
            manifest: digest,
            repeated: deposited.is_none(),
            hashed_files: hashed,
            release_files: manifest.files.len() - hashed,
            identity_bytes: files.clone().map(|file| file.identity.bytes).sum(),
            smallest_bytes: files.map(smallest).sum(),
            encoded: done.encoded,
            reused: done.reused,
            blobs_written: done.created.len(),
            bytes_written: done.created.iter().map(|blob| blob.bytes).sum(),
            mended: done.mended,
            warnings,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let (app, release) = (&self.app, &self.release);
        if self.repeated {
            write!(f, "{app} {release} was published already")?;
        } else {
            write!(
                f,
                "{app} {release} published: {} hashed and {} release files, {} as they are, {} in their smallest coding",
                self.hashed_files,
                self.release_files,
                Size(self.identity_bytes),
                Size(self.smallest_bytes),
            )?;
            write!(
                f,
                "\n{} encodings made, {} found; {} new blobs, {} written",
                self.encoded,
                self.reused,
                self.blobs_written,
                Size(self.bytes_written)
            )?;
        }
        if self.mended > 0 {
            write!(f, "\n{} damaged blobs mended", self.mended)?;
        }
        write!(f, "\nmanifest {}", self.manifest)
    }
}

/// A number of bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..10_000 => write!(f, "{bytes} B"),
            bytes @ 10_000..10_000_000 => write!(f, "{} kB", bytes / 1_000),
            bytes => write!(f, "{} MB", bytes / 1_000_000),
        }
    }
}
