//! Publishes a folder as a release: all of it, or nothing that a reader could see.
//!
//! scan -> (fingerprint -> rewrite) -> compress -> images -> delta -> store -> verify -> manifest -> release. What
//! is in brackets happens to plain folders only. A crash, a full disk or a refusal at any arrow leaves what
//! was published before untouched; blobs that were stored already are found by the next attempt.

mod apart;
mod compress;
mod content;
mod delta;
mod deposit;
mod dictionary;
mod error;
mod fingerprint;
mod history;
mod images;
mod input;
mod known;
mod media;
mod names;
mod pages;
mod plan;
mod progress;
mod report;
mod rewrite;
mod scan;
mod site;
mod verify;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use apart::{Apart, ServeError, serve};
pub use error::{BrokenReference, PublishError};
pub use input::Input;
pub use plan::{Plan, plan};
pub use progress::{Progress, Stage};
pub(crate) use report::Size;
pub use report::{Pictures, Report, Returning};
pub use verify::{Damage, Verified, verify};

use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::Manifest;
use crate::signature::SecretKey;
use crate::store::{Lease, Store, Work};
use crate::weigh::{Budget, weigh};
use content::contents;
use delta::{Pair, Past};
use deposit::{Content, deposit};
use history::History;
use images::Images;
use input::Layout;
use known::Known;
use scan::Listing;
use site::{Site, Source};
use work::{Piece, blocking, cores, each};

/// The releases that returning visitors come from, where nobody says otherwise: most come every few
/// days, and most teams deploy a few times a week.
pub const DELTA_RELEASES: usize = 3;

/// What to publish, and where.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The folder.
    pub dir: PathBuf,
    /// What the release is of.
    pub app: AppId,
    /// Its id, which was not used before for other content.
    pub release: ReleaseId,
    /// Where to.
    pub store: Store,
    /// What made the folder.
    pub from: Input,
    /// Publish a plain folder although files in it refer to files that are not there.
    pub allow_broken: bool,
    /// How many of the last releases returning visitors are told the difference to; 0: none.
    pub delta_releases: usize,
    /// Whether what most pages share is one more file, which tells new files of later releases.
    pub dictionary: bool,
    /// Whether smaller forms of pictures are made: the first time that may take minutes.
    pub images: bool,
    /// Where pictures are decoded.
    pub apart: Apart,
    /// What pages may weigh, if that is limited.
    pub budget: Option<Budget>,
    /// What the release is signed with, if it is.
    pub key: Option<SecretKey>,
    /// What the release's record says about when.
    pub now: SystemTime,
}

impl Publish {
    /// A publish of `dir`, whatever made it, now; broken references are refused, deltas are made
    /// against the last [`DELTA_RELEASES`] releases, and pictures are left as they are.
    pub fn new(dir: impl Into<PathBuf>, app: AppId, release: ReleaseId, store: Store) -> Self {
        Self {
            dir: dir.into(),
            app,
            release,
            store,
            from: Input::Auto,
            allow_broken: false,
            delta_releases: DELTA_RELEASES,
            dictionary: false,
            images: false,
            apart: Apart::Thread,
            budget: None,
            key: None,
            now: SystemTime::now(),
        }
    }
}

/// Publishes a release.
///
/// To do it again is quick and changes nothing; damaged blobs of the release are mended by it.
///
/// # Errors
///
/// Whatever the error, readers of the store see what they saw before.
pub async fn publish(publish: Publish, progress: &dyn Progress) -> Result<Report, PublishError> {
    let began = Instant::now();
    let prepared = prepare(&publish, progress).await?;
    let store = &publish.store;
    store.create().await?;
    let what = format!("{} {}", publish.app, publish.release);
    let now = publish.now + began.elapsed();
    let lease = Lease::take(store, Work::Publish, what, now).await?;
    let result = match alone(&lease, now, progress).await {
        Ok(()) => put(&publish, prepared, &lease, progress).await,
        Err(error) => Err(error),
    };
    lease.end().await;
    result
}

/// How long a publish waits for a collection: longer than one that was killed counts.
const COLLECTION_MAX: Duration = Duration::from_secs(900);

/// Waits until no collection is under way. From then on there is none while the lease holds.
async fn alone(
    lease: &Lease,
    now: SystemTime,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let others = lease.others(Work::Collect, now + began.elapsed()).await?;
        if !others.iter().any(|other| other.alive) {
            return Ok(());
        }
        if began.elapsed() > COLLECTION_MAX {
            return Err(PublishError::Collection);
        }
        if pause == Duration::from_millis(20) {
            progress.begin(Stage::Wait, 1);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Puts what was read into the store.
async fn put(
    publish: &Publish,
    prepared: Prepared,
    lease: &Lease,
    progress: &dyn Progress,
) -> Result<Report, PublishError> {
    let store = &publish.store;
    let Prepared {
        layout,
        listing,
        site,
        mut manifest,
        contents,
        mut warnings,
    } = prepared;
    store.sweep(publish.now).await;
    let known = Known::find(store, &manifest).await?;
    if let Some(known) = &known
        && known.whole
    {
        let manifest = known.manifest.as_ref().unwrap_or(&manifest);
        let digest = known.release.manifest;
        sign(publish, &digest).await?;
        return Ok(Report::of(manifest, digest, None, None, warnings));
    }
    let mut history = History::default();
    history.check(store, &manifest).await?;

    let bytes = contents.iter().map(|content| content.blob.bytes).sum();
    progress.begin_bytes(Stage::Store, contents.len() as u64, bytes);
    let mut deposited = deposit(store, &site, contents, progress).await?;
    for file in manifest.files.values_mut() {
        if let Some(encoded) = deposited.encodings.get(&file.identity.digest) {
            file.encoded.clone_from(encoded);
        }
    }
    // What is mended is what that release has, whatever is wanted now.
    let had = known.as_ref().and_then(|known| known.manifest.as_ref());
    let had_images = had.is_some_and(|had| had.files.values().any(|file| file.image.is_some()));
    let mut made = Images::default();
    if publish.images || had_images {
        made = images::images(store, &manifest, &mut deposited, &publish.apart, progress).await?;
        warnings.append(&mut made.unfit);
        for file in manifest.files.values_mut() {
            file.image = made.made.get(&file.identity.digest).cloned();
        }
    }
    blocking("the folder", move || {
        listing.unchanged(&layout.root, &layout.trees)
    })
    .await?;
    let at = known.as_ref().map(|known| &known.release);
    let past = Past::read(store, &manifest, at, publish.delta_releases).await?;
    let pairs = match known.as_ref().and_then(|known| known.manifest.as_ref()) {
        // What is mended is what that release has, whichever others there are now.
        Some(theirs) => delta::known_pairs(theirs),
        None => past.pairs(store, &manifest).await?,
    };
    let bytes = pairs.iter().map(Pair::bytes).sum();
    progress.begin_bytes(Stage::Delta, pairs.len() as u64, bytes);
    let deltas = delta::deltas(store, pairs, &mut deposited, progress).await?;
    for file in manifest.files.values_mut() {
        if file.dictionary_for.is_some()
            && let Some(deltas) = deltas.get(&file.identity.digest)
        {
            file.deltas.clone_from(deltas);
        }
    }

    if let Some(budget) = &publish.budget {
        let over = budget.exceeded(&weigh(&manifest, past.manifests.first()));
        if !over.is_empty() {
            return Err(PublishError::OverBudget(over));
        }
    }

    let bytes = deposited.created.iter().map(|blob| blob.bytes).sum();
    progress.begin_bytes(Stage::Verify, deposited.created.len() as u64, bytes);
    let mut read_back = stream::iter(deposited.created.clone())
        .map(|blob| async move { store.confirm(&blob).await.map(|()| blob.bytes) })
        .buffer_unordered(cores() * 2);
    while let Some(bytes) = read_back.try_next().await? {
        progress.step_bytes("", bytes);
    }
    drop(read_back);
    if deposited.there > 0 {
        store.settle().await?;
    }
    if let Some(known) = &known {
        manifest = known.mended(store, manifest).await?;
    }
    let digest = store.put_manifest(&manifest).await?;
    sign(publish, &digest).await?;
    // Once more: another publish may have ended since.
    history.check(store, &manifest).await?;
    warnings.append(&mut history.warnings);
    if !lease.holds().await? {
        return Err(PublishError::Expired);
    }
    if known.is_none() {
        known::name(store, &manifest, digest, publish.now).await?;
    }
    let last = past.manifests.first();
    let mut report = Report::of(&manifest, digest, Some(&deposited), last, warnings);
    report.repeated = known.is_some();
    report.pictures = publish.images.then(|| Pictures::of(&made));
    Ok(report)
}

/// Says whose the release is, before it can be seen.
async fn sign(publish: &Publish, manifest: &Digest) -> Result<(), PublishError> {
    if let Some(key) = &publish.key {
        let signature = key.sign(manifest);
        publish.store.put_signature(manifest, &signature).await?;
    }
    Ok(())
}

/// A folder that was read and is not published yet.
struct Prepared {
    layout: Layout,
    listing: Listing,
    site: Arc<Site>,
    /// But for encodings and deltas.
    manifest: Manifest,
    contents: Vec<Content>,
    warnings: Vec<String>,
}

/// Reads the folder. Nothing is written.
async fn prepare(publish: &Publish, progress: &dyn Progress) -> Result<Prepared, PublishError> {
    if let Some(folder) = publish.store.folder() {
        apart(&publish.dir, folder)?;
    }
    let (dir, from) = (publish.dir.clone(), publish.from);
    let (layout, listing) = blocking("the folder", move || {
        let layout = Layout::of(&dir, from)?;
        let listing = scan::scan(&layout.root, &layout.trees)?;
        Ok((layout, listing))
    })
    .await?;
    if listing.files.is_empty() {
        return Err(PublishError::Folder {
            folder: publish.dir.clone(),
            reason: "it holds no file that can be published".to_owned(),
        });
    }

    let bytes = listing.files.iter().map(scan::FileOnDisk::bytes).sum();
    progress.begin_bytes(Stage::Read, listing.files.len() as u64, bytes);
    let plain = layout.plain;
    let files = listing.files.iter().map(|file| Piece {
        name: file.url.clone(),
        bytes: file.bytes(),
        of: file.clone(),
    });
    let sources = each(
        files.collect(),
        move |file| Source::read(file, plain),
        |file, bytes| progress.step_bytes(file, bytes),
    )
    .await?;
    let site = blocking("the folder", || Site::of(sources)).await?;
    if !site.broken.is_empty() && !publish.allow_broken {
        return Err(PublishError::Broken(site.broken));
    }
    let mut warnings: Vec<String> = site.broken.iter().map(ToString::to_string).collect();
    let left_out = layout.left_out(&listing);
    warnings.extend(left_out.map(|path| format!("{} was left out", path.display())));

    let site = Arc::new(site);
    let (mut manifest, mut contents) = contents(publish, &layout, &site, progress).await?;
    manifest.pages = pages::of(&layout, &site, &manifest).await?;
    if publish.dictionary {
        dictionary::add(&mut manifest, &mut contents, &site).await?;
    }
    Ok(Prepared {
        layout,
        listing,
        site,
        manifest,
        contents,
        warnings,
    })
}

/// Fails when the store lies in the folder, or the folder in the store.
fn apart(dir: &Path, store: &Path) -> Result<(), PublishError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (dir_is, store_is) = (real(dir), real(store));
    if store_is.starts_with(&dir_is) || dir_is.starts_with(&store_is) {
        return Err(PublishError::Folder {
            folder: dir.to_owned(),
            reason: format!(
                "the store {} lies in it, or around it: keep them apart",
                store.display()
            ),
        });
    }
    Ok(())
}
