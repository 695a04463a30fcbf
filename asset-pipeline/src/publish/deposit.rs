//! Puts contents and their encodings into the store. What is there already is read and checked,
//! not believed; what was encoded before is found by its note and decoded, not encoded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::site::Site;
use super::work::{blocking, cores, room};
use super::{Progress, PublishError, compress};
use crate::digest::Digest;
use crate::manifest::{Blob, Coding};
use crate::store::{Derived, Looks, Put, Store, StoreError};

/// What Brotli 11 takes of memory, as a multiple of the file (measured with 12 MB).
pub(super) const ENCODER_TIMES: u64 = 10;
/// Contents that are on the way to a bucket at the same time.
const UPLOADS: usize = 16;

/// Where bytes come from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The file of the site that has them.
    Site(usize),
    /// No file: they were made of several.
    Made(Bytes),
}

/// Bytes that are published under one or more URLs.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) blob: Blob,
    pub(super) bytes: Origin,
    pub(super) compress: bool,
    /// For people.
    pub(super) url: String,
}

/// What became of the contents.
#[derive(Debug, Default)]
pub(super) struct Deposited {
    /// By the digest of the identity form.
    pub(super) encodings: BTreeMap<Digest, BTreeMap<Coding, Blob>>,
    pub(super) encoded: usize,
    pub(super) reused: usize,
    pub(super) mended: usize,
    /// Blobs that were there, whole.
    pub(super) there: usize,
    /// Blobs that were not.
    pub(super) created: Vec<Blob>,
}

impl Deposited {
    pub(super) fn put(&mut self, blob: &Blob, put: Put) {
        match put {
            Put::Created => self.created.push(*blob),
            Put::Mended => self.mended += 1,
            Put::There => self.there += 1,
        }
    }

    /// Stores what was derived from the contents `of`, and the note by which it is found again; none: nothing
    /// that is worth it, which is noted too.
    pub(super) async fn keep(
        &mut self,
        store: &Store,
        key: &Digest,
        of: &Digest,
        derived: Option<Bytes>,
        looks: Option<Looks>,
    ) -> Result<Option<Blob>, PublishError> {
        self.encoded += 1;
        let blob = match derived {
            Some(bytes) => {
                let blob = Blob {
                    digest: Digest::of(&bytes),
                    bytes: bytes.len() as u64,
                };
                let put = store.put_blob(&blob, bytes).await?;
                self.put(&blob, put);
                Some(blob)
            }
            None => None,
        };
        let note = Derived {
            of: Some(*of),
            blob,
            looks,
        };
        store.put_derived(key, &note).await?;
        Ok(blob)
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        self.encodings.append(&mut other.encodings);
        self.encoded += other.encoded;
        self.reused += other.reused;
        self.mended += other.mended;
        self.there += other.there;
        self.created.append(&mut other.created);
    }
}

/// Stores all contents, the large ones first, so that no core is left with one at the end.
pub(super) async fn deposit(
    store: &Store,
    site: &Arc<Site>,
    mut contents: Vec<Content>,
    progress: &dyn Progress,
) -> Result<Deposited, PublishError> {
    contents.sort_by(|a, b| (b.blob.bytes, &a.url).cmp(&(a.blob.bytes, &b.url)));
    let encoders = Arc::new(Semaphore::new(cores()));
    let tasks = contents.into_iter().map(|content| {
        let task = Task {
            store: store.clone(),
            site: Arc::clone(site),
            encoders: Arc::clone(&encoders),
            content,
            done: Deposited::default(),
        };
        task.run()
    });
    // Twice the cores: while some wait for the disk, the others encode. A bucket is farther away.
    let at_once = match store.folder() {
        Some(_) => cores() * 2,
        None => (cores() * 2).max(UPLOADS),
    };
    let mut running = stream::iter(tasks).buffer_unordered(at_once);
    let mut all = Deposited::default();
    while let Some((url, bytes, done)) = running.try_next().await? {
        progress.step_bytes(&url, bytes);
        all.merge(done);
    }
    Ok(all)
}

struct Task {
    store: Store,
    site: Arc<Site>,
    encoders: Arc<Semaphore>,
    content: Content,
    done: Deposited,
}

impl Task {
    async fn run(mut self) -> Result<(String, u64, Deposited), PublishError> {
        let times = match self.content.compress {
            true => ENCODER_TIMES,
            false => 1,
        };
        let _room = room(times * self.content.blob.bytes).await;
        let bytes = self.identity().await?;
        let mut encoded = BTreeMap::new();
        if self.content.compress && !bytes.is_empty() {
            for coding in compress::CODINGS {
                if let Some(blob) = self.encoding(coding, &bytes).await? {
                    encoded.insert(coding, blob);
                }
            }
        }
        self.done
            .encodings
            .insert(self.content.blob.digest, encoded);
        Ok((self.content.url, self.content.blob.bytes, self.done))
    }

    /// The bytes, which are in the store from here on.
    async fn identity(&mut self) -> Result<Bytes, PublishError> {
        let blob = self.content.blob;
        let there = whole(self.store.confirm(&blob).await)?.is_some();
        let bytes = match &self.content.bytes {
            Origin::Made(bytes) => bytes.clone(),
            Origin::Site(at) => {
                let (site, at) = (Arc::clone(&self.site), *at);
                Bytes::from(blocking(&self.content.url, move || site.bytes(at)).await?)
            }
        };
        let put = match there {
            true => Put::There,
            false => self.store.put_blob(&blob, bytes.clone()).await?,
        };
        self.done.put(&blob, put);
        Ok(bytes)
    }

    /// An encoding of the bytes, which is in the store from here on.
    async fn encoding(
        &mut self,
        coding: Coding,
        bytes: &Bytes,
    ) -> Result<Option<Blob>, PublishError> {
        let digest = self.content.blob.digest;
        let key = compress::key(&digest, coding);
        match self.store.derived(&key).await? {
            Some(Derived { blob: None, .. }) => {
                self.done.reused += 1;
                return Ok(None);
            }
            Some(Derived {
                blob: Some(blob), ..
            }) if self.is_good(coding, &blob, bytes.len()).await? => {
                self.done.reused += 1;
                self.done.put(&blob, Put::There);
                return Ok(Some(blob));
            }
            Some(_) | None => {}
        }
        let encoded = self.encode(coding, bytes.clone()).await?;
        self.done
            .keep(&self.store, &key, &digest, encoded, None)
            .await
    }

    async fn encode(&self, coding: Coding, bytes: Bytes) -> Result<Option<Bytes>, PublishError> {
        let _turn = self.encoders.acquire().await;
        let what = format!("{} as {}", self.content.url, coding.as_str());
        let defect = {
            let what = what.clone();
            move |reason| PublishError::Defect { what, reason }
        };
        blocking(&what, move || {
            let encoded = compress::encode(coding, &bytes).map_err(defect)?;
            Ok(encoded.map(Bytes::from))
        })
        .await
    }

    /// Whether a blob that a note names is what the note says. One in a bucket was decoded before it went there.
    async fn is_good(
        &self,
        coding: Coding,
        blob: &Blob,
        length: usize,
    ) -> Result<bool, PublishError> {
        if self.store.folder().is_none() {
            return Ok(whole(self.store.confirm(blob).await)?.is_some());
        }
        match whole(self.store.blob(blob).await)? {
            Some(encoded) => self.decodes(coding, encoded, length).await,
            None => Ok(false),
        }
    }

    async fn decodes(
        &self,
        coding: Coding,
        encoded: Bytes,
        length: usize,
    ) -> Result<bool, PublishError> {
        let _turn = self.encoders.acquire().await;
        let digest = self.content.blob.digest;
        blocking(&self.content.url, move || {
            Ok(compress::decodes_to(coding, &encoded, length, &digest).is_ok())
        })
        .await
    }
}

/// What was read of a blob; none when it has to be stored (again).
pub(super) fn whole<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing() || error.is_damaged() => Ok(None),
        Err(error) => Err(error),
    }
}
