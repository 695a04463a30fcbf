//! The cache as a state machine: a million random steps against the real one, with a moved clock and an
//! origin that counts its versions.
//!
//! What must hold whatever happens: nobody gets an answer of another school, scope or set of roles, an
//! answer older than the last purge or write that it depends on, or one whose time is over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_rules::answer::Answer;
use cache_rules::bequest::Seal;
use cache_rules::host::HostName;
use cache_rules::identity::{Grant, Identity};
use cache_rules::key::CacheKey;
use cache_rules::plan::Plan;
use cache_rules::rules::{RuleSet, Scope};
use cache_rules::tag::Tag;
use cache_rules::tenant::TenantId;
use cache_rules::verdict::{Ask, Verdict};
use cache_rules::wishes::Wishes;
use cache_rules::writes::Ended;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::bequest::{Bequest, NotTaken};
use super::entry::{Entry, Origin};
use super::epochs::Epochs;
use super::fill::Fill;
use super::{Cache, Found};
use crate::clock::Clock;
use crate::config::checked::Limits;
use crate::control::event::{Purge, PurgePath};
use crate::metrics::Metrics;
use crate::upstream::client::Client;

const STEPS: u32 = 1_000_000;
const TTL_S: u64 = 20;
const BRIDGE_S: u64 = 10;
const TENANTS: [&str; 2] = ["elm", "oak"];
const IDS: u32 = 3;
const FLIGHTS_MAX: usize = 6;

const RULES: &str = r#"
[[rule]]
name = "public"
path = "/p/{id}"
scope = "public"
ttl_s = 20
stale_while_revalidate_s = 10
tags = ["p:{id}", "both:{id}"]

[[rule]]
name = "tenant"
path = "/t/{id}"
scope = "tenant"
ttl_s = 20
stale_while_revalidate_s = 10
tags = ["t:{id}", "both:{id}"]

[[rule]]
name = "role"
path = "/r/{id}"
scope = "role"
ttl_s = 20
tags = ["r:{id}", "both:{id}"]
"#;

/// What somebody may read: a school, a rule, an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Thing {
    tenant: usize,
    rule: usize,
    id: u32,
}

impl Thing {
    fn path(self) -> String {
        format!("/{}/{}", ["p", "t", "r"][self.rule], self.id)
    }

    fn tags(self) -> [String; 2] {
        [
            format!("{}:{}", ["p", "t", "r"][self.rule], self.id),
            format!("both:{}", self.id),
        ]
    }
}

/// The least version that may still be seen of a thing.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    /// By anybody at all.
    hard: u64,
    /// As a fresh answer.
    soft: u64,
}

/// A fetch under way: what it will bring was made when it began, the worst that can be.
struct Flight {
    thing: Thing,
    roles: usize,
    fill: Fill,
    version: u64,
    /// What those who joined it may see at least.
    joined: Vec<u64>,
}

/// Chance that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn thing(&mut self) -> Thing {
        Thing {
            tenant: self.below(2) as usize,
            rule: self.below(3) as usize,
            id: self.below(u64::from(IDS)) as u32,
        }
    }
}

/// Another process, which is to take over.
struct Next {
    cache: Arc<Cache>,
    asked: Instant,
    sealed: Vec<Bytes>,
}

struct Model {
    cache: Arc<Cache>,
    next: Option<Next>,
    rules: RuleSet,
    known: HashSet<TenantId>,
    clock: Clock,
    plans: HashMap<(usize, u32), Plan>,
    tenants: [TenantId; 2],
    versions: HashMap<Thing, u64>,
    floors: HashMap<Thing, Floor>,
    flights: Vec<Flight>,
    /// What the asking person may do in each school now.
    roles: [usize; 2],
    seen: Seen,
}

/// How often what was tested was seen: a test that never finds anything proves nothing.
#[derive(Debug, Default)]
struct Seen {
    fresh: u64,
    bridged: u64,
    old: u64,
    nothing: u64,
    joined: u64,
    not_joined: u64,
    outrun: u64,
    inherited: u64,
    purged_on_the_way: u64,
}

const ROLES: [&[&str]; 3] = [&["pupil"], &["teacher"], &["pupil", "teacher"]];

fn cache(clock: &Clock) -> Arc<Cache> {
    let limits = Limits::default();
    let epochs = Arc::new(Epochs::default());
    let client = Client::new(&limits);
    let metrics = Arc::new(Metrics::new());
    Arc::new(Cache::new(&limits, epochs, clock.clone(), client, metrics))
}

impl Model {
    fn new() -> Self {
        let rules = RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes");
        let mut plans = HashMap::new();
        for rule in 0..3 {
            for id in 0..IDS {
                let path = Thing {
                    tenant: 0,
                    rule,
                    id,
                }
                .path();
                let headers = HeaderMap::new();
                let ask = Ask {
                    method: &Method::GET,
                    path: &path,
                    query: None,
                    headers: &headers,
                    has_body: false,
                };
                let Verdict::Store(plan) = rules.verdict(&ask) else {
                    panic!("{path} is covered");
                };
                plans.insert((rule, id), plan);
            }
        }
        let clock = Clock::default();
        Self {
            cache: cache(&clock),
            next: None,
            rules,
            known: TENANTS.map(|id| id.parse().expect("a tenant id")).into(),
            clock,
            plans,
            tenants: TENANTS.map(|id| id.parse().expect("a tenant id")),
            versions: HashMap::new(),
            floors: HashMap::new(),
            flights: Vec::new(),
            roles: [0, 0],
            seen: Seen::default(),
        }
    }

    fn plan(&self, thing: Thing) -> Plan {
        self.plans[&(thing.rule, thing.id)].clone()
    }

    fn grant(&self, thing: Thing, roles: usize) -> Grant {
        let tenant = &self.tenants[thing.tenant];
        let identity = Identity {
            subject: "7".to_owned(),
            tenant: tenant.clone(),
            roles: ROLES[roles].iter().map(|role| (*role).to_owned()).collect(),
            acting: false,
        };
        let grant = match self.plan(thing).scope() {
            Scope::Public => Ok(Grant::public(tenant)),
            Scope::Tenant => Grant::tenant(&identity, tenant),
            Scope::Role => Grant::role(&identity, tenant),
        };
        grant.expect("the same tenant")
    }

    fn key(&self, thing: Thing, grant: &Grant) -> CacheKey {
        let host = HostName::parse("school.example").expect("a host");
        self.plan(thing).key(grant, &host, "r1")
    }

    /// For whom an answer was made, and which version it shows.
    fn body(&self, thing: Thing, roles: usize, version: u64) -> String {
        let roles = if thing.rule == 2 { roles } else { 9 };
        format!("{} {} {roles} {version}", thing.tenant, thing.path())
    }

    fn version_in(&self, thing: Thing, roles: usize, entry: &Entry) -> u64 {
        let text = std::str::from_utf8(entry.body()).expect("text");
        let (whose, version) = text.rsplit_once(' ').expect("a version");
        let own = self.body(thing, roles, 0);
        assert_eq!(
            Some(whose),
            own.strip_suffix(" 0"),
            "an answer of somebody else"
        );
        version.parse().expect("a number")
    }

    fn floor(&self, thing: Thing) -> Floor {
        self.floors.get(&thing).copied().unwrap_or_default()
    }

    fn entry(&self, flight: &Flight) -> Entry {
        let (thing, plan) = (flight.thing, self.plan(flight.thing));
        let grant = self.grant(thing, flight.roles);
        let storable = self.judged(&plan, &grant, flight.version);
        let body = Bytes::from(self.body(thing, flight.roles, flight.version));
        let (path, scope) = (thing.path(), plan.scope());
        let origin = Origin {
            tenant: grant.tenant_id(),
            path: &path,
            scope,
            born: flight.fill.born,
        };
        Entry::new(storable, body, origin, &self.cache.epochs, &self.clock)
    }

    fn judged(&self, plan: &Plan, grant: &Grant, version: u64) -> cache_rules::answer::Storable {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        };
        put("content-type", "application/json");
        put("cache-control", &format!("max-age={TTL_S}"));
        put("x-edge-cache-scope", plan.scope().as_str());
        put("etag", &format!("\"{version}\""));
        let now = self.clock.wall();
        match plan.answer(grant, StatusCode::OK, &headers, now, now) {
            Answer::Store(storable) => *storable,
            Answer::Pass(reason) => panic!("not kept: {reason}"),
        }
    }

    fn look(&mut self, thing: Thing) {
        let roles = self.roles[thing.tenant];
        let plan = self.plan(thing);
        let grant = self.grant(thing, roles);
        let key = self.key(thing, &grant);
        let found = self.cache.find(&plan, &grant, &key, &Wishes::default());
        let floor = self.floor(thing);
        match &found {
            Found::Fresh(entry) => {
                let version = self.version_in(thing, roles, entry);
                assert!(
                    version >= floor.hard && version >= floor.soft,
                    "{thing:?}: {version} < {floor:?}"
                );
                self.seen.fresh += 1;
            }
            Found::Bridge(entry) => {
                let version = self.version_in(thing, roles, entry);
                assert!(version >= floor.hard, "{thing:?}: {version} < {floor:?}");
                assert!(thing.rule != 2, "its rule gives no window");
                assert!(
                    thing.rule == 0 || version >= floor.soft,
                    "soft is hard for some"
                );
                self.seen.bridged += 1;
            }
            Found::Old(entry) => {
                let version = self.version_in(thing, roles, entry);
                assert!(version >= floor.hard, "{thing:?}: {version} < {floor:?}");
                self.seen.old += 1;
                // The origin says that it still holds, if it does.
                if version == self.versions.get(&thing).copied().unwrap_or_default() {
                    let fill = Fill::begin(&self.cache, &plan, &grant);
                    let storable = self.judged(&plan, &grant, version);
                    let (path, scope) = (thing.path(), plan.scope());
                    let origin = Origin {
                        tenant: grant.tenant_id(),
                        path: &path,
                        scope,
                        born: fill.born,
                    };
                    let renewed = entry.renewed(storable, origin, &self.cache.epochs, &self.clock);
                    self.cache.keep(&plan, &grant, &key, &Arc::new(renewed));
                }
            }
            Found::Nothing => self.seen.nothing += 1,
        }
        if let Found::Fresh(entry) | Found::Bridge(entry) = &found {
            let headers = HeaderMap::new();
            let answer = entry.answer(&Method::GET, &headers, self.clock.now());
            let age = answer
                .header
                .headers
                .get("age")
                .and_then(|age| age.to_str().ok()?.parse().ok());
            let max = if matches!(found, Found::Fresh(_)) {
                TTL_S
            } else {
                TTL_S + BRIDGE_S
            };
            assert!(
                age.is_some_and(|age: u64| age <= max),
                "{age:?} is over {max}"
            );
            return;
        }
        let floor = floor.hard.max(floor.soft);
        let same = |flight: &&mut Flight| {
            flight.thing == thing && (thing.rule != 2 || flight.roles == roles)
        };
        if let Some(flight) = self.flights.iter_mut().find(same) {
            if flight.fill.joinable(&self.cache) {
                flight.joined.push(floor);
                self.seen.joined += 1;
                return;
            }
            self.seen.not_joined += 1;
        }
        if self.flights.len() < FLIGHTS_MAX {
            self.flights.push(Flight {
                thing,
                roles,
                fill: Fill::begin(&self.cache, &plan, &grant),
                version: self.versions.get(&thing).copied().unwrap_or_default(),
                joined: Vec::new(),
            });
        }
    }

    fn land(&mut self, at: usize) {
        let flight = self.flights.swap_remove(at);
        let entry = Arc::new(self.entry(&flight));
        let grant = self.grant(flight.thing, flight.roles);
        let key = self.key(flight.thing, &grant);
        if !entry.valid(&self.cache.epochs) {
            self.seen.outrun += 1;
            return;
        }
        for floor in flight.joined {
            // A soft purge after they joined does not take it from them; one before does.
            assert!(
                flight.version >= floor,
                "joined {}: {} < {floor}",
                flight.thing.path(),
                flight.version
            );
        }
        self.cache
            .keep(&self.plan(flight.thing), &grant, &key, &entry);
    }

    /// Something changes at the origin, and the cache is told in one of many ways.
    fn change(&mut self, thing: Thing, how: u64) {
        let tenant = self.tenants[thing.tenant].clone();
        let [tag, both] = thing.tags().map(|tag| Tag::parse(&tag).expect("a tag"));
        let of_tenant = |thing: &Thing, other: &Thing| thing.tenant == other.tenant;
        let path = PurgePath::parse(&thing.path()).expect("a path");
        let soft = (4..8).contains(&how);
        let covers = |other: &Thing| match how % 4 {
            1 if how < 8 => of_tenant(other, &thing) && other.id == thing.id,
            2 if how < 8 => of_tenant(other, &thing),
            _ => *other == thing,
        };
        for tenant in 0..2 {
            for rule in 0..3 {
                for id in 0..IDS {
                    let other = Thing { tenant, rule, id };
                    if !covers(&other) {
                        continue;
                    }
                    let version = self.versions.entry(other).or_default();
                    *version += 1;
                    let floor = self.floors.entry(other).or_default();
                    floor.soft = *version;
                    // What some may see is ended by either.
                    if !soft || rule != 0 {
                        floor.hard = *version;
                    }
                }
            }
        }
        let purge = match how {
            0 | 4 => Purge::Tag(tenant, tag),
            1 | 5 => Purge::Tag(tenant, both),
            2 | 6 => Purge::Tenant(tenant),
            3 | 7 => Purge::Path(tenant, path),
            _ => {
                let ended = Ended {
                    paths: vec![thing.path().into()],
                    ..Ended::default()
                };
                for cache in self.caches() {
                    cache.end(&tenant, &ended);
                }
                return;
            }
        };
        for cache in self.caches() {
            if soft {
                cache.epochs.soften(&purge);
            } else {
                cache.epochs.purge(&purge);
            }
        }
    }

    /// All that are told of what is ended: one that is to take over listens from its start.
    fn caches(&self) -> impl Iterator<Item = &Arc<Cache>> {
        [&self.cache]
            .into_iter()
            .chain(self.next.as_ref().map(|next| &next.cache))
    }

    fn restart(&mut self) {
        self.cache = cache(&self.clock);
        self.next = None;
        self.flights.clear();
    }

    /// Another process starts, listens, and is left what is there; or what it was left arrives, and it takes over.
    fn upgrade(&mut self) {
        let seal = Seal::new([3; 16]);
        let Some(next) = self.next.take() else {
            let asked = self.clock.now();
            let sealed = Bequest::of(Arc::clone(&self.cache), seal).collect();
            self.next = Some(Next {
                cache: cache(&self.clock),
                asked,
                sealed,
            });
            return;
        };
        for frame in next.sealed {
            let known = (&self.rules, &self.known);
            match next.cache.inherit(&frame[4..], &seal, known, next.asked) {
                Ok(()) => self.seen.inherited += 1,
                Err(NotTaken::Purged) => self.seen.purged_on_the_way += 1,
                Err(error) => panic!("{error}"),
            }
        }
        self.cache = next.cache;
        self.flights.clear();
    }

    fn step(&mut self, dice: &mut Dice) {
        let thing = dice.thing();
        match dice.below(1000) {
            0..600 => self.look(thing),
            600..850 if !self.flights.is_empty() => {
                let at = dice.below(self.flights.len() as u64) as usize;
                self.land(at);
            }
            600..850 => self.look(thing),
            850..900 => self.change(thing, dice.below(9)),
            900..960 => self.clock.advance(Duration::from_millis(dice.below(9_000))),
            // What was left does not stay long on its way.
            960..980 if self.next.is_some() => self.upgrade(),
            960..998 => self.roles[thing.tenant] = dice.below(3) as usize,
            998 => self.change(thing, 2 + 4 * dice.below(2)),
            _ if dice.below(20) == 0 => self.restart(),
            _ => self.upgrade(),
        }
    }
}

#[test]
fn nothing_older_than_the_last_purge_and_nobody_elses_answer_is_ever_found() {
    let mut model = Model::new();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..STEPS {
        model.step(&mut dice);
    }
    let seen = &model.seen;
    println!("{seen:?}");
    let each = [
        seen.fresh,
        seen.bridged,
        seen.old,
        seen.nothing,
        seen.joined,
        seen.not_joined,
        seen.outrun,
        seen.inherited,
        seen.purged_on_the_way,
    ];
    assert!(each.iter().all(|&times| times > 1_000), "{seen:?}");
}
