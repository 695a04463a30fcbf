//! What a publish did.

use std::fmt;

use serde::Serialize;

use super::deposit::Deposited;
use super::images::Images;
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{File, Image, Kind, Manifest};

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
    /// What somebody downloads who visited the last release before; none for a first release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// What was made of pictures; none where that was not wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Pictures>,
    /// Things to look at that did not stop the publish.
    pub warnings: Vec<String>,
}

/// The smaller forms of a release's pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pictures {
    /// Pictures that have smaller forms, each counted once.
    pub pictures: usize,
    /// Their forms.
    pub forms: usize,
    /// The bytes of all forms.
    pub bytes: u64,
    /// How long it took to make them, or to find them.
    pub took_ms: u64,
}

impl Pictures {
    pub(super) fn of(images: &Images) -> Self {
        let blobs = || images.made.values().flat_map(Image::blobs);
        Self {
            pictures: images.made.len(),
            forms: blobs().count(),
            bytes: blobs().map(|blob| blob.bytes).sum(),
            took_ms: u64::try_from(images.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The hashed files that a visitor of the release before does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Returning {
    /// The release before.
    pub since: ReleaseId,
    /// Hashed files that are not in it.
    pub files: usize,
    /// Their bytes in the smallest coding without a dictionary.
    pub encoded_bytes: u64,
    /// Their bytes in the smallest coding for a browser that offers the file of the same name, as it
    /// was in that release.
    pub delta_bytes: u64,
}

impl Returning {
    fn of(manifest: &Manifest, last: &Manifest) -> Self {
        let mut returning = Self {
            since: last.release.clone(),
            files: 0,
            encoded_bytes: 0,
            delta_bytes: 0,
        };
        let hashed = |file: &&File| file.kind == Kind::Hashed;
        for (url, file) in &manifest.files {
            if !hashed(&file) || last.files.get(url).is_some_and(|old| hashed(&old)) {
                continue;
            }
            let of_the_name = last.files.values().filter(|old| {
                file.dictionary_for.is_some() && old.dictionary_for == file.dictionary_for
            });
            let mut held: Vec<_> = of_the_name.map(|old| old.identity).collect();
            if held.is_empty() {
                // Then browsers offer the dictionary of the release, if there was one.
                let dictionary = last.dictionary.as_ref().and_then(|url| last.files.get(url));
                held.extend(dictionary.map(|dictionary| dictionary.identity));
            }
            let usable = file
                .deltas
                .iter()
                .filter(|delta| held.contains(&delta.from));
            let encoded = smallest(file);
            returning.files += 1;
            returning.encoded_bytes += encoded;
            returning.delta_bytes += usable
                .map(|delta| delta.blob.bytes)
                .chain([encoded])
                .min()
                .unwrap_or(encoded);
        }
        returning
    }
}

fn smallest(file: &File) -> u64 {
    let encoded = file.encoded.values().map(|blob| blob.bytes).min();
    encoded.unwrap_or(file.identity.bytes)
}

impl Report {
    pub(super) fn of(
        manifest: &Manifest,
        digest: Digest,
        deposited: Option<&Deposited>,
        last: Option<&Manifest>,
        warnings: Vec<String>,
    ) -> Self {
        let files = manifest.files.values();
        let hashed = files
            .clone()
            .filter(|file| file.kind == Kind::Hashed)
            .count();
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
            pictures: None,
            returning: last.map(|last| Returning::of(manifest, last)),
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
        if let Some(pictures) = &self.pictures {
            write!(
                f,
                "\n{} pictures have {} smaller forms of {}, made or found in {:.1} s",
                pictures.pictures,
                pictures.forms,
                Size(pictures.bytes),
                pictures.took_ms as f64 / 1000.0
            )?;
        }
        if let Some(returning) = &self.returning {
            write!(
                f,
                "\nwho visited {} downloads {} hashed files: {}, or {} with dictionaries",
                returning.since,
                returning.files,
                Size(returning.encoded_bytes),
                Size(returning.delta_bytes)
            )?;
        }
        if self.mended > 0 {
            write!(f, "\n{} damaged blobs mended", self.mended)?;
        }
        write!(f, "\nmanifest {}", self.manifest)
    }
}

/// A number of bytes, for people.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..10_000 => write!(f, "{bytes} B"),
            bytes @ 10_000..10_000_000 => write!(f, "{} kB", bytes / 1_000),
            bytes => write!(f, "{} MB", bytes / 1_000_000),
        }
    }
}
