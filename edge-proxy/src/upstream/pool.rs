//! The members of one service of one colour. A request that was given this colour is answered by
//! one of them or not at all: another colour is another version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::colour::Colour;
use crate::config::checked::Probe;
use crate::metrics::UpstreamMetrics;

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
    metrics: UpstreamMetrics,
    members: Vec<Arc<Member>>,
}

/// One address that answers.
#[derive(Debug)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    health: AtomicU8,
    why: Mutex<Option<&'static str>>,
    in_flight: AtomicU32,
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
        probe: Probe,
        members: &[SocketAddr],
        metrics: UpstreamMetrics,
    ) -> Self {
        let member = |&address| {
            Arc::new(Member {
                address,
                health: AtomicU8::new(Health::Unknown as u8),
                why: Mutex::new(Some("it was not probed yet")),
                in_flight: AtomicU32::new(0),
            })
        };
        Self {
            app: app.to_owned(),
            service: service.to_owned(),
            colour,
            probe,
            metrics,
            members: members.iter().map(member).collect(),
        }
    }

    /// Every member.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Whether this pool is what `members` and `probe` ask for, so that its health may be kept.
    pub fn serves(&self, members: &[SocketAddr], probe: &Probe) -> bool {
        self.probe == *probe
            && self
                .members
                .iter()
                .map(|member| member.address)
                .eq(members.iter().copied())
    }

    /// The less busy of two random members that are not unhealthy, without the one that failed.
    pub fn pick(&self, failed: Option<SocketAddr>) -> Option<Lease> {
        let usable = |member: &&Arc<Member>| {
            member.health() != Health::Unhealthy && Some(member.address) != failed
        };
        let count = self.members.iter().filter(usable).count();
        let nth = |n| self.members.iter().filter(usable).nth(n);
        let chosen = match count {
            0 => return None,
            1 => nth(0)?,
            _ => {
                let first = rand::random_range(0..count);
                let second = (first + rand::random_range(1..count)) % count;
                // Health may change between the count and the choice: then the first that is left.
                let (first, second) = (
                    nth(first).or_else(|| nth(0))?,
                    nth(second).or_else(|| nth(0))?,
                );
                if second.in_flight() < first.in_flight() {
                    second
                } else {
                    first
                }
            }
        };
        self.metrics.requests.inc();
        Some(chosen.lease())
    }

    /// A member gave no usable answer.
    pub fn failed(&self) {
        self.metrics.failures.inc();
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

    /// Requests that it is answering.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one more request until the lease is dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease {
            member: Arc::clone(self),
            counted: true,
        }
    }

    /// For a probe, which nobody waits for.
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
    pub(super) fn set_health(&self, health: Health) -> bool {
        self.health.swap(health as u8, Ordering::Relaxed) != health as u8
    }
}

impl Lease {
    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.member.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counted {
            self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    fn pool(members: u16) -> Pool {
        let probe = Probe {
            path: "/up".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 2,
            healthy_after: 1,
        };
        let members: Vec<SocketAddr> = (0..members)
            .map(|n| ([127, 0, 0, 1], 3000 + n).into())
            .collect();
        let metrics = Metrics::new().upstream("learn", "web", Colour::Blue);
        Pool::new("learn", "web", Colour::Blue, probe, &members, metrics)
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
    fn a_retry_goes_to_another_member() {
        let pool = pool(2);
        for _ in 0..100 {
            let second = pool.pick(Some(([127, 0, 0, 1], 3000).into()));
            assert_eq!(second.expect("another one").address().port(), 3001);
        }
    }
}
