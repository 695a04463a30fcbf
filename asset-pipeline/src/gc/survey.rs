//! All that a store says about who needs what. Whatever cannot be read ends it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::digest::Digest;
use crate::id::{AppId, EdgeId};
use crate::store::{InUse, Listed, ReleaseRef, Store, StoreError, Thing};

/// Records and manifests that are read at the same time.
const READS: usize = 8;
/// Notes that are read at the same time: they are small and many.
const NOTES: usize = 32;

/// A release that readers see.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) app: AppId,
    pub(super) at: ReleaseRef,
    blobs: Vec<Digest>,
}

/// The releases of a store, and what edges say of them.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) releases: Vec<Visible>,
    pub(super) in_use: BTreeMap<AppId, Vec<(EdgeId, InUse)>>,
}

/// What some releases need.
#[derive(Debug, Default)]
pub(super) struct Needed {
    blobs: HashSet<Digest>,
    manifests: HashSet<Digest>,
}

impl Survey {
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut survey = Self::default();
        let mut apps: BTreeSet<AppId> = store.apps().await?.into_iter().collect();
        apps.extend(store.reported_apps().await?);
        for app in apps {
            survey.in_use.insert(app.clone(), store.in_use(&app).await?);
            let app = &app;
            let visible: Vec<_> = stream::iter(store.releases(app).await?)
                .map(|at| async move {
                    let manifest = store.manifest(app, &at.id).await?;
                    let blobs = manifest.blobs().iter().map(|blob| blob.digest).collect();
                    let app = app.clone();
                    Ok::<_, StoreError>(Visible { app, at, blobs })
                })
                .buffer_unordered(READS)
                .try_collect()
                .await?;
            survey.releases.extend(visible);
        }
        let order = |release: &Visible| {
            let ReleaseRef {
                id, published_s, ..
            } = &release.at;
            (release.app.clone(), *published_s, id.clone())
        };
        survey.releases.sort_by_cached_key(order);
        Ok(survey)
    }

    /// What is needed by the releases that `stays` says yes to.
    pub(super) fn needed(&self, stays: impl Fn(&Visible) -> bool) -> Needed {
        let mut needed = Needed::default();
        for release in self.releases.iter().filter(|release| stays(release)) {
            needed.blobs.extend(&release.blobs);
            needed.manifests.insert(release.at.manifest);
        }
        needed
    }
}

impl Needed {
    /// Of what is listed, what nobody needs.
    pub(super) async fn not<'a>(
        &self,
        store: &Store,
        things: &'a [Listed],
    ) -> Result<Vec<&'a Listed>, StoreError> {
        let unneeded = stream::iter(things).map(|listed| async move {
            let needed = match listed.thing {
                Thing::Blob(digest) => self.blobs.contains(&digest),
                Thing::Manifest(digest) | Thing::Signature(digest) => {
                    self.manifests.contains(&digest)
                }
                Thing::Derived(key) => self.note(store, &key).await?,
            };
            Ok((!needed).then_some(listed))
        });
        let unneeded = unneeded.buffered(NOTES);
        unneeded
            .try_filter_map(|unneeded| std::future::ready(Ok(unneeded)))
            .try_collect()
            .await
    }

    /// A note is of use while both what it was made of and what was made of it are needed.
    async fn note(&self, store: &Store, key: &Digest) -> Result<bool, StoreError> {
        let Some(note) = store.derived(key).await? else {
            return Ok(false);
        };
        let held = |digest: Digest| self.blobs.contains(&digest);
        let made = note.blob.map(|blob| held(blob.digest));
        Ok(match (note.of.map(held), made) {
            (Some(of), made) => of && made.unwrap_or(true),
            // Of the first versions, which did not write down what a note is of.
            (None, made) => made.unwrap_or(false),
        })
    }
}
