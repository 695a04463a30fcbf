//! What a keeper knows, behind one lock that is never held while something is waited for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::super::fault::IssueFault;
use super::super::schedule::{Breaker, Span, retry_after};
use super::super::shelf::{Record, at, seconds};
use super::Act;

/// Quotas are counted over so long.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// When every authority is paused, the host is not to blame.
const NOT_TO_BLAME: Duration = Duration::from_secs(5 * 60);

/// How far a try is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Others are before it.
    Waiting,
    /// The host's addresses are asked.
    Checking,
    /// An order is under way at this authority.
    Ordering(String),
    /// A certificate of this authority is live until then.
    Issued(String, SystemTime),
    /// It failed, and is tried again then.
    Failed(IssueFault, SystemTime),
}

/// A host that is looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// A host, or `*.` and one.
    pub name: String,
    /// As its files are called.
    pub stem: String,
    /// Who issued the certificate.
    pub authority: Option<String>,
    /// When it is renewed.
    pub renew_at: Option<SystemTime>,
    /// Why the last try failed, and when the next one is.
    pub failed: Option<(String, SystemTime)>,
    /// Whether a try is under way.
    pub busy: bool,
    /// False: no tenant has this host any more, so it is not renewed.
    pub wanted: bool,
}

/// Why nothing is begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotNow {
    #[error("a try is under way already")]
    Busy,
    #[error("it is looked after already, and its certificate is live; `certs renew` replaces it")]
    Live,
    #[error("it is not looked after; `certs add` begins that")]
    Unknown,
    #[error("it has no certificate yet; `certs issue` tries again")]
    NotLive,
    #[error("it failed lately ({why}), so it is not tried again yet; `certs issue` tries at once")]
    Later { why: String },
    #[error("a wildcard is proven by DNS: name a program in `acme.dns_hook`")]
    NoHook,
}

pub(super) struct Ledger(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    records: BTreeMap<String, Record>,
    stages: BTreeMap<String, Stage>,
    breakers: BTreeMap<String, Breaker>,
    orders: BTreeMap<String, Vec<u64>>,
}

impl Pages {
    fn is_busy(&self, name: &str) -> bool {
        let stage = self.stages.get(name);
        matches!(
            stage,
            Some(Stage::Waiting | Stage::Checking | Stage::Ordering(_))
        )
    }
}

impl Ledger {
    pub(super) fn new(
        records: BTreeMap<String, Record>,
        orders: BTreeMap<String, Vec<u64>>,
    ) -> Self {
        Self(Mutex::new(Pages {
            records,
            orders,
            ..Pages::default()
        }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the host's place for a try, if the act fits what is known of it.
    pub(super) fn begin(
        &self,
        act: Act,
        (name, tenant): (&str, &str),
        live: bool,
        now: SystemTime,
    ) -> Result<(), NotNow> {
        let mut pages = self.pages();
        if pages.is_busy(name) {
            return Err(NotNow::Busy);
        }
        match (act, pages.records.get_mut(name)) {
            (Act::Add, None) => {
                let record = Record::new(name, tenant);
                pages.records.insert(name.to_owned(), record);
            }
            (Act::Add, Some(_)) if live => return Err(NotNow::Live),
            (Act::Add, Some(record)) if at(record.retry_at) > now => {
                let why = record.why.clone().unwrap_or_default();
                return Err(NotNow::Later { why });
            }
            (Act::Issue | Act::Renew | Act::Revoke, None) => return Err(NotNow::Unknown),
            (Act::Renew | Act::Revoke, Some(_)) if !live => return Err(NotNow::NotLive),
            (Act::Issue, Some(_)) if live => return Err(NotNow::Live),
            // The host may have moved to another school.
            (_, Some(record)) => tenant.clone_into(&mut record.tenant),
        }
        pages.stages.insert(name.to_owned(), Stage::Waiting);
        Ok(())
    }

    /// Gives the host's place back.
    pub(super) fn free(&self, name: &str) {
        self.pages().stages.remove(name);
    }

    pub(super) fn at(&self, name: &str, stage: Stage) {
        self.pages().stages.insert(name.to_owned(), stage);
    }

    /// How far the last try is; one that another process was stopped in waits for this one.
    pub(super) fn stage(&self, name: &str) -> Option<Stage> {
        let pages = self.pages();
        let waits = |of: &&Record| of.authority.is_none() && of.failures == 0;
        let waiting = || {
            pages
                .records
                .get(name)
                .filter(waits)
                .map(|_| Stage::Waiting)
        };
        pages.stages.get(name).cloned().or_else(waiting)
    }

    /// What the process before knew, beside what was begun here since.
    pub(super) fn take_over(
        &self,
        records: BTreeMap<String, Record>,
        orders: BTreeMap<String, Vec<u64>>,
    ) {
        let mut pages = self.pages();
        for (name, record) in records {
            if !pages.is_busy(&name) {
                pages.records.insert(name, record);
            }
        }
        pages.orders = orders;
    }

    pub(super) fn record(&self, name: &str) -> Option<Record> {
        self.pages().records.get(name).cloned()
    }

    /// Takes the places of all hosts that have to be tried now.
    pub(super) fn take_due(
        &self,
        now: SystemTime,
        wanted: impl Fn(&str) -> bool,
        live: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut pages = self.pages();
        let is_due = |record: &&Record| {
            at(record.retry_at) <= now
                && wanted(&record.name)
                && (!live(&record.name) || record.renew_at.is_none_or(|renew| at(renew) <= now))
                && !pages.is_busy(&record.name)
        };
        let due = pages.records.values().filter(is_due);
        let due: Vec<String> = due.map(|record| record.name.clone()).collect();
        for name in &due {
            pages.stages.insert(name.clone(), Stage::Waiting);
        }
        due
    }

    /// Records whose authority has to be asked for its window.
    pub(super) fn unasked(&self, now: SystemTime, most: usize) -> Vec<Record> {
        let pages = self.pages();
        let unasked = pages.records.values();
        let unasked = unasked.filter(|of| of.authority.is_some() && at(of.ask_at) <= now);
        unasked.take(most).cloned().collect()
    }

    /// Keeps a window; `renew` chooses the moment in one that is new.
    pub(super) fn window(
        &self,
        name: &str,
        window: Option<(u64, u64)>,
        renew: impl Fn((u64, u64)) -> Option<u64>,
        ask_at: u64,
    ) -> Option<Record> {
        let mut pages = self.pages();
        let record = pages.records.get_mut(name)?;
        record.ask_at = ask_at;
        if let Some(window) = window
            && record.window != Some(window)
        {
            record.window = Some(window);
            record.renew_at = renew(window).or(record.renew_at);
        }
        Some(record.clone())
    }

    /// Whether an authority is left alone.
    pub(super) fn is_paused(&self, authority: &str, now: SystemTime) -> bool {
        let pages = self.pages();
        pages
            .breakers
            .get(authority)
            .is_some_and(|breaker| breaker.is_paused(now))
    }

    /// What an order says of its authority.
    pub(super) fn judge(&self, authority: &str, fault: Option<&IssueFault>, now: SystemTime) {
        let mut pages = self.pages();
        let breaker = pages.breakers.entry(authority.to_owned()).or_default();
        match fault {
            Some(IssueFault::RateLimited { after, .. }) => breaker.failed(now, true, *after),
            Some(IssueFault::Authority(_) | IssueFault::Unusable(_)) => {
                breaker.failed(now, false, None);
            }
            // It answered: what it refused is no fault of it.
            Some(_) | None => breaker.worked(),
        }
    }

    /// Counts an order of a tenant, if its day has room for it; all that are counted now.
    pub(super) fn charge(
        &self,
        tenant: &str,
        most: u32,
        now: SystemTime,
    ) -> Result<BTreeMap<String, Vec<u64>>, IssueFault> {
        let mut pages = self.pages();
        let since = seconds(now).saturating_sub(DAY.as_secs());
        pages.orders.retain(|_, orders| {
            orders.retain(|order| *order > since);
            !orders.is_empty()
        });
        let orders = pages.orders.entry(tenant.to_owned()).or_default();
        if orders.len() >= most as usize {
            return Err(IssueFault::Quota(most));
        }
        orders.push(seconds(now));
        Ok(pages.orders.clone())
    }

    /// What is known of a host after a certificate of it went live.
    pub(super) fn issued(
        &self,
        name: &str,
        authority: &str,
        life: Span,
        renew: SystemTime,
    ) -> Option<Record> {
        let mut pages = self.pages();
        let stage = Stage::Issued(authority.to_owned(), life.1);
        pages.stages.insert(name.to_owned(), stage);
        let record = pages.records.get_mut(name)?;
        *record = Record {
            authority: Some(authority.to_owned()),
            renew_at: Some(seconds(renew)),
            ..Record::new(name, &record.tenant)
        };
        Some(record.clone())
    }

    /// What is known of a host after a try that failed.
    pub(super) fn failed(
        &self,
        name: &str,
        fault: &IssueFault,
        now: SystemTime,
        chance: f64,
    ) -> Option<Record> {
        let mut pages = self.pages();
        let record = pages.records.get_mut(name)?;
        let wait = match fault {
            IssueFault::AllPaused => NOT_TO_BLAME,
            _ => {
                record.failures = record.failures.saturating_add(1);
                retry_after(record.failures, chance)
            }
        };
        record.retry_at = seconds(now + wait);
        record.why = Some(fault.to_string());
        let record = record.clone();
        let stage = Stage::Failed(fault.clone(), at(record.retry_at));
        pages.stages.insert(name.to_owned(), stage);
        Some(record)
    }

    pub(super) fn list(&self, wanted: impl Fn(&str) -> bool) -> Vec<Managed> {
        let pages = self.pages();
        let managed = pages.records.values().map(|record| Managed {
            name: record.name.clone(),
            stem: super::super::shelf::stem(&record.name),
            authority: record.authority.clone(),
            renew_at: record.renew_at.map(at),
            failed: record.why.clone().map(|why| (why, at(record.retry_at))),
            busy: pages.is_busy(&record.name),
            wanted: wanted(&record.name),
        });
        managed.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn hour(n: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + n * 3600)
    }

    #[test]
    fn a_quota_counts_the_orders_of_the_last_day() {
        let ledger = Ledger::new(BTreeMap::new(), BTreeMap::new());
        for n in 0..3 {
            assert!(ledger.charge("oak", 3, hour(n)).is_ok());
        }
        assert_eq!(ledger.charge("oak", 3, hour(3)), Err(IssueFault::Quota(3)));
        assert!(ledger.charge("elm", 3, hour(3)).is_ok());
        assert!(ledger.charge("oak", 3, hour(24)).is_ok());
        assert_eq!(ledger.charge("oak", 3, hour(24)), Err(IssueFault::Quota(3)));
        let later = ledger.charge("elm", 3, hour(100)).expect("a new day");
        assert_eq!(later.len(), 1, "what is over is forgotten: {later:?}");
    }

    #[test]
    fn an_act_must_fit_what_is_known_of_the_host() {
        let ledger = Ledger::new(BTreeMap::new(), BTreeMap::new());
        let oak = ("oak.example", "oak");
        for act in [Act::Issue, Act::Renew, Act::Revoke] {
            assert_eq!(ledger.begin(act, oak, false, hour(0)), Err(NotNow::Unknown));
        }
        assert_eq!(ledger.begin(Act::Add, oak, false, hour(0)), Ok(()));
        assert_eq!(
            ledger.begin(Act::Add, oak, false, hour(0)),
            Err(NotNow::Busy)
        );
        let fault = IssueFault::Elsewhere("no".to_owned());
        ledger.failed(oak.0, &fault, hour(0), 0.5);
        let later = ledger.begin(Act::Add, oak, false, hour(0));
        assert!(matches!(later, Err(NotNow::Later { .. })), "{later:?}");
        assert_eq!(
            ledger.begin(Act::Renew, oak, false, hour(0)),
            Err(NotNow::NotLive)
        );
        assert_eq!(ledger.begin(Act::Issue, oak, false, hour(0)), Ok(()));
        let life = (hour(0), hour(100));
        ledger.issued(oak.0, "one", life, hour(60));
        assert_eq!(
            ledger.begin(Act::Add, oak, true, hour(0)),
            Err(NotNow::Live)
        );
        assert_eq!(ledger.begin(Act::Renew, oak, true, hour(0)), Ok(()));
    }

    #[test]
    fn what_is_due_is_taken_once_and_only_while_it_is_wanted() {
        let ledger = Ledger::new(BTreeMap::new(), BTreeMap::new());
        for name in ["oak.example", "elm.example"] {
            ledger
                .begin(Act::Add, (name, "t"), false, hour(0))
                .expect("new");
            ledger.issued(name, "one", (hour(0), hour(90)), hour(60));
        }
        let due = |now, live: bool| ledger.take_due(now, |name| name != "elm.example", |_| live);
        assert!(due(hour(59), true).is_empty());
        assert_eq!(due(hour(60), true), ["oak.example"]);
        assert!(due(hour(61), true).is_empty(), "it is under way");
        ledger.failed("oak.example", &IssueFault::AllPaused, hour(61), 0.5);
        assert!(due(hour(61), true).is_empty(), "it waits");
        assert_eq!(due(hour(62), false), ["oak.example"]);
    }
}
