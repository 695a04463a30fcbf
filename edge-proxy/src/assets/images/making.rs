//! Forms of pictures that a publish did not make: made here when somebody asks, in the background.
//!
//! Nobody waits for them: who asks first gets the best there is, to be kept for a minute. Each form is made
//! once, in a process of its own ([`super::child`]), few at a time; so many may wait, and what comes on top
//! is made when it is asked for again. Results are blobs of the mirror like those of older releases: they
//! survive a restart and go when others need the room. What could not be made, or is not worth it, is
//! remembered too, so that one bad picture costs one try.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::digest::Digest;
use asset_pipeline::image::{Recipe, SOURCE_BYTES_MAX};
use asset_pipeline::manifest::Blob;
use foldhash::fast::RandomState;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::child::Order;
use super::workshop::Workshop;
use crate::assets::blobs::Blobs;
use crate::metrics::{ImageMade, Metrics};

/// Forms that wait to be made or are being made.
const WAITING_MAX: usize = 64;
/// Forms that are remembered: a hundred bytes each.
const REMEMBERED_MAX: u64 = 100_000;
/// How long one may take by the clock: its process has limits of its own, of CPU time.
const MADE_WITHIN: Duration = Duration::from_secs(600);

/// Makes forms of pictures.
#[derive(Debug)]
pub struct Making {
    workshop: Workshop,
    blobs: Arc<Blobs>,
    metrics: Arc<Metrics>,
    under_way: Mutex<HashSet<Digest>>,
    /// What was made; none: the form is no smaller than the picture, or the picture is none.
    known: Cache<Digest, Option<Blob>, RandomState>,
}

/// What there is of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Its bytes.
    Made(Blob),
    /// Nothing, for good.
    Nothing,
    /// Nothing yet.
    Later,
}

impl Making {
    /// By this program, which has the command `picture`.
    pub fn new(program: PathBuf, blobs: Arc<Blobs>, metrics: Arc<Metrics>) -> Arc<Self> {
        let known = Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .build_with_hasher(RandomState::default());
        for (key, blob) in blobs.made(REMEMBERED_MAX as usize) {
            known.insert(key, blob);
        }
        Arc::new(Self {
            workshop: Workshop::new(program, MADE_WITHIN),
            blobs,
            metrics,
            under_way: Mutex::default(),
            known,
        })
    }

    /// Looks for a form of the picture `source`, and has it made if it is not there.
    pub(super) fn find(self: &Arc<Self>, source: &Blob, recipe: &Recipe) -> Found {
        let key = recipe.key(&source.digest);
        match self.known.get(&key) {
            Some(None) => return Found::Nothing,
            Some(Some(blob)) if self.blobs.holds(&blob) => return Found::Made(blob),
            // Others needed the room, or its bytes were damaged.
            Some(Some(_)) => self.known.invalidate(&key),
            None => {}
        }
        if source.bytes > SOURCE_BYTES_MAX {
            return Found::Nothing;
        }
        let mut under_way = self.under_way.lock();
        if under_way.contains(&key) {
            return Found::Later;
        }
        if under_way.len() >= WAITING_MAX {
            self.metrics.image_made(ImageMade::Busy);
            return Found::Later;
        }
        under_way.insert(key);
        let task = Task {
            making: Arc::clone(self),
            source: *source,
            recipe: *recipe,
            key,
        };
        tokio::spawn(task.run());
        Found::Later
    }
}

/// One form to be made.
struct Task {
    making: Arc<Making>,
    source: Blob,
    recipe: Recipe,
    key: Digest,
}

/// Takes a form off the list however its making ends.
impl Drop for Task {
    fn drop(&mut self) {
        self.making.under_way.lock().remove(&self.key);
    }
}

impl Task {
    async fn run(self) {
        let making = &self.making;
        let Some(turn) = making.workshop.turn().await else {
            return;
        };
        let source = match making.blobs.bytes(&self.source).await {
            Ok(source) => source,
            Err(error) => {
                // The next who asks tries again: the store may be back.
                tracing::warn!(%error, "no smaller form of a picture can be made");
                making.metrics.image_made(ImageMade::Failed);
                return;
            }
        };
        let order = Order::Search(self.recipe);
        // What is not smaller than the picture is of no use.
        let most = self.source.bytes;
        let made = match making.workshop.make(&order, source, most, &turn).await {
            // Another try would end as badly, until this process ends.
            Err(_) => {
                making.metrics.image_made(ImageMade::Failed);
                making.known.insert(self.key, None);
                return;
            }
            Ok(form) if form.is_empty() || form.len() as u64 >= most => None,
            Ok(form) => Some(form),
        };
        let outcome = match made {
            Some(_) => ImageMade::Made,
            None => ImageMade::Nothing,
        };
        match making.blobs.keep_made(&self.key, made).await {
            Ok(blob) => {
                making.metrics.image_made(outcome);
                making.known.insert(self.key, blob);
            }
            Err(error) => {
                tracing::warn!(%error, "a smaller form of a picture cannot be kept");
                making.metrics.image_made(ImageMade::Failed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
