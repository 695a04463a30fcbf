//! What other releases of the app say: a URL that carries a hash has one content, for ever.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::PublishError;
use crate::id::ReleaseId;
use crate::manifest::{Kind, Manifest};
use crate::store::Store;

/// Manifests that are read at the same time.
const READS: usize = 4;

/// The releases that a manifest was compared with.
#[derive(Debug, Default)]
pub(super) struct History {
    seen: BTreeSet<ReleaseId>,
    /// Releases that could not be compared with.
    pub(super) warnings: Vec<String>,
}

impl History {
    /// Compares `manifest` with every release that was not seen yet.
    pub(super) async fn check(
        &mut self,
        store: &Store,
        manifest: &Manifest,
    ) -> Result<(), PublishError> {
        let mut new = store.release_ids(&manifest.app).await?;
        new.retain(|id| *id != manifest.release && !self.seen.contains(id));
        let mut others = stream::iter(new)
            .map(|id| async move {
                match store.manifest(&manifest.app, &id).await {
                    Ok(other) => Ok((id, Ok(other))),
                    // An old release that is damaged must not keep a good new one from the users.
                    Err(error) if error.is_damaged() || error.is_missing() => Ok((id, Err(error))),
                    Err(error) => Err(PublishError::Store(error)),
                }
            })
            .buffered(READS);
        while let Some((id, other)) = others.try_next().await? {
            match other {
                Ok(other) => compare(manifest, &other)?,
                Err(error) => self
                    .warnings
                    .push(format!("{id} was not compared with: {error}")),
            }
            self.seen.insert(id);
        }
        Ok(())
    }
}

fn compare(manifest: &Manifest, other: &Manifest) -> Result<(), PublishError> {
    let mut hashed = manifest
        .files
        .iter()
        .filter(|(_, file)| file.kind == Kind::Hashed);
    let two = hashed.find(|(url, file)| {
        other.files.get(*url).is_some_and(|theirs| {
            theirs.kind == Kind::Hashed && theirs.identity.digest != file.identity.digest
        })
    });
    match two {
        Some((url, _)) => Err(PublishError::TwoContents {
            url: url.clone(),
            release: manifest.release.clone(),
            other: other.release.clone(),
        }),
        None => Ok(()),
    }
}
