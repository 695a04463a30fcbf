//! The list that `asset-pipeline releases` shows.

use std::fmt;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::store::{Store, StoreError};
use asset_pipeline::weigh::{Weights, weigh};
use serde::Serialize;

/// The releases of a store.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    releases: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    app: AppId,
    release: ReleaseId,
    #[serde(flatten)]
    state: State,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum State {
    Whole {
        manifest: Digest,
        /// Seconds since 1970.
        published_s: u64,
        files: usize,
        /// Of all files as they are.
        identity_bytes: u64,
    },
    Damaged {
        error: String,
    },
}

/// Weighs a release for who has seen `since`, or else the release that was published before.
pub(crate) async fn weights(
    store: &Store,
    app: &AppId,
    release: &ReleaseId,
    since: Option<ReleaseId>,
) -> Result<Weights, StoreError> {
    let manifest = store.manifest(app, release).await?;
    let since = match since {
        Some(since) => Some(since),
        None => {
            let this = store.release(app, release).await?.published_s;
            let releases = store.releases(app).await?;
            let before = releases
                .into_iter()
                .filter(|other| (other.published_s, &other.id) < (this, release));
            let last = before.max_by(|a, b| (a.published_s, &a.id).cmp(&(b.published_s, &b.id)));
            last.map(|last| last.id)
        }
    };
    let since = match since {
        Some(since) => Some(store.manifest(app, &since).await?),
        None => None,
    };
    Ok(weigh(&manifest, since.as_ref()))
}

/// Reads every release's manifest; one that is damaged is listed as that.
pub(crate) async fn list(store: &Store, app: Option<AppId>) -> Result<List, StoreError> {
    let apps = match app {
        Some(app) => vec![app],
        None => store.apps().await?,
    };
    let mut releases = Vec::new();
    for app in apps {
        for release in store.release_ids(&app).await? {
            let state = match row(store, &app, &release).await {
                Ok(state) => state,
                Err(error) if error.is_damaged() || error.is_missing() => State::Damaged {
                    error: error.to_string(),
                },
                Err(error) => return Err(error),
            };
            releases.push(Row {
                app: app.clone(),
                release,
                state,
            });
        }
    }
    Ok(List { releases })
}

async fn row(store: &Store, app: &AppId, id: &ReleaseId) -> Result<State, StoreError> {
    let release = store.release(app, id).await?;
    let manifest = store.manifest(app, id).await?;
    Ok(State::Whole {
        manifest: release.manifest,
        published_s: release.published_s,
        files: manifest.files.len(),
        identity_bytes: manifest
            .files
            .values()
            .map(|file| file.identity.bytes)
            .sum(),
    })
}

impl List {
    /// Whether a release cannot be read.
    pub(crate) fn has_damage(&self) -> bool {
        let damaged = |row: &Row| matches!(row.state, State::Damaged { .. });
        self.releases.iter().any(damaged)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.releases.is_empty() {
            return write!(f, "no releases");
        }
        for (at, row) in self.releases.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}  {}  ", row.app, row.release)?;
            match &row.state {
                State::Whole {
                    published_s,
                    files,
                    identity_bytes,
                    ..
                } => write!(
                    f,
                    "{}  {files} files  {identity_bytes} bytes",
                    published(*published_s)
                )?,
                State::Damaged { error } => write!(f, "damaged: {error}")?,
            }
        }
        Ok(())
    }
}

fn published(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string())
}
