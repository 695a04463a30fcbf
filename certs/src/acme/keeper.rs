//! Looks after hosts: what is due, which authority is asked, what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, CertificateIdentifier, RenewalInfo, RevocationReason, RevocationRequest,
};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::account::Authority;
use super::answers::{Answers, Hook};
use super::arrival::PointsHere;
use super::fault::IssueFault;
use super::order::Order;
use super::schedule::{Span, renew_at};
use super::shelf::{Charge, PutFault, Record, Shelf, at, seconds};
use super::wire::{RootsProblem, Wire};
use crate::seal::Seal;
use crate::{CertStore, Clock};

mod ledger;

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
/// A token of our own: 32 letters.
const TOKEN_BYTES: usize = 16;

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

/// A try that brought a certificate.
struct Done {
    authority: String,
    life: Span,
    /// Why the former one is still valid, where it was to be revoked.
    not_revoked: Option<IssueFault>,
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
            places: Semaphore::new(ORDERS_MAX),
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
        charge
    }

    fn now(&self) -> SystemTime {
        (self.around.clock)()
    }

    /// One try, whose outcome is kept.
    async fn attempt(&self, name: &str, act: Act) {
        let Some(record) = self.ledger.record(name) else {
            return;
        };
        // Now, not at the end: whoever takes over in the middle of an order goes on with it.
        self.keep(&record);
        let Ok(_place) = self.places.acquire().await else {
            return;
        };
        let outcome = self.steps(&record, act).await;
        let chance = (self.around.chance)();
        let kept = match outcome {
            Ok(Done {
                authority,
                life,
                not_revoked,
            }) => {
                let renew = renew_at(life, None, chance);
                let kept = self.ledger.issued(name, &authority, life, renew);
                if let Some(fault) = not_revoked {
                    self.tell(name, Some(&authority), Err(&fault));
                    self.ledger.at(name, Stage::Failed(fault, renew));
                }
                kept
            }
            Err(fault) => self.ledger.failed(name, &fault, self.now(), chance),
        };
        if let Some(record) = kept {
            self.keep(&record);
        }
    }

    fn keep(&self, record: &Record) {
        if let Err(error) = self.shelf.keep(record) {
            self.tell(&record.name, None, Err(&IssueFault::Disk(error.kind())));
        }
    }

    async fn steps(&self, record: &Record, act: Act) -> Result<Done, IssueFault> {
        let name = record.name.as_str();
        let begun = self.may_begin(record).await;
        if let Err(fault) = begun {
            self.tell(name, None, Err(&fault));
            return Err(fault);
        }
        let old = self.around.certs.managed_chain(name);
        let mut last = IssueFault::AllPaused;
        for authority in &self.options.authorities {
            if self.ledger.is_paused(&authority.name, self.now()) {
                continue;
            }
            self.ledger
                .at(name, Stage::Ordering(authority.name.clone()));
            let outcome = self.order(authority, record, old.as_deref()).await;
            self.ledger
                .judge(&authority.name, outcome.as_ref().err(), self.now());
            self.tell(name, Some(&authority.name), outcome.as_ref().map(drop));
            match outcome {
                Ok(life) => {
                    self.around.certs.reload();
                    let not_revoked = match (act, old.as_deref()) {
                        (Act::Revoke, Some(old)) => self.revoke(record, old).await.err(),
                        _ => None,
                    };
                    return Ok(Done {
                        authority: authority.name.clone(),
                        life,
                        not_revoked: not_revoked
                            .map(|fault| IssueFault::NotRevoked(fault.to_string())),
                    });
                }
                Err(fault) if !fault.is_of_authority() => return Err(fault),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Whether the host points here and its tenant's quota has something left.
    async fn may_begin(&self, record: &Record) -> Result<(), IssueFault> {
        let name = record.name.as_str();
        if !name.starts_with("*.") {
            self.ledger.at(name, Stage::Checking);
            let answers = &*self.around.answers;
            let token = token()?;
            self.options
                .points_here
                .check(name, &token, answers)
                .await?;
        }
        let most = self.options.orders_per_day;
        let orders = self.ledger.charge(&record.tenant, most, self.now())?;
        let kept = self.shelf.keep_orders(&orders);
        kept.map_err(|error| IssueFault::Disk(error.kind()))
    }

    async fn order(
        &self,
        authority: &Authority,
        record: &Record,
        old: Option<&CertifiedKey>,
    ) -> Result<Span, IssueFault> {
        let mut account = self.account(authority, false).await?;
        let same = record.authority.as_deref() == Some(&authority.name);
        let order = Order {
            name: &record.name,
            replaces: old.filter(|_| same).and_then(identifier),
            answers: &*self.around.answers,
            hook: self.hook.as_ref(),
            patience: self.options.order,
        };
        let mut issued = order.place(&account).await;
        if issued.as_ref().is_err_and(IssueFault::is_no_account) {
            account = self.account(authority, true).await?;
            issued = order.place(&account).await;
        }
        let issued = issued?;
        let put = self
            .shelf
            .put(&record.name, (&issued.chain, &issued.key), self.now());
        put.map_err(|fault| match fault {
            PutFault::Unusable(fault) => IssueFault::Unusable(fault),
            PutFault::Disk(kind) => IssueFault::Disk(kind),
        })
    }

    async fn revoke(&self, record: &Record, old: &CertifiedKey) -> Result<(), IssueFault> {
        let mut authorities = self.options.authorities.iter();
        let issuer = authorities.find(|of| Some(&of.name) == record.authority.as_ref());
        let (Some(authority), Some(certificate)) = (issuer, old.cert.first()) else {
            let text = "the authority that issued it is no longer configured".to_owned();
            return Err(IssueFault::Authority(text));
        };
        let account = self.account(authority, false).await?;
        let request = RevocationRequest {
            certificate,
            reason: Some(RevocationReason::KeyCompromise),
        };
        Ok(account.revoke(&request).await?)
    }

    /// The account at an authority; `anew`: the one that is known is of no more use.
    async fn account(&self, authority: &Authority, anew: bool) -> Result<Account, IssueFault> {
        // Held while an account is made, or two would be.
        let mut accounts = self.accounts.lock().await;
        if let Some(account) = accounts.get(&authority.name)
            && !anew
        {
            return Ok(account.clone());
        }
        let account = match anew {
            true => authority.new_account(&self.shelf, &self.wire).await?,
            false => authority.account(&self.shelf, &self.wire).await?,
        };
        accounts.insert(authority.name.clone(), account.clone());
        Ok(account)
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

fn token() -> Result<String, IssueFault> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| IssueFault::Answer("the system gives no randomness".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
