//! Reading a store. Every byte that leaves here was checked against the digest that names it.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use sha2::{Digest as _, Sha256};

use super::{FORMAT, Record, ReleaseRef, Store, StoreError, layout};
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{Blob, Manifest};
use crate::signature::{PublicKey, Signature};

/// The largest manifest that is read: a hundred thousand files and their encodings.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// The largest record of a release, and the marker.
pub(super) const RECORD_BYTES_MAX: u64 = 4 << 10;
/// What [`Store::blob_into`] holds in memory.
const PIECE_BYTES: u64 = 1 << 20;
/// Records that are read at the same time.
const READS: usize = 8;

impl Store {
    /// The apps that have a release, sorted.
    ///
    /// # Errors
    ///
    /// The store is absent or cannot be read.
    pub async fn apps(&self) -> Result<Vec<AppId>, StoreError> {
        self.present().await?;
        self.names_below(&layout::apps()).await
    }

    /// The ids of an app's releases, sorted. An app without releases has none.
    ///
    /// # Errors
    ///
    /// The store is absent or cannot be read. (A folder that lost its mount is absent, not empty.)
    pub async fn release_ids(&self, app: &AppId) -> Result<Vec<ReleaseId>, StoreError> {
        self.present().await?;
        let found = self.list(&layout::releases(app)).await?.objects;
        Ok(names(found.iter().map(|object| &object.location)))
    }

    /// An app's releases, sorted by id.
    ///
    /// # Errors
    ///
    /// Also when one record cannot be read: who must go on without it asks for
    /// [`Store::release_ids`] and each [`Store::release`].
    pub async fn releases(&self, app: &AppId) -> Result<Vec<ReleaseRef>, StoreError> {
        let ids = self.release_ids(app).await?;
        stream::iter(ids)
            .map(|id| async move { self.release(app, &id).await })
            .buffered(READS)
            .try_collect()
            .await
    }

    /// The record of one release.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] when there is no release of this id.
    pub async fn release(&self, app: &AppId, id: &ReleaseId) -> Result<ReleaseRef, StoreError> {
        let path = layout::release(app, id);
        let bytes = self.object(&path, RECORD_BYTES_MAX).await?;
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| self.damaged(&path, error))?;
        if record.format != FORMAT {
            let reason = format!("its format is {}, known is {FORMAT}", record.format);
            return Err(self.damaged(&path, reason));
        }
        Ok(ReleaseRef {
            id: id.clone(),
            manifest: record.manifest,
            published_s: record.published_s,
        })
    }

    /// What a release is.
    ///
    /// # Errors
    ///
    /// The release is unknown, or its record or manifest is damaged.
    pub async fn manifest(&self, app: &AppId, id: &ReleaseId) -> Result<Manifest, StoreError> {
        let release = self.release(app, id).await?;
        let bytes = self.manifest_bytes(&release.manifest).await?;
        let path = layout::manifest(&release.manifest);
        let manifest = Manifest::from_bytes(&bytes).map_err(|error| self.damaged(&path, error))?;
        if (&manifest.app, &manifest.release) != (app, id) {
            let reason = format!("it is of {} {}", manifest.app, manifest.release);
            return Err(self.damaged(&path, reason));
        }
        Ok(manifest)
    }

    /// A manifest's bytes, for a mirror that will check them again.
    ///
    /// # Errors
    ///
    /// They are missing, or do not match the digest.
    pub async fn manifest_bytes(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let path = layout::manifest(digest);
        let bytes = self.object(&path, MANIFEST_BYTES_MAX).await?;
        self.checked(&path, bytes, digest)
    }

    /// The signature of a manifest by one of these keys; none if there is none, or it is not good.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn signature(
        &self,
        manifest: &Digest,
        trusted: &[PublicKey],
    ) -> Result<Option<Signature>, StoreError> {
        for key in trusted {
            let path = layout::signature(manifest, key);
            let bytes = match self.object(&path, RECORD_BYTES_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_missing() || error.is_damaged() => continue,
                Err(error) => return Err(error),
            };
            let signature = serde_json::from_slice::<Signature>(&bytes).ok();
            let good = signature.filter(|signature| signature.is_of(&[*key], manifest));
            if good.is_some() {
                return Ok(good);
            }
        }
        Ok(None)
    }

    /// A blob's bytes, all in memory.
    ///
    /// # Errors
    ///
    /// It is missing, or its length or digest is another one.
    pub async fn blob(&self, blob: &Blob) -> Result<Bytes, StoreError> {
        let path = layout::blob(&blob.digest);
        let answer = self.get(&path, GetOptions::default()).await?;
        self.same_length(&path, answer.meta.size, blob.bytes)?;
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| self.failed(&path, error))?;
        self.checked(&path, bytes, &blob.digest)
    }

    /// Passes a blob to `sink` piece by piece: what it was given counts only when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// As [`Store::blob`]; an error of `sink` comes back as it is.
    pub async fn blob_into<E: From<StoreError>>(
        &self,
        blob: &Blob,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = layout::blob(&blob.digest);
        let mut hash = Sha256::new();
        let mut at = 0;
        loop {
            let end = blob.bytes.min(at + PIECE_BYTES);
            let mut options = GetOptions::default();
            // An empty range is refused, so an empty blob is asked for whole.
            if blob.bytes > 0 {
                options = options.with_range(Some(GetRange::Bounded(at..end)));
            }
            let answer = match self.get(&path, options).await {
                Ok(answer) => answer,
                Err(error) => return Err(self.out_of_range(&path, blob, error).await.into()),
            };
            self.same_length(&path, answer.meta.size, blob.bytes)?;
            let piece = answer
                .bytes()
                .await
                .map_err(|error| self.failed(&path, error))?;
            self.same_length(&path, piece.len() as u64, end - at)?;
            hash.update(&piece);
            sink(&piece)?;
            at = end;
            if at == blob.bytes {
                break;
            }
        }
        let found = Digest::from_bytes(hash.finalize().into());
        Ok(self.same_digest(&path, &found, &blob.digest)?)
    }

    /// An object that ends before the range is refused like one that cannot be read.
    async fn out_of_range(&self, path: &Path, blob: &Blob, error: StoreError) -> StoreError {
        let head = GetOptions::default().with_head(true);
        match self.get(path, head).await {
            Ok(answer) => self
                .same_length(path, answer.meta.size, blob.bytes)
                .err()
                .unwrap_or(error),
            Err(_) => error,
        }
    }

    /// Reads a blob and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// As [`Store::blob`].
    pub async fn check_blob(&self, blob: &Blob) -> Result<(), StoreError> {
        self.blob_into(blob, |_| Ok(())).await
    }

    /// Whether a blob is here, whole. A bucket checks what comes in against the digest that it is
    /// sent with, so there its length is enough; from a folder it is read.
    #[cfg(feature = "publish")]
    pub(crate) async fn confirm(&self, blob: &Blob) -> Result<(), StoreError> {
        if !self.is_bucket() {
            return self.check_blob(blob).await;
        }
        let path = layout::blob(&blob.digest);
        let head = GetOptions::default().with_head(true);
        let answer = self.get(&path, head).await?;
        self.same_length(&path, answer.meta.size, blob.bytes)
    }

    /// Fails unless a store is there.
    pub(super) async fn present(&self) -> Result<(), StoreError> {
        match self.object(&layout::marker(), RECORD_BYTES_MAX).await {
            Ok(_) => Ok(()),
            Err(StoreError::Missing { url, .. }) => Err(StoreError::Absent { url }),
            Err(error) => Err(error),
        }
    }

    /// The folders below one, as far as they are names.
    pub(super) async fn names_below<T: std::str::FromStr + Ord>(
        &self,
        path: &Path,
    ) -> Result<Vec<T>, StoreError> {
        let found = self.list(path).await?.common_prefixes;
        Ok(names(found.iter()))
    }

    /// The objects right below a folder.
    #[cfg(feature = "publish")]
    pub(super) async fn objects_in(&self, path: &Path) -> Result<Vec<Path>, StoreError> {
        let found = self.list(path).await?.objects;
        Ok(found.into_iter().map(|object| object.location).collect())
    }

    async fn list(&self, path: &Path) -> Result<object_store::ListResult, StoreError> {
        self.objects()?
            .list_with_delimiter(Some(path))
            .await
            .map_err(|error| self.failed(path, error))
    }

    async fn get(
        &self,
        path: &Path,
        options: GetOptions,
    ) -> Result<object_store::GetResult, StoreError> {
        self.objects()?
            .get_opts(path, options)
            .await
            .map_err(|error| self.failed(path, error))
    }

    /// A small object that is not named by its content.
    pub(super) async fn object(&self, path: &Path, bytes_max: u64) -> Result<Bytes, StoreError> {
        let answer = self.get(path, GetOptions::default()).await?;
        if answer.meta.size > bytes_max {
            let reason = format!("{} bytes, at most {bytes_max}", answer.meta.size);
            return Err(self.damaged(path, reason));
        }
        answer
            .bytes()
            .await
            .map_err(|error| self.failed(path, error))
    }

    fn same_length(&self, path: &Path, found: u64, named: u64) -> Result<(), StoreError> {
        if found == named {
            return Ok(());
        }
        Err(self.damaged(path, format!("{found} bytes instead of {named}")))
    }

    fn same_digest(&self, path: &Path, found: &Digest, named: &Digest) -> Result<(), StoreError> {
        if found == named {
            return Ok(());
        }
        Err(self.damaged(path, format!("its bytes have the digest {found}")))
    }

    fn checked(&self, path: &Path, bytes: Bytes, named: &Digest) -> Result<Bytes, StoreError> {
        self.same_digest(path, &Digest::of(&bytes), named)?;
        Ok(bytes)
    }
}

/// What of a listing is a name. Others (of network file systems, of editors) are not ours.
fn names<'a, T: std::str::FromStr + Ord>(paths: impl Iterator<Item = &'a Path>) -> Vec<T> {
    let mut names: Vec<T> = paths
        .filter_map(|path| path.filename()?.parse().ok())
        .collect();
    names.sort();
    names
}
