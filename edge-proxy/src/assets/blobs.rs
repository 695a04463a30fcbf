//! Bytes by digest: from memory, from the mirror, from the store.
//!
//! Nothing is handed out unchecked. A mirrored file that is not what its name says is set aside and
//! fetched again; if that fails the request gets an error, never the bytes. Small blobs are kept in
//! memory; large ones stay open and are read while they are sent. Many requests for one cold blob
//! cause one load, which goes on when the first of them goes away.

mod made;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use asset_pipeline::digest::Digest;
use asset_pipeline::manifest::Blob;
use asset_pipeline::store::{Store, StoreError};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use foldhash::fast::RandomState;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use futures_util::stream::{self, StreamExt as _};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::mirror::Mirror;
use crate::response::represent::{Answer, Content};
use crate::response::send::{Body, Reply};

/// The largest blob that is kept in memory; larger ones are read from their file in chunks.
pub const MEMORY_BLOB_BYTES_MAX: u64 = 1 << 20;
/// What an entry costs besides its bytes.
const ENTRY_BYTES: u64 = 256;
/// Large files that are held open; each was read once to check it.
const OPEN_FILES_MAX: u64 = 64;
/// Fetches from the store at the same time, and so what they hold in memory.
const FETCHES_MAX: usize = 8;
/// How long requests wait for the store.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// How long one blob may take when a release is mirrored.
const MIRROR_MAX: Duration = Duration::from_secs(600);

/// Where blobs come from.
#[derive(Debug)]
pub struct Blobs {
    memory: Cache<Digest, Bytes, RandomState>,
    open: Cache<Digest, Arc<Checked>, RandomState>,
    mirror: Mirror,
    store: Store,
    flights: Mutex<HashMap<Digest, Flight>>,
    fetches: Semaphore,
}

type Flight = Shared<BoxFuture<'static, Result<Opened, BlobError>>>;

/// Bytes that have been checked.
#[derive(Debug, Clone)]
pub enum Opened {
    /// In memory.
    Bytes(Bytes),
    /// In an open file.
    File(Arc<File>),
}

/// A large file that was checked, and how it looked then.
#[derive(Debug)]
struct Checked {
    file: Arc<File>,
    seen: (u64, Option<SystemTime>),
}

/// Why a blob cannot be had: the client gets a 503 that nobody stores.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// It is not mirrored, and the store does not give it.
    #[error("a file is not mirrored and cannot be fetched: {0}")]
    Store(#[source] Arc<StoreError>),
    /// The state folder refuses.
    #[error("the state folder cannot hold blob {digest}: {source}")]
    Disk {
        /// Which blob.
        digest: Digest,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The store took too long.
    #[error("blob {0} is not mirrored and the store did not answer in time")]
    Slow(Digest),
    /// The load ended without a result: the process is shutting down, or it panicked.
    #[error("loading blob {0} was interrupted")]
    Interrupted(Digest),
}

impl From<StoreError> for BlobError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// A file of a release that is not here.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    /// A path that needs it.
    pub(super) path: String,
    /// Why.
    pub(super) reason: BlobError,
}

impl Blobs {
    /// With this much memory for small blobs.
    pub(super) fn new(store: Store, mirror: Mirror, memory_bytes_max: u64) -> Arc<Self> {
        let memory = Cache::builder()
            .max_capacity(memory_bytes_max)
            .weigher(|_, bytes: &Bytes| {
                u32::try_from(bytes.len() as u64 + ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .build_with_hasher(RandomState::default());
        let open = Cache::builder()
            .max_capacity(OPEN_FILES_MAX)
            .build_with_hasher(RandomState::default());
        Arc::new(Self {
            memory,
            open,
            mirror,
            store,
            flights: Mutex::default(),
            fetches: Semaphore::new(FETCHES_MAX),
        })
    }

    /// Adds the bytes to an answer.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn reply(self: &Arc<Self>, answer: Answer<Blob>) -> Result<Reply, BlobError> {
        let Answer {
            header, content, ..
        } = answer;
        let body = match content {
            None => Body::Empty,
            Some(Content { at, cut }) => match self.open(&at).await? {
                Opened::Bytes(at) => Content { at, cut }.into(),
                Opened::File(file) => Body::of_file(file, cut),
            },
        };
        Ok(Reply { header, body })
    }

    /// Finds a blob's bytes.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn open(self: &Arc<Self>, blob: &Blob) -> Result<Opened, BlobError> {
        match self.at_hand(blob) {
            Some(opened) => Ok(opened),
            None => self.flight(blob).await,
        }
    }

    /// Brings all of these into the mirror, checked; says which cannot be had.
    pub(super) async fn mirror(self: &Arc<Self>, blobs: HashMap<Blob, String>) -> Vec<Missing> {
        stream::iter(blobs)
            .map(|(blob, path)| async move {
                let reason = self.ensure(blob).await.err()?;
                Some(Missing { path, reason })
            })
            .buffer_unordered(FETCHES_MAX / 2)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Whether a blob is in the mirror and was checked.
    pub(super) fn is_mirrored(&self, blob: &Blob) -> bool {
        self.mirror.is_checked(&blob.digest)
    }

    /// Says which blobs must stay in the mirror.
    pub(super) fn keep(&self, kept: HashSet<Digest>) {
        self.mirror.keep(kept);
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Mirror {
        &self.mirror
    }

    fn at_hand(&self, blob: &Blob) -> Option<Opened> {
        if blob.bytes <= MEMORY_BLOB_BYTES_MAX {
            return self.memory.get(&blob.digest).map(Opened::Bytes);
        }
        let checked = self.open.get(&blob.digest)?;
        if stamp(&checked.file).ok()? == checked.seen {
            return Some(Opened::File(Arc::clone(&checked.file)));
        }
        self.open.invalidate(&blob.digest);
        None
    }

    /// Joins the load of this blob, or starts it.
    fn flight(self: &Arc<Self>, blob: &Blob) -> Flight {
        let mut flights = self.flights.lock();
        let flight = flights.entry(blob.digest).or_insert_with(|| {
            let (blob, landing) = (*blob, Landing(Arc::clone(self), blob.digest));
            let task = tokio::spawn(async move { landing.0.load(blob).await });
            let result = async move {
                task.await
                    .unwrap_or(Err(BlobError::Interrupted(blob.digest)))
            };
            result.boxed().shared()
        });
        flight.clone()
    }

    async fn load(self: &Arc<Self>, blob: Blob) -> Result<Opened, BlobError> {
        match self.from_mirror(blob).await {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a mirrored file cannot be read: fetched again"),
        }
        let fetched = timeout(FETCH_MAX, self.fetch(blob)).await;
        fetched.unwrap_or(Err(BlobError::Slow(blob.digest)))
    }

    async fn ensure(self: &Arc<Self>, blob: Blob) -> Result<(), BlobError> {
        if self.is_mirrored(&blob) || self.from_mirror(blob).await?.is_some() {
            return Ok(());
        }
        let fetched = timeout(MIRROR_MAX, self.fetch(blob)).await;
        let opened = fetched.unwrap_or(Err(BlobError::Slow(blob.digest)))?;
        // In memory only, because the disk refused: good for a request, not for a release.
        if self.is_mirrored(&blob) {
            return Ok(());
        }
        drop(opened);
        Err(disk(blob)(io::Error::other("it could not be written")))
    }

    /// Reads and checks the mirrored file, if there is one; a bad one is set aside.
    async fn from_mirror(self: &Arc<Self>, blob: Blob) -> Result<Option<Opened>, BlobError> {
        let this = Arc::clone(self);
        blocking(blob, move || {
            let Some(file) = this.mirror.get(&blob.digest)? else {
                return Ok(None);
            };
            match checked(file, &blob)? {
                Some(opened) => {
                    this.mirror.checked(&blob.digest);
                    Ok(Some(this.remember(&blob, opened)))
                }
                None => {
                    tracing::warn!(digest = %blob.digest, "a mirrored file is damaged: set aside, fetched again");
                    this.mirror.set_aside(&blob.digest)?;
                    Ok(None)
                }
            }
        })
        .await
    }

    /// Fetches from the store, piece by piece, into the mirror. The store checks length and digest.
    async fn fetch(self: &Arc<Self>, blob: Blob) -> Result<Opened, BlobError> {
        let permit = self.fetches.acquire().await;
        let _permit = permit.map_err(|_| BlobError::Interrupted(blob.digest))?;
        let small = blob.bytes <= MEMORY_BLOB_BYTES_MAX;
        let mut bytes = Vec::new();
        let mut coming = self.mirror.coming();
        self.store
            .blob_into(&blob, |piece| {
                if small {
                    bytes.extend_from_slice(piece);
                }
                if let Ok(file) = &mut coming
                    && let Err(error) = file.write_all(piece)
                {
                    coming = Err(error);
                }
                match &mut coming {
                    Err(error) if !small => {
                        let error = io::Error::new(error.kind(), error.to_string());
                        Err(disk(blob)(error))
                    }
                    _ => Ok(()),
                }
            })
            .await?;
        let this = Arc::clone(self);
        let placed = blocking(blob, move || this.mirror.put(coming?, &blob)).await;
        let opened = match (small, placed) {
            (false, placed) => Opened::File(Arc::new(placed?)),
            (true, Ok(_)) => Opened::Bytes(bytes.into()),
            (true, Err(error)) => {
                tracing::warn!(%error, "a fetched file is served from memory only");
                Opened::Bytes(bytes.into())
            }
        };
        Ok(self.remember(&blob, opened))
    }

    fn remember(&self, blob: &Blob, opened: Opened) -> Opened {
        match &opened {
            Opened::Bytes(bytes) => self.memory.insert(blob.digest, bytes.clone()),
            Opened::File(file) => {
                if let Ok(seen) = stamp(file) {
                    let file = Arc::clone(file);
                    self.open
                        .insert(blob.digest, Arc::new(Checked { file, seen }));
                }
            }
        }
        opened
    }
}

/// Takes a load off the list however it ends.
struct Landing(Arc<Blobs>, Digest);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.flights.lock().remove(&self.1);
    }
}

/// Reads all of a file: its bytes where they are few, else the file; nothing if it is not the blob.
fn checked(mut file: File, blob: &Blob) -> io::Result<Option<Opened>> {
    if file.metadata()?.len() != blob.bytes {
        return Ok(None);
    }
    if blob.bytes <= MEMORY_BLOB_BYTES_MAX {
        let mut bytes = Vec::with_capacity(blob.bytes as usize);
        file.take(MEMORY_BLOB_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        let same = Digest::of(&bytes) == blob.digest;
        return Ok(same.then(|| Opened::Bytes(bytes.into())));
    }
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    let same = hash.finish().as_ref() == blob.digest.as_bytes();
    Ok(same.then(|| Opened::File(Arc::new(file))))
}

fn stamp(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Runs what touches the disk where blocking harms nobody.
async fn blocking<T: Send + 'static>(
    blob: Blob,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(disk(blob)),
        Err(_) => Err(BlobError::Interrupted(blob.digest)),
    }
}

fn disk(blob: Blob) -> impl Fn(io::Error) -> BlobError {
    move |source| BlobError::Disk {
        digest: blob.digest,
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests;
