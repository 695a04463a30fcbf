//! `[limits]`: every bound of the request path, with the reason for its default.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::checked;

/// A browser on a bad mobile link needs three round trips of a second; nobody else may hold a socket.
const HANDSHAKE_S: f64 = 10.0;
/// Two schools that open their laptops in the same second, twice over; a half handshake costs 10 KB.
const HANDSHAKES_MAX: u64 = 5_000;
/// The laptops of a large school, which share one address, all at the bell and none through yet.
const INCOMPLETE_BURST: u32 = 2_000;
/// What browsers open ahead and never use, in a school with a thousand of them.
const INCOMPLETE_PER_S: f64 = 20.0;
/// The same link, with a header that fits into ten packets. Slow senders of headers are an old attack.
const HEADER_S: f64 = 10.0;
/// Below what common origins take (Node: 16 KiB), so that a request never fails behind the edge for its size.
const HEADER_BYTES_MAX: u64 = 12 << 10;
/// What common origins take; a browser sends about thirty.
const HEADER_COUNT_MAX: u64 = 100;
/// The longest URL that all parts of the web agree on; Puma refuses queries above 10 KiB.
const TARGET_BYTES_MAX: u64 = 8 << 10;
/// A pupil reads a page for a minute, then follows a link without a new handshake.
const KEEP_ALIVE_S: f64 = 75.0;
/// An idle HTTP/2 connection is closed without a goodbye, so not before browsers drop it themselves.
const H2_IDLE_S: f64 = 300.0;
/// A scanned exercise book. Larger uploads belong on a route that says so.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// A phone that changes its network is back within half a minute, or not at all.
const BODY_IDLE_S: f64 = 30.0;
/// A quarter of what a 2G link sends. A body gets its longest pause for free, and then what it earns.
const BODY_BYTES_PER_S_MIN: u32 = 250;
/// Browsers open up to about a hundred requests per page on one connection.
const H2_STREAMS_MAX: u32 = 128;
/// Who leaves a page cancels its requests, a hundred at most, and clicks on once a second at best.
const H2_RESETS_MAX: u32 = 500;
/// Browsers send a handful; a client that measures its link sends a PING per piece of a download.
const H2_CONTROL_MAX: u32 = 500;
/// A reader that takes nothing for a minute is gone.
const WRITE_S: f64 = 60.0;
/// Two descriptors each fit below the 65,536 that a service manager grants.
const CONNECTIONS_MAX: u64 = 20_000;
/// Members are in the same network: two lost SYNs, and another member is better.
const CONNECT_S: f64 = 2.0;
/// A minute is what the slowest report of the origin takes; its own timeout should be shorter.
const UPSTREAM_READ_S: f64 = 60.0;
/// An origin that reads nothing of an upload for half a minute hangs.
const UPSTREAM_WRITE_S: f64 = 30.0;
/// Node closes idle connections after 5 s, Puma after 20 s: a connection must not die under a request.
const UPSTREAM_IDLE_S: f64 = 4.0;
/// Four missed heartbeats of an event stream that sends one every 30 s.
const STREAM_READ_S: f64 = 120.0;
/// A cached read is small and quick; above this it is not worth the wait of all who share it.
const FILL_S: f64 = 30.0;
/// Who waits longer for somebody else's fetch asks the origin directly.
const FILL_WAIT_S: f64 = 10.0;
/// As many fetches as an origin of a few hundred threads can take at once.
const FILLS_MAX: u64 = 512;
/// A JSON list of a whole school; larger answers are downloads and pass.
const OBJECT_BYTES_MAX: u64 = 8 << 20;
/// Half a million answers of 500 bytes.
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// A quarter of it: a school that reads everything once leaves the others theirs.
const TENANT_CACHE_BYTES_MAX: u64 = 64 << 20;
/// A thousand and a half photos of 640 pixels: those of the lessons of a morning.
const PICTURES_BYTES_MAX: u64 = 128 << 20;
/// A quarter of it: a school that looks at all of its albums leaves the others theirs.
const TENANT_PICTURES_BYTES_MAX: u64 = 32 << 20;
/// People reload after that, and then there are two of them.
const HELD_S: f64 = 10.0;
/// Half of the connections that there may be: the others still get files and stored answers.
const HELD_MAX: u64 = 10_000;
/// As many with the largest header and a little of a body each.
const HELD_BYTES_MAX: u64 = 256 << 20;
/// Below the 30 s after which Kubernetes kills.
const DRAIN_S: f64 = 25.0;
/// A lesson's upload or download; nobody waits for the end of it. Above it memory is held twice for little.
const HANDOVER_S: f64 = 300.0;

/// Every bound of the request path. Reaching one has an outcome; none is endless.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Limits {
    /// From the connection to the end of the TLS handshake.
    #[schemars(range(min = 0.1, max = 60))]
    pub(in crate::config) handshake_s: f64,
    /// Handshakes under way at once; above it new connections are closed at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) handshakes_max: u64,
    /// Connections without a request that one network (an address, or the /56 of an IPv6 one) may have at once; above it its new ones are closed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) incomplete_burst: u32,
    /// Connections that never asked anything which are forgiven a network each second.
    #[schemars(range(min = 0.1, max = 100_000))]
    pub(in crate::config) incomplete_per_s: f64,
    /// From the first byte of a request to the end of its header; then 408 and close.
    #[schemars(range(min = 0.1, max = 60))]
    pub(in crate::config) header_s: f64,
    /// The header of a request; above it 431.
    #[schemars(range(min = 1024, max = 65536))]
    pub(in crate::config) header_bytes_max: u64,
    /// The fields of a header; above it 431.
    #[schemars(range(min = 16, max = 256))]
    pub(in crate::config) header_count_max: u64,
    /// Path and query; above it 414.
    #[schemars(range(min = 256, max = 32768))]
    pub(in crate::config) target_bytes_max: u64,
    /// How long an idle HTTP/1.1 connection stays open.
    #[schemars(range(min = 1, max = 3600))]
    pub(in crate::config) keep_alive_s: f64,
    /// How long an HTTP/2 connection without streams stays open.
    #[schemars(range(min = 300, max = 86400))]
    pub(in crate::config) h2_idle_s: f64,
    /// The body of a request; above it 413. Routes may say otherwise.
    #[schemars(range(min = 1))]
    pub(in crate::config) body_bytes_max: u64,
    /// The longest pause in the body of a request; then 408 and close.
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) body_idle_s: f64,
    /// What the body of a request brings in each second that the edge waits for it, on average; then 408 and close.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(in crate::config) body_bytes_per_s_min: u32,
    /// Requests at once on one HTTP/2 connection; the client is told, and more are refused.
    #[schemars(range(min = 8, max = 1024))]
    pub(in crate::config) h2_streams_max: u32,
    /// Requests that an HTTP/2 client may cancel in ten seconds; then its connection ends.
    #[schemars(range(min = 8, max = 100_000))]
    pub(in crate::config) h2_resets_max: u32,
    /// PING, SETTINGS, PRIORITY and empty frames that an HTTP/2 client may send in ten seconds; then its connection ends.
    #[schemars(range(min = 8, max = 100_000))]
    pub(in crate::config) h2_control_max: u32,
    /// The longest time that a client takes nothing of its answer; then the connection is closed.
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) write_s: f64,
    /// Open connections of clients; above it new ones are closed at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections_max: u64,
    /// To open a connection to a member; then another member is tried.
    #[schemars(range(min = 0.05, max = 60))]
    pub(in crate::config) connect_s: f64,
    /// The longest wait for the next bytes of a member; then 504.
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) upstream_read_s: f64,
    /// The longest time that a member takes nothing of a request; then 504.
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) upstream_write_s: f64,
    /// How long an idle connection to a member is kept.
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) upstream_idle_s: f64,
    /// The longest silence of a member on a stream route; then the stream ends.
    #[schemars(range(min = 1, max = 86400))]
    pub(in crate::config) stream_read_s: f64,
    /// A whole fetch for the cache, body included; then 504 for who waits.
    #[schemars(range(min = 0.1, max = 600))]
    pub(in crate::config) fill_s: f64,
    /// How long a client waits for somebody else's fetch before it asks the origin itself.
    #[schemars(range(min = 0.1, max = 600))]
    pub(in crate::config) fill_wait_s: f64,
    /// Fetches for the cache at once; above it requests pass.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) fills_max: u64,
    /// The largest answer that is stored; larger ones pass.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub(in crate::config) object_bytes_max: u64,
    /// The memory of the cache; above it the least used answers go.
    #[schemars(range(min = 1_048_576))]
    pub(in crate::config) cache_bytes_max: u64,
    /// The memory of one school's part of the cache; above it the least used answers of that school go.
    #[schemars(range(min = 1_048_576))]
    pub(in crate::config) tenant_cache_bytes_max: u64,
    /// The memory for pictures of schools that were made; above it the least used go.
    #[schemars(range(min = 1_048_576))]
    pub(in crate::config) pictures_bytes_max: u64,
    /// The memory of one school's pictures; above it the least used of that school go.
    #[schemars(range(min = 1_048_576))]
    pub(in crate::config) tenant_pictures_bytes_max: u64,
    /// How long a request waits while its app is paused; then 503.
    #[schemars(range(min = 0.1, max = 60))]
    pub(in crate::config) held_s: f64,
    /// Requests that wait at once while their app is paused; above it 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) held_max: u64,
    /// What those that wait hold in memory; above it 503.
    #[schemars(range(min = 1_048_576))]
    pub(in crate::config) held_bytes_max: u64,
    /// How long requests in flight may go on when the edge stops.
    #[schemars(range(min = 0, max = 86400))]
    pub(in crate::config) drain_s: f64,
    /// After an upgrade, how long the process before may go on with the connections that it accepted.
    #[schemars(range(min = 0, max = 86400))]
    pub(in crate::config) handover_s: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_s: HANDSHAKE_S,
            handshakes_max: HANDSHAKES_MAX,
            incomplete_burst: INCOMPLETE_BURST,
            incomplete_per_s: INCOMPLETE_PER_S,
            header_s: HEADER_S,
            header_bytes_max: HEADER_BYTES_MAX,
            header_count_max: HEADER_COUNT_MAX,
            target_bytes_max: TARGET_BYTES_MAX,
            keep_alive_s: KEEP_ALIVE_S,
            h2_idle_s: H2_IDLE_S,
            body_bytes_max: BODY_BYTES_MAX,
            body_idle_s: BODY_IDLE_S,
            body_bytes_per_s_min: BODY_BYTES_PER_S_MIN,
            h2_streams_max: H2_STREAMS_MAX,
            h2_resets_max: H2_RESETS_MAX,
            h2_control_max: H2_CONTROL_MAX,
            write_s: WRITE_S,
            connections_max: CONNECTIONS_MAX,
            connect_s: CONNECT_S,
            upstream_read_s: UPSTREAM_READ_S,
            upstream_write_s: UPSTREAM_WRITE_S,
            upstream_idle_s: UPSTREAM_IDLE_S,
            stream_read_s: STREAM_READ_S,
            fill_s: FILL_S,
            fill_wait_s: FILL_WAIT_S,
            fills_max: FILLS_MAX,
            object_bytes_max: OBJECT_BYTES_MAX,
            cache_bytes_max: CACHE_BYTES_MAX,
            tenant_cache_bytes_max: TENANT_CACHE_BYTES_MAX,
            pictures_bytes_max: PICTURES_BYTES_MAX,
            tenant_pictures_bytes_max: TENANT_PICTURES_BYTES_MAX,
            held_s: HELD_S,
            held_max: HELD_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            drain_s: DRAIN_S,
            handover_s: HANDOVER_S,
        }
    }
}

impl Limits {
    /// The bounds with their units. The schema has held every number within its range.
    pub(in crate::config) fn checked(&self) -> checked::Limits {
        checked::Limits {
            handshake: seconds(self.handshake_s),
            handshakes_max: count(self.handshakes_max),
            incomplete_burst: self.incomplete_burst,
            incomplete_per_s: self.incomplete_per_s,
            header: seconds(self.header_s),
            header_bytes_max: count(self.header_bytes_max),
            header_count_max: count(self.header_count_max),
            target_bytes_max: count(self.target_bytes_max),
            keep_alive: seconds(self.keep_alive_s),
            h2_idle: seconds(self.h2_idle_s),
            body_bytes_max: self.body_bytes_max,
            body_idle: seconds(self.body_idle_s),
            body_bytes_per_s_min: self.body_bytes_per_s_min,
            h2_streams_max: self.h2_streams_max,
            h2_resets_max: self.h2_resets_max,
            h2_control_max: self.h2_control_max,
            write: seconds(self.write_s),
            connections_max: count(self.connections_max),
            connect: seconds(self.connect_s),
            upstream_read: seconds(self.upstream_read_s),
            upstream_write: seconds(self.upstream_write_s),
            upstream_idle: seconds(self.upstream_idle_s),
            stream_read: seconds(self.stream_read_s),
            fill: seconds(self.fill_s),
            fill_wait: seconds(self.fill_wait_s),
            fills_max: count(self.fills_max),
            object_bytes_max: self.object_bytes_max,
            cache_bytes_max: self.cache_bytes_max,
            tenant_cache_bytes_max: self.tenant_cache_bytes_max,
            pictures_bytes_max: self.pictures_bytes_max,
            tenant_pictures_bytes_max: self.tenant_pictures_bytes_max,
            held: seconds(self.held_s),
            held_max: usize::try_from(self.held_max).unwrap_or(usize::MAX),
            held_bytes_max: self.held_bytes_max,
            drain: seconds(self.drain_s),
            handover: seconds(self.handover_s),
        }
    }
}

/// A time as it was typed; what no duration can hold is none at all.
pub(in crate::config) fn seconds(typed: f64) -> Duration {
    Duration::try_from_secs_f64(typed).unwrap_or_default()
}

fn count(typed: u64) -> usize {
    usize::try_from(typed).unwrap_or(usize::MAX)
}
