//! A deploy: the colour is drained where that was asked for, becomes the new version, and is looked at
//! until that is whole and healthy, or is again what it was. The state says so while that is open: who serves after a
//! crash looks on.

use std::time::{Duration, Instant};

use asset_pipeline::id::AppId;
use http::StatusCode;
use tokio::sync::watch;

use super::super::api::{DeployReport, DeployRequest, DeployStage, Problem, Reason};
use super::super::deploy::{self, Deployment, InUse, NotADeployment};
use super::super::state::{AppState, ColourState, Trial};
use super::Admin;
use super::commands::one_line;
use super::drain::{Leaving, Left, reasons, streams_s};
use super::underway::Progress;
use crate::colour::Colour;

/// How long a new version has to become whole and healthy, unless it is said.
const WAIT_S: u32 = 60;

/// The longest wait that can be asked for.
const WAIT_S_MAX: u32 = 3600;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

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
    progress: watch::Sender<Progress<DeployReport>>,
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
        let colour = deployment.colour;
        let decided = match drain {
            0 => deploy::decide(&now, &deployment, self.in_use(&app, colour).await),
            _ if now.colours.get(colour).is_none() => Ok(now),
            _ => {
                let left = self.decide_drain(&app, &now, colour).await?;
                deploy::decide(&left, &deployment, InUse::default())
            }
        };
        decided.map_err(|reasons| refused(&app, &deployment, reasons))?;
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

    /// Goes on with deploys whose process ended before they did.
    pub(crate) async fn resume(&self) {
        for (app, now) in &self.applied().state.apps {
            let deployed = now
                .trial
                .as_ref()
                .map(|trial| (trial, now.colours.get(trial.colour)));
            let Some((trial, Some(deployed))) = deployed else {
                continue;
            };
            let report = DeployReport {
                app: app.to_string(),
                colour: trial.colour.to_string(),
                release: deployed.release.to_string(),
                stage: DeployStage::Checking,
                lacks: Vec::new(),
                seconds: 0,
                dry_run: false,
            };
            let Ok(progress) = self.deploys.begin(app, report) else {
                continue;
            };
            let deploying = Deploying {
                progress,
                admin: self.clone(),
                app: app.clone(),
                deployment: Deployment {
                    colour: trial.colour,
                    release: deployed.release.clone(),
                    members: deployed.members.clone(),
                    schema: Some(deployed.schema),
                },
                wait: Duration::from_secs(trial.wait_s.into()),
                drain: Duration::ZERO,
                who: "edge".to_owned(),
                why: Some("the process that deployed it has ended".to_owned()),
                began: Instant::now(),
            };
            tracing::info!(%app, colour = %trial.colour, "looking on whether what was deployed comes up");
            tokio::spawn(deploying.resumed(trial.before.clone()));
        }
    }

    /// The last deploy of an app.
    pub(super) async fn last_deploy(&self, app: &str) -> Result<DeployReport, Problem> {
        let app = self.app(app).await?;
        self.deploys.last(&app)
    }

    async fn in_use(&self, app: &AppId, colour: Colour) -> InUse {
        let facts = self.colour(app, colour).await;
        InUse {
            in_flight: facts.still_there().iter().map(|line| line.count).sum(),
            bound_s: facts.bound_s,
        }
    }
}

impl Deploying {
    async fn run(self) {
        let steps = async {
            self.drained().await?;
            self.at(DeployStage::Checking, Vec::new());
            let before = self.take_place().await?;
            self.settle(before).await
        };
        self.say(steps.await);
    }

    /// The same for a version that has taken its place already.
    async fn resumed(self, before: Option<ColourState>) {
        let settled = self.settle(before).await;
        self.say(settled);
    }

    fn say(&self, ended: Result<(), Problem>) {
        if let Err(problem) = ended {
            let _looked_at = self.progress.send_replace(Err(problem));
        }
    }

    async fn settle(&self, before: Option<ColourState>) -> Result<(), Problem> {
        match self.whole_and_healthy().await? {
            Ok(()) => {
                self.stays().await?;
                self.at(DeployStage::Ready, Vec::new());
            }
            Err(lacks) => {
                self.undo(before).await?;
                self.at(DeployStage::Undone, lacks);
            }
        }
        Ok(())
    }

    fn said<'a>(&'a self, what: &'a str) -> (&'a str, &'a str, Option<String>) {
        (self.who.as_str(), what, self.why.clone())
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

    /// Leaves the colour, if that was asked for and it was ever deployed.
    async fn drained(&self) -> Result<(), Problem> {
        let Self {
            admin,
            app,
            deployment,
            ..
        } = self;
        let colour = deployment.colour;
        let (_, now) = admin.state_of(app).await?;
        if self.drain.is_zero() || now.colours.get(colour).is_none() {
            return Ok(());
        }
        let drain_s = u32::try_from(self.drain.as_secs()).unwrap_or(u32::MAX);
        let leaving = Leaving {
            admin,
            app,
            colour,
            wait: self.drain,
            streams: Duration::from_secs(streams_s(drain_s).into()),
            who: &self.who,
            why: self.why.clone(),
        };
        let say = |left: &Left| self.at(DeployStage::Draining, reasons(colour, &left.in_flight));
        let left = leaving.finish(say).await?;
        match reasons(colour, &left.in_flight) {
            none if none.is_empty() => Ok(()),
            reasons => Err(refused(app, deployment, reasons)),
        }
    }

    /// Makes the colour the new version; what it was before.
    async fn take_place(&self) -> Result<Option<ColourState>, Problem> {
        let Self {
            app, deployment, ..
        } = self;
        let what = format!("deploy {app} {}", deployment.colour);
        let wait_s = u32::try_from(self.wait.as_secs()).unwrap_or(u32::MAX);
        let decide = |now: &AppState| {
            let mut next = deploy::decide(now, deployment, InUse::default())
                .map_err(|reasons| refused(app, deployment, reasons))?;
            if next != *now {
                next.trial = Some(Trial {
                    colour: deployment.colour,
                    before: now.colours.get(deployment.colour).clone(),
                    wait_s,
                });
            }
            Ok(next)
        };
        let before = self.admin.change(app, self.said(&what), decide).await?;
        Ok(before.colours.get(deployment.colour).clone())
    }

    /// Waits until every member is healthy and every file is here; else, what is lacking.
    async fn whole_and_healthy(&self) -> Result<Result<(), Vec<Reason>>, Problem> {
        let Deployment {
            colour, release, ..
        } = &self.deployment;
        let deadline = Instant::now() + self.wait;
        loop {
            let facts = self.admin.colour(&self.app, *colour).await;
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

    /// The version was seen whole and healthy.
    async fn stays(&self) -> Result<(), Problem> {
        let colour = self.deployment.colour;
        let what = format!("deploy {} {colour}: it is ready", self.app);
        let decide = |now: &AppState| Ok(tried(now, colour));
        let said = (self.who.as_str(), what.as_str(), None);
        self.admin.change(&self.app, said, decide).await.map(drop)
    }

    /// Makes the colour what it was, unless somebody else has changed it or gave it weight.
    async fn undo(&self, before: Option<ColourState>) -> Result<(), Problem> {
        let colour = self.deployment.colour;
        let what = format!("undo deploy {} {colour}", self.app);
        let decide = |now: &AppState| {
            let mut next = tried(now, colour);
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
        let changed = self.admin.change(&self.app, self.said(&what), decide);
        changed.await.map(drop)
    }
}

/// The state in which nothing of a colour is open any more.
fn tried(now: &AppState, colour: Colour) -> AppState {
    let mut next = now.clone();
    next.trial = next.trial.filter(|trial| trial.colour != colour);
    next
}

fn refused(app: &AppId, deployment: &Deployment, reasons: Vec<Reason>) -> Problem {
    let detail = format!(
        "{app}: {} cannot become release {} now; nothing was changed",
        deployment.colour, deployment.release
    );
    Problem::refused(detail, reasons)
}
