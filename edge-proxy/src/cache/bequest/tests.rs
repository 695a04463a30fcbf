use std::time::Duration;

use cache_rules::answer::Answer;
use cache_rules::host::HostName;
use cache_rules::identity::Grant;
use cache_rules::plan::Plan;
use cache_rules::tag::Tag;
use cache_rules::verdict::{Ask, Verdict};
use cache_rules::wishes::Wishes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::*;
use crate::cache::Found;
use crate::cache::entry::Origin;
use crate::cache::epochs::Epochs;
use crate::clock::Clock;
use crate::config::checked::Limits;
use crate::control::event::{Purge, PurgePath};
use crate::metrics::Metrics;
use crate::upstream::client::Client;

const RULES: &str = r#"
    [[rule]]
    name = "public"
    path = "/p/{id}"
    scope = "public"
    ttl_s = 7200
    tags = ["p:{id}"]
"#;

fn seal() -> Seal {
    Seal::new([5; 16])
}

fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant id")
}

fn tenants(ids: &[&str]) -> HashSet<TenantId> {
    ids.iter().map(|id| tenant(id)).collect()
}

/// One process.
struct Worker {
    rules: RuleSet,
    cache: Arc<Cache>,
}

impl Worker {
    fn new(clock: &Clock, rules: &str) -> Self {
        let limits = Limits::default();
        let client = Client::new(&limits);
        let metrics = Arc::new(Metrics::new());
        let epochs = Arc::new(Epochs::default());
        let cache = Cache::new(&limits, epochs, clock.clone(), client, metrics);
        Self {
            rules: RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes"),
            cache: Arc::new(cache),
        }
    }

    fn plan(&self, id: u32) -> Plan {
        let (path, headers) = (format!("/p/{id}"), HeaderMap::new());
        let ask = Ask {
            method: &Method::GET,
            path: &path,
            query: None,
            headers: &headers,
            has_body: false,
        };
        let Verdict::Store(plan) = self.rules.verdict(&ask) else {
            panic!("{path} is covered");
        };
        plan
    }

    fn place(&self, school: &str, id: u32) -> (Plan, Grant, cache_rules::key::CacheKey) {
        let (plan, grant) = (self.plan(id), Grant::public(&tenant(school)));
        let host = HostName::parse(&format!("{school}.example")).expect("a host");
        let key = plan.key(&grant, &host, "r1");
        (plan, grant, key)
    }

    /// Stores an answer of so many bytes, and reads it so many times.
    fn put(&self, school: &str, id: u32, bytes: usize, reads: u32) {
        let (plan, grant, key) = self.place(school, id);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "max-age=3600"),
            ("x-edge-cache-scope", "public"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let now = self.cache.clock.wall();
        let Answer::Store(storable) = plan.answer(&grant, StatusCode::OK, &headers, now, now)
        else {
            panic!("both agree");
        };
        let path = format!("/p/{id}");
        let origin = Origin {
            tenant: grant.tenant_id(),
            path: &path,
            scope: grant.scope(),
            born: self.cache.epochs.now(),
        };
        let body = Bytes::from(format!("{school} {id} ").repeat(bytes / 8 + 1));
        let (epochs, clock) = (&self.cache.epochs, &self.cache.clock);
        let entry = Arc::new(Entry::new(*storable, body, origin, epochs, clock));
        // A large one is let in the second time.
        self.cache.keep(&plan, &grant, &key, &entry);
        self.cache.keep(&plan, &grant, &key, &entry);
        for _ in 0..reads {
            assert!(self.read(school, id).is_some());
        }
    }

    fn read(&self, school: &str, id: u32) -> Option<Arc<Entry>> {
        let (plan, grant, key) = self.place(school, id);
        match self.cache.find(&plan, &grant, &key, &Wishes::default()) {
            Found::Fresh(entry) => Some(entry),
            Found::Bridge(_) | Found::Old(_) | Found::Nothing => None,
        }
    }

    fn left(&self) -> Vec<Bytes> {
        Bequest::of(Arc::clone(&self.cache), seal()).collect()
    }

    fn take(
        &self,
        frames: &[Bytes],
        schools: &[&str],
        asked: Instant,
    ) -> Vec<Result<(), NotTaken>> {
        let known = tenants(schools);
        let take = |frame: &Bytes| {
            let length = u32::from_be_bytes(*frame.first_chunk().expect("a length"));
            assert_eq!(length as usize, frame.len() - 4);
            self.cache
                .inherit(&frame[4..], &seal(), (&self.rules, &known), asked)
        };
        frames.iter().map(take).collect()
    }
}

/// The old worker, the next one, and when the next one asks.
fn both() -> (Worker, Worker, Instant) {
    let clock = Clock::default();
    let asked = clock.now();
    (
        Worker::new(&clock, RULES),
        Worker::new(&clock, RULES),
        asked,
    )
}

#[tokio::test]
async fn what_people_read_is_there_in_the_next_process_and_no_younger() {
    let (old, next, _) = both();
    old.put("oak", 1, 3_000, 3);
    old.put("oak", 2, 100, 0);
    let before = old.read("oak", 1).expect("it is fresh");
    before.encode();
    old.cache.clock.advance(Duration::from_secs(10));
    let asked = old.cache.clock.now();
    assert_eq!(next.take(&old.left(), &["oak"], asked), [Ok(())]);
    let after = next.read("oak", 1).expect("it came along");
    assert!(next.read("oak", 2).is_none(), "nobody read it");
    assert!(next.read("elm", 1).is_none(), "it is another school's");
    assert_eq!(before.body(), after.body());
    assert_eq!(before.codings(), after.codings());
    assert_eq!(after.codings().len(), 2, "each under its own name");
    let (_, bytes) = next.cache.entries.size();
    assert!(bytes > after.body().len() as u64, "it weighs what it is");
    let tag = |entry: &Entry| {
        let answer = entry.answer(&Method::GET, &HeaderMap::new(), asked);
        let header = &answer.header.headers;
        (
            header.get("etag").cloned(),
            header.get("cache-control").cloned(),
            header.get("age").cloned(),
        )
    };
    assert_eq!(tag(&before), tag(&after));
    next.cache.clock.advance(Duration::from_secs(3_500));
    assert!(next.read("oak", 1).is_some());
    next.cache.clock.advance(Duration::from_secs(90));
    assert!(next.read("oak", 1).is_none(), "an hour, in both together");
}

#[test]
fn a_purge_at_any_moment_of_the_way_ends_what_it_covers() {
    let path = || Purge::Path(tenant("oak"), PurgePath::parse("/p/1").expect("a path"));
    let tag = || Purge::Tag(tenant("oak"), Tag::parse("p:1").expect("a tag"));
    let purges: [&dyn Fn() -> Purge; 4] = [&path, &tag, &|| Purge::Tenant(tenant("oak")), &|| {
        Purge::Everything
    }];
    for purge in purges {
        // Both hear of it; the one that leaves, before or after it has sealed the entry.
        for heard_before_it_left in [true, false] {
            for heard_before_it_came in [true, false] {
                let (old, next, asked) = both();
                old.put("oak", 1, 100, 1);
                old.put("oak", 2, 100, 1);
                if heard_before_it_left {
                    old.cache.epochs.purge(&purge());
                }
                let left = old.left();
                if heard_before_it_came {
                    next.cache.epochs.purge(&purge());
                }
                let taken = next.take(&left, &["oak"], asked);
                if !heard_before_it_came {
                    next.cache.epochs.purge(&purge());
                } else if !heard_before_it_left {
                    assert!(taken.contains(&Err(NotTaken::Purged)), "{taken:?}");
                }
                assert!(next.read("oak", 1).is_none(), "{:?}", purge());
                let all = matches!(purge(), Purge::Everything | Purge::Tenant(_));
                assert_eq!(next.read("oak", 2).is_none(), all, "{:?}", purge());
            }
        }
    }
}

#[test]
fn a_soft_purge_on_the_way_leaves_nothing_fresh() {
    let (old, next, asked) = both();
    old.put("oak", 1, 100, 1);
    let left = old.left();
    next.cache.epochs.soften(&Purge::Tag(
        tenant("oak"),
        Tag::parse("p:1").expect("a tag"),
    ));
    let _taken = next.take(&left, &["oak"], asked);
    assert!(next.read("oak", 1).is_none());
    old.cache.epochs.soften(&Purge::Tenant(tenant("oak")));
    assert!(old.left().is_empty());
}

#[test]
fn what_the_next_process_has_no_rule_or_no_school_for_is_not_taken() {
    let (old, next, asked) = both();
    old.put("oak", 1, 100, 1);
    let left = old.left();
    let changed = Worker::new(
        &old.cache.clock,
        &RULES.replace("ttl_s = 7200", "ttl_s = 7199"),
    );
    let rule = NotTaken::Rules(NotOpened::Rule);
    assert_eq!(changed.take(&left, &["oak"], asked), [Err(rule)]);
    assert_eq!(next.take(&left, &["elm"], asked), [Err(NotTaken::Tenant)]);
    let mut broken = left[0].to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let seal = NotTaken::Rules(NotOpened::Seal);
    assert_eq!(next.take(&[broken.into()], &["oak"], asked), [Err(seal)]);
    assert!(next.read("oak", 1).is_none() && changed.read("oak", 1).is_none());
}

#[tokio::test]
async fn a_loud_school_leaves_room_for_the_hot_entries_of_the_others() {
    let (old, next, asked) = both();
    // More than may go, and all of it read more often than the little that the other school has.
    for id in 0..12 {
        for loud in ["loud", "louder"] {
            old.put(loud, id, 3 << 20, 40 - id);
        }
    }
    old.put("small", 1, 2_000, 1);
    let left = old.left();
    let bytes: usize = left.iter().map(Bytes::len).sum();
    assert!(bytes as u64 <= BYTES_MAX, "{bytes}");
    let taken = next.take(&left, &["loud", "louder", "small"], asked);
    assert!(taken.iter().all(Result::is_ok), "{taken:?}");
    assert!(next.read("small", 1).is_some());
    for loud in ["loud", "louder"] {
        assert!(next.read(loud, 0).is_some(), "the hottest");
        assert!(next.read(loud, 11).is_none(), "the coldest");
    }
}
