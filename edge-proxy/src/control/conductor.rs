//! Hears what requests came to, once a second, asks the judge, and moves rollouts on.
//!
//! It lives where the state is kept and reads nothing but what was reported. What it learnt of schools
//! is kept in a file beside the state, so that a restart does not make a school with old devices look
//! like a bad version.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::MissedTickBehavior;

use super::admin::Admin;
use super::counters::{AppCounters, Counters};
use super::judge::{DOUBT, Kind, Opinion, Why};
use super::observed::Observed;
use super::rollout::{self, Command, Hold, Known};
use super::state::AppState;

/// How often is looked; processes report as often.
const TICK: Duration = Duration::from_secs(1);

/// Ticks after which what was learnt is written down.
const KEEP_EVERY: u64 = 30;

/// Whose changes these are in the audit log.
const JUDGE: &str = "judge";
const ROLLOUT: &str = "rollout";

impl Admin {
    /// Hears `reports` for as long as somebody could report. What is learnt of schools is kept in `file`.
    pub fn conduct(
        &self,
        mut reports: broadcast::Receiver<Arc<Counters>>,
        file: PathBuf,
    ) -> impl Future<Output = ()> + Send + use<> {
        let admin = self.clone();
        admin.observed.recall(&file);
        async move {
            let mut every = tokio::time::interval(TICK);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for tick in 1_u64.. {
                every.tick().await;
                let Some(counters) = heard(&mut reports) else {
                    return;
                };
                admin.hear(&counters).await;
                if tick.is_multiple_of(KEEP_EVERY) {
                    keep(&admin.observed, &file).await;
                }
            }
        }
    }

    async fn hear(&self, counters: &Counters) {
        let state = Arc::clone(&self.applied().state);
        let silence = AppCounters::default();
        for (app, now) in &state.apps {
            let counters = counters.apps.get(app).unwrap_or(&silence);
            let opinion = self.observed.hear(app, now, counters);
            let under_way = now
                .rollout
                .as_ref()
                .filter(|rollout| rollout.is_under_way());
            let (Some(opinion), Some(_)) = (opinion, under_way) else {
                continue;
            };
            let done = match self.observed.verdict(app, &opinion) {
                Some(why) => {
                    self.command(app, &Command::RollBack(why.clone()), JUDGE, Some(why))
                        .await
                }
                None => self.go_on(app, now).await,
            };
            if let Err(problem) = done {
                // It is tried again in a second; an operator may have been faster.
                tracing::warn!("the rollout of {app}: {}", problem.detail);
            }
        }
    }

    /// Takes the next step when it is time, and remembers what it waits for when it is not.
    async fn go_on(&self, app: &AppId, now: &AppState) -> Result<(), super::api::Problem> {
        let Some(rollout) = &now.rollout else {
            return Ok(());
        };
        let plan = self.plan(app, rollout.to, &rollout.steps);
        let known = Known {
            requests: self.observed.requests_in_step(app, rollout.to),
            evidence: self.observed.evidence(app),
            doubt: DOUBT,
            reasons: self.gaining(app, rollout.to).await,
        };
        match rollout::next(rollout, &plan, &known, Timestamp::now()) {
            Err(hold) => {
                self.observed.holds(app, hold);
                Ok(())
            }
            Ok(None) => self.command(app, &Command::Promote, ROLLOUT, None).await,
            Ok(Some(step)) => {
                let rings = plan.get(step).map(|planned| &planned.rings);
                let frozen = self.frozen(now, rings.into_iter().flatten());
                if !frozen.is_empty() && !rollout.despite_freeze {
                    self.observed.holds(app, Hold::Unready(frozen));
                    return Ok(());
                }
                let passed = &rollout.steps[rollout.step + 1..step];
                let why = (!passed.is_empty()).then(|| {
                    let passed: Vec<_> = passed.iter().map(ToString::to_string).collect();
                    format!("no school with traffic is in {}", passed.join(", "))
                });
                self.command(app, &Command::Step(step), ROLLOUT, why).await
            }
        }
    }
}

/// Everything that was reported since the last call; none: nobody reports any more.
fn heard(reports: &mut broadcast::Receiver<Arc<Counters>>) -> Option<Counters> {
    let mut sum = Counters::default();
    loop {
        match reports.try_recv() {
            Ok(counters) => sum.add(&counters),
            // What was lost is a second's counts, of which there are more.
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty) => return Some(sum),
            Err(TryRecvError::Closed) => return None,
        }
    }
}

/// Writes down what was learnt. It is worth no failure: the next one follows in half a minute.
async fn keep(observed: &Observed, file: &Path) {
    let (learnt, file) = (observed.learnt(), file.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        let beside = file.with_extension("new");
        std::fs::write(&beside, learnt)?;
        std::fs::rename(&beside, &file)
    });
    if let Ok(Err(error)) = written.await {
        tracing::warn!("what was learnt of schools is not written down: {error}");
    }
}

/// A verdict in words.
pub(super) fn in_words(why: &Why) -> String {
    match why {
        Why::Guard(count) => format!(
            "{} of {} requests failed within ten seconds",
            count.failures, count.requests
        ),
        Why::Odds(Kind::Failures, odds) => {
            format!("about {odds} times as many requests failed as would have on the old version")
        }
        Why::Odds(Kind::Slow, odds) => format!(
            "about {odds} times as many answers were slow as would have been on the old version"
        ),
    }
}

/// What the judge thinks of one school, in words.
pub(super) fn alone_in_words(opinion: &Opinion) -> Option<String> {
    let Opinion::OneSchool(school, kind) = opinion else {
        return None;
    };
    let what = match kind {
        Kind::Failures => "requests fail",
        Kind::Slow => "answers are slow",
    };
    Some(format!(
        "{what} for {school} alone on the new version, the other schools on it are well: it is not rolled back for that"
    ))
}
