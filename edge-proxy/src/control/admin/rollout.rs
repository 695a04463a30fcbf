//! Rollouts as operators start, steer and look at them.

use std::collections::BTreeSet;

use asset_pipeline::id::AppId;
use http::StatusCode;
use jiff::Timestamp;

use super::super::api::{
    Problem, Reason, RolloutCommand, RolloutReport, RolloutRequest, RolloutStep, Traffic,
};
use super::super::rollout::{self, Command, NotSteps, Planned, Rollout, Status, Step};
use super::super::state::AppState;
use super::Admin;
use super::commands::{TRIES, one_line, weights};
use crate::colour::Colour;

/// How long a step is looked at, unless it is said.
const HOLD_S: u32 = 120;

/// The longest that can be asked for: a week.
const HOLD_S_MAX: u32 = 7 * 24 * 3600;

/// Requests that a step needs, unless it is said: without a failure among so many, fewer than three in
/// a hundred fail.
const REQUESTS_MIN: u64 = 100;

/// What commands that end or steer a rollout are called.
pub(super) fn word(text: &str) -> Option<Command> {
    Some(match text {
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "promote" => Command::Promote,
        "abort" => Command::Abort,
        _ => return None,
    })
}

fn called(command: &Command) -> &'static str {
    match command {
        Command::Step(_) => "step",
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Promote => "promote",
        Command::Abort => "abort",
        Command::RollBack(_) => "roll back",
    }
}

impl Admin {
    /// Starts a rollout; its first step is in force when this returns.
    pub(super) async fn start_rollout(
        &self,
        app: &str,
        asked: RolloutRequest,
        who: &str,
    ) -> Result<RolloutReport, Problem> {
        let app = self.app(app).await?;
        let to: Colour = asked
            .to
            .parse()
            .map_err(|error: crate::colour::NotAColour| Problem::usage(error.to_string()))?;
        let rings = asked.rings.iter().map(|ring| format!("ring:{ring}"));
        let texts: Vec<String> = rings.chain(asked.steps.iter().cloned()).collect();
        let steps =
            rollout::steps(&texts).map_err(|error: NotSteps| Problem::usage(error.to_string()))?;
        let hold_s = asked.hold_s.unwrap_or(HOLD_S);
        if hold_s > HOLD_S_MAX {
            return Err(Problem::usage("a step is held for at most a week"));
        }
        if let Some(unknown) = asked.rings.iter().find(|ring| !self.edge.has_ring(ring)) {
            return Err(Problem::unknown(format!(
                "tenants.toml has no ring `{unknown}`"
            )));
        }
        let why = one_line(asked.reason);
        despite(asked.despite_freeze, why.as_deref())?;
        let mut tried = 0;
        loop {
            tried += 1;
            let (revision, now) = self.state_of(&app).await?;
            let at = Timestamp::now();
            let plan = self.plan(&app, to, &steps);
            let deployed = now.colours.get(to).as_ref().ok_or_else(|| {
                let colour = to.to_string();
                refused(&app, vec![Reason::NotDeployed { colour }])
            })?;
            let begun = Rollout {
                to,
                release: deployed.release.clone(),
                steps: steps.clone(),
                hold_s,
                requests_min: asked.requests.unwrap_or(REQUESTS_MIN),
                step: if plan.is_empty() {
                    0
                } else {
                    rollout::worth(&plan, 0)
                },
                began: at,
                since: at,
                despite_freeze: asked.despite_freeze,
                status: Status::Running,
            };
            let mut reasons = self.gaining(&app, to).await;
            if !asked.despite_freeze {
                let rings = plan.get(begun.step).map(|planned| &planned.rings);
                reasons.extend(self.frozen(&now, rings.into_iter().flatten()));
            }
            let next = rollout::start(&now, begun, why.is_some(), reasons)
                .map_err(|reasons| refused(&app, reasons))?;
            if asked.dry_run {
                return self.report(&app, &next, true);
            }
            let what = format!("rollout start {app} {to} {}", texts.join(","));
            match self
                .put(&app, revision, (&now, &next), (who, what, why.clone()))
                .await
            {
                Err(problem) if problem.is_conflict() && tried < TRIES => {}
                Err(problem) => return Err(problem),
                Ok(_) => return self.report(&app, &next, false),
            }
        }
    }

    /// Steers the rollout under way, for an operator.
    pub(super) async fn steer_rollout(
        &self,
        app: &str,
        command: &Command,
        asked: RolloutCommand,
        who: &str,
    ) -> Result<RolloutReport, Problem> {
        let app = self.app(app).await?;
        if *command == Command::Promote {
            let (_, now) = self.state_of(&app).await?;
            if let Some(rollout) = &now.rollout {
                let mut reasons = self.gaining(&app, rollout.to).await;
                despite(asked.despite_freeze, asked.reason.as_deref())?;
                if !(asked.despite_freeze || rollout.despite_freeze) {
                    let plan = self.plan(&app, rollout.to, &rollout.steps);
                    let ahead = plan.iter().skip(rollout.step + 1);
                    reasons.extend(self.frozen(&now, ahead.flat_map(|planned| &planned.rings)));
                }
                if !reasons.is_empty() {
                    return Err(refused(&app, reasons));
                }
            }
        }
        if asked.dry_run {
            let (_, now) = self.state_of(&app).await?;
            let next = rollout::obeyed(&now, command, Timestamp::now());
            let next = next.ok_or_else(|| not_under_way(&app))?;
            return self.report(&app, &next, true);
        }
        self.command(&app, command, who, one_line(asked.reason))
            .await?;
        let (_, now) = self.state_of(&app).await?;
        self.report(&app, &now, false)
    }

    /// Steers the rollout under way, whoever says so.
    pub(in crate::control) async fn command(
        &self,
        app: &AppId,
        command: &Command,
        who: &str,
        why: Option<String>,
    ) -> Result<(), Problem> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (revision, now) = self.state_of(app).await?;
            let next = rollout::obeyed(&now, command, Timestamp::now());
            let next = next.ok_or_else(|| not_under_way(app))?;
            if next == now {
                return Ok(());
            }
            let what = format!("rollout {} {app}", called(command));
            match self
                .put(app, revision, (&now, &next), (who, what, why.clone()))
                .await
            {
                Err(problem) if problem.is_conflict() && tried < TRIES => {}
                ended => return ended.map(drop),
            }
        }
    }

    /// The last rollout of an app, under way or ended.
    pub(super) async fn last_rollout(&self, app: &str) -> Result<RolloutReport, Problem> {
        let app = self.app(app).await?;
        let (_, now) = self.state_of(&app).await?;
        self.report(&app, &now, false)
    }

    /// What the steps come to; empty where something else than schools is split.
    pub(in crate::control) fn plan(&self, app: &AppId, to: Colour, steps: &[Step]) -> Vec<Planned> {
        match self.edge.units(app) {
            Some(units) => rollout::plan(to, steps, &units, &self.observed.traffic(app)),
            None => Vec::new(),
        }
    }

    /// Why no more goes to a newer version now.
    pub(in crate::control) fn frozen<'a>(
        &self,
        now: &AppState,
        rings: impl Iterator<Item = &'a String>,
    ) -> Vec<Reason> {
        let at = Timestamp::now();
        let app = now.frozen_until.filter(|until| *until > at);
        let app = app.map(|until| ("the app".to_owned(), until));
        let rings: BTreeSet<&String> = rings.collect();
        let rings = rings.into_iter().filter_map(|ring| {
            let until = self.edge.frozen(ring, at)?;
            Some((format!("ring {ring}"), until))
        });
        app.into_iter()
            .chain(rings)
            .map(|(what, until)| Reason::Frozen {
                what,
                until: until.to_string(),
            })
            .collect()
    }

    /// Why a colour cannot take more traffic on this edge.
    pub(in crate::control) async fn gaining(&self, app: &AppId, colour: Colour) -> Vec<Reason> {
        self.edge.colour(app, colour).await.reasons()
    }

    fn report(&self, app: &AppId, now: &AppState, dry_run: bool) -> Result<RolloutReport, Problem> {
        let rollout = now.rollout.as_ref().ok_or_else(|| {
            Problem::unknown(format!(
                "{app} has had no rollout; `rollout start {app}` begins one"
            ))
        })?;
        let plan = self.plan(app, rollout.to, &rollout.steps);
        let steps = rollout.steps.iter().enumerate().map(|(index, step)| {
            let planned = plan.get(index);
            RolloutStep {
                step: step.to_string(),
                tenants: planned.map(|planned| planned.tenants),
                adds: planned.map_or_else(Vec::new, |planned| planned.adds.clone()),
                share: planned.and_then(|planned| planned.share),
                skipped: index + 1 < rollout.steps.len()
                    && planned
                        .is_some_and(|planned| planned.share.is_some() && !planned.adds_traffic),
            }
        });
        let under_way = rollout.is_under_way() && !dry_run;
        let progress = match under_way {
            true => self.observed.progress(app),
            false => super::super::observed::Progress::default(),
        };
        let passed_s = Timestamp::now().duration_since(rollout.since).as_secs();
        let left_s = i64::from(rollout.hold_s) - passed_s;
        let why = match &rollout.status {
            Status::RolledBack { why } => Some(why.clone()),
            _ => None,
        };
        let traffic = |colour| -> Traffic { *progress.in_step.get(colour) };
        Ok(RolloutReport {
            app: app.to_string(),
            to: rollout.to.to_string(),
            release: rollout.release.to_string(),
            status: rollout.status.as_str().into(),
            why,
            steps: steps.collect(),
            step: rollout.step,
            weights: weights(now),
            hold_s: rollout.hold_s,
            left_s: under_way.then(|| u64::try_from(left_s).unwrap_or(0)),
            requests_min: rollout.requests_min,
            blue: traffic(Colour::Blue),
            green: traffic(Colour::Green),
            evidence: under_way.then_some(progress.evidence),
            holds: progress.holds,
            alone: progress.alone,
            dry_run,
        })
    }
}

/// Who goes on where schools are frozen says why.
pub(super) fn despite(despite_freeze: bool, why: Option<&str>) -> Result<(), Problem> {
    match (despite_freeze, why) {
        (true, None) => Err(Problem::usage("`despite_freeze` needs a reason")),
        _ => Ok(()),
    }
}

fn refused(app: &AppId, reasons: Vec<Reason>) -> Problem {
    let detail = format!("{app}: the rollout cannot go on now; nothing was changed");
    Problem::refused(detail, reasons)
}

fn not_under_way(app: &AppId) -> Problem {
    let detail = format!("no rollout of {app} is under way; nothing was changed");
    let title = "no rollout is under way";
    Problem::new(StatusCode::CONFLICT, "no-rollout", title, detail)
}
