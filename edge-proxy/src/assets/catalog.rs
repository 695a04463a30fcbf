//! Which releases there are, kept up to date with the store.
//!
//! One task lists the store, loads the manifests of all retained releases of each app, and mirrors
//! the releases that colours name. The tables that requests use are replaced whole. A store that is
//! down, or a release that cannot be read, changes nothing for what is here already: manifests are
//! mirrored too, and are read again at the next start.

mod complete;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::manifest::Manifest;
use asset_pipeline::signature::{PublicKey, Signature};
use asset_pipeline::store::{ReleaseRef, Store};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::blobs::{Blobs, Missing};
use super::in_use::{Reporter, Reporting};
use super::mirror::{Kept, Mirror};
use super::release::{Conflict, ReleaseTable};

pub use complete::Incomplete;

/// How long one listing, or one manifest, may take.
const STORE_MAX: Duration = Duration::from_secs(30);
/// A store that fails is asked at most 2 to this power times less often.
const BACKOFF_MAX: u32 = 4;

/// A third of what those who serve get, where there is not enough for all.
const NICENESS: i32 = 5;

/// The releases that colours name, by app. An app that is not here is not served.
pub type Named = BTreeMap<AppId, BTreeSet<ReleaseId>>;

/// The table of each app.
pub type Tables = BTreeMap<AppId, Arc<ReleaseTable>>;

/// What a catalog is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the mirror; made when it is not there.
    pub mirror: PathBuf,
    /// How often the store is listed.
    pub poll: Duration,
    /// Memory for small blobs.
    pub memory_bytes_max: u64,
    /// Disk for blobs of releases that no colour names.
    pub blob_bytes_max: u64,
    /// Whose releases are taken; anybody's, where there is no key.
    pub trusted_keys: Vec<PublicKey>,
    /// Who tells the store which releases are in use.
    pub reporting: Reporting,
}

/// The releases of all apps, and their bytes.
#[derive(Debug)]
pub struct Catalog {
    store: Store,
    trusted_keys: Vec<PublicKey>,
    reporter: Reporter,
    poll: Duration,
    blobs: Arc<Blobs>,
    named: watch::Sender<Named>,
    tables: watch::Sender<Arc<Tables>>,
    /// The tables before these: freed here at the next change, not by the last request that used them.
    retired: Mutex<Arc<Tables>>,
    known: Mutex<BTreeMap<AppId, Known>>,
    built: Mutex<Basis>,
    problems: Mutex<BTreeSet<String>>,
}

/// What tables were made of: per app the releases that are known, and those that colours name.
type Basis = BTreeMap<AppId, (Vec<ReleaseId>, BTreeSet<ReleaseId>)>;

/// What is known of one app.
#[derive(Debug, Default)]
struct Known {
    /// Oldest first.
    releases: Vec<Release>,
    /// What the last attempt to mirror a named release could not get.
    missing: BTreeMap<ReleaseId, Vec<Missing>>,
}

#[derive(Debug, Clone)]
struct Release {
    at: ReleaseRef,
    manifest: Arc<Manifest>,
}

impl Catalog {
    /// Opens the mirror and builds the tables from what is in it, without the store.
    ///
    /// # Errors
    /// The mirror folder cannot be made or read.
    pub fn open(store: Store, options: Options, named: Named) -> io::Result<Arc<Self>> {
        let mirror = Mirror::open(options.mirror, options.blob_bytes_max)?;
        let known = named
            .keys()
            .map(|app| (app.clone(), mirrored(&mirror, app, &options.trusted_keys)))
            .collect();
        let catalog = Self {
            blobs: Blobs::new(store.clone(), mirror, options.memory_bytes_max),
            store,
            trusted_keys: options.trusted_keys,
            reporter: Reporter::new(options.reporting),
            poll: options.poll,
            named: watch::Sender::new(named.clone()),
            tables: watch::Sender::default(),
            retired: Mutex::default(),
            known: Mutex::new(known),
            built: Mutex::default(),
            problems: Mutex::default(),
        };
        catalog.publish(&named);
        Ok(Arc::new(catalog))
    }

    /// Where the bytes are.
    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// The tables as they are, and a notice when they change.
    pub fn tables(&self) -> watch::Receiver<Arc<Tables>> {
        self.tables.subscribe()
    }

    /// Says which releases colours name: they are mirrored from now on.
    pub fn name(&self, named: Named) {
        self.named.send_if_modified(|held| {
            let changed = *held != named;
            *held = named;
            changed
        });
    }

    /// What is wrong with the store or with releases in it, for the operator.
    pub fn problems(&self) -> Vec<String> {
        let conflicts = self.tables.borrow();
        let conflicts = conflicts
            .values()
            .flat_map(|table| table.conflicts())
            .map(Conflict::to_string);
        self.problems
            .lock()
            .iter()
            .cloned()
            .chain(conflicts)
            .collect()
    }

    /// Follows the store until `shutdown`. It writes and syncs files, and after the first look its thread gives way to
    /// others: not for a runtime that serves.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut changed = self.named.subscribe();
        let mut failures = 0;
        let mut gives_way = false;
        loop {
            let named = changed.borrow_and_update().clone();
            let reached = tokio::select! {
                reached = self.pass(&named) => reached,
                _ = changed.changed() => continue,
                _ = shutdown.changed() => return,
            };
            if !gives_way {
                // What is there at the start is awaited. To read a large release later takes the processor for longer
                // than an answer does. Linux: of this thread alone; where it may not be, releases come as they did.
                let _ = rustix::process::nice(NICENESS);
                gives_way = true;
            }
            failures = if reached { 0 } else { failures + 1 };
            let wait = self.poll * 2u32.pow(failures.min(BACKOFF_MAX));
            tokio::select! {
                () = sleep(wait) => {}
                _ = changed.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Reports, lists, loads, publishes, mirrors. Says whether the store could be read.
    async fn pass(&self, named: &Named) -> bool {
        // Beside the rest: a store that takes its time for a report must not delay it.
        let stock = async {
            let reached = self.look(named).await;
            for (app, names) in named {
                for release in names {
                    self.mirror(app, release).await;
                }
            }
            reached
        };
        let ((), reached) = tokio::join!(self.reporter.report(&self.store, named), stock);
        reached
    }

    /// Lists, loads, publishes.
    async fn look(&self, named: &Named) -> bool {
        let mut problems = BTreeSet::new();
        let mut reached = true;
        for (app, names) in named {
            match within(self.store.release_ids(app)).await {
                Ok(ids) => self.follow(app, names, ids, &mut problems).await,
                Err(problem) => {
                    reached = false;
                    problems.insert(problem);
                }
            }
        }
        self.publish(named);
        self.note(problems);
        reached
    }

    /// Takes what the store lists: new releases are loaded, and those that are gone are dropped,
    /// unless a colour names them.
    async fn follow(
        &self,
        app: &AppId,
        names: &BTreeSet<ReleaseId>,
        listed: Vec<ReleaseId>,
        problems: &mut BTreeSet<String>,
    ) {
        let (ids, gone) = {
            let mut known = self.known.lock();
            let releases = &mut known.entry(app.clone()).or_default().releases;
            let stays = |release: &mut Release| {
                listed.contains(&release.at.id) || names.contains(&release.at.id)
            };
            let gone: Vec<_> = releases.extract_if(.., |release| !stays(release)).collect();
            let ids: BTreeSet<_> = releases.iter().map(|r| r.at.id.clone()).collect();
            (ids, gone)
        };
        for release in gone {
            if let Err(error) = self.blobs.folder().remove_release(app, &release.at) {
                problems.insert(format!("the mirror keeps {app} {}: {error}", release.at.id));
            }
        }
        for id in listed.into_iter().filter(|id| !ids.contains(id)) {
            match within(self.load(app, &id)).await {
                Ok(release) => {
                    let mut known = self.known.lock();
                    let releases = &mut known.entry(app.clone()).or_default().releases;
                    releases.push(release);
                    releases.sort_by(|a, b| age(a).cmp(&age(b)));
                }
                Err(problem) => {
                    problems.insert(format!("release {app} {id}: {problem}"));
                }
            }
        }
    }

    async fn load(&self, app: &AppId, id: &ReleaseId) -> Result<Release, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let at = self.store.release(app, id).await.map_err(|e| text(&e))?;
        let bytes = self.store.manifest_bytes(&at.manifest).await;
        let bytes = bytes.map_err(|error| text(&error))?;
        let signature = self.store.signature(&at.manifest, &self.trusted_keys).await;
        let signature = signature.map_err(|error| text(&error))?;
        signed(&at, signature.as_ref(), &self.trusted_keys)?;
        let release = understood(app, at, &bytes)?;
        // Served from memory all the same; it is only not there after a restart with the store down.
        let folder = self.blobs.folder();
        if let Err(error) = folder.put_release(app, &release.at, signature, &bytes) {
            tracing::warn!(%app, release = %id, %error, "a manifest could not be mirrored");
        }
        Ok(release)
    }

    /// Replaces the tables if something changed, and says which blobs must stay.
    fn publish(&self, named: &Named) {
        let known = self.known.lock();
        let releases = |app| known.get(app).map_or(&[][..], |known| &known.releases);
        let basis: Basis = named
            .iter()
            .map(|(app, names)| {
                let ids = releases(app).iter().map(|r| r.at.id.clone()).collect();
                (app.clone(), (ids, names.clone()))
            })
            .collect();
        let mut built = self.built.lock();
        if *built == basis {
            return;
        }
        let mut tables = Tables::new();
        let mut kept = HashSet::new();
        for (app, names) in named {
            let manifests: Vec<_> = releases(app)
                .iter()
                .map(|r| Arc::clone(&r.manifest))
                .collect();
            let table = ReleaseTable::build(&manifests, names);
            for manifest in manifests.iter().filter(|m| names.contains(&m.release)) {
                kept.extend(table.blobs_of(manifest).keys().map(|blob| blob.digest));
            }
            tables.insert(app.clone(), Arc::new(table));
        }
        self.blobs.keep(kept);
        *built = basis;
        *self.retired.lock() = self.tables.send_replace(Arc::new(tables));
    }

    async fn mirror(&self, app: &AppId, release: &ReleaseId) {
        let Some(table) = self.tables.borrow().get(app).cloned() else {
            return;
        };
        let manifest = self.known.lock().get(app).and_then(|known| {
            let held = known.releases.iter().find(|held| held.at.id == *release);
            held.map(|held| Arc::clone(&held.manifest))
        });
        let Some(manifest) = manifest else {
            return;
        };
        let missing = self.blobs.mirror(table.blobs_of(&manifest)).await;
        if let Some(first) = missing.first() {
            let (files, path) = (missing.len(), &first.path);
            tracing::warn!(%app, %release, files, path, reason = %first.reason, "a release is not complete");
        }
        if let Some(known) = self.known.lock().get_mut(app) {
            known.missing.insert(release.clone(), missing);
        }
    }

    /// Logs what is new, and that it is over.
    fn note(&self, problems: BTreeSet<String>) {
        let mut held = self.problems.lock();
        for problem in problems.difference(&held) {
            tracing::warn!(problem, "asset store");
        }
        if problems.is_empty() && !held.is_empty() {
            tracing::info!("the asset store is well again");
        }
        *held = problems;
    }
}

/// Oldest first; the id decides between two of the same second.
fn age(release: &Release) -> (u64, &ReleaseId) {
    (release.at.published_s, &release.at.id)
}

/// What the mirror holds of an app; what is damaged there is left for the store to give again.
fn mirrored(mirror: &Mirror, app: &AppId, trusted: &[PublicKey]) -> Known {
    let mut known = Known::default();
    for Kept {
        at,
        signature,
        bytes,
    } in mirror.releases(app)
    {
        let id = at.id.clone();
        let good = signed(&at, signature.as_ref(), trusted);
        match good.and_then(|()| understood(app, at, &bytes)) {
            Ok(release) => known.releases.push(release),
            Err(problem) => {
                tracing::warn!(%app, release = %id, problem, "a mirrored manifest is not taken");
            }
        }
    }
    known.releases.sort_by(|a, b| age(a).cmp(&age(b)));
    known
}

/// Fails for a release that nobody who is trusted has signed.
fn signed(
    at: &ReleaseRef,
    signature: Option<&Signature>,
    trusted: &[PublicKey],
) -> Result<(), String> {
    let good = signature.is_some_and(|signature| signature.is_of(trusted, &at.manifest));
    match trusted.is_empty() || good {
        true => Ok(()),
        false => Err(
            "it is not signed by a key that [store] trusted_keys names: publish it with --key"
                .to_owned(),
        ),
    }
}

fn understood(app: &AppId, at: ReleaseRef, bytes: &[u8]) -> Result<Release, String> {
    if Digest::of(bytes) != at.manifest {
        return Err(format!(
            "manifest {} is not what its name says",
            at.manifest
        ));
    }
    let manifest = Manifest::from_bytes(bytes).map_err(|error| error.to_string())?;
    if (&manifest.app, &manifest.release) != (app, &at.id) {
        let (app, release) = (&manifest.app, &manifest.release);
        return Err(format!("its manifest is of {app} {release}"));
    }
    let manifest = Arc::new(manifest);
    Ok(Release { at, manifest })
}

pub(super) async fn within<T, E: std::fmt::Display>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(STORE_MAX, asked).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the store did not answer within {STORE_MAX:?}")),
    }
}

#[cfg(test)]
mod tests;
