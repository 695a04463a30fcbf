//! Reads everything that releases name, and says what is not as it should be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;

use super::deposit::whole;
use super::work::blocking;
use super::{Progress, PublishError, Stage, compress, delta};
use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{Blob, Coding, Delta, File, Image, Manifest};
use crate::signature::PublicKey;
use crate::store::{Store, StoreError};

/// What was read, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verified {
    /// Releases that were read.
    pub releases: usize,
    /// Blobs that were read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged or missing.
    pub damaged: Vec<Damage>,
}

/// Something that is not what a release says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What the release is of.
    pub app: AppId,
    /// The first release that names it.
    pub release: ReleaseId,
    /// The URL path that it answers; none where the release itself cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The content coding, of an encoded form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coding: Option<&'static str>,
    /// What is wrong, with the name of the object in the store.
    pub reason: String,
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for damage in &self.damaged {
            writeln!(f, "damaged: {damage}")?;
        }
        let (releases, blobs, damaged) = (self.releases, self.blobs, self.damaged.len());
        write!(
            f,
            "{releases} releases, {blobs} blobs, {} bytes read: ",
            self.bytes
        )?;
        match damaged {
            0 => write!(f, "all as they should be"),
            _ => write!(
                f,
                "{damaged} things damaged; publish the same release again to mend it"
            ),
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.app, self.release)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        if let Some(coding) = self.coding {
            write!(f, " ({coding})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Checks every digest and decodes every encoding of one release, of one app, or of all. Where keys are
/// given, a release that is signed by none of them is damaged too.
///
/// # Errors
///
/// The store is absent or fails, or there is no such release. What is damaged is no error, but in the answer.
pub async fn verify(
    store: &Store,
    app: Option<&AppId>,
    release: Option<&ReleaseId>,
    trusted: &[PublicKey],
    progress: &dyn Progress,
) -> Result<Verified, PublishError> {
    let apps = match app {
        Some(app) => vec![app.clone()],
        None => store.apps().await?,
    };
    let mut run = Run {
        store,
        sound: BTreeMap::new(),
        checked: BTreeSet::new(),
        found: Verified::default(),
    };
    for app in &apps {
        let ids = match release {
            Some(id) => vec![id.clone()],
            None => store.release_ids(app).await?,
        };
        for id in &ids {
            run.found.releases += 1;
            if !trusted.is_empty()
                && let Some(reason) = unsigned(store, app, id, trusted).await?
            {
                run.found.damaged.push(Damage {
                    app: app.clone(),
                    release: id.clone(),
                    path: None,
                    coding: None,
                    reason,
                });
            }
            match store.manifest(app, id).await {
                Ok(manifest) => run.release(&manifest, progress).await?,
                Err(error) if error.is_damaged() => run.found.damaged.push(Damage {
                    app: app.clone(),
                    release: id.clone(),
                    path: None,
                    coding: None,
                    reason: error.to_string(),
                }),
                Err(error) if error.is_missing() && release.is_none() => {
                    run.found.damaged.push(Damage {
                        app: app.clone(),
                        release: id.clone(),
                        path: None,
                        coding: None,
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(run.found)
}

/// Why a release is not to be trusted. Whether it can be read is found out elsewhere.
async fn unsigned(
    store: &Store,
    app: &AppId,
    id: &ReleaseId,
    trusted: &[PublicKey],
) -> Result<Option<String>, StoreError> {
    let manifest = match store.release(app, id).await {
        Ok(release) => release.manifest,
        Err(error) if error.is_damaged() || error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let signature = store.signature(&manifest, trusted).await?;
    Ok(signature
        .is_none()
        .then(|| "it is not signed by a trusted key: publish it again with --key".to_owned()))
}

struct Run<'a> {
    store: &'a Store,
    /// Blobs that were read, and whether they were whole.
    sound: BTreeMap<Digest, bool>,
    /// Encodings that were decoded: of which blob, and to which.
    checked: BTreeSet<(Digest, Digest)>,
    found: Verified,
}

impl Run<'_> {
    async fn release(
        &mut self,
        manifest: &Manifest,
        progress: &dyn Progress,
    ) -> Result<(), PublishError> {
        progress.begin(Stage::Verify, manifest.files.len() as u64);
        for (path, file) in &manifest.files {
            let damage = |coding, reason| Damage {
                app: manifest.app.clone(),
                release: manifest.release.clone(),
                path: Some(path.clone()),
                coding,
                reason,
            };
            if let Some(reason) = self.blob(&file.identity).await? {
                self.found.damaged.push(damage(None, reason));
            }
            for (coding, blob) in &file.encoded {
                if let Some(reason) = self.encoding(*coding, blob, file).await? {
                    self.found
                        .damaged
                        .push(damage(Some(coding.as_str()), reason));
                }
            }
            for delta in &file.deltas {
                if let Some(reason) = self.delta(delta, file).await? {
                    let coding = delta.coding.as_str();
                    self.found.damaged.push(damage(Some(coding), reason));
                }
            }
            for blob in file.image.iter().flat_map(Image::blobs) {
                if let Some(reason) = self.blob(blob).await? {
                    self.found.damaged.push(damage(None, reason));
                }
            }
            progress.step(path);
        }
        Ok(())
    }

    /// What is wrong with a blob that was not read yet.
    async fn blob(&mut self, blob: &Blob) -> Result<Option<String>, PublishError> {
        if self.sound.contains_key(&blob.digest) {
            return Ok(None);
        }
        let read = self.store.check_blob(blob).await;
        self.noted(blob, read).map_err(PublishError::from)
    }

    async fn encoding(
        &mut self,
        coding: Coding,
        blob: &Blob,
        file: &File,
    ) -> Result<Option<String>, PublishError> {
        if !self.checked.insert((blob.digest, file.identity.digest)) {
            return Ok(None);
        }
        let read = self.store.blob(blob).await;
        let (bytes, read) = match read {
            Ok(bytes) => (bytes, Ok(())),
            Err(error) => (Bytes::new(), Err(error)),
        };
        if let Some(reason) = self.noted(blob, read)? {
            return Ok(Some(reason));
        }
        let identity = file.identity;
        let digest = blob.digest;
        let decoded = blocking("a blob", move || {
            let length = identity.bytes as usize;
            Ok(compress::decodes_to(
                coding,
                &bytes,
                length,
                &identity.digest,
            ))
        });
        let decoded = decoded.await?;
        Ok(decoded
            .err()
            .map(|reason| format!("blob {digest}: {reason}")))
    }

    async fn delta(&mut self, delta: &Delta, file: &File) -> Result<Option<String>, PublishError> {
        if !self
            .checked
            .insert((delta.blob.digest, file.identity.digest))
        {
            return Ok(None);
        }
        let (bytes, read) = match self.store.blob(&delta.blob).await {
            Ok(bytes) => (bytes, Ok(())),
            Err(error) => (Bytes::new(), Err(error)),
        };
        if let Some(reason) = self.noted(&delta.blob, read)? {
            return Ok(Some(reason));
        }
        // An old file may be gone with its release; if it is damaged, that one says so.
        let Some(from) = whole(self.store.blob(&delta.from).await)? else {
            return Ok(None);
        };
        let (identity, coding, digest) = (file.identity, delta.coding, delta.blob.digest);
        let decoded = blocking("a blob", move || {
            let length = identity.bytes as usize;
            Ok(delta::decodes_to(
                coding,
                &from,
                &bytes,
                length,
                &identity.digest,
            ))
        });
        let decoded = decoded.await?;
        Ok(decoded
            .err()
            .map(|reason| format!("blob {digest}: {reason}")))
    }

    fn noted(
        &mut self,
        blob: &Blob,
        read: Result<(), StoreError>,
    ) -> Result<Option<String>, StoreError> {
        if self.sound.insert(blob.digest, read.is_ok()).is_none() {
            self.found.blobs += 1;
            self.found.bytes += blob.bytes;
        }
        match read {
            Ok(()) => Ok(None),
            Err(error) if error.is_damaged() || error.is_missing() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }
}
