//! What was reported of every app: the last minute, the step of a rollout, and what the judge made of it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use asset_pipeline::id::AppId;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::api::Traffic;
use super::conductor::{alone_in_words, in_words};
use super::counters::{AppCounters, Count, Latency};
use super::judge::{Judge, Opinion, Seen};
use super::rollout::{Hold, Rollout};
use super::state::AppState;
use crate::colour::{Colour, PerColour};

/// Ticks of the last minute.
const MINUTE: usize = 60;

/// What was seen of every app.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed(Arc<Mutex<BTreeMap<AppId, Watched>>>);

/// One app.
#[derive(Debug, Default)]
struct Watched {
    minute: VecDeque<PerColour<Second>>,
    judge: Judge,
    /// The rollout that is judged, by when it began, and its step, by when that did.
    judged: Option<(Timestamp, usize, Timestamp)>,
    in_step: PerColour<Second>,
    holds: Option<Hold>,
    alone: Option<String>,
}

/// One colour in some time.
#[derive(Debug, Clone, Default)]
struct Second {
    count: Count,
    latency: Latency,
}

/// What is told of a rollout under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub(super) in_step: PerColour<Traffic>,
    pub(super) evidence: f64,
    pub(super) holds: Option<String>,
    pub(super) alone: Option<String>,
}

impl Observed {
    /// Takes in what one second brought; none: no rollout is under way.
    pub(super) fn hear(
        &self,
        app: &AppId,
        now: &AppState,
        counters: &AppCounters,
    ) -> Option<Opinion> {
        let mut all = self.0.lock();
        let watched = all.entry(app.clone()).or_default();
        let second = PerColour::each(|colour| Second {
            count: counters.of(colour),
            latency: counters.latency.get(colour).clone(),
        });
        let opinion = watched.judge(now, counters, &second);
        watched.minute.push_back(second);
        if watched.minute.len() > MINUTE {
            watched.minute.pop_front();
        }
        opinion
    }

    /// Why the new version has to go, if it has to; one school's trouble is said once.
    pub(super) fn verdict(&self, app: &AppId, opinion: &Opinion) -> Option<String> {
        if let Opinion::Worse(why) = opinion {
            return Some(in_words(why));
        }
        let said = alone_in_words(opinion);
        let mut all = self.0.lock();
        let watched = all.entry(app.clone()).or_default();
        if let Some(said) = &said
            && watched.alone.as_ref() != Some(said)
        {
            tracing::warn!("the rollout of {app}: {said}");
        }
        watched.alone = said;
        None
    }

    /// What a colour's members were asked in the last minute.
    pub(super) fn last_minute(&self, app: &AppId, colour: Colour) -> Traffic {
        let all = self.0.lock();
        let mut sum = Second::default();
        for second in all.get(app).into_iter().flat_map(|watched| &watched.minute) {
            sum.add(second.get(colour));
        }
        sum.traffic()
    }

    /// What is told of the rollout under way.
    pub(super) fn progress(&self, app: &AppId) -> Progress {
        let all = self.0.lock();
        all.get(app)
            .map_or_else(Progress::default, |watched| Progress {
                in_step: PerColour::each(|colour| watched.in_step.get(colour).traffic()),
                evidence: watched.judge.evidence(),
                holds: watched.holds.as_ref().map(ToString::to_string),
                alone: watched.alone.clone(),
            })
    }

    pub(super) fn requests_in_step(&self, app: &AppId, colour: Colour) -> u64 {
        let all = self.0.lock();
        let watched = all.get(app);
        watched.map_or(0, |watched| watched.in_step.get(colour).count.requests)
    }

    pub(super) fn evidence(&self, app: &AppId) -> f64 {
        let all = self.0.lock();
        all.get(app).map_or(1.0, |watched| watched.judge.evidence())
    }

    pub(super) fn holds(&self, app: &AppId, hold: Hold) {
        self.0.lock().entry(app.clone()).or_default().holds = Some(hold);
    }

    /// What schools asked of late.
    pub(super) fn traffic(&self, app: &AppId) -> BTreeMap<String, f64> {
        let all = self.0.lock();
        let schools = all
            .get(app)
            .into_iter()
            .flat_map(|watched| watched.judge.traffic());
        schools
            .map(|(school, requests)| (school.to_owned(), requests))
            .collect()
    }

    /// What was learnt, as it is written down.
    pub(super) fn learnt(&self) -> Vec<u8> {
        let all = self.0.lock();
        let learnt: BTreeMap<_, _> = all
            .iter()
            .map(|(app, watched)| (app, (watched.judged.map(|judged| judged.0), &watched.judge)))
            .collect();
        serde_json::to_vec(&learnt).unwrap_or_default()
    }

    /// Takes over what was written down; what cannot be read is learnt anew.
    pub(super) fn recall(&self, file: &Path) {
        let Ok(text) = std::fs::read(file) else {
            return;
        };
        type Learnt = BTreeMap<AppId, (Option<Timestamp>, Judge)>;
        let learnt: Learnt = match serde_json::from_slice(&text) {
            Ok(learnt) => learnt,
            Err(error) => {
                tracing::warn!(
                    "what was learnt of schools cannot be read and is learnt anew: {error}"
                );
                return;
            }
        };
        let mut all = self.0.lock();
        for (app, (judged, judge)) in learnt {
            let watched = all.entry(app).or_default();
            watched.judge = judge;
            // The step's requests are counted anew.
            watched.judged = judged.map(|began| (began, usize::MAX, began));
        }
    }
}

impl Watched {
    fn judge(
        &mut self,
        now: &AppState,
        counters: &AppCounters,
        second: &PerColour<Second>,
    ) -> Option<Opinion> {
        let rollout = now
            .rollout
            .as_ref()
            .filter(|rollout| rollout.is_under_way());
        let new = rollout.map_or(now.standing().other(), |rollout| rollout.to);
        let seen = counters.tenants.iter().map(|(tenant, counts)| Seen {
            tenant: tenant.clone(),
            old: *counts.get(new.other()),
            new: *counts.get(new),
        });
        let seen: Vec<Seen> = seen.collect();
        let Some(rollout) = rollout else {
            self.judge.learn(&seen);
            return None;
        };
        self.turn_to(rollout);
        for colour in Colour::BOTH {
            self.in_step.get_mut(colour).add(second.get(colour));
        }
        Some(self.judge.tick(&seen))
    }

    /// Another rollout is judged anew, another step is counted anew.
    fn turn_to(&mut self, rollout: &Rollout) {
        let now = (rollout.began, rollout.step, rollout.since);
        if self.judged == Some(now) {
            return;
        }
        if self.judged.is_none_or(|(began, ..)| began != rollout.began) {
            self.judge.acquit();
            self.alone = None;
        }
        self.judged = Some(now);
        self.in_step = PerColour::default();
        self.holds = None;
    }
}

impl Second {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.latency.add(&other.latency);
    }

    /// As operators read it.
    fn traffic(&self) -> Traffic {
        let ms = |share| {
            let took = self.latency.quantile(share)?;
            u64::try_from(took.as_millis()).ok()
        };
        Traffic {
            requests: self.count.requests,
            failures: self.count.failures,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
        }
    }
}
