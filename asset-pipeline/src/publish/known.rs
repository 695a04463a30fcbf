//! A release's id is used once: who finds it taken by the same content has nothing to do.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, stream};

use super::PublishError;
use super::work::cores;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::store::{ReleaseRef, Store};

/// A release of this id that is published already, with the same content.
pub(super) struct Known {
    pub(super) release: ReleaseRef,
    /// What it is; none where that cannot be read.
    pub(super) manifest: Option<Manifest>,
    /// Whether all that it names is in the store as it should be.
    pub(super) whole: bool,
}

impl Known {
    /// Looks for a release with the manifest's id.
    ///
    /// # Errors
    ///
    /// The id is taken by other content.
    pub(super) async fn find(
        store: &Store,
        manifest: &Manifest,
    ) -> Result<Option<Self>, PublishError> {
        let (app, id) = (&manifest.app, &manifest.release);
        let Some(release) = store.find_release(app, id).await? else {
            return Ok(None);
        };
        let theirs = match store.manifest(app, id).await {
            Ok(theirs) => theirs,
            Err(error) if error.is_damaged() || error.is_missing() => {
                return Ok(Some(Self {
                    release,
                    manifest: None,
                    whole: false,
                }));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some((path, difference)) = difference(manifest, &theirs) {
            return Err(PublishError::Taken {
                app: app.clone(),
                release: id.clone(),
                path,
                difference,
            });
        }
        let whole = is_whole(store, &theirs).await?;
        Ok(Some(Self {
            release,
            manifest: Some(theirs),
            whole,
        }))
    }

    /// The manifest of the release, which has been mended by publishing `ours`.
    ///
    /// # Errors
    ///
    /// It needs bytes that this version does not make.
    pub(super) async fn mended(
        &self,
        store: &Store,
        ours: Manifest,
    ) -> Result<Manifest, PublishError> {
        let mended = match &self.manifest {
            Some(theirs) => is_whole(store, theirs).await?.then(|| theirs.clone()),
            None => (self.release.manifest == Digest::of(&ours.to_bytes())).then(|| ours.clone()),
        };
        mended.ok_or(PublishError::BeyondRepair {
            app: ours.app,
            release: ours.release,
        })
    }
}

async fn is_whole(store: &Store, manifest: &Manifest) -> Result<bool, PublishError> {
    let mut all = stream::iter(manifest.blobs())
        .map(|blob| async move { store.confirm(&blob).await })
        .buffer_unordered(cores() * 2);
    while let Some(found) = all.next().await {
        match found {
            Ok(()) => {}
            Err(error) if error.is_damaged() || error.is_missing() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Makes the release visible. Losing a race against a publish of the same content is no error.
pub(super) async fn name(
    store: &Store,
    manifest: &Manifest,
    digest: Digest,
    now: SystemTime,
) -> Result<(), PublishError> {
    let release = ReleaseRef {
        id: manifest.release.clone(),
        manifest: digest,
        published_s: now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    if !store.put_release(&manifest.app, &release).await? {
        Known::find(store, manifest).await?;
    }
    Ok(())
}

/// The first thing in which two manifests of one id differ. How their files are encoded is no
/// difference: another version of the encoder may have written the other one.
fn difference(ours: &Manifest, theirs: &Manifest) -> Option<(String, &'static str)> {
    let settings = [
        ("build id", ours.build_id == theirs.build_id),
        ("deployment id", ours.deployment_id == theirs.deployment_id),
        (
            "hashed prefixes",
            ours.hashed_prefixes == theirs.hashed_prefixes,
        ),
    ];
    let urls: BTreeSet<&String> = ours.files.keys().chain(theirs.files.keys()).collect();
    let of_file = urls.into_iter().find_map(|url| {
        let difference = match (ours.files.get(url), theirs.files.get(url)) {
            (Some(_), None) => "is new",
            (None, Some(_)) => "is gone",
            (Some(a), Some(b)) if a.identity != b.identity => "has other bytes",
            (Some(a), Some(b)) if a.kind != b.kind || a.content_type != b.content_type => {
                "is of another kind"
            }
            _ => return None,
        };
        Some((url.clone(), difference))
    });
    of_file.or_else(|| {
        let (what, _) = settings.into_iter().find(|(_, same)| !same)?;
        Some((what.to_owned(), "is another one"))
    })
}
