//! One fetch from the origin that many clients may read.
//!
//! A task of its own: a client that leaves, or reads slowly, delays nobody. What may be stored is
//! collected at the origin's pace and becomes an entry that all who wait get. What may not be stored
//! belongs to the one who started it: it streams there at that client's pace, and the others go to
//! the origin alone. A long answer that may be stored streams to the starter while it is collected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use cache_rules::answer::{Answer as Rules, Storable};
use cache_rules::identity::Grant;
use cache_rules::key::CacheKey;
use cache_rules::plan::Plan;
use http::header::{AGE, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::entry::{Entry, Origin};
use super::epochs::{Depends, Moment, path_tag};
use super::{Alone, Cache};
use crate::error::Refusal;
use crate::metrics::labels::Fill as Ended;
use crate::upstream::client::{Answer, ClientError};
use crate::upstream::pool::Pool;

/// Up to this length everybody, the starter too, waits for the whole.
const WAITED_BYTES_MAX: u64 = 256 * 1024;
/// How far the origin may be ahead of a starter that reads slowly.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// Pieces on their way to the starter.
const PIECES_MAX: usize = 8;

/// A fetch under way.
#[derive(Debug)]
pub(super) struct Fill {
    /// Before the origin was asked.
    pub(super) born: Moment,
    /// What its answer will depend on at least: it is joined only while none of it was purged.
    pub(super) depends: Depends,
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

/// What a fetch came to.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// All may read it.
    Stored(Arc<Entry>),
    /// Only the starter may, and reads it as a stream: the others ask alone.
    Private(Alone),
    /// The origin failed, and this older answer may stand in.
    Stale(Arc<Entry>),
    /// The origin gave no answer.
    Failed(Refusal),
}

/// An answer that streams to the client that started its fetch.
#[derive(Debug)]
pub struct Stream {
    /// Status and fields.
    pub head: Parts,
    /// Why it is not stored; none: it is being stored.
    pub alone: Option<Alone>,
    pieces: mpsc::Receiver<Result<Bytes, ClientError>>,
}

impl Stream {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// When the origin broke off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.pieces.recv().await.transpose()
    }
}

/// What a fetch needs to know.
pub struct Job {
    /// Says what may be stored.
    pub plan: Plan,
    /// Who may share the answer.
    pub grant: Grant,
    /// Under which it is stored.
    pub key: CacheKey,
    /// Who is asked.
    pub pool: Arc<Pool>,
    /// What is asked.
    pub request: Request<()>,
    /// What was stored before: the origin is asked whether it still holds, and it may stand in.
    pub old: Option<Arc<Entry>>,
}

impl Job {
    /// The canonical path that is asked for.
    fn path(&self) -> &str {
        self.plan.target().split('?').next().unwrap_or_default()
    }

    fn origin(&self, born: Moment) -> Origin<'_> {
        Origin {
            tenant: self.grant.tenant_id(),
            path: self.path(),
            scope: self.grant.scope(),
            born,
        }
    }
}

impl Fill {
    /// One that begins now.
    pub(super) fn begin(cache: &Cache, plan: &Plan, grant: &Grant) -> Self {
        let born = cache.epochs.now();
        let path = path_tag(plan.target().split('?').next().unwrap_or_default());
        let tags = plan.tags();
        let names = tags.iter().map(|tag| tag.as_str()).chain([path.as_str()]);
        Self {
            born,
            depends: cache.epochs.depends(grant.tenant_id(), names, born),
            outcome: watch::Sender::new(None),
        }
    }

    /// Whether a request that came just now may take its answer, as far as is known yet.
    pub(super) fn joinable(&self, cache: &Cache) -> bool {
        cache.epochs.valid(&self.depends) && cache.epochs.current(&self.depends)
    }
}

/// Fetches; whatever happens, all who wait are told. `starter` hears of a stream, if there is one.
pub(super) async fn run(
    cache: Arc<Cache>,
    fill: Arc<Fill>,
    job: Job,
    starter: oneshot::Sender<Stream>,
) {
    let flight = job.plan.flight(&job.key);
    let landing = Landing {
        cache: &cache,
        fill: &fill,
        key: &flight,
    };
    let outcome = fetch(&cache, &fill, &job, starter).await;
    cache.metrics.cache_fill(match &outcome {
        Outcome::Stored(_) => Ended::Stored,
        Outcome::Private(_) => Ended::Passed,
        Outcome::Stale(_) => Ended::StoodIn,
        Outcome::Failed(_) => Ended::Failed,
    });
    if let Outcome::Private(alone) = &outcome {
        cache.note_refused(job.plan.rule(), *alone);
    }
    match &outcome {
        // Stored first: whoever does not find the flight any more finds the entry.
        Outcome::Stored(entry) if entry.valid(&cache.epochs) => {
            cache.keep(&job.plan, &job.grant, &job.key, entry)
        }
        // The origin has another answer now, and it is for nobody else: the old one is over.
        Outcome::Private(_) if job.old.is_some() => cache.forget(&job.plan, &job.grant, &job.key),
        Outcome::Stored(_) | Outcome::Private(_) | Outcome::Stale(_) | Outcome::Failed(_) => {}
    }
    fill.outcome.send_replace(Some(outcome));
    drop(landing);
}

/// Ends a flight, also when its fetch panics: those who wait are told, and the next may start.
struct Landing<'a> {
    cache: &'a Cache,
    fill: &'a Arc<Fill>,
    key: &'a CacheKey,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.cache.fills.land(self.key, self.fill);
        self.fill.outcome.send_if_modified(|outcome| {
            let lost = outcome.is_none();
            outcome.get_or_insert(Outcome::Failed(Refusal::Internal("fill_lost")));
            lost
        });
    }
}

async fn fetch(cache: &Cache, fill: &Fill, job: &Job, starter: oneshot::Sender<Stream>) -> Outcome {
    // For all that somebody waits for: an origin may be silent a little before each piece, and never end.
    let deadline = Instant::now() + cache.fill_max;
    let conditions: HeaderMap = job.old.iter().flat_map(|old| old.conditions()).collect();
    let mut sent = cache.clock.wall();
    let mut answer = ask(cache, job, &conditions, deadline).await;
    let mut received = cache.clock.wall();
    if let (Ok(unchanged), Some(old)) = (&answer, &job.old)
        && unchanged.head.status == StatusCode::NOT_MODIFIED
        && !conditions.is_empty()
    {
        if let Some(outcome) = renew(cache, fill, job, old, &unchanged.head, (sent, received)) {
            return match outcome {
                Ok(entry) => Outcome::Stored(entry),
                Err((alone, head)) => {
                    fill.outcome.send_replace(Some(Outcome::Private(alone)));
                    hand_whole(head, old.body().clone(), alone, starter);
                    Outcome::Private(alone)
                }
            };
        }
        // It speaks of other bytes than ours, or ours were purged meanwhile.
        sent = cache.clock.wall();
        answer = ask(cache, job, &HeaderMap::new(), deadline).await;
        received = cache.clock.wall();
    }
    let failed = answer.as_ref().err().copied().map(Refusal::from);
    let broken = answer
        .as_ref()
        .is_ok_and(|answer| answer.head.status.is_server_error());
    if (failed.is_some() || broken)
        && let Some(old) = &job.old
        && old.valid(&cache.epochs)
        && cache.may_stand_in(old)
    {
        return Outcome::Stale(Arc::clone(old));
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(error.into()),
    };
    let length = length(&answer.head);
    let storable = match job.plan.answer(
        &job.grant,
        answer.head.status,
        &answer.head.headers,
        sent,
        received,
    ) {
        Rules::Pass(reason) => Err(Alone::Rule(reason)),
        Rules::Store(storable) => within_bounds(
            *storable,
            &answer.head.headers,
            length,
            cache.object_bytes_max,
        ),
    };
    let storable = match storable {
        Ok(storable) => storable,
        Err(alone) => {
            fill.outcome.send_replace(Some(Outcome::Private(alone)));
            let head = answer.head.clone();
            relay(cache, answer, head, Some(alone), deadline, starter).await;
            return Outcome::Private(alone);
        }
    };
    let body = if length.is_some_and(|length| length <= WAITED_BYTES_MAX) {
        let whole = timeout_at(deadline, answer.whole(WAITED_BYTES_MAX as usize)).await;
        whole.unwrap_or(Err(ClientError::TimedOut)).map(Bytes::from)
    } else {
        let head = stored_head(&answer.head, &storable);
        match relay(cache, answer, head, None, deadline, starter).await {
            Some(body) => body,
            None if Instant::now() >= deadline => return Outcome::Private(Alone::Waited),
            None => return Outcome::Private(Alone::TooLong),
        }
    };
    match body {
        Ok(body) => {
            let origin = job.origin(fill.born);
            let entry = Entry::new(storable, body, origin, &cache.epochs, &cache.clock);
            Outcome::Stored(Arc::new(entry))
        }
        Err(error) => Outcome::Failed(error.into()),
    }
}

async fn ask(
    cache: &Cache,
    job: &Job,
    conditions: &HeaderMap,
    deadline: Instant,
) -> Result<Answer, ClientError> {
    let mut request = job.request.clone();
    request.headers_mut().extend(conditions.clone());
    let left = deadline.saturating_duration_since(Instant::now());
    cache.client.get_within(&job.pool, request, left).await
}

/// What a 304 makes of the stored answer: an entry, or an answer that is for the one who asked. None: it
/// says nothing of what is stored.
fn renew(
    cache: &Cache,
    fill: &Fill,
    job: &Job,
    old: &Entry,
    unchanged: &Parts,
    (sent, received): (SystemTime, SystemTime),
) -> Option<Result<Arc<Entry>, (Alone, Parts)>> {
    if !old.valid(&cache.epochs) {
        return None;
    }
    let stored = old.remembered()?;
    let plan = &job.plan;
    let merged = plan.revalidated(&job.grant, stored, &unchanged.headers, sent, received)?;
    Some(match merged.answer {
        Rules::Store(storable) => {
            let origin = job.origin(fill.born);
            let entry = old.renewed(*storable, origin, &cache.epochs, &cache.clock);
            Ok(Arc::new(entry))
        }
        Rules::Pass(reason) => {
            let mut head = unchanged.clone();
            head.status = StatusCode::OK;
            head.headers = merged.headers;
            let length = old.body().len() as u64;
            head.headers.insert(CONTENT_LENGTH, length.into());
            Err((Alone::Rule(reason), head))
        }
    })
}

/// Gives the starter an answer whose bytes are here.
fn hand_whole(head: Parts, body: Bytes, alone: Alone, starter: oneshot::Sender<Stream>) {
    let (pieces, receiver) = mpsc::channel(1);
    // The channel has room for the one piece, and a starter that left takes nothing.
    let _ = pieces.try_send(Ok(body));
    let _ = starter.send(Stream {
        head,
        alone: Some(alone),
        pieces: receiver,
    });
}

fn length(head: &Parts) -> Option<u64> {
    if head.status == StatusCode::NO_CONTENT {
        return Some(0);
    }
    let headers = &head.headers;
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn within_bounds(
    storable: Storable,
    headers: &HeaderMap,
    length: Option<u64>,
    object_bytes_max: u64,
) -> Result<Storable, Alone> {
    match length {
        Some(length) if length > object_bytes_max => Err(Alone::TooLong),
        // Without a length or chunks the end is where the connection breaks: maybe too early.
        None if !headers.contains_key(TRANSFER_ENCODING) => Err(Alone::NoLength),
        Some(_) | None => Ok(storable),
    }
}

/// What the starter is sent ahead of an entry: the fields that the entry will have.
fn stored_head(head: &Parts, storable: &Storable) -> Parts {
    let mut sent = head.clone();
    sent.headers = storable.headers().clone();
    sent.headers.insert(AGE, storable.age().as_secs().into());
    if let Some(length) = head.headers.get(CONTENT_LENGTH) {
        sent.headers.insert(CONTENT_LENGTH, length.clone());
    }
    sent
}

/// Streams to the starter, and collects while `alone` is none. None: it became too long to keep, took
/// too long for those who wait, or was not to be kept.
async fn relay(
    cache: &Cache,
    mut answer: Answer,
    head: Parts,
    alone: Option<Alone>,
    deadline: Instant,
    starter: oneshot::Sender<Stream>,
) -> Option<Result<Bytes, ClientError>> {
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    // The starter may have left: then nobody takes the pieces.
    let _ = starter.send(Stream {
        head,
        alone,
        pieces: receiver,
    });
    let mut kept = alone.is_none().then(BytesMut::new);
    let mut ahead = VecDeque::new();
    let mut ahead_bytes = 0;
    let mut ended = None;
    loop {
        if kept.is_none() && pieces.is_closed() {
            // Nobody reads it and nothing is stored: the origin may stop.
            return None;
        }
        let may_read = ended.is_none() && (kept.is_some() || ahead_bytes < AHEAD_BYTES_MAX);
        let may_send = !ahead.is_empty() && !pieces.is_closed();
        if !may_read && !may_send {
            break;
        }
        tokio::select! {
            piece = answer.chunk(), if may_read => match piece {
                Ok(Some(piece)) => {
                    let in_time = Instant::now() < deadline;
                    let fits = |kept: &BytesMut| (kept.len() + piece.len()) as u64 <= cache.object_bytes_max;
                    kept = kept.filter(|kept| in_time && fits(kept));
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(&piece);
                    }
                    ahead_bytes += piece.len();
                    ahead.push_back(Ok(piece));
                }
                Ok(None) => ended = Some(Ok(())),
                Err(error) => {
                    ended = Some(Err(error));
                    ahead.push_back(Err(error));
                }
            },
            permit = pieces.reserve(), if may_send => {
                if let (Ok(permit), Some(piece)) = (permit, ahead.pop_front()) {
                    ahead_bytes -= piece.as_ref().map_or(0, Bytes::len);
                    permit.send(piece);
                }
            }
            () = tokio::time::sleep(cache.fill_limit(may_read)) => {
                let _ = pieces.try_send(Err(ClientError::TimedOut));
                return None;
            }
        }
        if ended.is_some() && kept.is_some() && alone.is_none() {
            // What waits for the entry must not wait for the starter: the rest is sent beside it.
            break;
        }
    }
    let whole = kept.map(BytesMut::freeze);
    if !ahead.is_empty() {
        let limit = cache.write_limit;
        tokio::spawn(hand_over(ahead, pieces, limit));
    }
    match (ended, whole) {
        (Some(Ok(())), Some(body)) => Some(Ok(body)),
        (Some(Err(error)), _) => Some(Err(error)),
        _ => None,
    }
}

/// Gives a starter that reads slowly the rest of what was collected.
async fn hand_over(
    ahead: VecDeque<Result<Bytes, ClientError>>,
    pieces: mpsc::Sender<Result<Bytes, ClientError>>,
    limit: Duration,
) {
    for piece in ahead {
        if pieces.send_timeout(piece, limit).await.is_err() {
            return;
        }
    }
}
