//! Deletes what no release that stays needs, in two passes with time between.
//!
//! ```text
//! a release    that nothing retains          is marked; grace later its record is deleted
//! a blob, ...  that no release names          is marked; grace later it is deleted
//! ```
//!
//! A pass says first that it is there and looks for publishes under way then (see `store::lease`): while there is one it
//! marks and deletes nothing. It reads all releases and all reports of edges before the first
//! deletion, and whatever cannot be read ends it. So what is deleted was needed by nobody when it was marked, is needed by
//! nobody now, and nobody is about to need it.

mod error;
mod report;
mod retention;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use object_store::path::Path;

pub use error::GcError;
pub use report::{Collected, Gone};

use crate::id::AppId;
use crate::store::{Lease, Listed, Marks, Store, Work, seconds};
use retention::{REPORT_LIFE, Rule};
use survey::{Survey, Visible};

/// The last releases that stay, where nobody says otherwise: two weeks of a team that deploys each school day.
pub const KEEP: usize = 10;
/// The longest session: a laptop that sleeps over the holidays with a page open.
pub const YOUNGER_THAN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Between the two passes. Less than a day, so that a nightly run is late enough for the one before.
pub const GRACE: Duration = Duration::from_secs(12 * 3600);

/// Objects that are marked or deleted by one run; what is more waits for the next one.
const OBJECTS_MAX: usize = 200_000;
/// Deleted between two looks at the lease.
const AT_ONCE: usize = 500;

/// What to collect.
#[derive(Debug, Clone)]
pub struct Gc {
    /// Where.
    pub store: Store,
    /// How many of the last releases of each app stay.
    pub keep: usize,
    /// Releases that were published since stay.
    pub younger_than: Duration,
    /// How long nothing may have needed what is deleted.
    pub grace: Duration,
    /// Collect although no edge ever reported what it serves.
    pub no_edge: bool,
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
    /// The time.
    pub now: SystemTime,
}

impl Gc {
    /// A collection now, with the usual bounds.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            keep: KEEP,
            younger_than: YOUNGER_THAN,
            grace: GRACE,
            no_edge: false,
            dry_run: false,
            now: SystemTime::now(),
        }
    }
}

/// Runs one pass: deletes what an earlier one has marked, marks what the next one may delete.
///
/// # Errors
///
/// Nothing is deleted when something cannot be read, when no edge was ever seen, or when an edge uses what is not there.
pub async fn gc(gc: Gc) -> Result<Collected, GcError> {
    // An unmounted folder is absent; nothing is written into it.
    gc.store.apps().await?;
    if gc.dry_run {
        return Pass {
            gc: &gc,
            lease: None,
        }
        .run()
        .await;
    }
    let what = "gc".to_owned();
    let lease = Lease::take(&gc.store, Work::Collect, what, gc.now).await?;
    let pass = Pass {
        gc: &gc,
        lease: Some(&lease),
    };
    let result = pass.run().await;
    lease.end().await;
    result
}

struct Pass<'a> {
    gc: &'a Gc,
    /// None for one that only says what it would do.
    lease: Option<&'a Lease>,
}

impl Pass<'_> {
    async fn run(self) -> Result<Collected, GcError> {
        let Gc { store, now, .. } = self.gc;
        if let Some(lease) = self.lease {
            let others = lease.others(Work::Collect, *now).await?;
            if let Some(other) = others.into_iter().find(|other| other.alive) {
                return Err(GcError::Busy(other.path.to_string()));
            }
        }
        // Before the releases are read: a publish that ends in between is then among them.
        let mut collected = Collected {
            dry_run: self.gc.dry_run,
            ..Collected::default()
        };
        self.leases(&mut collected).await?;
        let survey = Survey::read(store).await?;
        self.somebody_serves(&survey)?;
        let retained = self.retained(&survey)?;
        let stays = |release: &Visible| {
            let of_app = retained.get(&release.app);
            of_app.is_some_and(|ids| ids.contains(&release.at.id))
        };
        collected.releases_kept = survey.releases.iter().filter(|r| stays(r)).count();

        let old = store.marks().await?;
        let mut marked_s = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        let delete = collected.publishes.is_empty();
        for release in survey.releases.iter().filter(|release| !stays(release)) {
            let place = Store::place_of(&release.app, &release.at.id).to_string();
            let gone = Gone::of(release);
            if delete && self.is_due(&old, &place) && self.remove(release).await? {
                collected.releases_deleted.push(gone);
                deleted.insert(place);
            } else {
                collected.releases_marked.push(gone);
                self.mark(&mut marked_s, &old, place);
            }
        }
        if !deleted.is_empty() && self.lease.is_some() {
            store.settle_releases().await?;
        }

        let things = store.things().await?;
        // What a release that goes now has needed gets its own time, in which edges forget it.
        let needed = survey.needed(|_| true);
        let mut due = Vec::new();
        for listed in needed.not(store, &things).await? {
            match delete && due.len() < OBJECTS_MAX && self.is_due(&old, &listed.path) {
                true => due.push(listed),
                false => self.mark_thing(&mut marked_s, &old, listed, &mut collected),
            }
        }
        if !deleted.is_empty() {
            let left = survey.needed(|release| {
                let place = Store::place_of(&release.app, &release.at.id);
                !deleted.contains(place.as_ref())
            });
            for listed in left.not(store, &things).await? {
                if !due.contains(&listed) && !marked_s.contains_key(&listed.path) {
                    self.mark_thing(&mut marked_s, &old, listed, &mut collected);
                }
            }
        }
        self.delete(&due).await?;
        collected.objects_deleted = due.len();
        collected.bytes_deleted = due.iter().map(|listed| listed.bytes).sum();
        if self.lease.is_some() {
            self.forget_edges(&survey).await?;
            store.put_marks(&Marks::new(marked_s)).await?;
            store.sweep(*now).await;
        }
        Ok(collected)
    }

    /// Notes the publishes under way, and takes away what killed ones have left: one that only slept
    /// will see that its lease is gone, before it names a release.
    async fn leases(&self, collected: &mut Collected) -> Result<(), GcError> {
        let Gc { store, now, .. } = self.gc;
        for work in [Work::Publish, Work::Collect] {
            for lease in store.leases(work, *now).await? {
                match (lease.alive, work) {
                    (true, Work::Publish) => collected.publishes.push(lease.what),
                    (true, Work::Collect) => {}
                    (false, _) => {
                        collected.leases_expired += 1;
                        if self.lease.is_some() {
                            store.delete(vec![lease.path]).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn somebody_serves(&self, survey: &Survey) -> Result<(), GcError> {
        let unseen = |app: &AppId| survey.in_use.get(app).is_none_or(Vec::is_empty);
        let apps: BTreeSet<&AppId> = survey.releases.iter().map(|release| &release.app).collect();
        let unseen: Vec<AppId> = apps
            .into_iter()
            .filter(|app| unseen(app))
            .cloned()
            .collect();
        match unseen.is_empty() || self.gc.no_edge {
            true => Ok(()),
            false => Err(GcError::NoEdge(unseen)),
        }
    }

    fn retained(&self, survey: &Survey) -> Result<Retained, GcError> {
        let mut retained = Retained::new();
        for (app, reports) in &survey.in_use {
            let of_app = survey.releases.iter().filter(|release| release.app == *app);
            let releases = of_app.map(|release| &release.at).collect();
            let ids = self.rule().retained(app, releases, reports)?;
            retained.insert(app.clone(), ids);
        }
        Ok(retained)
    }

    fn rule(&self) -> Rule {
        Rule {
            keep: self.gc.keep,
            younger_than: self.gc.younger_than,
            now: self.gc.now,
        }
    }

    /// Deletes a release's record, unless an edge uses it since the survey. False: it stays for now.
    async fn remove(&self, release: &Visible) -> Result<bool, GcError> {
        let Some(lease) = self.lease else {
            return Ok(true);
        };
        let reports = self.gc.store.in_use(&release.app).await?;
        if self
            .rule()
            .in_use(&reports)
            .any(|(_, id)| *id == release.at.id)
        {
            return Ok(false);
        }
        if !lease.holds().await? {
            return Err(GcError::Expired);
        }
        let record = Store::place_of(&release.app, &release.at.id);
        self.gc.store.delete(vec![record]).await?;
        Ok(true)
    }

    /// The notes first: whoever finds one would look for its blob.
    async fn delete(&self, due: &[&Listed]) -> Result<(), GcError> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        let mut due = due.to_vec();
        due.sort_by_key(|listed| std::cmp::Reverse(listed.thing));
        for some in due.chunks(AT_ONCE) {
            if !lease.holds().await? {
                return Err(GcError::Expired);
            }
            let paths = some.iter().map(|listed| Path::from(listed.path.as_str()));
            self.gc.store.delete(paths.collect()).await?;
        }
        Ok(())
    }

    /// Reports that are too old to count go, but for the last one: that an edge was ever seen is kept.
    async fn forget_edges(&self, survey: &Survey) -> Result<(), GcError> {
        let now_s = seconds(self.gc.now);
        for (app, reports) in &survey.in_use {
            let last_s = reports.iter().map(|(_, report)| report.reported_s).max();
            let too_old = reports.iter().filter(|(_, report)| {
                let age_s = now_s.saturating_sub(report.reported_s);
                age_s > REPORT_LIFE.as_secs() && Some(report.reported_s) != last_s
            });
            for (edge, _) in too_old {
                self.gc.store.forget_in_use(app, edge).await?;
            }
        }
        Ok(())
    }

    fn is_due(&self, marks: &Marks, place: &str) -> bool {
        let since_s = marks.marked_s.get(place);
        since_s.is_some_and(|since_s| {
            seconds(self.gc.now).saturating_sub(*since_s) >= self.gc.grace.as_secs()
        })
    }

    fn mark(&self, marked_s: &mut BTreeMap<String, u64>, old: &Marks, place: String) {
        if marked_s.len() < OBJECTS_MAX {
            let since_s = old.marked_s.get(&place).copied();
            marked_s.insert(place, since_s.unwrap_or_else(|| seconds(self.gc.now)));
        }
    }

    fn mark_thing(
        &self,
        marked_s: &mut BTreeMap<String, u64>,
        old: &Marks,
        listed: &Listed,
        collected: &mut Collected,
    ) {
        self.mark(marked_s, old, listed.path.clone());
        collected.objects_marked += 1;
        collected.bytes_marked += listed.bytes;
    }
}

/// The releases that stay, by app.
type Retained = BTreeMap<AppId, BTreeSet<crate::id::ReleaseId>>;

#[cfg(test)]
mod tests;
