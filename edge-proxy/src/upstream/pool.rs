//! The members of one service of one colour. A request that was given this colour is answered by
//! one of them or not at all: another colour is another version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_core::upstreams::peer::HttpPeer;
use tracing::warn;

use super::ledger::Ledger;
use super::outlier::{COMPARED_EVERY, Conduct, Outcome, far_below, millis};
use super::retries::{Budget, Retry};
use super::secure::Secure;
use crate::colour::Colour;
use crate::config::checked::{Probe, Service};
use crate::hold::Hold;
use crate::metrics::UpstreamMetrics;
use crate::mirror::Comparison;

/// All members of a service in one colour.
#[derive(Debug)]
pub struct Pool {
    /// The app's name.
    pub app: String,
    /// The service's name.
    pub service: String,
    /// Its version.
    pub colour: Colour,
    /// How its members are probed.
    pub probe: Probe,
    secure: Option<Arc<Secure>>,
    metrics: UpstreamMetrics,
    members: Vec<Arc<Member>>,
    kept: Kept,
    began: Instant,
    /// When success rates were compared, in milliseconds since it began.
    compared_at: AtomicU64,
}

/// What outlives a pool, because it is about more than its members.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The retries of its app.
    pub budget: Arc<Budget>,
    /// Who is with its colour.
    pub ledger: Arc<Ledger>,
    /// Who waits while its app is paused.
    pub hold: Arc<Hold>,
    /// How its colour's version does with copies of what the other one is asked.
    pub comparison: Arc<Comparison>,
}

/// One address that answers.
#[derive(Debug)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    secure: Option<Arc<Secure>>,
    health: AtomicU8,
    why: Mutex<Option<&'static str>>,
    in_flight: AtomicU32,
    conduct: Conduct,
    budget: Arc<Budget>,
}

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed yet: used, but no weight may be moved to it.
    Unknown = 0,
    /// Its last probes succeeded.
    Healthy = 1,
    /// Its last probes failed: not used.
    Unhealthy = 2,
}

/// A member that is asked something; counted while it lives, unless it is a probe.
#[derive(Debug)]
pub struct Lease {
    member: Arc<Member>,
    counted: bool,
}

impl Pool {
    /// Nothing is known of the members yet.
    pub fn new(
        app: &str,
        service: &str,
        colour: Colour,
        config: &Service,
        members: &[SocketAddr],
        metrics: UpstreamMetrics,
        kept: Kept,
    ) -> Self {
        let member = |&address| {
            Arc::new(Member {
                address,
                secure: config.secure.clone(),
                health: AtomicU8::new(Health::Unknown as u8),
                why: Mutex::new(Some("it was not probed yet")),
                in_flight: AtomicU32::new(0),
                conduct: Conduct::default(),
                budget: Arc::clone(&kept.budget),
            })
        };
        Self {
            app: app.to_owned(),
            service: service.to_owned(),
            colour,
            probe: config.probe.clone(),
            secure: config.secure.clone(),
            metrics,
            members: members.iter().map(member).collect(),
            began: Instant::now(),
            kept,
            compared_at: AtomicU64::new(0),
        }
    }

    /// What outlives it.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Who is with its colour.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.kept.ledger
    }

    /// A second try, if the app may have one more and there is another member to ask.
    pub fn retry(&self) -> Option<Retry> {
        (self.members.len() > 1).then(|| self.kept.budget.retry())?
    }

    /// Every member.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Whether this pool is what `members` and `config` ask for, so that its health may be kept.
    pub fn serves(&self, members: &[SocketAddr], config: &Service) -> bool {
        self.probe == config.probe
            && self.secure == config.secure
            && self
                .members
                .iter()
                .map(|member| member.address)
                .eq(members.iter().copied())
    }

    /// The less busy of two random members that are well, without the one that failed.
    ///
    /// Who is set aside is asked when nobody else is left; who is unhealthy never is.
    pub fn pick(&self, failed: Option<SocketAddr>) -> Option<Lease> {
        let now = self.began.elapsed();
        let usable = |member: &&Arc<Member>| {
            member.health() != Health::Unhealthy && Some(member.address) != failed
        };
        let well = |member: &&Arc<Member>| usable(member) && !member.conduct.is_aside(now);
        let chosen = self
            .less_busy_of_two(well, now)
            .or_else(|| self.less_busy_of_two(usable, now))?;
        self.metrics.requests.inc();
        Some(chosen.lease())
    }

    fn less_busy_of_two(
        &self,
        fits: impl Fn(&&Arc<Member>) -> bool,
        now: Duration,
    ) -> Option<&Arc<Member>> {
        let nth = |n| self.members.iter().filter(&fits).nth(n);
        let count = self.members.iter().filter(&fits).count();
        if count < 2 {
            return nth(0);
        }
        let first = rand::random_range(0..count);
        let second = (first + rand::random_range(1..count)) % count;
        // Health may change between the count and the choice: then the first that is left.
        let (first, second) = (
            nth(first).or_else(|| nth(0))?,
            nth(second).or_else(|| nth(0))?,
        );
        if second.busy(now) < first.busy(now) {
            Some(second)
        } else {
            Some(first)
        }
    }

    /// Takes in how a request to a member ended.
    pub fn ended(&self, lease: &Lease, outcome: Outcome) {
        self.ended_at(&lease.member, outcome, self.began.elapsed());
    }

    fn ended_at(&self, member: &Member, outcome: Outcome, now: Duration) {
        if outcome == Outcome::Failed {
            self.metrics.failures.inc();
        }
        if member.conduct.note(outcome) {
            self.set_aside(member, "it failed several times in a row", now);
        }
        self.compare(now);
    }

    /// Sets aside whose success rate is far below the others', now and then.
    fn compare(&self, now: Duration) {
        let millis = millis(now);
        let last = self.compared_at.load(Ordering::Relaxed);
        if u128::from(millis - last.min(millis)) < COMPARED_EVERY.as_millis() {
            return;
        }
        let order = Ordering::Relaxed;
        if self
            .compared_at
            .compare_exchange(last, millis, order, order)
            .is_err()
        {
            return; // Somebody else is at it.
        }
        let rates: Vec<_> = self
            .members
            .iter()
            .map(|member| member.conduct.take_rate())
            .collect();
        for place in far_below(&rates) {
            self.set_aside(
                &self.members[place],
                "it fails more often than the others",
                now,
            );
        }
    }

    /// Gives a member no requests for a while, if at least half of them are left.
    fn set_aside(&self, member: &Member, why: &'static str, now: Duration) {
        let left = self.members.iter().filter(|other| {
            other.address != member.address
                && other.health() != Health::Unhealthy
                && !other.conduct.is_aside(now)
        });
        if member.conduct.is_aside(now) || left.count() * 2 < self.members.len() {
            return;
        }
        member.conduct.set_aside(now);
        self.metrics.ejections.inc();
        let (app, service, colour) = (&self.app, &self.service, self.colour);
        warn!(app, service, %colour, member = %member.address, why, "a member is set aside");
    }

    /// What a member's probes say now; true when that is news.
    pub(super) fn probed(&self, member: &Member, health: Health) -> bool {
        let before = member.health();
        if before == Health::Unhealthy && health == Health::Healthy {
            member.conduct.came_back(self.began.elapsed());
        }
        member.set_health(health)
    }

    /// Whether a member gets no requests for what it did to others.
    pub fn is_aside(&self, member: &Member) -> bool {
        member.conduct.is_aside(self.began.elapsed())
    }

    /// Shows how many members there are and are well.
    pub fn show(&self) {
        let healthy = self
            .members
            .iter()
            .filter(|member| member.health() == Health::Healthy)
            .count();
        self.metrics.healthy.set(healthy as i64);
        self.metrics.members.set(self.members.len() as i64);
    }

    /// Whether every member's last probes succeeded.
    pub fn all_healthy(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.health() == Health::Healthy)
    }
}

impl Member {
    /// What is known of it.
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// Requests that it is answering, as many more as it cannot take its full share yet.
    fn busy(&self, now: Duration) -> f64 {
        (f64::from(self.in_flight()) + 1.0) / self.conduct.share(now)
    }

    /// Requests that it is answering.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one more request until the lease is dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.budget.began();
        Lease {
            member: Arc::clone(self),
            counted: true,
        }
    }

    /// Not counted: for a probe, which nobody waits for.
    pub(super) fn probe_lease(self: &Arc<Self>) -> Lease {
        Lease {
            member: Arc::clone(self),
            counted: false,
        }
    }

    /// What the last probe said when it failed.
    pub fn why(&self) -> Option<&'static str> {
        *self.why.lock()
    }

    /// What a probe said.
    pub(super) fn probed(&self, outcome: Result<(), &'static str>) {
        *self.why.lock() = outcome.err();
    }

    /// Says what is known of it now; true when that is news.
    fn set_health(&self, health: Health) -> bool {
        self.health.swap(health as u8, Ordering::Relaxed) != health as u8
    }
}

impl Lease {
    /// The same member, not counted once more.
    pub(super) fn again(&self) -> Self {
        self.member.probe_lease()
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.member.address
    }

    /// How it is spoken to over TLS; none: in the clear.
    pub(super) fn secure(&self) -> Option<&Arc<Secure>> {
        self.member.secure.as_ref()
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure().is_some()
    }

    /// How pingora speaks to it.
    pub fn peer(&self) -> HttpPeer {
        match self.secure() {
            Some(secure) => secure.peer(self.address()),
            None => HttpPeer::new(self.address(), false, String::new()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counted {
            self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.member.budget.ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    fn pool(members: u16) -> Pool {
        let config = Service {
            paths: vec!["/".to_owned()],
            probe: Probe {
                path: "/up".to_owned(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                unhealthy_after: 2,
                healthy_after: 1,
            },
            secure: None,
        };
        let members: Vec<SocketAddr> = (0..members)
            .map(|n| ([127, 0, 0, 1], 3000 + n).into())
            .collect();
        let metrics = Metrics::new().upstream("learn", "web", Colour::Blue);
        let kept = Kept::default();
        Pool::new(
            "learn",
            "web",
            Colour::Blue,
            &config,
            &members,
            metrics,
            kept,
        )
    }

    #[test]
    fn an_unhealthy_member_is_never_picked_and_the_last_one_is_not_a_fallback() {
        let pool = pool(3);
        pool.members[0].set_health(Health::Unhealthy);
        for _ in 0..100 {
            assert_ne!(
                pool.pick(None).expect("two are left").address().port(),
                3000
            );
        }
        for member in pool.members() {
            member.set_health(Health::Unhealthy);
        }
        assert!(pool.pick(None).is_none());
    }

    #[test]
    fn the_less_busy_of_two_is_picked() {
        let pool = pool(2);
        let busy = pool.members[1].lease();
        for _ in 0..100 {
            assert_eq!(pool.pick(None).expect("one is free").address().port(), 3000);
        }
        drop(busy);
        assert_eq!(pool.members[1].in_flight(), 0);
    }

    #[test]
    fn who_fails_in_a_row_is_set_aside_and_comes_back_slowly() {
        let pool = pool(3);
        let bad = Arc::clone(&pool.members[0]);
        let now = Duration::from_secs(1);
        for _ in 0..5 {
            pool.ended_at(&bad, Outcome::Failed, now);
        }
        assert!(bad.conduct.is_aside(now));
        for _ in 0..100 {
            let picked = pool.pick(None).expect("two are left");
            assert_ne!(picked.address(), bad.address);
        }
        assert!(bad.busy(now + Duration::from_secs(31)) > 5.0);
    }

    #[test]
    fn half_of_a_pool_is_never_set_aside() {
        for (members, may_go) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let pool = pool(members);
            let now = Duration::from_secs(1);
            for member in pool.members() {
                for _ in 0..5 {
                    pool.ended_at(member, Outcome::Failed, now);
                }
            }
            let aside = pool.members().iter().filter(|m| m.conduct.is_aside(now));
            assert_eq!(aside.count(), may_go, "of {members}");
        }
    }

    #[test]
    fn who_fails_more_often_than_the_others_is_set_aside() {
        let pool = pool(4);
        for second in 0..11 {
            for n in 0..40 {
                for (place, member) in pool.members().iter().enumerate() {
                    // Never in a row.
                    let failed = place == 2 && n % 4 == 0;
                    let outcome = if failed {
                        Outcome::Failed
                    } else {
                        Outcome::Answered
                    };
                    pool.ended_at(member, outcome, Duration::from_secs(second));
                }
            }
        }
        let now = Duration::from_secs(11);
        let aside: Vec<bool> = pool
            .members()
            .iter()
            .map(|m| m.conduct.is_aside(now))
            .collect();
        assert_eq!(aside, [false, false, true, false]);
    }

    #[test]
    fn when_nobody_else_is_left_who_was_set_aside_is_asked() {
        let pool = pool(2);
        let now = pool.began.elapsed();
        for _ in 0..5 {
            pool.ended_at(&pool.members[0], Outcome::Failed, now);
        }
        pool.members[1].set_health(Health::Unhealthy);
        assert_eq!(pool.pick(None).expect("the other").address().port(), 3000);
    }

    #[test]
    fn a_retry_goes_to_another_member() {
        let pool = pool(2);
        for _ in 0..100 {
            let second = pool.pick(Some(([127, 0, 0, 1], 3000).into()));
            assert_eq!(second.expect("another one").address().port(), 3001);
        }
    }
}
