//! Publishes a folder as a release: all of it, or nothing that a reader could see.
//!
//! scan -> (fingerprint -> rewrite) -> compress -> store -> verify -> manifest -> release. What is in
//! brackets happens to plain folders only. A crash, a full disk or a refusal at any arrow leaves what
//! was published before untouched; blobs that were stored already are found by the next attempt.

mod compress;
mod deposit;
mod error;
mod fingerprint;
mod history;
mod input;
mod media;
mod progress;
mod report;
mod rewrite;
mod scan;
mod site;
mod verify;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use error::{BrokenReference, PublishError};
pub use input::Input;
pub use progress::{Progress, Stage};
pub use report::Report;
pub use verify::{Damage, Verified, verify};

use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};
use crate::manifest::{FORMAT, File, Kind, Manifest};
use crate::store::{ReleaseRef, Store};
use deposit::{Content, Deposited, deposit};
use history::{History, difference};
use input::Layout;
use site::{Site, Source};
use work::{blocking, each};

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
    /// What the release's record says about when.
    pub now: SystemTime,
}

impl Publish {
    /// A publish of `dir`, whatever made it, now; broken references are refused.
    pub fn new(dir: impl Into<PathBuf>, app: AppId, release: ReleaseId, store: Store) -> Self {
        Self {
            dir: dir.into(),
            app,
            release,
            store,
            from: Input::Auto,
            allow_broken: false,
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
    let store = &publish.store;
    apart(&publish.dir, store.folder())?;
    let (dir, from) = (publish.dir.clone(), publish.from);
    let (layout, listing) = blocking("the folder", move || {
        let layout = Layout::of(&dir, from)?;
        let listing = scan::scan(&layout.root, &layout.trees)?;
        Ok((layout, listing))
    })
    .await?;
    if listing.files.is_empty() {
        return Err(PublishError::Folder {
            folder: publish.dir,
            reason: "it holds no file that can be published".to_owned(),
        });
    }

    progress.begin(Stage::Read, listing.files.len() as u64);
    let plain = layout.plain;
    let files = listing
        .files
        .iter()
        .map(|file| (file.url.clone(), file.clone()));
    let sources = each(
        files.collect(),
        move |file| Source::read(file, plain),
        |file| progress.step(file),
    )
    .await?;
    let site = blocking("the folder", || Site::of(sources)).await?;
    if !site.broken.is_empty() && !publish.allow_broken {
        return Err(PublishError::Broken(site.broken));
    }
    let mut warnings: Vec<String> = site.broken.iter().map(ToString::to_string).collect();
    let skipped = listing.skipped.iter();
    warnings.extend(skipped.map(|path| format!("{} was left out", path.display())));

    let site = Arc::new(site);
    let (mut manifest, contents) = contents(&publish, &layout, &site, progress).await?;
    store.create().await?;
    store.sweep(publish.now).await;
    let known = known(store, &manifest).await?;
    if let Some(Known {
        release,
        whole: true,
    }) = &known
    {
        return Ok(report(&manifest, release.manifest, None, warnings));
    }
    let mut history = History::default();
    history.check(store, &manifest).await?;

    progress.begin(Stage::Store, contents.len() as u64);
    let deposited = deposit(store, &site, contents, progress).await?;
    for file in manifest.files.values_mut() {
        if let Some(encoded) = deposited.encodings.get(&file.identity.digest) {
            file.encoded.clone_from(encoded);
        }
    }
    blocking("the folder", move || {
        listing.unchanged(&layout.root, &layout.trees)
    })
    .await?;

    progress.begin(Stage::Verify, deposited.created.len() as u64);
    for blob in &deposited.created {
        store.check_blob(blob).await?;
        progress.step("");
    }
    if deposited.there > 0 {
        store.settle().await?;
    }
    if let Some(known) = &known
        && known.release.manifest != Digest::of(&manifest.to_bytes())
    {
        return Err(PublishError::BeyondRepair {
            app: publish.app,
            release: publish.release,
        });
    }
    let digest = store.put_manifest(&manifest).await?;
    // Once more: another publish may have ended since.
    history.check(store, &manifest).await?;
    warnings.append(&mut history.warnings);
    if known.is_none() {
        name(store, &manifest, digest, publish.now).await?;
    }
    let mut report = report(&manifest, digest, Some(&deposited), warnings);
    report.repeated = known.is_some();
    Ok(report)
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

/// What is published of each file, and the manifest, but for the encodings.
async fn contents(
    publish: &Publish,
    layout: &Layout,
    site: &Arc<Site>,
    progress: &dyn Progress,
) -> Result<(Manifest, Vec<Content>), PublishError> {
    progress.begin(Stage::Rewrite, site.sources.len() as u64);
    let pieces = site.sources.iter().enumerate();
    let reader = Arc::clone(site);
    let blobs = each(
        pieces
            .map(|(at, source)| (source.file.url.clone(), at))
            .collect(),
        move |at| reader.blob(at),
        |file| progress.step(file),
    )
    .await?;
    let mut files = BTreeMap::new();
    let mut contents: BTreeMap<Digest, Content> = BTreeMap::new();
    for (at, blob) in blobs.into_iter().enumerate() {
        let source = &site.sources[at];
        let url = &source.file.url;
        let media = media::of(url);
        let file = |kind| File {
            kind,
            content_type: media.content_type(source.utf8),
            identity: blob,
            encoded: BTreeMap::new(),
        };
        let kind = match layout.plain && site.is_named_by_its_content(at) {
            true => Kind::Hashed,
            false => layout.kind(url),
        };
        files.insert(url.clone(), file(kind));
        if let Some(folder) = url.strip_suffix("index.html").filter(|_| layout.plain)
            && folder.ends_with('/')
        {
            files.insert(folder.to_owned(), file(Kind::Release));
        }
        if let Some(twin) = site.twin_url(at) {
            files.insert(twin, file(Kind::Hashed));
        }
        contents
            .entry(blob.digest)
            .and_modify(|content| content.compress |= media.compress)
            .or_insert_with(|| Content {
                blob,
                source: at,
                compress: media.compress,
                url: url.clone(),
            });
    }
    let manifest = Manifest {
        format: FORMAT,
        app: publish.app.clone(),
        release: publish.release.clone(),
        build_id: layout.build_id.clone(),
        deployment_id: layout.deployment_id.clone(),
        hashed_prefixes: layout.hashed_prefixes.clone(),
        files,
    };
    Ok((manifest, contents.into_values().collect()))
}

/// A release of this id that is published already, with the same content.
struct Known {
    release: ReleaseRef,
    /// Whether all that it names is in the store as it should be.
    whole: bool,
}

async fn known(store: &Store, manifest: &Manifest) -> Result<Option<Known>, PublishError> {
    let (app, id) = (&manifest.app, &manifest.release);
    let Some(release) = store.find_release(app, id).await? else {
        return Ok(None);
    };
    let theirs = match store.manifest(app, id).await {
        Ok(theirs) => theirs,
        Err(error) if error.is_damaged() || error.is_missing() => {
            return Ok(Some(Known {
                release,
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
    let mut whole = true;
    for blob in theirs.blobs() {
        match store.check_blob(&blob).await {
            Ok(()) => {}
            Err(error) if error.is_damaged() || error.is_missing() => whole = false,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Known { release, whole }))
}

/// Makes the release visible. Losing a race against a publish of the same content is no error.
async fn name(
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
        known(store, manifest).await?;
    }
    Ok(())
}

fn report(
    manifest: &Manifest,
    digest: Digest,
    deposited: Option<&Deposited>,
    warnings: Vec<String>,
) -> Report {
    let files = manifest.files.values();
    let hashed = files
        .clone()
        .filter(|file| file.kind == Kind::Hashed)
        .count();
    let smallest = |file: &File| {
        let encoded = file.encoded.values().map(|blob| blob.bytes).min();
        encoded.unwrap_or(file.identity.bytes)
    };
    let nothing = Deposited::default();
    let done = deposited.unwrap_or(&nothing);
    Report {
        app: manifest.app.clone(),
        release: manifest.release.clone(),
        manifest: digest,
        repeated: deposited.is_none(),
        hashed_files: hashed,
        release_files: manifest.files.len() - hashed,
        identity_bytes: files.clone().map(|file| file.identity.bytes).sum(),
        smallest_bytes: files.map(smallest).sum(),
        encoded: done.encoded,
        reused: done.reused,
        blobs_written: done.created.len(),
        bytes_written: done.created.iter().map(|blob| blob.bytes).sum(),
        mended: done.mended,
        warnings,
    }
}
