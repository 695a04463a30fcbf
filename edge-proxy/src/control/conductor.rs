//! Hears what requests came to, once a second, and keeps what is worth knowing of the last minute.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::AppId;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::MissedTickBehavior;

use super::admin::Admin;
use super::api::Traffic;
use super::counters::{AppCounters, Count, Counters, Latency};
use crate::colour::{Colour, PerColour};

/// How often is looked; processes report as often.
const TICK: Duration = Duration::from_secs(1);

/// Ticks of the last minute.
const MINUTE: usize = 60;

/// What was seen of every app.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed(Arc<Mutex<BTreeMap<AppId, VecDeque<PerColour<Second>>>>>);

/// One colour in one second.
#[derive(Debug, Clone, Default)]
struct Second {
    count: Count,
    latency: Latency,
}

impl Observed {
    /// What a colour's members were asked in the last minute.
    pub(super) fn last_minute(&self, app: &AppId, colour: Colour) -> Traffic {
        let seen = self.0.lock();
        let mut sum = Second::default();
        for second in seen.get(app).into_iter().flatten() {
            sum.count += second.get(colour).count;
            sum.latency.add(&second.get(colour).latency);
        }
        traffic(sum.count, &sum.latency)
    }

    fn hear(&self, counters: &Counters) {
        let mut seen = self.0.lock();
        for app in counters.apps.keys() {
            seen.entry(app.clone()).or_default();
        }
        for (app, minute) in seen.iter_mut() {
            let silence = AppCounters::default();
            let counters = counters.apps.get(app).unwrap_or(&silence);
            minute.push_back(PerColour::each(|colour| Second {
                count: counters.of(colour),
                latency: counters.latency.get(colour).clone(),
            }));
            if minute.len() > MINUTE {
                minute.pop_front();
            }
        }
    }
}

/// As operators read it.
fn traffic(count: Count, latency: &Latency) -> Traffic {
    let ms = |share| {
        let took = latency.quantile(share)?;
        u64::try_from(took.as_millis()).ok()
    };
    Traffic {
        requests: count.requests,
        failures: count.failures,
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
    }
}

impl Admin {
    /// Hears `reports` for as long as somebody could report.
    pub fn conduct(
        &self,
        mut reports: broadcast::Receiver<Arc<Counters>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let observed = self.observed.clone();
        async move {
            let mut every = tokio::time::interval(TICK);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let Some(counters) = heard(&mut reports) else {
                    return;
                };
                observed.hear(&counters);
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
