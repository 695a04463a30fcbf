//! How often somebody may ask: token buckets per client network, per tenant or per route.
//!
//! Off until the config has a `[[rate]]`. A bucket holds `burst` requests and earns `per_s` again
//! each second; a request that finds none is answered 429 and says when it may come back. Hashed
//! files are not counted: they are what a page needs to be shown at all.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use cache_rules::tenant::TenantId;
use parking_lot::Mutex;

use crate::config::checked::{Rate, RatePer, covers};
use crate::listener::Network;

/// Buckets that are not full, in all. Beyond it those that earned most are forgotten.
const BUCKETS_MAX: usize = 100_000;
/// Locks, so that two cores seldom wait for each other.
const SHARDS: usize = 16;

/// The buckets of a running edge; a reload of the config keeps them, by the rates' names.
#[derive(Debug, Default)]
pub struct Rates {
    hasher: foldhash::fast::RandomState,
    shards: [Mutex<HashMap<Key, Bucket, foldhash::fast::RandomState>>; SHARDS],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    rate: Arc<str>,
    unit: Unit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Unit {
    Client(Network),
    Tenant(TenantId),
    Route,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    since: Instant,
}

/// A request that came too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMany {
    /// Seconds after which a try makes sense.
    pub retry_after_s: u32,
    /// The values of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub policy: String,
    /// As above.
    pub limit: String,
}

impl Rates {
    /// Takes a token of each rate that covers the request, or says which has none.
    ///
    /// # Errors
    /// When a bucket is empty.
    pub fn take(
        &self,
        rates: &[Rate],
        path: &str,
        client: IpAddr,
        tenant: &TenantId,
        now: Instant,
    ) -> Result<(), TooMany> {
        for rate in rates.iter().filter(|rate| covers(&rate.path, path)) {
            let key = Key {
                rate: Arc::clone(&rate.name),
                unit: match rate.per {
                    RatePer::Client => Unit::Client(Network::of(client)),
                    RatePer::Tenant => Unit::Tenant(tenant.clone()),
                    RatePer::Route => Unit::Route,
                },
            };
            self.take_one(rate, key, now)?;
        }
        Ok(())
    }

    fn take_one(&self, rate: &Rate, key: Key, now: Instant) -> Result<(), TooMany> {
        let shard = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or(0);
        let mut buckets = self.shards[shard].lock();
        if buckets.len() >= BUCKETS_MAX / SHARDS && !buckets.contains_key(&key) {
            make_room(&mut buckets, now);
        }
        let full = f64::from(rate.burst);
        let bucket = buckets.entry(key).or_insert(Bucket {
            left: full,
            since: now,
        });
        let earned = now.duration_since(bucket.since).as_secs_f64() * rate.per_s;
        bucket.left = (bucket.left + earned).min(full);
        bucket.since = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let seconds = |tokens: f64| (tokens / rate.per_s).ceil().clamp(1.0, 86_400.0) as u32;
        let retry_after_s = seconds(1.0 - bucket.left);
        Err(TooMany {
            retry_after_s,
            policy: format!("\"{}\";q={};w={}", rate.name, rate.burst, seconds(full)),
            limit: format!("\"{}\";r=0;t={retry_after_s}", rate.name),
        })
    }
}

/// Forgets the half that was not used for the longest time: those have earned the most.
fn make_room<S: BuildHasher>(buckets: &mut HashMap<Key, Bucket, S>, now: Instant) {
    let mut ages: Vec<_> = buckets
        .values()
        .map(|bucket| now.duration_since(bucket.since))
        .collect();
    let middle = ages.len() / 2;
    let (_, age, _) = ages.select_nth_unstable(middle);
    let age = *age;
    buckets.retain(|_, bucket| now.duration_since(bucket.since) < age);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(name: &str, per: RatePer, path: &str) -> Rate {
        Rate {
            name: name.into(),
            per,
            path: path.to_owned(),
            burst: 2,
            per_s: 0.5,
        }
    }

    #[test]
    fn each_bucket_is_one_clients_one_tenants_or_one_routes() {
        let now = Instant::now();
        let (one, two): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (oak, elm): (TenantId, TenantId) =
            ("oak".parse().expect("an id"), "elm".parse().expect("an id"));
        for (per, other_client, other_tenant) in [
            (RatePer::Client, true, false),
            (RatePer::Tenant, false, true),
            (RatePer::Route, false, false),
        ] {
            let rates = Rates::default();
            let all = [rate("login", per, "/session")];
            let take = |path, client, tenant: &TenantId, after| {
                rates.take(&all, path, client, tenant, now + Duration::from_secs(after))
            };
            assert!(take("/session", one, &oak, 0).is_ok());
            assert!(take("/session/new", one, &oak, 0).is_ok());
            let refused = take("/session", one, &oak, 0).expect_err("two were allowed");
            assert_eq!(refused.retry_after_s, 2);
            assert_eq!(refused.policy, "\"login\";q=2;w=4");
            assert_eq!(refused.limit, "\"login\";r=0;t=2");
            assert!(take("/sessions", one, &oak, 0).is_ok(), "another path");
            assert_eq!(take("/session", two, &oak, 0).is_ok(), other_client);
            assert_eq!(take("/session", one, &elm, 0).is_ok(), other_tenant);
            assert!(
                take("/session", one, &oak, 3).is_ok(),
                "it earned one again"
            );
            assert!(take("/session", one, &oak, 3).is_err());
        }
    }

    #[test]
    fn the_memory_for_buckets_is_bounded() {
        let rates = Rates::default();
        let all = [rate("all", RatePer::Client, "/")];
        let tenant = "oak".parse().expect("an id");
        let began = Instant::now();
        for number in 0..u32::try_from(2 * BUCKETS_MAX).expect("a small number") {
            let client = IpAddr::from(number.to_be_bytes());
            let now = began + Duration::from_micros(number.into());
            assert!(rates.take(&all, "/", client, &tenant, now).is_ok());
        }
        let held: usize = rates.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(held <= BUCKETS_MAX, "{held}");
    }
}
