//! Smaller pictures of what the people of a school uploaded, for whoever shows an address that the app signed for
//! that school ([`address`]).
//!
//! The file is asked of the origin ([`source`]) without anybody's credentials, and the picture is made in a process of
//! its own while the client waits: the file itself is never sent, since it may be huge and says where it was taken.
//! What was made is kept in memory alone, on a shelf of its school, for as long as the origin lets it be kept, and a
//! purge of the school, of the path or of one of the origin's tags ends it. A signature is proven before anything is
//! looked up, and the key holds the school: what one school has made nobody else can reach.

pub mod address;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asset_pipeline::digest::Digest;
use asset_pipeline::id::AppId;
use asset_pipeline::image::{Once, SOURCE_BYTES_MAX};
use bytes::Bytes;
use cache_rules::derived::Derived;
use cache_rules::tenant::TenantId;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, StatusCode};
use tokio::sync::{Semaphore, watch};
use tokio::time::{timeout, timeout_at};

use self::address::Wanted;
pub use self::source::request;
use self::source::{NoSource, Source};
use crate::assets::images::SANDBOX;
use crate::assets::images::child::Order;
use crate::assets::images::workshop::{NotMade, Workshop};
use crate::cache::epochs::{Depends, Epochs, group_tag, path_tag};
use crate::cache::flights::{Boarded, Flights};
use crate::cache::shelves::Shelves;
use crate::clock::Clock;
use crate::config::checked::Limits;
use crate::control::event::Purge;
use crate::error::Refusal;
use crate::response::conditional::ETag;
use crate::response::negotiate::Coding;
use crate::response::represent::{Answer, Representation, Source as Bytewise};
use crate::upstream::client::Client;
use crate::upstream::pool::Pool;

/// Pictures that are being made or wait for it.
const UNDER_WAY_MAX: usize = 64;
/// Of one school: the others get theirs meanwhile.
const OF_TENANT_MAX: usize = 16;
/// Files that are in memory at once, 20 MB at most each.
const SOURCES_MAX: usize = 6;
/// How long a client waits: what browsers show by then is a broken picture.
const WAITED: Duration = Duration::from_secs(15);
/// How long one may take in all, from the question to the origin on.
const MADE_WITHIN: Duration = Duration::from_secs(60);
/// How long its process may take by the clock.
const PROCESS_WITHIN: Duration = Duration::from_secs(30);
/// The longest that anything is kept.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// How long it is remembered that a file is no picture: each look at one takes a process.
const UNFIT_KEPT: Duration = Duration::from_secs(60);
/// A purge in the middle makes what is made worthless to those who came after it.
const TRIES: usize = 3;
/// What an entry takes beside its bytes.
const ENTRY_BYTES: usize = 2048;

/// Pictures that were made, and those under way.
pub struct Pictures {
    shelves: Shelves<Made, Key>,
    flights: Flights<Key, Flight>,
    epochs: Arc<Epochs>,
    clock: Clock,
    client: Client,
    workshop: Workshop,
    sources: Semaphore,
    fetch_max: Duration,
}

/// Under what a picture stands. Compared whole, and every part is there: no other school has an equal one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The school.
    pub tenant: TenantId,
    /// The app.
    pub app: AppId,
    /// The canonical path.
    pub path: String,
    /// What is made of it.
    pub form: Once,
}

/// What was made of a file.
#[derive(Debug)]
pub struct Made {
    /// None: the file is no picture that is decoded within the limits.
    picture: Option<Representation<Bytes>>,
    depends: Depends,
    /// None: the origin does not want it to be kept.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Flight {
    /// What it will depend on at least: it is joined only while none of that was purged.
    depends: Depends,
    outcome: watch::Sender<Option<Outcome>>,
}

type Outcome = Result<Arc<Made>, Refusal>;

/// Who made a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This request.
    Own,
    /// One that was under way.
    Other,
}

impl Pictures {
    /// Empty; `program` has the command `picture`.
    pub fn new(
        program: PathBuf,
        limits: &Limits,
        epochs: Arc<Epochs>,
        clock: Clock,
        client: Client,
    ) -> Self {
        let (all, of_tenant) = (limits.pictures_bytes_max, limits.tenant_pictures_bytes_max);
        Self {
            shelves: Shelves::new(all, of_tenant),
            flights: Flights::new(UNDER_WAY_MAX),
            epochs,
            clock,
            client,
            workshop: Workshop::new(program, PROCESS_WITHIN),
            sources: Semaphore::new(SOURCES_MAX),
            fetch_max: limits.fill,
        }
    }

    /// What was made and still holds.
    pub fn found(&self, key: &Key) -> Option<Arc<Made>> {
        let made = self.shelves.get(&key.tenant, key)?;
        let fresh = made.until.is_some_and(|until| self.clock.now() < until);
        (fresh && self.holds(&made.depends)).then_some(made)
    }

    /// Makes it, or waits for who does. `request` asks the origin for the file; `keep`: it may stand here afterwards.
    ///
    /// # Errors
    /// The origin does not have it or gives no answer, or as many as may be are waiting.
    pub async fn make(
        self: &Arc<Self>,
        key: &Key,
        request: &Request<()>,
        pool: &Arc<Pool>,
        keep: bool,
    ) -> Result<(Arc<Made>, By), Refusal> {
        let until = tokio::time::Instant::now() + WAITED;
        for _ in 0..TRIES {
            let boarded = self.flights.board_among(
                key,
                |other| other.tenant == key.tenant,
                OF_TENANT_MAX,
                |flight| self.holds(&flight.depends),
                || self.flight(key),
            );
            let (flight, by) = match boarded {
                Boarded::Full => return Err(Refusal::Busy),
                Boarded::Joined(flight) => (flight, By::Other),
                Boarded::Started(flight) => {
                    let task = Task {
                        pictures: Arc::clone(self),
                        flight: Arc::clone(&flight),
                        key: key.clone(),
                    };
                    // One may have landed between the look-up and here: it is on the shelf since before.
                    if let Some(made) = self.found(key).filter(|_| keep) {
                        flight.outcome.send_replace(Some(Ok(Arc::clone(&made))));
                        return Ok((made, By::Other));
                    }
                    tokio::spawn(task.run(request.clone(), Arc::clone(pool), keep));
                    (flight, By::Own)
                }
            };
            let mut outcome = flight.outcome.subscribe();
            let outcome = match timeout_at(until, outcome.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone(),
                // Its task ends with an outcome, whatever happens.
                Ok(Err(_)) => Some(Err(Refusal::Internal("picture_lost"))),
                Err(_) => Some(Err(Refusal::Busy)),
            };
            match outcome {
                Some(Ok(made)) if self.holds(&made.depends) => return Ok((made, by)),
                Some(Ok(_)) | None => {}
                Some(Err(refusal)) => return Err(refusal),
            }
        }
        Err(Refusal::Busy)
    }

    /// How many of those that are kept a purge would end.
    pub fn covered(&self, purge: &Purge) -> u64 {
        let covers = self.epochs.covering(purge);
        let mut covered = 0;
        self.shelves.each(purge.tenant(), |made| {
            covered += u64::from(covers(&made.depends) && self.holds(&made.depends));
            true
        });
        covered
    }

    /// What those that are kept weigh.
    pub fn bytes(&self) -> u64 {
        self.shelves.size().1
    }

    /// Whether nothing of it was purged, softly or not: it is a school's.
    fn holds(&self, depends: &Depends) -> bool {
        self.epochs.valid(depends) && self.epochs.current(depends)
    }

    fn flight(&self, key: &Key) -> Flight {
        let born = self.epochs.now();
        let path = path_tag(&key.path);
        Flight {
            depends: self.epochs.depends(&key.tenant, [path.as_str()], born),
            outcome: watch::Sender::new(None),
        }
    }
}

/// One picture that is being made.
struct Task {
    pictures: Arc<Pictures>,
    flight: Arc<Flight>,
    key: Key,
}

/// Ends a flight also where it panics: those who wait are told, and the next may start.
impl Drop for Task {
    fn drop(&mut self) {
        self.pictures.flights.land(&self.key, &self.flight);
        self.flight.outcome.send_if_modified(|outcome| {
            let lost = outcome.is_none();
            outcome.get_or_insert(Err(Refusal::Internal("picture_lost")));
            lost
        });
    }
}

impl Task {
    async fn run(self, request: Request<()>, pool: Arc<Pool>, keep: bool) {
        let pictures = &self.pictures;
        let outcome = timeout(MADE_WITHIN, self.made(request, &pool)).await;
        let outcome = outcome.unwrap_or(Err(Refusal::Busy)).map(Arc::new);
        if let Ok(made) = &outcome
            && keep
            && made.until.is_some()
            && pictures.holds(&made.depends)
        {
            let now = pictures.clock.now();
            let dead = |made: &Made| {
                let over = made.until.is_none_or(|until| until <= now);
                over || !pictures.holds(&made.depends)
            };
            let (tenant, key) = (&self.key.tenant, self.key.clone());
            // Before it lands: whoever does not find the flight any more finds it.
            pictures
                .shelves
                .insert(tenant, key, Arc::clone(made), made.weight(), dead);
        }
        self.flight.outcome.send_replace(Some(outcome));
    }

    async fn made(&self, request: Request<()>, pool: &Pool) -> Result<Made, Refusal> {
        let pictures = &self.pictures;
        // It is never closed.
        let Ok(_room) = pictures.sources.acquire().await else {
            return Err(Refusal::Busy);
        };
        let asked = Source::ask(&pictures.client, pool, request, &pictures.clock);
        let source = match timeout(pictures.fetch_max, asked).await {
            Err(_) => return Err(Refusal::OriginTimedOut),
            Ok(Err(NoSource::Unknown)) => return Err(Refusal::NoPicture("picture_unknown")),
            Ok(Err(NoSource::Refused(refusal))) => return Err(refusal),
            Ok(Ok(source)) => source,
        };
        let Some(bytes) = source.bytes else {
            return Ok(self.of(None, source.kept));
        };
        let Some(turn) = pictures.workshop.turn().await else {
            return Err(Refusal::Busy);
        };
        let order = Order::Once(self.key.form);
        let made = pictures
            .workshop
            .make(&order, bytes, SOURCE_BYTES_MAX, &turn);
        match made.await {
            Ok(form) => Ok(self.of(Some(form), source.kept)),
            Err(NotMade::Failed) => Ok(self.of(None, source.kept)),
            Err(NotMade::NoProcess) => Err(Refusal::Busy),
        }
    }

    /// Of a form, or of a file that is no picture.
    fn of(&self, form: Option<Vec<u8>>, kept: Option<Derived>) -> Made {
        let Self { pictures, key, .. } = self;
        let path = path_tag(&key.path);
        let said = kept.as_ref();
        let tags = said.into_iter().flat_map(Derived::tags);
        let groups = said.into_iter().flat_map(Derived::groups);
        let groups: Vec<String> = groups.map(|group| group_tag(group.as_str())).collect();
        let names = tags
            .map(|tag| tag.as_str())
            .chain(groups.iter().map(String::as_str))
            .chain([path.as_str()]);
        let born = self.flight.depends.born();
        let depends = pictures.epochs.depends(&key.tenant, names, born);
        let now = pictures.clock.now();
        let picture = form.filter(|form| !form.is_empty());
        let until = match (&picture, &kept) {
            (Some(_), kept) => kept.as_ref().map(|kept| now + kept.fresh_for()),
            (None, _) => Some(now + UNFIT_KEPT),
        };
        Made {
            picture: picture.map(|form| represent(form.into(), key.form)),
            depends,
            until,
        }
    }
}

impl Made {
    /// The answer to a GET or HEAD; none: there is no picture.
    pub fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        wanted: &Wanted,
        clock: &Clock,
    ) -> Option<Answer<Bytes>> {
        let mut answer = self.picture.as_ref()?.answer(method, headers);
        let has_it = [
            StatusCode::OK,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::NOT_MODIFIED,
        ];
        if has_it.contains(&answer.header.status) {
            let left = self.until.map(|until| {
                let fresh = until.saturating_duration_since(clock.now());
                fresh.as_secs().min(wanted.left_s)
            });
            // Never for anybody between here and the browser, and no longer than the address is good.
            let kept = match left {
                Some(left_s) => format!("private, max-age={left_s}"),
                None => "private, no-store".to_owned(),
            };
            let kept = HeaderValue::try_from(kept).unwrap_or(HeaderValue::from_static("no-store"));
            let varies = HeaderValue::from_static(wanted.varies_on());
            for (name, value) in [(CACHE_CONTROL, kept), (VARY, varies)] {
                // A header value is one.
                let _ = answer.header.insert_header(name, value);
            }
        }
        Some(answer)
    }

    fn weight(&self) -> u32 {
        let bytes = self
            .picture
            .as_ref()
            .map_or(0, |made| made.identity().len());
        u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

fn represent(bytes: Bytes, form: Once) -> Representation<Bytes> {
    let content_type = HeaderValue::from_static(form.format.content_type());
    let fields = HeaderMap::from_iter([
        (CONTENT_TYPE, content_type),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, SANDBOX),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
    ]);
    let source = Bytewise {
        etag: Some(ETag::of_digest(&Digest::of(&bytes), Coding::Identity)),
        bytes: bytes.len() as u64,
        at: bytes,
    };
    Representation::complete(fields, source, Vec::new())
}

#[cfg(test)]
mod tests;
