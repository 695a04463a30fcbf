//! Looks after hosts: what is due, which authority is asked, what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier, RenewalInfo};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::account::Authority;
use super::answers::{Answers, Hook};
use super::arrival::PointsHere;
use super::fault::IssueFault;
use super::schedule::renew_at;
use super::shelf::{Charge, Record, Shelf, at, seconds};
use super::wire::{RootsProblem, Wire};
use crate::seal::Seal;
use crate::{CertStore, Clock};

mod accounts;
mod attempt;
mod ledger;

pub use self::accounts::NotRekeyed;
use self::ledger::Ledger;
pub use self::ledger::{Managed, NotNow, Stage};

/// How often is looked for what is due.
const TICK: Duration = Duration::from_secs(30);
/// A keeper that waits for another one to end looks this often.
const CHARGE_EVERY: Duration = Duration::from_millis(200);
/// Orders under way at once: authorities count requests by the second.
const ORDERS_MAX: usize = 4;
/// Commands that wait for their turn.
const JOBS_MAX: usize = 64;
/// An authority's word on when to ask for its window again is kept within these.
const ASK_MIN: Duration = Duration::from_secs(60 * 60);
const ASK_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Windows asked for in one look; the others are asked in the next.
const WINDOWS_MAX: usize = 50;

/// What a keeper is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The managed folder.
    pub dir: PathBuf,
    /// Who is asked, in this order.
    pub authorities: Vec<Authority>,
    /// A PEM bundle of who may vouch for the authorities' servers.
    pub roots: PathBuf,
    /// How it is found out whether a host points here.
    pub points_here: PointsHere,
    /// The program that changes TXT records, for wildcards.
    pub dns_hook: Option<PathBuf>,
    /// Orders for one tenant in 24 hours.
    pub orders_per_day: u32,
    /// For one request to an authority.
    pub request: Duration,
    /// For a whole order.
    pub order: Duration,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Look after a host from now on, and have a certificate issued.
    Add,
    /// Try again now, whatever failed before.
    Issue,
    /// Replace the certificate now.
    Renew,
    /// Replace the certificate now, and revoke the one that was live: its key is known to others.
    Revoke,
}

/// What came of a try.
#[derive(Debug)]
pub struct Told<'a> {
    /// The host.
    pub name: &'a str,
    /// Who was asked; none: nobody.
    pub authority: Option<&'a str>,
    /// Issued, or why not.
    pub outcome: Result<(), &'a IssueFault>,
}

/// Why nothing can be looked after.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KeeperProblem {
    #[error(transparent)]
    Roots(#[from] RootsProblem),
    #[error("the managed folder {}: {source}", dir.display())]
    Folder {
        dir: PathBuf,
        source: std::io::Error,
    },
}

/// What a keeper asks of, and tells, those around it.
pub struct Around {
    /// What is live.
    pub certs: Arc<CertStore>,
    /// Port 80.
    pub answers: Arc<dyn Answers>,
    /// The time.
    pub clock: Clock,
    /// A number from 0 to 1, another one each time.
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Whether a host is still one of ours: what is not is not renewed.
    pub wanted: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Hears what came of each try.
    pub told: Box<dyn Fn(&Told<'_>) + Send + Sync>,
}

/// Looks after hosts.
pub struct Keeper {
    options: Options,
    hook: Option<Hook>,
    wire: Wire,
    shelf: Shelf,
    around: Around,
    ledger: Ledger,
    accounts: Mutex<BTreeMap<String, Account>>,
    /// For orders under way; there are none before this process is in charge.
    places: Semaphore,
    jobs: mpsc::Sender<(String, Act)>,
    waiting: Mutex<Option<mpsc::Receiver<(String, Act)>>>,
}

impl Keeper {
    /// Reads what is known of each host.
    ///
    /// # Errors
    ///
    /// When the folder or the bundle of roots cannot be used.
    pub fn open(
        options: Options,
        seal: Arc<Seal>,
        around: Around,
    ) -> Result<Arc<Self>, KeeperProblem> {
        let wire = Wire::new(&options.roots, options.request)?;
        let problem = |source| KeeperProblem::Folder {
            dir: options.dir.clone(),
            source,
        };
        let shelf = Shelf::open(&options.dir, seal).map_err(problem)?;
        let records = shelf.records().map_err(problem)?;
        let ledger = Ledger::new(records, shelf.orders());
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        Ok(Arc::new(Self {
            hook: options.dns_hook.clone().map(Hook),
            wire,
            shelf,
            around,
            ledger,
            accounts: Mutex::default(),
            places: Semaphore::new(0),
            jobs,
            waiting: Mutex::new(Some(waiting)),
            options,
        }))
    }

    /// Does what is asked for and what is due until it is dropped, and with it every order under way; once no other
    /// process looks after the same folder.
    pub async fn run(self: Arc<Self>) {
        let Some(mut waiting) = self.waiting.lock().await.take() else {
            return;
        };
        let _charge = self.take_charge().await;
        let mut tries = JoinSet::new();
        let mut look = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((name, act)) = waiting.recv() => {
                    let keeper = Arc::clone(&self);
                    tries.spawn(async move { keeper.attempt(&name, act).await });
                }
                _ = ticks.tick(), if look.is_empty() => {
                    let keeper = Arc::clone(&self);
                    look.spawn(async move { keeper.tend().await });
                }
                Some(_) = tries.join_next() => {}
                Some(_) = look.join_next() => {}
            }
        }
    }

    /// Begins what an operator asks for, on behalf of a tenant.
    ///
    /// # Errors
    ///
    /// Why it is not begun now.
    pub fn begin(&self, act: Act, name: &str, tenant: &str) -> Result<(), NotNow> {
        if name.starts_with("*.") && self.hook.is_none() {
            return Err(NotNow::NoHook);
        }
        let live = self.around.certs.managed_life(name).is_some();
        self.ledger.begin(act, (name, tenant), live, self.now())?;
        let sent = self.jobs.try_send((name.to_owned(), act));
        sent.map_err(|_| {
            self.ledger.free(name);
            NotNow::Busy
        })
    }

    /// How far the last try of a host is.
    pub fn stage(&self, name: &str) -> Option<Stage> {
        self.ledger.stage(name)
    }

    /// Every host that is looked after.
    pub fn list(&self) -> Vec<Managed> {
        self.ledger.list(&self.around.wanted)
    }

    /// Whether an authority is left alone for a while, by name.
    pub fn paused(&self) -> Vec<(&str, bool)> {
        let names = self.options.authorities.iter().map(|of| of.name.as_str());
        names
            .map(|name| (name, self.ledger.is_paused(name, self.now())))
            .collect()
    }

    /// One look: asks authorities for their windows, then does all that is due, and returns when it is done.
    pub async fn tend(self: &Arc<Self>) {
        self.ask_for_windows().await;
        let live = |name: &str| self.around.certs.managed_life(name).is_some();
        let due = self.ledger.take_due(self.now(), &self.around.wanted, live);
        let mut tries = JoinSet::new();
        for name in due {
            let keeper = Arc::clone(self);
            tries.spawn(async move { keeper.attempt(&name, Act::Issue).await });
        }
        while tries.join_next().await.is_some() {}
    }

    /// Waits for whoever is in charge to end, and reads what it left. What was asked for here meanwhile goes on.
    async fn take_charge(&self) -> Charge {
        let charge = loop {
            if let Some(charge) = self.shelf.take_charge() {
                break charge;
            }
            tokio::time::sleep(CHARGE_EVERY).await;
        };
        self.around.answers.withdraw_all().await;
        // What was issued elsewhere a moment ago is not ordered again.
        self.around.certs.reload();
        // It could be read a moment ago; what was known then is not forgotten.
        if let Ok(records) = self.shelf.records() {
            self.ledger.take_over(records, self.shelf.orders());
        }
        self.places.add_permits(ORDERS_MAX);
        charge
    }

    fn now(&self) -> SystemTime {
        (self.around.clock)()
    }

    /// Asks for the windows whose time has come; an authority that fails is asked again later.
    async fn ask_for_windows(&self) {
        let asked = self.ledger.unasked(self.now(), WINDOWS_MAX);
        for record in asked {
            let said = self.window_of(&record).await;
            let window = said.as_ref().map(|(info, _)| {
                let moment = |unix: i64| u64::try_from(unix).unwrap_or(0);
                let window = &info.suggested_window;
                (
                    moment(window.start.unix_timestamp()),
                    moment(window.end.unix_timestamp()),
                )
            });
            let again = said.map_or(ASK_MAX / 4, |(_, again)| again.clamp(ASK_MIN, ASK_MAX));
            let ask_at = seconds(self.now() + again);
            let life = self.around.certs.managed_life(&record.name);
            let renew = |window: (u64, u64)| {
                let span = (at(window.0), at(window.1));
                life.map(|life| seconds(renew_at(life, Some(span), (self.around.chance)())))
            };
            if let Some(record) = self.ledger.window(&record.name, window, renew, ask_at) {
                // What is not kept is asked for again after a restart.
                let _asked_again = self.shelf.keep(&record);
            }
        }
    }

    async fn window_of(&self, record: &Record) -> Option<(RenewalInfo, Duration)> {
        let chain = self.around.certs.managed_chain(&record.name)?;
        let mut authorities = self.options.authorities.iter();
        let authority = authorities.find(|of| Some(&of.name) == record.authority.as_ref())?;
        let account = self.account(authority, false).await.ok()?;
        account.renewal_info(&identifier(&chain)?).await.ok()
    }

    fn tell(&self, name: &str, authority: Option<&str>, outcome: Result<(), &IssueFault>) {
        (self.around.told)(&Told {
            name,
            authority,
            outcome,
        });
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// How an authority calls a certificate (RFC 9773, 4.1).
fn identifier(chain: &CertifiedKey) -> Option<CertificateIdentifier<'static>> {
    let id = CertificateIdentifier::try_from(chain.cert.first()?).ok()?;
    Some(id.into_owned())
}
