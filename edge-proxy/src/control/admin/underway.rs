//! Commands that take longer than a request may: begun by one, looked at by others, and ended whether
//! or not somebody still looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use asset_pipeline::id::AppId;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::api::{DeployReport, DeployStage, DrainReport, DrainStage, Problem};

/// How far it is, or why it failed.
pub(super) type Progress<R> = Result<R, Problem>;

/// The last command of one kind for each app: at most one of them is under way.
#[derive(Clone)]
pub(super) struct Underway<R>(Known<R>);

type Known<R> = Arc<Mutex<BTreeMap<AppId, watch::Receiver<Progress<R>>>>>;

/// A report that says whether there is more to come.
pub(super) trait Stages {
    /// What it is of.
    const KIND: &str;

    /// Whether the command has not ended.
    fn goes_on(&self) -> bool;
}

impl<R> Default for Underway<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<R: Stages + Clone> Underway<R> {
    /// The last one of an app.
    pub(super) fn last(&self, app: &AppId) -> Progress<R> {
        let known = self.0.lock();
        let progress = known.get(app).map(|progress| progress.borrow().clone());
        progress.unwrap_or_else(|| {
            let detail = format!("{app} had no {} since this edge started", R::KIND);
            Err(Problem::unknown(detail))
        })
    }

    /// The apps that one is under way of.
    pub(super) fn apps(&self) -> Vec<AppId> {
        let known = self.0.lock();
        let running = known.iter().filter(|(_, progress)| goes_on(progress));
        running.map(|(app, _)| app.clone()).collect()
    }

    /// Takes the app's place, if none is under way; its end frees it.
    pub(super) fn begin(
        &self,
        app: &AppId,
        first: R,
    ) -> Result<watch::Sender<Progress<R>>, Problem> {
        let mut known = self.0.lock();
        if known.get(app).is_some_and(goes_on) {
            let kind = R::KIND;
            let detail = format!("another {kind} of {app} is under way; nothing was changed");
            let title = format!("a {kind} is under way");
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "running",
                &title,
                detail,
            ));
        }
        let (sender, progress) = watch::channel(Ok(first));
        known.insert(app.clone(), progress);
        Ok(sender)
    }
}

fn goes_on<R: Stages>(progress: &watch::Receiver<Progress<R>>) -> bool {
    progress.borrow().as_ref().is_ok_and(R::goes_on)
}

impl Stages for DeployReport {
    const KIND: &str = "deploy";

    fn goes_on(&self) -> bool {
        match self.stage {
            DeployStage::Draining | DeployStage::Checking => true,
            DeployStage::Ready | DeployStage::Undone => false,
        }
    }
}

impl Stages for DrainReport {
    const KIND: &str = "drain";

    fn goes_on(&self) -> bool {
        match self.stage {
            DrainStage::Draining => true,
            DrainStage::Drained | DrainStage::Late => false,
        }
    }
}
