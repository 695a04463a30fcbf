//! Says to the store which releases this edge needs, so that nothing of them is collected there.
//!
//! Said when it changes, and again each hour while it does not. That the store takes no report, because it is
//! down or may not be written to, changes nothing for requests; it is counted, and tried again at the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use asset_pipeline::id::{AppId, EdgeId, ReleaseId};
use asset_pipeline::store::Store;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tempfile::NamedTempFile;

use super::catalog::{Named, within};

/// A report counts for seven days: an outage of the store of six is survived.
const EVERY: Duration = Duration::from_secs(3600);

/// Who reports, and where that is counted.
#[derive(Debug, Clone)]
pub struct Reporting {
    /// This edge.
    pub edge: EdgeId,
    /// Reports that the store took.
    pub sent: Counter,
    /// Reports that it did not take.
    pub failed: Counter,
}

/// What the store was told.
#[derive(Debug)]
pub(super) struct Reporter {
    reporting: Reporting,
    said: Mutex<BTreeMap<AppId, (BTreeSet<ReleaseId>, Instant)>>,
    failing: Mutex<bool>,
}

impl Reporter {
    pub(super) fn new(reporting: Reporting) -> Self {
        Self {
            reporting,
            said: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// Tells the store what it does not know yet.
    pub(super) async fn report(&self, store: &Store, named: &Named) {
        for (app, releases) in named {
            let known = {
                let said = self.said.lock();
                let last = said.get(app);
                last.is_some_and(|(same, at)| same == releases && at.elapsed() < EVERY)
            };
            if known {
                continue;
            }
            let edge = &self.reporting.edge;
            let ids = releases.iter().cloned();
            let told = within(store.report_in_use(app, edge, ids, SystemTime::now())).await;
            let failed = told.is_err();
            match told {
                Ok(()) => {
                    self.reporting.sent.inc();
                    let said = (releases.clone(), Instant::now());
                    self.said.lock().insert(app.clone(), said);
                }
                Err(problem) => {
                    self.reporting.failed.inc();
                    // Once, and not at each look.
                    if !*self.failing.lock() {
                        tracing::warn!(%app, problem, "the asset store takes no report of what is in use");
                    }
                }
            }
            *self.failing.lock() = failed;
        }
    }
}

/// The name of this edge, which its state folder keeps.
///
/// # Errors
/// The folder can neither be read nor written.
pub fn edge_id(state: &Path) -> io::Result<EdgeId> {
    let file = state.join("edge-id");
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(id) => return Ok(id),
            Err(error) => tracing::warn!(%error, "the name of this edge is made anew"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id: EdgeId = hex::encode(random).parse().map_err(io::Error::other)?;
    let mut new = NamedTempFile::new_in(state)?;
    writeln!(new, "{id}")?;
    new.as_file().sync_all()?;
    new.persist(&file).map_err(|error| error.error)?;
    File::open(state)?.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::fixture::{Shop, app, release, reporting};

    fn reporter() -> Reporter {
        Reporter::new(reporting())
    }

    fn named(ids: &[&str]) -> Named {
        Named::from([(app(), ids.iter().map(|id| release(id)).collect())])
    }

    #[test]
    fn an_edge_has_one_name_for_ever() {
        let state = tempfile::tempdir().expect("a folder");
        let first = edge_id(state.path()).expect("a name");
        assert_eq!(edge_id(state.path()).expect("a name"), first);
        fs::write(state.path().join("edge-id"), "../up").expect("written");
        let other = edge_id(state.path()).expect("a name");
        assert_ne!(other, first);
        assert_eq!(edge_id(state.path()).expect("a name"), other);
        assert!(edge_id(Path::new("/nowhere/at/all")).is_err());
    }

    #[tokio::test]
    async fn what_changes_is_told_once_and_a_store_that_is_down_is_told_later() {
        let shop = Shop::new();
        let (store, reporter) = (shop.store(), reporter());
        let counts = |reporter: &Reporter| {
            let Reporting { sent, failed, .. } = &reporter.reporting;
            (sent.get(), failed.get())
        };
        let said = || fs::read_to_string(shop.path("store/in-use/learn/e1")).expect("a report");
        reporter.report(&store, &named(&["r1"])).await;
        reporter.report(&store, &named(&["r1"])).await;
        assert_eq!(counts(&reporter), (1, 0));
        assert!(said().contains(r#""releases":["r1"]"#), "{}", said());
        shop.go_down();
        reporter.report(&store, &named(&["r1", "r2"])).await;
        assert_eq!(counts(&reporter), (1, 1));
        // An unmounted store's empty folder stays empty.
        fs::create_dir(shop.path("store")).expect("a mount point");
        reporter.report(&store, &named(&["r1", "r2"])).await;
        assert_eq!(
            fs::read_dir(shop.path("store")).expect("a folder").count(),
            0
        );
        fs::remove_dir(shop.path("store")).expect("removed");
        shop.come_back();
        reporter.report(&store, &named(&["r1", "r2"])).await;
        assert_eq!(counts(&reporter), (2, 2));
        assert!(said().contains(r#"["r1","r2"]"#), "{}", said());
    }
}
