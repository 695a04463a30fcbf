//! `entries`: what does a stored answer cost, a lookup among a million of them, and a purge of a hundred thousand?
//!
//! The cache of the edge in this process. What is compared is the CPU time of this thread, as the
//! kernel counts it, so that what else the machine does is left out.

use std::borrow::Cow;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_rules::host::HostName;
use cache_rules::identity::{Grant, Identity};
use cache_rules::key::CacheKey;
use cache_rules::plan::Plan;
use cache_rules::rules::Scope;
use cache_rules::tag::Tag;
use cache_rules::tenant::TenantId;
use cache_rules::verdict::{Ask, Verdict};
use edge_proxy::cache::entry::{Entry, Origin};
use edge_proxy::cache::epochs::Epochs;
use edge_proxy::cache::{Cache, Found};
use edge_proxy::clock::Clock;
use edge_proxy::config::Config;
use edge_proxy::control::event::Purge;
use edge_proxy::metrics::Metrics;
use edge_proxy::upstream::client::Client;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use crate::error::BenchError;
use crate::inside;
use crate::memory;

/// An item of a list, as JSON.
const BODY_BYTES: usize = 200;
/// Lookups that are timed.
const LOOKUPS: usize = 200_000;
/// Different keys among them, spread over all that are stored.
const KEYS: usize = 10_000;
/// Purges that are timed, each of one tag that every entry has.
const PURGES: u32 = 1_000;

const RULES: &str = r#"
[[rule]]
name = "item"
path = "/api/v1/items/{id}"
scope = "tenant"
ttl_s = 86400
tags = ["item:{id}", "items"]
"#;
/// Nothing goes: what is counted is what is there.
const LIMITS: &str = "cache_bytes_max = 17_179_869_184\ntenant_cache_bytes_max = 17_179_869_184\n";

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// By how many there were.
    pub rows: Vec<Row>,
    /// Whether this was built without optimisation.
    pub debug: bool,
}

/// With so many entries.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row {
    /// Entries of one school.
    pub entries: usize,
    /// Memory for each of them, key, header and body included.
    pub bytes_each: u64,
    /// A lookup that finds a fresh answer, in nanoseconds.
    pub lookup_ns: f64,
    /// A purge of a tag that all of them have, in nanoseconds.
    pub purge_ns: f64,
}

/// Stores so many answers, one count after the other, and measures with each.
///
/// # Errors
/// When the config of the run cannot be made, or an answer is not stored.
pub fn measure(counts: &[usize], say: &mut dyn FnMut(String)) -> Result<Report, BenchError> {
    let folder = inside::folder()?;
    let config = inside::config(folder.path(), 1, RULES, LIMITS, "127.0.0.1:9")?;
    let mut rows = Vec::new();
    for &entries in counts {
        say(format!("{entries} entries"));
        rows.push(Shelf::new(&config).measured(entries)?);
    }
    Ok(Report {
        rows,
        debug: cfg!(debug_assertions),
    })
}

impl Report {
    /// As a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "entries: answers of {BODY_BYTES} bytes of one school{}\n\n\
             | entries | memory for each | a lookup | a purge of all of them |\n|--:|--:|--:|--:|\n",
            if self.debug {
                " (built without optimisation)"
            } else {
                ""
            }
        );
        for row in &self.rows {
            text.push_str(&format!(
                "| {} | {} bytes | {:.0} ns | {:.0} ns |\n",
                row.entries, row.bytes_each, row.lookup_ns, row.purge_ns
            ));
        }
        text
    }
}

/// A cache with what is needed to fill it.
struct Shelf<'a> {
    config: &'a Config,
    cache: Cache,
    epochs: Arc<Epochs>,
    clock: Clock,
    tenant: TenantId,
    grant: Grant,
    host: HostName,
}

impl<'a> Shelf<'a> {
    fn new(config: &'a Config) -> Self {
        let (epochs, clock) = (Arc::new(Epochs::default()), Clock::default());
        let tenant: TenantId = "school-0".parse().expect("a tenant id");
        let somebody = Identity {
            subject: "7".to_owned(),
            tenant: tenant.clone(),
            roles: Default::default(),
            acting: false,
        };
        Self {
            config,
            cache: Cache::new(
                &config.limits,
                Arc::clone(&epochs),
                clock.clone(),
                Client::new(&config.limits),
                Arc::new(Metrics::new()),
            ),
            grant: Grant::tenant(&somebody, &tenant).expect("of this school"),
            host: HostName::parse("school-0.example").expect("a host"),
            epochs,
            clock,
            tenant,
        }
    }

    fn measured(&self, entries: usize) -> Result<Row, BenchError> {
        let before = memory::resident(std::process::id());
        for number in 0..entries {
            self.store(number)?;
        }
        let after = memory::resident(std::process::id());
        let bytes_each = after.saturating_sub(before) / entries.max(1) as u64;
        let sample: Vec<(Plan, CacheKey)> = (0..KEYS)
            .map(|number| self.place(number * entries / KEYS))
            .collect::<Result<_, _>>()?;
        let mut found = 0;
        let began = on_cpu_ns()?;
        for number in 0..LOOKUPS {
            // Neighbours in the sample are no neighbours here.
            let (plan, key) = &sample[number * 7919 % KEYS];
            let wishes = plan.wishes(None);
            if let Found::Fresh(entry) = self.cache.find(plan, &self.grant, key, &wishes) {
                black_box(&entry);
                found += 1;
            }
        }
        let lookups = on_cpu_ns()? - began;
        if found != LOOKUPS {
            return Err(odd(format!("{found} of {LOOKUPS} lookups found something")));
        }
        let tag = Tag::parse("items").map_err(|error| odd(error.to_string()))?;
        let purge = Purge::Tag(self.tenant.clone(), tag);
        let began = on_cpu_ns()?;
        for _ in 0..PURGES {
            self.epochs.purge(&purge);
        }
        let purges = on_cpu_ns()? - began;
        let (plan, key) = &sample[0];
        let wishes = plan.wishes(None);
        if !matches!(
            self.cache.find(plan, &self.grant, key, &wishes),
            Found::Nothing
        ) {
            return Err(odd("a purged answer was found".to_owned()));
        }
        Ok(Row {
            entries,
            bytes_each,
            lookup_ns: lookups as f64 / LOOKUPS as f64,
            purge_ns: purges as f64 / f64::from(PURGES),
        })
    }

    fn plan(&self, path: &str) -> Result<Plan, BenchError> {
        let verdict = self.config.rules.verdict(&Ask {
            method: &Method::GET,
            path,
            query: None,
            headers: &HeaderMap::new(),
            has_body: false,
        });
        match verdict {
            Verdict::Store(plan) => Ok(plan),
            _ => Err(odd("no rule covers an item".to_owned())),
        }
    }

    fn place(&self, number: usize) -> Result<(Plan, CacheKey), BenchError> {
        let plan = self.plan(&path(number))?;
        let key = plan.key(&self.grant, &self.host, "r1");
        Ok((plan, key))
    }

    fn store(&self, number: usize) -> Result<(), BenchError> {
        let (plan, key) = self.place(number)?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", Cow::Borrowed("application/json")),
            ("cache-control", Cow::Borrowed("max-age=86400")),
            ("x-edge-cache-scope", Cow::Borrowed("tenant")),
            ("etag", Cow::Owned(format!("\"{number}\""))),
        ] {
            let value = value.parse().map_err(|_| odd("a header".to_owned()))?;
            headers.insert(name, value);
        }
        let now = SystemTime::now();
        let answer = plan.answer(&self.grant, StatusCode::OK, &headers, now, now);
        let cache_rules::answer::Answer::Store(storable) = answer else {
            return Err(odd("an item is not stored".to_owned()));
        };
        let path = path(number);
        let origin = Origin {
            tenant: &self.tenant,
            path: &path,
            scope: Scope::Tenant,
            born: self.epochs.now(),
        };
        let body = Bytes::from(vec![b'a' + (number % 26) as u8; BODY_BYTES]);
        let entry = Entry::new(*storable, body, origin, &self.epochs, &self.clock);
        self.cache.keep(&plan, &self.grant, &key, &Arc::new(entry));
        Ok(())
    }
}

fn path(number: usize) -> String {
    format!("/api/v1/items/{number}")
}

fn odd(why: String) -> BenchError {
    BenchError::io("entries")(std::io::Error::other(why))
}

/// How long this thread was on a core.
fn on_cpu_ns() -> Result<u64, BenchError> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")
        .map_err(BenchError::io("/proc/thread-self/schedstat"))?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| odd("schedstat has no number".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_entries_are_found_and_purged() {
        let report = measure(&[500], &mut |_| ()).expect("it is measured");
        let table = report.table();
        assert!(table.contains("| 500 | "), "{table}");
        assert!(report.rows[0].lookup_ns > 0.0);
    }
}
