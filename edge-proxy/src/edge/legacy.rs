//! How the hottest entries of a worker come to the one that takes over.
//!
//! Before the new worker accepts, the supervisor gives both the same secret, and the new one asks the old one's desk.
//! What a third process asked for, it would not get. The files must be the same on both sides. Each side first asks the
//! store for what was committed, and waits until it has applied that: the answer comes behind everything that was told
//! before, so the old worker leaves nothing that was ended before the new one listened, and the new one accepts with
//! nothing that was ended since. The worst that can happen is an empty cache.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use asset_pipeline::digest::Digest;
use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use cache_rules::bequest::Seal;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::info;

use super::Edge;
use crate::cache::Cache;
use crate::cache::bequest::{BYTES_MAX, Bequest};
use crate::cache::epochs::Epochs;
use crate::clock::Clock;
use crate::config::checked::Identity;
use crate::control::beside::Ended;
use crate::control::client;
use crate::control::follow::Applied;
use crate::control::store::ControlStore;
use crate::metrics::Metrics;
use crate::world::World;

/// For everything that comes: an upgrade goes on without the rest.
const LIMIT: Duration = Duration::from_secs(5);

/// For what was committed to be applied: it is milliseconds.
const SETTLE: Duration = Duration::from_secs(2);

/// Frames that wait to be written.
const AHEAD: usize = 8;

/// Where a worker is asked for its entries.
pub(crate) const ENTRIES: &str = "/worker/entries";

/// What two workers are told, so that one leaves its entries to the other.
#[derive(Serialize, Deserialize)]
pub(crate) struct Secret(pub(crate) [u8; 16]);

/// How the next worker asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Heir {
    /// Shows that it has the secret.
    word: [u8; 16],
    /// Of its files.
    fingerprint: Digest,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Entries that are here now.
    pub(crate) entries: u64,
    /// Their bytes on the way.
    pub(crate) bytes: u64,
    /// Entries that were not taken.
    pub(crate) refused: u64,
    /// Why not all came that there were.
    pub(crate) why: Option<String>,
}

/// Why nothing is left, or taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLeft {
    #[error("nobody was to ask for entries, or it was somebody else")]
    Nobody,
    #[error("the files are not the same, or who people are is asked otherwise since the start")]
    Files,
    #[error("the cache is off, or the state cannot be read")]
    Off,
    #[error("what was purged last is not known in time")]
    Unsettled,
    #[error("the worker before does not answer: {0}")]
    Silent(String),
    #[error("the worker before does not leave its entries: status {0}")]
    Refused(u16),
    #[error("not everything came within {LIMIT:?}")]
    Late,
    #[error("an entry is longer than all may be")]
    TooLong,
}

/// The entries of this process, for who comes next, and those of the one before.
pub(crate) struct Legacy {
    pub(super) cache: Arc<Cache>,
    pub(super) epochs: Arc<Epochs>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) world: Arc<ArcSwap<World>>,
    pub(super) store: Arc<dyn ControlStore>,
    pub(super) applied: watch::Receiver<Applied>,
    /// As this process asks who people are: other than its rules, that stays as it was at the start.
    pub(super) identity: Option<Identity>,
    pub(super) promised: Mutex<Option<(Seal, Instant)>>,
}

impl Edge {
    /// Its entries, for who comes next.
    pub(crate) fn legacy(&self) -> Arc<Legacy> {
        Arc::clone(&self.legacy)
    }
}

impl Legacy {
    /// Whoever has this secret, and comes soon and first, gets the entries.
    pub(crate) fn promise(&self, secret: &Secret) {
        let until = Instant::now() + LIMIT;
        *self.promised.lock() = Some((Seal::new(secret.0), until));
    }

    /// The hottest entries, each sealed when its turn comes.
    pub(crate) async fn leave(&self, heir: &Heir) -> Result<Body, NotLeft> {
        let promised = self.promised.lock().take();
        let (seal, _) = promised
            .filter(|(seal, until)| seal.is_shown_by(heir.word) && Instant::now() < *until)
            .ok_or(NotLeft::Nobody)?;
        self.settled().await?;
        let world = self.world.load();
        if world.cache_off {
            return Err(NotLeft::Off);
        }
        if world.config.fingerprint != heir.fingerprint || world.config.identity != self.identity {
            return Err(NotLeft::Files);
        }
        let (frames, left) = mpsc::channel(AHEAD);
        let cache = Arc::clone(&self.cache);
        tokio::task::spawn_blocking(move || {
            let end = Bytes::from_static(&[0; 4]);
            for frame in Bequest::of(cache, seal).chain([end]) {
                if frames.blocking_send(frame).is_err() {
                    return; // Who asked has had enough.
                }
            }
        });
        Ok(Body::from_stream(stream::unfold(left, async |mut left| {
            let frame = left.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(frame), left))
        })))
    }

    /// Takes what the process at this desk leaves. Whatever happens, this one may go on.
    pub(crate) async fn take(&self, desk: &Path, secret: &Secret) -> Taken {
        let mut taken = Taken::default();
        let taking = timeout(LIMIT, self.take_from(desk, secret, &mut taken)).await;
        let mut failed = taking.unwrap_or(Err(NotLeft::Late)).err();
        if let Err(unsettled) = self.settled().await {
            // Something may have been ended that nobody has heard of here.
            self.epochs.ended(&Ended::Everything);
            (taken.entries, taken.bytes) = (0, 0);
            failed = Some(unsettled);
        }
        taken.why = failed.map(|failed| failed.to_string());
        self.metrics.cache_inherited.inc_by(taken.entries);
        let Taken {
            entries,
            bytes,
            refused,
            why,
        } = &taken;
        info!(
            entries,
            bytes,
            refused,
            ?why,
            "what the worker before had stored"
        );
        taken
    }

    async fn take_from(
        &self,
        desk: &Path,
        secret: &Secret,
        taken: &mut Taken,
    ) -> Result<(), NotLeft> {
        let seal = Seal::new(secret.0);
        let world = self.world.load_full();
        let heir = Heir {
            word: seal.word(),
            fingerprint: world.config.fingerprint,
        };
        let silent = |error: &dyn std::fmt::Display| NotLeft::Silent(error.to_string());
        let asked = serde_json::to_vec(&heir).map_err(|error| silent(&error))?;
        let request = Request::post(ENTRIES)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(asked)))
            .map_err(|error| silent(&error))?;
        let moment = self.clock.now();
        let opened = client::open(desk, request).await;
        let (answer, _driving) = opened.map_err(|error| silent(&error))?;
        if !answer.status().is_success() {
            return Err(NotLeft::Refused(answer.status().as_u16()));
        }
        let schools = world.config.tenants.iter();
        let schools = schools.map(|(tenant, _)| tenant.clone()).collect();
        let mut body = answer.into_body();
        let mut came = BytesMut::new();
        loop {
            while let Some(sealed) = frame(&mut came)? {
                if sealed.is_empty() {
                    return Ok(());
                }
                let known = (&*world.config.rules, &schools);
                match self.cache.inherit(&sealed, &seal, known, moment) {
                    Ok(()) => {
                        taken.entries += 1;
                        taken.bytes += sealed.len() as u64;
                    }
                    Err(_) => taken.refused += 1,
                }
            }
            let piece = body.frame().await;
            let piece = piece.ok_or_else(|| silent(&"it broke off"))?;
            let piece = piece.map_err(|error| silent(&error))?;
            if let Ok(piece) = piece.into_data() {
                came.extend_from_slice(&piece);
            }
        }
    }

    /// Waits until everything is applied that was committed before, and heard that was told before.
    async fn settled(&self) -> Result<(), NotLeft> {
        let settling = async {
            let committed = self.store.snapshot().await.ok()?.sequence;
            let mut applied = self.applied.clone();
            let there = applied.wait_for(|applied| applied.sequence >= committed);
            there.await.ok().map(drop)
        };
        let settled = timeout(SETTLE, settling).await.ok().flatten();
        settled.ok_or(NotLeft::Unsettled)
    }
}

/// The next frame, without its length; none: more has to come.
fn frame(came: &mut BytesMut) -> Result<Option<BytesMut>, NotLeft> {
    let Some(length) = came.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length);
    if u64::from(length) > BYTES_MAX {
        return Err(NotLeft::TooLong);
    }
    let whole = 4 + length as usize;
    if came.len() < whole {
        return Ok(None);
    }
    let mut frame = came.split_to(whole);
    frame.advance(4);
    Ok(Some(frame))
}
