//! Writing a store. Nothing is changed in place: objects are created, or exchanged whole when they
//! are damaged. Files and their folders are synced before a call returns.

use std::fs::{self, File};
use std::io;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::PutMode;
use serde::{Deserialize, Serialize};

use super::put::json;
use super::read::RECORD_BYTES_MAX;
use super::{FORMAT, Record, ReleaseRef, Store, StoreError, layout};
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{Blob, Manifest};
use crate::signature::Signature;

/// A killed publish leaves files that a running one might still own; after a day nobody does.
const STAGED_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What storing an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was not there.
    Created,
    /// It was there, whole.
    There,
    /// It was there, damaged, and is whole now.
    Mended,
}

/// What an earlier publish found when it encoded a blob.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Derived {
    /// What it was made of: the note is of use as long as a release names that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Digest>,
    /// None where the encoding was not smaller.
    pub(crate) blob: Option<Blob>,
    /// Of a smaller picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) looks: Option<Looks>,
}

/// What was found when a smaller picture was made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Looks {
    /// What its encoder was asked for.
    pub(crate) quality: u8,
    /// SSIMULACRA2, in hundredths.
    pub(crate) score: i32,
}

impl Store {
    /// Makes the folder a store, unless it is one.
    pub(crate) async fn create(&self) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Marker {
            format: u32,
        }
        if let Some(folder) = self.folder() {
            make_folder(folder).map_err(|error| StoreError::Unreachable {
                url: self.url.to_string(),
                path: "its folder".to_owned(),
                reason: error.to_string(),
            })?;
        }
        let marker = json(&Marker { format: FORMAT });
        self.put(&layout::marker(), marker.into(), PutMode::Create)
            .await?;
        Ok(())
    }

    /// Stores a blob under its digest.
    pub(crate) async fn put_blob(&self, blob: &Blob, bytes: Bytes) -> Result<Put, StoreError> {
        let path = layout::blob(&blob.digest);
        if self.put(&path, bytes.clone(), PutMode::Create).await? {
            return Ok(Put::Created);
        }
        match self.confirm(blob).await {
            Ok(()) => Ok(Put::There),
            Err(error) if error.is_damaged() => {
                self.put(&path, bytes, PutMode::Overwrite).await?;
                Ok(Put::Mended)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a manifest under its digest.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<Digest, StoreError> {
        let bytes = Bytes::from(manifest.to_bytes());
        let digest = Digest::of(&bytes);
        let path = layout::manifest(&digest);
        if !self.put(&path, bytes.clone(), PutMode::Create).await? {
            match self.manifest_bytes(&digest).await {
                Ok(_) => {}
                Err(error) if error.is_damaged() => {
                    self.put(&path, bytes, PutMode::Overwrite).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(digest)
    }

    /// Stores who published a manifest. A damaged signature is mended.
    pub(crate) async fn put_signature(
        &self,
        manifest: &Digest,
        signature: &Signature,
    ) -> Result<(), StoreError> {
        let path = layout::signature(manifest, &signature.key);
        let bytes = json(signature);
        self.put(&path, bytes.into(), PutMode::Overwrite).await?;
        Ok(())
    }

    /// Names a release: from here on readers see it. False when the id is taken.
    pub(crate) async fn put_release(
        &self,
        app: &AppId,
        release: &ReleaseRef,
    ) -> Result<bool, StoreError> {
        let record = json(&Record {
            format: FORMAT,
            manifest: release.manifest,
            published_s: release.published_s,
        });
        let path = layout::release(app, &release.id);
        self.put(&path, record.into(), PutMode::Create).await
    }

    /// What is remembered under `key`. A damaged note is none: it is made again.
    pub(crate) async fn derived(&self, key: &Digest) -> Result<Option<Derived>, StoreError> {
        match self.object(&layout::derived(key), RECORD_BYTES_MAX).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.is_missing() || error.is_damaged() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers what was made.
    pub(crate) async fn put_derived(
        &self,
        key: &Digest,
        derived: &Derived,
    ) -> Result<(), StoreError> {
        let path = layout::derived(key);
        self.put(&path, json(derived).into(), PutMode::Overwrite)
            .await?;
        Ok(())
    }

    /// Whether the release's id is taken.
    pub(crate) async fn find_release(
        &self,
        app: &AppId,
        id: &ReleaseId,
    ) -> Result<Option<ReleaseRef>, StoreError> {
        match self.release(app, id).await {
            Ok(release) => Ok(Some(release)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Syncs the folders of blobs that another publish wrote: it may have been killed between
    /// naming a file and syncing the folder.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.settle_folder("blobs").await
    }

    async fn settle_folder(&self, name: &'static str) -> Result<(), StoreError> {
        let Some(folder) = self.folder().map(|folder| folder.join(name)) else {
            return Ok(());
        };
        blocking(move || sync_folders(&folder))
            .await
            .map_err(|error| {
                self.failed(
                    name,
                    object_store::Error::Generic {
                        store: "folder",
                        source: error.into(),
                    },
                )
            })
    }

    /// Syncs the folders of records, so that none that was deleted comes back with a crash.
    pub(crate) async fn settle_releases(&self) -> Result<(), StoreError> {
        self.settle_folder("releases").await
    }

    /// Removes what publishes left that were killed while they wrote. Best effort: such a file
    /// costs space and nothing else.
    pub(crate) async fn sweep(&self, now: SystemTime) {
        let Some(root) = self.folder().map(FilePath::to_owned) else {
            return;
        };
        let swept = blocking(move || {
            sweep_folder(&root, now, 0);
            Ok(())
        });
        // It only ever returns `Ok`.
        let _ = swept.await;
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Makes a folder and those around it, each synced into the one that holds it.
fn make_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(around) = folder.parent() {
        make_folder(around)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        File::open(around)?.sync_all()?;
    }
    Ok(())
}

fn sync_folders(folder: &FilePath) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Staged files are called `name#1`; nothing else in a store holds a `#`.
fn sweep_folder(folder: &FilePath, now: SystemTime, depth: usize) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let staged = entry
            .file_name()
            .to_str()
            .and_then(|name| name.rsplit_once('#'))
            .is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit()));
        if kind.is_dir() && depth < 4 {
            sweep_folder(&entry.path(), now, depth + 1);
        } else if kind.is_file() && staged {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map(|modified| now.duration_since(modified).unwrap_or_default());
            if age.is_ok_and(|age| age > STAGED_AGE_MAX) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
