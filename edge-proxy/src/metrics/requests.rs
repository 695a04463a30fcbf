//! Counters of requests: the only metrics that every request touches.
//!
//! A route owns one number for each combination of its labels, found by arithmetic: no lock, no
//! hash, no text. Threads count in shards of their own, so cores do not fight for a cache line;
//! a scrape adds the shards up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::labels::{COLOURS, Cache, Method, Status, colour_number};
use crate::colour::Colour;

/// Upper bounds of the duration buckets in microseconds: hits are below 1 ms, slow networks reach seconds.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

const METHODS: usize = Method::ALL.len();
const STATUSES: usize = Status::ALL.len();
const CACHES: usize = Cache::ALL.len();
const CELLS: usize = METHODS * STATUSES * COLOURS.len() * CACHES;

/// More shards than this cost memory and bring nothing: a shard is 7 KiB for each route.
const SHARDS_MAX: usize = 8;

/// More routes than any config has; a further one is counted under `other`.
const ROUTES_MAX: usize = 256;

#[repr(align(128))] // two cache lines: the prefetcher pulls pairs
struct Shard {
    cells: [AtomicU64; CELLS],
    /// The last one is everything above the bounds.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Shard {
    fn new() -> Self {
        Self {
            cells: [const { AtomicU64::new(0) }; CELLS],
            buckets: [const { AtomicU64::new(0) }; BOUNDS_US.len() + 1],
            sum_us: AtomicU64::new(0),
        }
    }
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// What is counted of one request.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub struct Counted {
    pub method: Method,
    pub status: u16,
    pub colour: Option<Colour>,
    pub cache: Cache,
    pub duration: Duration,
}

/// The numbers of one route. Held by the route table, so a request needs no lookup.
pub struct RouteMetrics {
    shards: Box<[Shard]>,
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteMetrics").finish_non_exhaustive()
    }
}

impl RouteMetrics {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = cores.min(SHARDS_MAX);
        Self {
            shards: std::iter::repeat_with(Shard::new).take(shards).collect(),
        }
    }

    /// Counts one request.
    pub fn count(&self, request: &Counted) {
        let shard = &self.shards[THREAD.with(|thread| *thread) % self.shards.len()];
        let status = Status::from(request.status);
        let cell = ((request.method as usize * STATUSES + status as usize) * COLOURS.len()
            + colour_number(request.colour))
            * CACHES
            + request.cache as usize;
        shard.cells[cell].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(request.duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US
            .iter()
            .position(|&bound| us <= bound)
            .unwrap_or(BOUNDS_US.len());
        shard.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        shard.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn sum(&self, of: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| of(shard).load(Ordering::Relaxed)).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    app: String,
    route: String,
}

/// All routes that ever were in this process: a counter that vanished would look like a restart.
#[derive(Debug, Default)]
pub(super) struct Requests {
    routes: RwLock<BTreeMap<Name, Arc<RouteMetrics>>>,
}

impl Requests {
    pub(super) fn route(&self, app: &str, route: &str) -> Arc<RouteMetrics> {
        let name = |app: &str, route: &str| Name {
            app: app.to_owned(),
            route: route.to_owned(),
        };
        let mut routes = self.routes.write();
        let mut name_wanted = name(app, route);
        if !routes.contains_key(&name_wanted) && routes.len() >= ROUTES_MAX {
            name_wanted = name("other", "other");
        }
        let found = routes
            .entry(name_wanted)
            .or_insert_with(|| Arc::new(RouteMetrics::new()));
        found.clone()
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let routes = self.routes.read();
        let mut requests = encoder.encode_descriptor(
            "edge_http_requests",
            "Requests answered, by what they were and where the answer came from",
            None,
            MetricType::Counter,
        )?;
        for (name, metrics) in routes.iter() {
            for cell in 0..CELLS {
                let count = metrics.sum(|shard| &shard.cells[cell]);
                if count == 0 {
                    continue;
                }
                let (rest, cache) = (cell / CACHES, cell % CACHES);
                let (rest, colour) = (rest / COLOURS.len(), rest % COLOURS.len());
                let (method, status) = (rest / STATUSES, rest % STATUSES);
                let labels = [
                    ("app", name.app.as_str()),
                    ("route", name.route.as_str()),
                    ("method", Method::ALL[method].as_str()),
                    ("status", Status::ALL[status].as_str()),
                    ("colour", COLOURS[colour]),
                    ("cache", Cache::ALL[cache].as_str()),
                ];
                ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
            }
        }
        let mut durations = encoder.encode_descriptor(
            "edge_http_request_duration_seconds",
            "From the request's head until the answer's last byte was handed to the connection",
            None,
            MetricType::Histogram,
        )?;
        for (name, metrics) in routes.iter() {
            let labels = [("app", name.app.as_str()), ("route", name.route.as_str())];
            let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
            let buckets: Vec<(f64, u64)> = bounds
                .chain([f64::INFINITY])
                .enumerate()
                .map(|(bucket, bound)| (bound, metrics.sum(|shard| &shard.buckets[bucket])))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = metrics.sum(|shard| &shard.sum_us) as f64 / 1e6;
            durations
                .encode_family(&labels)?
                .encode_histogram::<prometheus_client::encoding::NoLabelSet>(
                    sum, count, &buckets, None,
                )?;
        }
        Ok(())
    }
}
