//! Files told by what differs from those of the last releases: what a returning visitor downloads.
//!
//! Against which old files: a browser offers one whose `match` fits the URL that it asks for, so
//! first those that had the same name but for the hash. A bundler that numbers its chunks anew
//! breaks that, so the old file with most in common is taken too, whatever its name.

mod encode;
mod past;
mod similar;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::deposit::{Deposited, ENCODER_TIMES, whole};
use super::work::{blocking, cores, room};
use super::{Progress, PublishError};
use crate::digest::Digest;
use crate::manifest::{Blob, Coding, Delta, DeltaCoding, File, Manifest};
use crate::store::{Derived, Store};

pub(super) use encode::decodes_to;
pub(super) use past::Past;

/// The smallest encoding that is worth a delta, whose head alone is 36 bytes.
const ENCODED_BYTES_MIN: u64 = 120;

/// One file to be told by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    to: Blob,
    from: Blob,
    /// What the delta must not be larger than.
    bytes_max: u64,
}

/// The pairs that a manifest names already: those of a release that is mended.
pub(super) fn known_pairs(manifest: &Manifest) -> BTreeSet<Pair> {
    let files = manifest.files.values();
    files
        .flat_map(|file| file.deltas.iter().map(move |delta| (file, delta.from)))
        .filter_map(|(file, from)| Pair::of(file, from))
        .collect()
}

impl Pair {
    /// Of both files.
    pub(super) fn bytes(&self) -> u64 {
        self.to.bytes + self.from.bytes
    }

    /// None where no delta between the two would be of use.
    fn of(file: &File, from: Blob) -> Option<Self> {
        let encoded = file.encoded.get(&Coding::Br)?.bytes;
        let fits = file.identity.bytes + from.bytes < encode::BYTES_MAX;
        let useful = encoded >= ENCODED_BYTES_MIN && from.bytes > 0 && from != file.identity;
        (fits && useful).then_some(Self {
            to: file.identity,
            from,
            bytes_max: encoded / 2,
        })
    }
}

/// Makes the deltas of all pairs, or finds them; they are in the store from here on.
pub(super) async fn deltas(
    store: &Store,
    pairs: BTreeSet<Pair>,
    deposited: &mut Deposited,
    progress: &dyn Progress,
) -> Result<BTreeMap<Digest, Vec<Delta>>, PublishError> {
    let encoders = Arc::new(Semaphore::new(cores()));
    // The large ones first, so that no core is left with one at the end.
    let mut pairs: Vec<Pair> = pairs.into_iter().collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse((pair.to.bytes, *pair)));
    let tasks = pairs.into_iter().map(|pair| {
        let task = Task {
            store: store.clone(),
            encoders: Arc::clone(&encoders),
            pair,
            done: Deposited::default(),
        };
        task.run()
    });
    let mut running = stream::iter(tasks).buffer_unordered(cores() * 2);
    let mut all: BTreeMap<Digest, Vec<Delta>> = BTreeMap::new();
    while let Some((pair, made, done)) = running.try_next().await? {
        progress.step_bytes("", pair.bytes());
        deposited.merge(done);
        all.entry(pair.to.digest).or_default().extend(made);
    }
    all.values_mut().for_each(|deltas| deltas.sort_unstable());
    Ok(all)
}

struct Task {
    store: Store,
    encoders: Arc<Semaphore>,
    pair: Pair,
    done: Deposited,
}

/// The bytes of both files, read when they are needed.
type Both = (Bytes, Bytes);

impl Task {
    async fn run(mut self) -> Result<(Pair, Vec<Delta>, Deposited), PublishError> {
        let Pair {
            from, bytes_max, ..
        } = self.pair;
        let _room = room(ENCODER_TIMES * self.pair.bytes()).await;
        let mut both = None;
        let dcb = self.delta(DeltaCoding::Dcb, bytes_max, &mut both).await?;
        // Kept only where it is the smaller one.
        let bytes_max = dcb.map_or(bytes_max, |dcb| dcb.bytes - 1);
        let dcz = self.delta(DeltaCoding::Dcz, bytes_max, &mut both).await?;
        let made = [(DeltaCoding::Dcb, dcb), (DeltaCoding::Dcz, dcz)];
        let deltas = made
            .into_iter()
            .filter_map(|(coding, blob)| Some((coding, blob?)))
            .map(|(coding, blob)| Delta { from, coding, blob });
        Ok((self.pair, deltas.collect(), self.done))
    }

    /// Reads both files, unless that was done. An old file that is gone or damaged is no dictionary, and no
    /// reason to stop.
    async fn both<'a>(&self, both: &'a mut Option<Both>) -> Result<Option<&'a Both>, PublishError> {
        if both.is_none() {
            let Pair { to, from, .. } = self.pair;
            let from = whole(self.store.blob(&from).await)?;
            *both = from.zip(whole(self.store.blob(&to).await)?);
        }
        Ok(both.as_ref())
    }

    async fn delta(
        &mut self,
        coding: DeltaCoding,
        bytes_max: u64,
        both: &mut Option<Both>,
    ) -> Result<Option<Blob>, PublishError> {
        let key = encode::key(&self.pair.to.digest, &self.pair.from, coding, bytes_max);
        match self.store.derived(&key).await? {
            Some(Derived { blob: None, .. }) => {
                self.done.reused += 1;
                return Ok(None);
            }
            Some(Derived {
                blob: Some(blob), ..
            }) if blob.bytes <= bytes_max => {
                if self.is_good(coding, &blob, both).await? {
                    self.done.reused += 1;
                    self.done.put(&blob, crate::store::Put::There);
                    return Ok(Some(blob));
                }
            }
            Some(_) | None => {}
        }
        let Some(both) = self.both(both).await? else {
            return Ok(None);
        };
        let encoded = self.encode(coding, bytes_max, both).await?;
        let of = self.pair.to.digest;
        self.done.keep(&self.store, &key, &of, encoded, None).await
    }

    async fn encode(
        &self,
        coding: DeltaCoding,
        bytes_max: u64,
        both: &Both,
    ) -> Result<Option<Bytes>, PublishError> {
        let _turn = self.encoders.acquire().await;
        let what = format!("blob {} as {}", self.pair.to.digest, coding.as_str());
        let defect = {
            let what = what.clone();
            move |reason| PublishError::Defect { what, reason }
        };
        let (from, to) = both.clone();
        blocking(&what, move || {
            let encoded = encode::encode(coding, &from, &to, bytes_max).map_err(defect)?;
            Ok(encoded.map(Bytes::from))
        })
        .await
    }

    /// Whether a blob that a note names is what the note says. One in a bucket was decoded before it went there.
    async fn is_good(
        &self,
        coding: DeltaCoding,
        blob: &Blob,
        both: &mut Option<Both>,
    ) -> Result<bool, PublishError> {
        if self.store.folder().is_none() {
            return Ok(whole(self.store.confirm(blob).await)?.is_some());
        }
        match (whole(self.store.blob(blob).await)?, self.both(both).await?) {
            (Some(encoded), Some(both)) => self.decodes(coding, encoded, both).await,
            _ => Ok(false),
        }
    }

    async fn decodes(
        &self,
        coding: DeltaCoding,
        encoded: Bytes,
        both: &Both,
    ) -> Result<bool, PublishError> {
        let _turn = self.encoders.acquire().await;
        let (from, to) = both.clone();
        let digest = self.pair.to.digest;
        blocking("a delta", move || {
            Ok(decodes_to(coding, &from, &encoded, to.len(), &digest).is_ok())
        })
        .await
    }
}
