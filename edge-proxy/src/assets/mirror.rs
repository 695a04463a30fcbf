//! The folder that holds what this edge needs when the store is down.
//!
//! ```text
//! blobs/ab/cdef...        bytes named by their digest; those of named releases are kept, of the
//!                         others as many as fit, the least recently used go first
//! manifests/<sha256>      what a release is
//! releases/<app>/<id>     names a manifest; written last
//! made/<sha256>           names the blob of a form that this edge made itself, or that there is none
//! aside/<sha256>          bytes that were not what their name says, for a person to look at
//! coming/                 what is being written; what is older than an hour is deleted at start
//! ```
//!
//! A file appears under its name whole: it is written in `coming/`, synced where it must survive a
//! crash, and renamed. What is read is checked by the reader; this module does not know digests of
//! bytes. All calls block.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::manifest::Blob;
use asset_pipeline::signature::Signature;
use asset_pipeline::store::ReleaseRef;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// No file takes as long to be written.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);

/// How many damaged files are kept to be looked at.
const ASIDE_MAX: usize = 16;

/// A folder of blobs and manifests.
#[derive(Debug)]
pub(super) struct Mirror {
    root: PathBuf,
    loose_bytes_max: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    held: HashMap<Digest, Held>,
    kept: HashSet<Digest>,
    clock: u64,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    used: u64,
    checked: bool,
}

/// What `releases/<app>/<id>` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    manifest: Digest,
    published_s: u64,
    /// By which it was taken from the store.
    #[serde(default)]
    signature: Option<Signature>,
}

/// A release that is kept here, unchecked.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) at: ReleaseRef,
    pub(super) signature: Option<Signature>,
    /// Of its manifest.
    pub(super) bytes: Vec<u8>,
}

impl Mirror {
    /// Opens the folder, or makes it; blobs that no named release needs may take `loose_bytes_max`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(super) fn open(root: PathBuf, loose_bytes_max: u64) -> io::Result<Self> {
        sweep(&root.join("coming"));
        for folder in ["blobs", "manifests", "releases", "made", "aside", "coming"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut found = Vec::new();
        for shard in fs::read_dir(root.join("blobs"))? {
            let shard = shard?.path();
            for entry in fs::read_dir(&shard)? {
                let entry = entry?;
                let Some(digest) = named(&shard, &entry.path()) else {
                    continue;
                };
                let metadata = entry.metadata()?;
                found.push((metadata.modified()?, digest, metadata.len()));
            }
        }
        found.sort();
        let mut index = Index::default();
        for (_, digest, bytes) in found {
            index.hold(digest, bytes, false);
        }
        Ok(Self {
            root,
            loose_bytes_max,
            index: Mutex::new(index),
        })
    }

    /// A file to write a blob to, before [`Self::put`].
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn coming(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.root.join("coming"))
    }

    /// Puts a written and checked file in its place, durably, and returns it, open.
    ///
    /// # Errors
    /// The disk refuses; what was there before still is.
    pub(super) fn put(&self, file: NamedTempFile, blob: &Blob) -> io::Result<File> {
        let file = self.place(file, &self.blob_path(&blob.digest))?;
        let gone = {
            let mut index = self.index.lock();
            index.hold(blob.digest, blob.bytes, true);
            index.evict(self.loose_bytes_max)
        };
        self.remove(&gone);
        Ok(file)
    }

    /// Opens a blob's file, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub(super) fn get(&self, digest: &Digest) -> io::Result<Option<File>> {
        match File::open(self.blob_path(digest)) {
            Ok(file) => {
                self.index.lock().touch(digest);
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index.lock().held.remove(digest);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that a blob's bytes were compared with its digest since this process started.
    pub(super) fn checked(&self, digest: &Digest) {
        if let Some(held) = self.index.lock().held.get_mut(digest) {
            held.checked = true;
        }
    }

    /// Whether a blob is here and was checked.
    pub(super) fn is_checked(&self, digest: &Digest) -> bool {
        let index = self.index.lock();
        index.held.get(digest).is_some_and(|held| held.checked)
    }

    /// Moves a blob that is not what its name says out of the way.
    ///
    /// # Errors
    /// It could neither be moved nor deleted, and must not be read.
    pub(super) fn set_aside(&self, digest: &Digest) -> io::Result<()> {
        self.index.lock().held.remove(digest);
        let path = self.blob_path(digest);
        let aside = self.root.join("aside");
        let moved = if fs::read_dir(&aside)?.count() < ASIDE_MAX {
            fs::rename(&path, aside.join(digest.to_string()))
        } else {
            fs::remove_file(&path)
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Says which blobs must stay, whatever else needs room.
    pub(super) fn keep(&self, kept: HashSet<Digest>) {
        let gone = {
            let mut index = self.index.lock();
            index.kept = kept;
            index.evict(self.loose_bytes_max)
        };
        self.remove(&gone);
    }

    /// Keeps a release: its manifest's bytes, then the record that names them. Both durable.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn put_release(
        &self,
        app: &AppId,
        release: &ReleaseRef,
        signature: Option<Signature>,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.write(&self.manifest_path(&release.manifest), bytes)?;
        let record = Record {
            manifest: release.manifest,
            published_s: release.published_s,
            signature,
        };
        let record = serde_json::to_vec(&record).map_err(io::Error::other)?;
        self.write(&self.release_path(app, &release.id), &record)
    }

    /// Whether a blob's file is here, as far as is known.
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.index.lock().held.contains_key(digest)
    }

    /// Remembers what was made here for `key`: a blob that was put before, or none.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn put_made(&self, key: &Digest, made: Option<&Blob>) -> io::Result<()> {
        let record = serde_json::to_vec(&made).map_err(io::Error::other)?;
        self.write(&self.made_path(key), &record)
    }

    /// What was made here, at most `records_max`. Records of blobs that are gone are deleted, and what is
    /// beyond: it is made again when it is asked for.
    pub(super) fn made(&self, records_max: usize) -> Vec<(Digest, Option<Blob>)> {
        let Ok(entries) = fs::read_dir(self.root.join("made")) else {
            return Vec::new();
        };
        let mut kept = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match read_made(&path) {
                Some((key, made))
                    if kept.len() < records_max
                        && made.is_none_or(|blob| self.holds(&blob.digest)) =>
                {
                    kept.push((key, made));
                }
                _ => {
                    // One that cannot be deleted is found again at the next start.
                    let _kept = fs::remove_file(path);
                }
            }
        }
        kept
    }

    /// Forgets a release. Its manifest goes too; its blobs stay as long as there is room.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn remove_release(&self, app: &AppId, release: &ReleaseRef) -> io::Result<()> {
        for path in [
            self.release_path(app, &release.id),
            self.manifest_path(&release.manifest),
        ] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The releases of an app that are kept here, with the bytes of their manifests, unchecked.
    /// A record that cannot be read is skipped: the store has it again.
    pub(super) fn releases(&self, app: &AppId) -> Vec<Kept> {
        let Ok(entries) = fs::read_dir(self.root.join("releases").join(app.as_str())) else {
            return Vec::new();
        };
        let ids: BTreeSet<ReleaseId> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        ids.into_iter()
            .filter_map(|id| self.read_release(app, id))
            .collect()
    }

    fn read_release(&self, app: &AppId, id: ReleaseId) -> Option<Kept> {
        let record = fs::read(self.release_path(app, &id)).ok()?;
        let record: Record = serde_json::from_slice(&record).ok()?;
        let bytes = fs::read(self.manifest_path(&record.manifest)).ok()?;
        let release = ReleaseRef {
            id,
            manifest: record.manifest,
            published_s: record.published_s,
        };
        Some(Kept {
            at: release,
            signature: record.signature,
            bytes,
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.coming()?;
        file.write_all(bytes)?;
        self.place(file, path).map(|_| ())
    }

    /// Synced, renamed, and the folder synced.
    fn place(&self, file: NamedTempFile, path: &Path) -> io::Result<File> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        file.as_file().sync_all()?;
        let file = file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }

    /// Deletes what was evicted. One that cannot be deleted is found again at the next start.
    fn remove(&self, gone: &[Digest]) {
        for digest in gone {
            if let Err(error) = fs::remove_file(self.blob_path(digest)) {
                tracing::warn!(%digest, %error, "an unused mirrored file could not be deleted");
            }
        }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        let (shard, rest) = hex.split_at(2);
        self.root.join("blobs").join(shard).join(rest)
    }

    fn made_path(&self, key: &Digest) -> PathBuf {
        self.root.join("made").join(key.to_string())
    }

    fn manifest_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("manifests").join(digest.to_string())
    }

    fn release_path(&self, app: &AppId, id: &ReleaseId) -> PathBuf {
        let folder = self.root.join("releases").join(app.as_str());
        folder.join(id.as_str())
    }
}

/// Deletes what a process left half-written long ago. Younger files may be those of a process that
/// shares the folder for a while: the one before an upgrade.
fn sweep(coming: &Path) {
    let Ok(entries) = fs::read_dir(coming) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > HALF_WRITTEN) {
            // One that cannot be deleted is found again at the next start.
            let _kept = fs::remove_file(entry.path());
        }
    }
}

fn read_made(path: &Path) -> Option<(Digest, Option<Blob>)> {
    let key = path.file_name()?.to_str()?.parse().ok()?;
    let made = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some((key, made))
}

/// The digest that a blob's place spells.
fn named(shard: &Path, file: &Path) -> Option<Digest> {
    let (shard, rest) = (shard.file_name()?.to_str()?, file.file_name()?.to_str()?);
    format!("{shard}{rest}").parse().ok()
}

impl Index {
    fn hold(&mut self, digest: Digest, bytes: u64, checked: bool) {
        self.clock += 1;
        let used = self.clock;
        let held = Held {
            bytes,
            used,
            checked,
        };
        self.held.insert(digest, held);
    }

    fn touch(&mut self, digest: &Digest) {
        self.clock += 1;
        if let Some(held) = self.held.get_mut(digest) {
            held.used = self.clock;
        }
    }

    /// Forgets the least recently used blobs that nothing needs, until the others fit.
    fn evict(&mut self, loose_bytes_max: u64) -> Vec<Digest> {
        let mut loose: Vec<_> = self
            .held
            .iter()
            .filter(|(digest, _)| !self.kept.contains(*digest))
            .map(|(digest, held)| (held.used, held.bytes, *digest))
            .collect();
        let mut bytes: u64 = loose.iter().map(|(_, bytes, _)| bytes).sum();
        if bytes <= loose_bytes_max {
            return Vec::new();
        }
        loose.sort_unstable();
        let mut gone = Vec::new();
        for (_, size, digest) in loose {
            if bytes <= loose_bytes_max {
                break;
            }
            bytes -= size;
            self.held.remove(&digest);
            gone.push(digest);
        }
        gone
    }
}

#[cfg(test)]
mod tests;
