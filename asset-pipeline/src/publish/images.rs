//! Smaller forms of the pictures of a release. Each is found again by the picture's digest and the recipe,
//! so that a search is made once, whichever release or machine comes later.
//!
//! A picture that cannot be decoded is published as it is, with a warning: also when the decoder panics or loops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::apart::{Apart, Forms};
use super::deposit::{Deposited, whole};
use super::work::cores;
use super::{Progress, PublishError, Stage};
use crate::digest::Digest;
use crate::image::{BYTES_MIN, Hint, Picture, Recipe, Rendered, Unfit, rungs};
use crate::manifest::{Blob, Image, ImageFormat, Manifest, Rendition, Tier, is_picture};
use crate::store::{Derived, Looks, Put, Store};

/// What became of the pictures.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// By the digest of the picture.
    pub(super) made: BTreeMap<Digest, Image>,
    /// What a warning says, by URL path.
    pub(super) unfit: Vec<String>,
    /// How long it took.
    pub(super) took: Duration,
}

/// Makes the smaller forms of all pictures, or finds them; they are in the store from here on.
pub(super) async fn images(
    store: &Store,
    manifest: &Manifest,
    deposited: &mut Deposited,
    apart: &Apart,
    progress: &dyn Progress,
) -> Result<Images, PublishError> {
    let began = Instant::now();
    let Some(rules) = &manifest.images else {
        return Ok(Images::default());
    };
    let mut pictures: BTreeMap<Digest, (Blob, String)> = BTreeMap::new();
    for (url, file) in &manifest.files {
        if file.identity.bytes >= BYTES_MIN && is_picture(&file.content_type) {
            let picture = || (file.identity, url.clone());
            pictures.entry(file.identity.digest).or_insert_with(picture);
        }
    }
    let bytes = pictures.values().map(|(blob, _)| blob.bytes).sum();
    progress.begin_bytes(Stage::Images, pictures.len() as u64, bytes);
    // The large ones first, so that no core is left with one at the end.
    let mut pictures: Vec<(Blob, String)> = pictures.into_values().collect();
    pictures.sort_by(|(one, url), (other, next)| (other.bytes, url).cmp(&(one.bytes, next)));
    // A picture is held whole while it is worked on, so no more at a time than there are cores.
    let turns = Arc::new(Semaphore::new(cores()));
    let tasks = pictures.into_iter().map(|(blob, url)| {
        let task = Task {
            store: store.clone(),
            apart: apart.clone(),
            turns: Arc::clone(&turns),
            ladder: rules.widths.clone(),
            blob,
            done: Deposited::default(),
        };
        async move { Ok::<_, PublishError>((blob, url, task.run().await?)) }
    });
    let mut running = stream::iter(tasks).buffer_unordered(cores() * 2);
    let mut all = Images::default();
    while let Some((blob, url, (image, done))) = running.try_next().await? {
        progress.step_bytes(&url, blob.bytes);
        deposited.merge(done);
        match image {
            Ok(image) => all.made.extend(image.map(|image| (blob.digest, image))),
            Err(reason) => all.unfit.push(format!(
                "{url} is published without smaller forms: {reason}"
            )),
        }
    }
    all.unfit.sort();
    all.took = began.elapsed();
    Ok(all)
}

struct Task {
    store: Store,
    apart: Apart,
    turns: Arc<Semaphore>,
    ladder: Vec<u32>,
    blob: Blob,
    done: Deposited,
}

/// A picture's forms, or none; or why it has none.
type Outcome = Result<Option<Image>, String>;

impl Task {
    async fn run(mut self) -> Result<(Outcome, Deposited), PublishError> {
        let turns = Arc::clone(&self.turns);
        let _turn = turns.acquire().await;
        let outcome = match whole(self.store.blob(&self.blob).await)? {
            Some(bytes) => self.image(bytes).await?,
            None => Err("its bytes are not in the store".to_owned()),
        };
        Ok((outcome, self.done))
    }

    async fn image(&mut self, bytes: Bytes) -> Result<Outcome, PublishError> {
        let head = match self.apart.look(&bytes).await {
            // What moves is sent as it is.
            Ok(head) if head.animated => return Ok(Ok(None)),
            Ok(head) => head,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut image = Image {
            width: head.width,
            height: head.height,
            rungs: BTreeMap::new(),
        };
        let mut missing = Vec::new();
        // The widest first: what is found for it is a hint for the next.
        for width in rungs(&self.ladder, head.width).into_iter().rev() {
            let rung = image.rungs.entry(width).or_default();
            for recipe in recipes(width) {
                match self.found(&recipe).await? {
                    Some(found) => rung.extend(found),
                    None => missing.push(recipe),
                }
            }
        }
        if !missing.is_empty() {
            let made = match self.apart.make(&bytes, missing, self.blob.bytes).await {
                Ok(made) => made,
                Err(reason) => return Ok(Err(reason)),
            };
            for (recipe, rendered) in made {
                let kept = self.keep(&recipe, rendered).await?;
                image.rungs.entry(recipe.width).or_default().extend(kept);
            }
        }
        for rung in image.rungs.values_mut() {
            rung.sort_by_key(|made| (made.blob.bytes, made.format, made.tier));
        }
        Ok(Ok(Some(image)))
    }

    /// What an earlier publish made by this recipe, or found not to be worth it.
    async fn found(&mut self, recipe: &Recipe) -> Result<Option<Option<Rendition>>, PublishError> {
        let note = self.store.derived(&recipe.key(&self.blob.digest)).await?;
        let found = match note {
            None => return Ok(None),
            Some(Derived { blob: None, .. }) => None,
            Some(Derived { looks: None, .. }) => return Ok(None),
            Some(Derived {
                blob: Some(blob),
                looks: Some(looks),
                ..
            }) => {
                if whole(self.store.blob(&blob).await)?.is_none() {
                    return Ok(None);
                }
                self.done.put(&blob, Put::There);
                Some(rendition(recipe, blob, looks))
            }
        };
        self.done.reused += 1;
        Ok(Some(found))
    }

    async fn keep(
        &mut self,
        recipe: &Recipe,
        rendered: Option<Rendered>,
    ) -> Result<Option<Rendition>, PublishError> {
        let key = recipe.key(&self.blob.digest);
        let looks = rendered.as_ref().map(|rendered| Looks {
            quality: rendered.quality,
            score: (rendered.score * 100.0).round() as i32,
        });
        let bytes = rendered.map(|rendered| Bytes::from(rendered.bytes));
        let blob = self
            .done
            .keep(&self.store, &key, &self.blob.digest, bytes, looks)
            .await?;
        let kept = blob.zip(looks);
        Ok(kept.map(|(blob, looks)| rendition(recipe, blob, looks)))
    }
}

fn rendition(recipe: &Recipe, blob: Blob, looks: Looks) -> Rendition {
    Rendition {
        format: recipe.format,
        tier: recipe.tier,
        blob,
        quality: looks.quality,
        score: looks.score,
    }
}

fn recipes(width: u32) -> impl Iterator<Item = Recipe> {
    let formats = ImageFormat::ALL.into_iter();
    formats.flat_map(move |format| {
        Tier::ALL.map(|tier| Recipe {
            width,
            format,
            tier,
        })
    })
}

/// Makes what is missing of one picture; none where that would not be smaller than the picture itself. `decoded` is
/// told when it is.
pub(super) fn make(
    bytes: &[u8],
    missing: &[Recipe],
    bytes_max: u64,
    decoded: impl FnOnce(),
) -> Result<Forms, Unfit> {
    let whole = Picture::decode(bytes)?;
    decoded();
    let mut made = Vec::with_capacity(missing.len());
    let mut hints: BTreeMap<(ImageFormat, Tier), Hint> = BTreeMap::new();
    for same_width in missing.chunk_by(|one, other| one.width == other.width) {
        let Some(width) = same_width.first().map(|recipe| recipe.width) else {
            continue;
        };
        let picture = whole.resized(width)?;
        for recipe in same_width {
            let hint = hints.entry((recipe.format, recipe.tier)).or_default();
            let rendered = picture.render(recipe, *hint)?;
            if let Some(found) = &rendered
                && found.quality < 100
            {
                *hint = Hint(Some(found.quality));
            }
            let smaller = rendered.filter(|found| (found.bytes.len() as u64) < bytes_max);
            made.push((*recipe, smaller));
        }
    }
    Ok(made)
}
