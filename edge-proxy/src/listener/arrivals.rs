//! Who may come in: the bound on handshakes under way, and the patience with each client's network.
//!
//! A whole school shares one address, so open connections are never capped low. What is bounded is
//! connections *without a request*: each takes a token of its network when it comes and gives it
//! back with its first request, so a school that opens two thousand at the bell spends nothing, and
//! a flood of half handshakes, dripped headers or connections that only lie there runs dry.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Networks that are remembered: those with connections under way or a bucket that is not full.
const NETWORKS_MAX: usize = 65_536;

/// A client's network: the address of a school, or what a provider gives one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Network {
    /// An IPv4 address whole, since a school has one; the first 56 bits of an IPv6 address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4))),
            IpAddr::V6(v6) => {
                let [first, second, third, fourth, ..] = v6.segments();
                let high = [first, second, third, fourth]
                    .into_iter()
                    .fold(0, |all, part| all << 16 | u64::from(part));
                // No IPv4 address can have a high bit, and every global IPv6 address has one.
                Self(high >> 8 | 1 << 63)
            }
        }
    }

    /// The same on every edge.
    pub(crate) fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// How many connections without a request one network may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Patience {
    /// At once.
    pub(crate) burst: u32,
    /// Forgiven each second.
    pub(crate) per_s: f64,
}

/// Connections that have not asked anything yet.
#[derive(Debug)]
pub(crate) struct Arrivals {
    patience: Patience,
    handshakes_max: usize,
    handshakes: AtomicUsize,
    networks: Mutex<HashMap<Network, Bucket, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    since: Instant,
}

impl Bucket {
    fn earn(&mut self, patience: Patience, now: Instant) {
        let earned = now.duration_since(self.since).as_secs_f64() * patience.per_s;
        self.left = (self.left + earned).min(f64::from(patience.burst));
        self.since = now;
    }
}

/// A connection without a request. Dropped, it was one that never asked; its token is gone.
#[derive(Debug)]
pub(crate) struct Arrival {
    arrivals: Arc<Arrivals>,
    network: Network,
}

/// A handshake that is under way.
#[derive(Debug)]
pub(crate) struct Shaking(Arc<Arrivals>);

impl Arrivals {
    pub(crate) fn new(patience: Patience, handshakes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            patience,
            handshakes_max,
            handshakes: AtomicUsize::new(0),
            networks: Mutex::default(),
        })
    }

    /// Lets a connection in; none: its network has too many that ask nothing.
    pub(crate) fn arrive(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Arrival> {
        let network = Network::of(address);
        let mut networks = self.networks.lock();
        if networks.len() >= NETWORKS_MAX && !networks.contains_key(&network) {
            let patience = self.patience;
            networks.retain(|_, bucket| {
                bucket.earn(patience, now);
                bucket.left < f64::from(patience.burst)
            });
            if networks.len() >= NETWORKS_MAX {
                // So many networks misbehave that remembering each is no defence: the bounds of the
                // whole edge hold.
                networks.clear();
            }
        }
        let bucket = networks.entry(network).or_insert(Bucket {
            left: f64::from(self.patience.burst),
            since: now,
        });
        bucket.earn(self.patience, now);
        if bucket.left < 1.0 {
            return None;
        }
        bucket.left -= 1.0;
        drop(networks);
        Some(Arrival {
            arrivals: Arc::clone(self),
            network,
        })
    }

    /// A handshake begins; none: too many are under way.
    pub(crate) fn shake(self: &Arc<Self>) -> Option<Shaking> {
        if self.handshakes.fetch_add(1, Ordering::Relaxed) >= self.handshakes_max {
            self.handshakes.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Shaking(Arc::clone(self)))
    }

    /// Handshakes under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Arrival {
    /// Its first request is here: the token goes back.
    pub(crate) fn asked(self) {
        let mut networks = self.arrivals.networks.lock();
        if let Some(bucket) = networks.get_mut(&self.network) {
            bucket.left += 1.0;
            if bucket.left >= f64::from(self.arrivals.patience.burst) {
                // As good as new: not worth remembering.
                networks.remove(&self.network);
            }
        }
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_that_asks_spends_nothing_and_one_that_does_not_runs_dry() {
        let patience = Patience {
            burst: 3,
            per_s: 2.0,
        };
        let arrivals = Arrivals::new(patience, 10);
        let now = Instant::now();
        let (school, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..100 {
            arrivals.arrive(school, now).expect("it asks").asked();
        }
        assert!(arrivals.networks.lock().is_empty());
        for _ in 0..3 {
            drop(arrivals.arrive(school, now).expect("within its burst"));
        }
        assert!(arrivals.arrive(school, now).is_none());
        assert!(arrivals.arrive(other, now).is_some());
        let later = now + Duration::from_secs(1);
        assert!(arrivals.arrive(school, later).is_some());
        assert!(arrivals.arrive(school, later).is_some());
        assert!(arrivals.arrive(school, later).is_none());
    }

    #[test]
    fn one_customer_of_a_provider_is_one_network() {
        let same = |a: &str, b: &str| Network::of(address(a)) == Network::of(address(b));
        assert!(same("2001:db8:1:100::1", "2001:db8:1:1ff::2"));
        assert!(!same("2001:db8:1:100::1", "2001:db8:1:200::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn handshakes_are_counted_while_they_last() {
        let patience = Patience {
            burst: 1,
            per_s: 1.0,
        };
        let arrivals = Arrivals::new(patience, 2);
        let held = [arrivals.shake(), arrivals.shake()];
        assert!(held.iter().all(Option::is_some) && arrivals.shake().is_none());
        drop(held);
        assert!(arrivals.handshakes() == 0 && arrivals.shake().is_some());
    }

    #[test]
    fn the_memory_for_networks_is_bounded() {
        let patience = Patience {
            burst: 2,
            per_s: 1.0,
        };
        let arrivals = Arrivals::new(patience, 2);
        let now = Instant::now();
        for number in 0..u32::try_from(NETWORKS_MAX).expect("a small number") + 10 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(arrivals.arrive(address, now).is_some());
        }
        assert!(arrivals.networks.lock().len() <= NETWORKS_MAX);
    }
}
