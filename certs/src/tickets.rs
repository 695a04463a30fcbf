//! Session tickets under keys that turn: `next`, `current`, `previous`.
//!
//! A ticket is `key name (16) | nonce (12) | sealed state | tag (16)`, sealed with AES-256-GCM-SIV, the key name as
//! additional data. SIV because the nonce is random: should two ever be equal, all that shows is whether two tickets were.
//!
//! Every period the keys move one place and a new `next` is made. `next` opens tickets before it seals any, so that
//! edges which will share keys may turn at different moments. A ticket lives for one to two periods, then its key is
//! gone; that is what limits the harm of a stolen one, so keys also fall when nobody connected for a while.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use self::file::{Saved, SavedKey};
pub use self::file::{TicketFault, TicketProblem};
use crate::watch::Watch;
use crate::{Clock, system_clock};

/// How long one key seals new tickets. Twelve hours let a pupil of the morning resume in the evening, and a key is gone
/// a day after its first ticket.
pub const TICKET_KEY_PERIOD: Duration = Duration::from_secs(12 * 60 * 60);

/// Kept keys are turned by the watch, which can write them down. When it has not done so for this long, a handshake
/// turns them in memory: keys must fall, whatever the disk does.
const TURN_WITHOUT_FILE: Duration = Duration::from_secs(10 * 60);

const NAME_BYTES: usize = 16;
/// AES-256.
const KEY_BYTES: usize = 32;

/// Makes and opens session tickets. Share one between all listeners, and keep it when their configuration changes:
/// tickets live as long as it does.
pub struct Tickets {
    clock: Clock,
    period: Duration,
    /// Where the keys are kept; none: in memory alone.
    file: Option<PathBuf>,
    keys: ArcSwap<Keys>,
    /// Held while the keys are turned or read.
    turning: Mutex<Option<file::Look>>,
}

struct Keys {
    next: Arc<Key>,
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
    turn_at: SystemTime,
}

struct Key {
    name: [u8; NAME_BYTES],
    secret: [u8; KEY_BYTES],
    seal: RandomizedNonceKey,
}

impl Tickets {
    /// Keys made here and kept in memory.
    ///
    /// # Panics
    ///
    /// When the system has no randomness, without which there is no TLS either.
    pub fn new() -> Arc<Self> {
        Self::with(system_clock(), TICKET_KEY_PERIOD)
    }

    /// [`new`](Self::new) with a clock and a period.
    ///
    /// # Panics
    ///
    /// As `new`.
    pub fn with(clock: Clock, period: Duration) -> Arc<Self> {
        let keys = Keys::fresh(clock() + period)
            .expect("the system gives randomness: every handshake needs it");
        Arc::new(Self {
            clock,
            period,
            file: None,
            keys: ArcSwap::from_pointee(keys),
            turning: Mutex::new(None),
        })
    }

    /// Keys that are kept in `file`, so that sessions resume after a restart and at every edge that shares the file. It
    /// is made when it is not there, readable for its owner alone.
    ///
    /// [`watch`](Self::watch) turns the keys and takes over what another edge wrote.
    ///
    /// # Errors
    ///
    /// When the file can be read by everybody, is not one of ticket keys, or cannot be read or made.
    pub fn kept(file: impl Into<PathBuf>) -> Result<Arc<Self>, TicketProblem> {
        Self::kept_with(file, system_clock(), TICKET_KEY_PERIOD)
    }

    /// [`kept`](Self::kept) with a clock and a period.
    ///
    /// # Errors
    ///
    /// As `kept`.
    pub fn kept_with(
        file: impl Into<PathBuf>,
        clock: Clock,
        period: Duration,
    ) -> Result<Arc<Self>, TicketProblem> {
        let path = file.into();
        let now = clock();
        let fresh = || Keys::fresh(now + period).map_err(|_| TicketFault::NoRandomness);
        let opened = match file::read(&path) {
            Err(TicketFault::Unreadable(std::io::ErrorKind::NotFound)) => {
                fresh().and_then(|keys| Ok((file::write(&path, &keys.saved())?, keys)))
            }
            Err(fault) => Err(fault),
            Ok((look, saved)) => Keys::of(&saved).map(|keys| (look, keys)),
        };
        let (look, keys) = opened.map_err(|fault| TicketProblem {
            file: path.clone(),
            fault,
        })?;
        let tickets = Arc::new(Self {
            clock,
            period,
            file: Some(path),
            keys: ArcSwap::from_pointee(keys),
            turning: Mutex::new(Some(look)),
        });
        tickets.tend()?;
        Ok(tickets)
    }

    /// Takes over keys that another edge has written, and turns and writes them when it is time.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written any more. The keys in memory go on, and fall when they must.
    pub fn tend(&self) -> Result<(), TicketProblem> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let mut seen = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let tended = self.tend_file(path, &mut seen);
        tended.map_err(|fault| TicketProblem {
            file: path.clone(),
            fault,
        })
    }

    fn tend_file(&self, path: &Path, seen: &mut Option<file::Look>) -> Result<(), TicketFault> {
        let now = (self.clock)();
        if file::look(path)? != *seen {
            let (look, saved) = file::read(path)?;
            self.keys.store(Arc::new(Keys::of(&saved)?));
            *seen = Some(look);
        }
        let keys = self.keys.load_full();
        if keys.holds(now, self.period) {
            return Ok(());
        }
        let turned = keys
            .turned(now, self.period)
            .map_err(|_| TicketFault::NoRandomness)?;
        // Written first: what is sealed with a key must be openable after a restart.
        *seen = Some(file::write(path, &turned.saved())?);
        self.keys.store(Arc::new(turned));
        Ok(())
    }

    /// Tends the keys from a thread of its own until the [`Watch`] is dropped; `failed` hears of each new problem once.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn watch(
        self: &Arc<Self>,
        every: Duration,
        mut failed: impl FnMut(&TicketProblem) + Send + 'static,
    ) -> std::io::Result<Watch> {
        let tickets = Arc::clone(self);
        let mut said = None;
        Watch::every("tickets-watch", every, move || {
            let problem = tickets.tend().err();
            if let Some(problem) = problem.as_ref().filter(|_| said != problem) {
                failed(problem);
            }
            said = problem;
        })
    }

    /// The keys of now.
    fn keys(&self) -> Option<Arc<Keys>> {
        let now = (self.clock)();
        let patience = match self.file {
            Some(_) => TURN_WITHOUT_FILE,
            None => Duration::ZERO,
        };
        let keys = self.keys.load_full();
        if keys.holds_for(now, self.period, patience) {
            return Some(keys);
        }
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.load_full();
        if keys.holds_for(now, self.period, patience) {
            return Some(keys);
        }
        let turned = Arc::new(keys.turned(now, self.period).ok()?);
        self.keys.store(Arc::clone(&turned));
        Some(turned)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.period.as_secs().saturating_mul(2)).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys()?.current.seal(plain).ok()
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_at_checked(NAME_BYTES)?;
        self.keys()?.named(name)?.open(sealed).ok()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

impl Keys {
    fn fresh(turn_at: SystemTime) -> Result<Self, Unspecified> {
        Ok(Self {
            next: Key::random()?,
            current: Key::random()?,
            previous: None,
            turn_at,
        })
    }

    fn of(saved: &Saved) -> Result<Self, TicketFault> {
        let key = |saved: &SavedKey| {
            let key = Key::of(saved.name, saved.secret);
            key.map_err(|_| TicketFault::NotTicketKeys)
        };
        Ok(Self {
            next: key(&saved.next)?,
            current: key(&saved.current)?,
            previous: saved.previous.as_ref().map(key).transpose()?,
            turn_at: saved.turn_at,
        })
    }

    fn saved(&self) -> Saved {
        let key = |key: &Arc<Key>| SavedKey {
            name: key.name,
            secret: key.secret,
        };
        Saved {
            next: key(&self.next),
            current: key(&self.current),
            previous: self.previous.as_ref().map(key),
            turn_at: self.turn_at,
        }
    }

    /// Nothing to turn yet. A turn that lies more than a period ahead means that the clock went back.
    fn holds(&self, now: SystemTime, period: Duration) -> bool {
        self.holds_for(now, period, Duration::ZERO)
    }

    fn holds_for(&self, now: SystemTime, period: Duration, patience: Duration) -> bool {
        now < self.turn_at + patience && self.turn_at <= now + period
    }

    /// The keys one period on; after two or more without a turn, no old ticket may be opened.
    fn turned(&self, now: SystemTime, period: Duration) -> Result<Self, Unspecified> {
        let turn_at = now + period;
        match now.duration_since(self.turn_at) {
            Ok(late) if late >= period => Self::fresh(turn_at),
            _ => Ok(Self {
                next: Key::random()?,
                current: Arc::clone(&self.next),
                previous: Some(Arc::clone(&self.current)),
                turn_at,
            }),
        }
    }

    fn named(&self, name: &[u8]) -> Option<&Key> {
        [
            Some(&self.current),
            self.previous.as_ref(),
            Some(&self.next),
        ]
        .into_iter()
        .flatten()
        .find(|key| key.name == name)
        .map(Arc::as_ref)
    }
}

impl Key {
    fn random() -> Result<Arc<Self>, Unspecified> {
        let mut name = [0; NAME_BYTES];
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut name)?;
        rand::fill(&mut key)?;
        Self::of(name, key)
    }

    fn of(name: [u8; NAME_BYTES], secret: [u8; KEY_BYTES]) -> Result<Arc<Self>, Unspecified> {
        Ok(Arc::new(Self {
            name,
            secret,
            seal: RandomizedNonceKey::new(&AES_256_GCM_SIV, &secret)?,
        }))
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .seal
            .seal_in_place_append_tag(Aad::from(&self.name), &mut sealed)?;
        Ok([self.name.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let mut plain = sealed.to_vec();
        let length = self
            .seal
            .open_in_place(nonce, Aad::from(&self.name), &mut plain)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}
