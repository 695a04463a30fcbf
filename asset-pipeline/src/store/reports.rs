//! What edges say that they use, so that nothing of it is collected.

use std::time::{SystemTime, UNIX_EPOCH};

use object_store::PutMode;
use serde::{Deserialize, Serialize};

use super::put::json;
use super::{FORMAT, Store, StoreError, layout};
use crate::id::{AppId, EdgeId, ReleaseId};

/// What `in-use/<app>/<edge>` holds: the releases of an app that one edge serves or is about to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InUse {
    format: u32,
    /// Those that its colours name, and whatever else its clients are bound to.
    pub releases: Vec<ReleaseId>,
    /// When it said so, in seconds since 1970.
    pub reported_s: u64,
}

impl Store {
    /// Says which releases of an app an edge uses, in place of what it said before.
    ///
    /// # Errors
    ///
    /// The store is absent, or cannot be written by the edge.
    pub async fn report_in_use(
        &self,
        app: &AppId,
        edge: &EdgeId,
        releases: impl IntoIterator<Item = ReleaseId>,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        // Not into the empty folder that an unmounted store leaves.
        self.present().await?;
        let report = InUse {
            format: FORMAT,
            releases: releases.into_iter().collect(),
            reported_s: seconds(now),
        };
        let path = layout::in_use(app, edge);
        self.put(&path, json(&report).into(), PutMode::Overwrite)
            .await?;
        Ok(())
    }
}

/// Seconds since 1970.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(feature = "publish")]
mod read {
    use object_store::path::Path;

    use super::{AppId, EdgeId, FORMAT, InUse, Store, StoreError, layout};
    use crate::store::read::RECORD_BYTES_MAX;

    impl Store {
        /// The apps that an edge has reported of.
        pub(crate) async fn reported_apps(&self) -> Result<Vec<AppId>, StoreError> {
            self.names_below(&layout::in_use_apps()).await
        }

        /// What edges say of an app, however old.
        ///
        /// # Errors
        ///
        /// Also when one report cannot be read: who deletes must know all of them.
        pub(crate) async fn in_use(&self, app: &AppId) -> Result<Vec<(EdgeId, InUse)>, StoreError> {
            let mut reports = Vec::new();
            for path in self.objects_in(&layout::in_use_of(app)).await? {
                let edge = path.filename().unwrap_or_default().parse();
                let edge = edge.map_err(|error| self.damaged(&path, error))?;
                match self.report(&path).await {
                    Ok(report) => reports.push((edge, report)),
                    // Another run has removed it since it was listed, because it was too old.
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(reports)
        }

        /// Removes what an edge said of an app.
        pub(crate) async fn forget_in_use(
            &self,
            app: &AppId,
            edge: &EdgeId,
        ) -> Result<(), StoreError> {
            self.delete(vec![layout::in_use(app, edge)]).await
        }

        async fn report(&self, path: &Path) -> Result<InUse, StoreError> {
            let bytes = self.object(path, 16 * RECORD_BYTES_MAX).await?;
            let report: InUse =
                serde_json::from_slice(&bytes).map_err(|error| self.damaged(path, error))?;
            match report.format {
                FORMAT => Ok(report),
                format => Err(self.damaged(path, format!("its format is {format}, not {FORMAT}"))),
            }
        }
    }
}
