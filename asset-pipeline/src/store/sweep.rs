//! What a collection does to a store: lists, marks, deletes.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::PutMode;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::put::json;
use super::{FORMAT, MANIFEST_BYTES_MAX, Store, StoreError, layout};
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};

/// What an object of a store is there for, told by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Blob(Digest),
    Manifest(Digest),
    /// Of the manifest.
    Signature(Digest),
    /// A note, by its key.
    Derived(Digest),
}

/// An object that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) thing: Thing,
    pub(crate) bytes: u64,
}

/// What `gc/marks.json` holds: since when nothing needs an object, by its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marks {
    format: u32,
    pub(crate) marked_s: BTreeMap<String, u64>,
}

impl Marks {
    pub(crate) fn new(marked_s: BTreeMap<String, u64>) -> Self {
        Self {
            format: FORMAT,
            marked_s,
        }
    }
}

impl Store {
    /// Everything below the folders that hold what releases are made of. What is no name of ours there
    /// (of network file systems, of editors) is left alone.
    pub(crate) async fn things(&self) -> Result<Vec<Listed>, StoreError> {
        let mut all = Vec::new();
        for folder in ["blobs/sha256", "manifests", "signatures", "derived"] {
            let prefix = Path::from(folder);
            let mut found = self.objects()?.list(Some(&prefix));
            while let Some(object) = found
                .try_next()
                .await
                .map_err(|e| self.failed(&prefix, e))?
            {
                let path = object.location.to_string();
                if let Some(thing) = layout::thing(&path) {
                    let bytes = object.size;
                    all.push(Listed { path, thing, bytes });
                }
            }
        }
        Ok(all)
    }

    /// What an earlier collection has marked. Marks that cannot be read are made anew: that takes longer
    /// and harms nothing.
    pub(crate) async fn marks(&self) -> Result<Marks, StoreError> {
        match self.object(&layout::marks(), MANIFEST_BYTES_MAX).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .ok()
                .filter(|marks: &Marks| marks.format == FORMAT)
                .unwrap_or_default()),
            Err(error) if error.is_missing() || error.is_damaged() => Ok(Marks::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn put_marks(&self, marks: &Marks) -> Result<(), StoreError> {
        self.put(&layout::marks(), json(marks).into(), PutMode::Overwrite)
            .await?;
        Ok(())
    }

    /// Where a release's record lies.
    pub(crate) fn place_of(app: &AppId, id: &ReleaseId) -> Path {
        layout::release(app, id)
    }

    /// Deletes objects; one that is gone already is no error.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Result<(), StoreError> {
        let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.objects()?.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("what nothing needs", error)),
            }
        }
        Ok(())
    }
}
