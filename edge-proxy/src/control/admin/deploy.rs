//! A deploy takes longer than a request may: it is begun by one, looked at by others, and ends, or is
//! undone, whether or not somebody still looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asset_pipeline::id::AppId;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::api::{DeployReport, DeployRequest, DeployStage, Problem, Reason};
use super::super::deploy::{self, Deployment, NotADeployment};
use super::super::state::{AppState, ColourState};
use super::Admin;
use super::commands::{TRIES, one_line};

/// How long a new version has to become whole and healthy, unless it is said.
const WAIT_S: u32 = 60;

/// The longest wait that can be asked for.
const WAIT_S_MAX: u32 = 3600;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// The last deploy of each app: at most one of them is under way.
#[derive(Clone, Default)]
pub(super) struct Deploys(Arc<Mutex<BTreeMap<AppId, watch::Receiver<Progress>>>>);

/// How far it is, or why it failed.
type Progress = Result<DeployReport, Problem>;

impl Deploys {
    /// The last one of an app.
    pub(super) fn last(&self, app: &AppId) -> Option<Progress> {
        let known = self.0.lock();
        known.get(app).map(|progress| progress.borrow().clone())
    }

    /// Takes the app's place, if no deploy is under way; its end frees it.
    fn begin(&self, app: &AppId, first: DeployReport) -> Result<watch::Sender<Progress>, Problem> {
        let mut known = self.0.lock();
        let running = |progress: &watch::Receiver<Progress>| {
            let stage = progress.borrow().as_ref().map(|report| report.stage).ok();
            matches!(stage, Some(DeployStage::Draining | DeployStage::Checking))
        };
        if known.get(app).is_some_and(running) {
            let detail = format!("another deploy of {app} is under way; nothing was changed");
            let title = "a deploy is under way";
            return Err(Problem::new(StatusCode::CONFLICT, "running", title, detail));
        }
        let (sender, progress) = watch::channel(Ok(first));
        known.insert(app.clone(), progress);
        Ok(sender)
    }
}

/// A deploy under way.
struct Deploying {
    admin: Admin,
    app: AppId,
    deployment: Deployment,
    wait: Duration,
    drain: Duration,
    who: String,
    why: Option<String>,
    began: Instant,
    progress: watch::Sender<Progress>,
}

impl Admin {
    /// Begins a deploy, or says at once why it must not be.
    pub(super) async fn deploy(
        &self,
        app: &str,
        asked: DeployRequest,
        who: &str,
    ) -> Result<DeployReport, Problem> {
        let app = self.app(app).await?;
        let services = self.edge.services(&app);
        let deployment = Deployment::of(&asked, &services)
            .map_err(|error: NotADeployment| Problem::usage(error.to_string()))?;
        let (wait, drain) = (asked.wait_s.unwrap_or(WAIT_S), asked.drain_s.unwrap_or(0));
        if wait.max(drain) > WAIT_S_MAX {
            let text = format!("a deploy waits at most {WAIT_S_MAX} seconds");
            return Err(Problem::usage(text));
        }
        let (_, now) = self.state_of(&app).await?;
        let in_flight = match drain {
            0 => self.in_flight(&app, &deployment).await,
            _ => 0,
        };
        deploy::decide(&now, &deployment, in_flight)
            .map_err(|reasons| refused(&app, &deployment, reasons))?;
        let report = DeployReport {
            app: app.to_string(),
            colour: deployment.colour.to_string(),
            release: deployment.release.to_string(),
            stage: match drain {
                0 => DeployStage::Checking,
                _ => DeployStage::Draining,
            },
            lacks: Vec::new(),
            seconds: 0,
            dry_run: asked.dry_run,
        };
        if asked.dry_run {
            return Ok(report);
        }
        let deploying = Deploying {
            progress: self.deploys.begin(&app, report.clone())?,
            admin: self.clone(),
            app,
            deployment,
            wait: Duration::from_secs(wait.into()),
            drain: Duration::from_secs(drain.into()),
            who: who.to_owned(),
            why: one_line(asked.reason),
            began: Instant::now(),
        };
        tokio::spawn(deploying.run());
        Ok(report)
    }

    /// The last deploy of an app.
    pub(super) async fn last_deploy(&self, app: &str) -> Result<DeployReport, Problem> {
        let app = self.app(app).await?;
        self.deploys.last(&app).unwrap_or_else(|| {
            let detail = format!("{app} was not deployed since this edge started");
            Err(Problem::unknown(detail))
        })
    }

    async fn in_flight(&self, app: &AppId, deployment: &Deployment) -> u64 {
        self.edge.colour(app, deployment.colour).await.in_flight
    }
}

impl Deploying {
    async fn run(self) {
        if let Err(problem) = self.steps().await {
            let _looked_at = self.progress.send_replace(Err(problem));
        }
    }

    async fn steps(&self) -> Result<(), Problem> {
        self.drained().await?;
        self.at(DeployStage::Checking, Vec::new());
        let before = self.take_place().await?;
        match self.whole_and_healthy().await? {
            Ok(()) => self.at(DeployStage::Ready, Vec::new()),
            Err(lacks) => {
                self.undo(before).await?;
                self.at(DeployStage::Undone, lacks);
            }
        }
        Ok(())
    }

    fn at(&self, stage: DeployStage, lacks: Vec<Reason>) {
        self.progress.send_modify(|progress| {
            if let Ok(report) = progress {
                report.stage = stage;
                report.lacks = lacks;
                report.seconds = self.began.elapsed().as_secs();
            }
        });
    }

    /// Waits for the requests that the colour is still answering.
    async fn drained(&self) -> Result<(), Problem> {
        let deadline = Instant::now() + self.drain;
        loop {
            let requests = self.admin.in_flight(&self.app, &self.deployment).await;
            if requests == 0 {
                return Ok(());
            }
            let colour = self.deployment.colour.to_string();
            let reasons = vec![Reason::InFlight { colour, requests }];
            if Instant::now() >= deadline {
                return Err(refused(&self.app, &self.deployment, reasons));
            }
            self.at(DeployStage::Draining, reasons);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the colour the new version; what it was before.
    async fn take_place(&self) -> Result<Option<ColourState>, Problem> {
        let Self {
            app, deployment, ..
        } = self;
        let what = format!("deploy {app} {}", deployment.colour);
        let decide = |now: &AppState| {
            deploy::decide(now, deployment, 0).map_err(|reasons| refused(app, deployment, reasons))
        };
        let before = self.change(&what, decide).await?;
        Ok(before.colours.get(deployment.colour).clone())
    }

    /// Waits until every member is healthy and every file is here; else, what is lacking.
    async fn whole_and_healthy(&self) -> Result<Result<(), Vec<Reason>>, Problem> {
        let Deployment {
            colour, release, ..
        } = &self.deployment;
        let deadline = Instant::now() + self.wait;
        loop {
            let facts = self.admin.edge.colour(&self.app, *colour).await;
            let here = facts.release.as_ref().map(|release| &release.id);
            if here != Some(release) {
                let detail = format!(
                    "somebody else changed {colour} of {} meanwhile; nothing was undone",
                    self.app
                );
                let title = "changed by someone else";
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    "superseded",
                    title,
                    detail,
                ));
            }
            let lacks = facts.lacks();
            if lacks.is_empty() {
                return Ok(Ok(()));
            }
            if Instant::now() >= deadline {
                return Ok(Err(lacks));
            }
            self.at(DeployStage::Checking, lacks);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the colour what it was, unless somebody else has changed it or gave it weight.
    async fn undo(&self, before: Option<ColourState>) -> Result<(), Problem> {
        let colour = self.deployment.colour;
        let what = format!("undo deploy {} {colour}", self.app);
        let decide = |now: &AppState| {
            let mut next = now.clone();
            let deployed = next.colours.get_mut(colour);
            let ours = deployed.as_ref().is_some_and(|deployed| {
                deployed.release == self.deployment.release
                    && deployed.members == self.deployment.members
            });
            if ours && now.split.weight_bp(colour) == 0 {
                deployed.clone_from(&before);
            }
            Ok(next)
        };
        self.change(&what, decide).await.map(drop)
    }

    /// Changes the app's state, and returns what it was.
    async fn change(
        &self,
        what: &str,
        decide: impl Fn(&AppState) -> Result<AppState, Problem>,
    ) -> Result<AppState, Problem> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (revision, now) = self.admin.state_of(&self.app).await?;
            let next = decide(&now)?;
            if next == now {
                return Ok(now);
            }
            let said = (self.who.as_str(), what.to_owned(), self.why.clone());
            let put = self.admin.put(&self.app, revision, (&now, &next), said);
            match put.await {
                Err(problem) if problem.is_conflict() && tried < TRIES => {}
                ended => return ended.map(|_| now),
            }
        }
    }
}

fn refused(app: &AppId, deployment: &Deployment, reasons: Vec<Reason>) -> Problem {
    let detail = format!(
        "{app}: {} cannot become release {} now; nothing was changed",
        deployment.colour, deployment.release
    );
    Problem::refused(detail, reasons)
}
