//! Blobs that this edge made itself, and which the store never has.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use asset_pipeline::digest::Digest;
use asset_pipeline::manifest::Blob;
use bytes::Bytes;

use super::{BlobError, Blobs, Opened, blocking};

impl Blobs {
    /// All bytes of a blob, for what needs them at once.
    pub(in crate::assets) async fn bytes(
        self: &Arc<Self>,
        blob: &Blob,
    ) -> Result<Bytes, BlobError> {
        match self.open(blob).await? {
            Opened::Bytes(bytes) => Ok(bytes),
            Opened::File(file) => {
                let mut bytes = vec![0; blob.bytes as usize];
                blocking(*blob, move || {
                    file.read_exact_at(&mut bytes, 0)?;
                    Ok(bytes.into())
                })
                .await
            }
        }
    }

    /// Whether a blob is in the mirror, as far as is known.
    pub(in crate::assets) fn holds(&self, blob: &Blob) -> bool {
        self.mirror.holds(&blob.digest)
    }

    /// What earlier processes made, by what it was made of.
    pub(in crate::assets) fn made(&self, records_max: usize) -> Vec<(Digest, Option<Blob>)> {
        self.mirror.made(records_max)
    }

    /// Keeps what was made for `key`, or that it is nothing.
    pub(in crate::assets) async fn keep_made(
        self: &Arc<Self>,
        key: &Digest,
        made: Option<Vec<u8>>,
    ) -> Result<Option<Blob>, BlobError> {
        let (this, key) = (Arc::clone(self), *key);
        let blob = made.as_deref().map(|bytes| Blob {
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
        });
        let told = blob.unwrap_or(Blob {
            digest: key,
            bytes: 0,
        });
        blocking(told, move || {
            if let (Some(blob), Some(bytes)) = (&blob, &made) {
                let mut file = this.mirror.coming()?;
                file.write_all(bytes)?;
                this.mirror.put(file, blob)?;
            }
            this.mirror.put_made(&key, blob.as_ref())?;
            Ok(blob)
        })
        .await
    }
}
