//! The certificates that are live: found by name, swapped whole, never by a worse one.
//!
//! A pair is live from the moment it was good until its files are gone or hold another good one. Its last good state
//! outlives damage, a missing key and its own end of life: a client that sees an expired certificate can at least say
//! so, and nothing that a file does may take a host away by accident. Only a new pair must be in date.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{CertError, Fault, Problem};
use crate::folder::{Digest, Folder, Outside};
use crate::identity::{CertInfo, Identity};
use crate::name::{self, Name};
use crate::watch::Watch;
use crate::{Clock, system_clock};

/// The certificates of one folder.
///
/// It is a rustls [`ResolvesServerCert`]: the exact name, else a wildcard for its first label, else nothing, which ends
/// the handshake with an alert. There is no default certificate: a client without SNI gets the alert too.
pub struct CertStore {
    dir: PathBuf,
    clock: Clock,
    live: ArcSwap<Live>,
    problems: ArcSwap<Vec<Problem>>,
    /// Held while files are read, so that two reloads cannot overtake each other.
    seen: Mutex<Seen>,
}

/// What a reload changed; names are those of the pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Pairs that are new.
    pub added: Vec<String>,
    /// Pairs whose files hold another good certificate now.
    pub replaced: Vec<String>,
    /// Pairs whose files are gone.
    pub removed: Vec<String>,
    /// Files that could not be used, and what became of them.
    pub problems: Vec<Problem>,
    /// How many pairs are live.
    pub live: usize,
}

#[derive(Default)]
struct Live {
    identities: BTreeMap<String, Arc<Identity>>,
    exact: HashMap<Box<str>, Slot>,
    wildcard: HashMap<Box<str>, Slot>,
}

/// The certificates of one name, the best first.
type Slot = Vec<Arc<Identity>>;

/// What the files were when they were last read.
struct Seen {
    folder: Result<Digest, Fault>,
    /// How they looked just before; none: they must be read.
    outside: Option<Outside>,
    /// A pair that was too young becomes good without a change of its files.
    again_at: Option<SystemTime>,
}

/// What a reading of the files leads to.
struct Step {
    live: Live,
    problems: Vec<Problem>,
    again_at: Option<SystemTime>,
}

impl CertStore {
    /// Opens a folder of pairs: `NAME.crt` or `NAME.pem` with `NAME.key`, or `NAME.pem` that holds both.
    ///
    /// What could not be used is in [`problems`](Self::problems).
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or no pair in it can be served.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Arc<Self>, CertError> {
        Self::open_with(dir, system_clock())
    }

    /// [`open`](Self::open) with a clock.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub fn open_with(dir: impl Into<PathBuf>, clock: Clock) -> Result<Arc<Self>, CertError> {
        let dir = dir.into();
        let outside = Outside::look(&dir).ok();
        let folder = Folder::read(&dir).map_err(|fault| {
            CertError::Folder(Problem {
                file: dir.clone(),
                fault,
                kept: false,
            })
        })?;
        let Step {
            live,
            problems,
            again_at,
        } = Live::default().step(&folder, clock());
        if live.identities.is_empty() {
            return Err(CertError::NothingUsable { dir, problems });
        }
        Ok(Arc::new(Self {
            dir,
            clock,
            live: ArcSwap::from_pointee(live),
            problems: ArcSwap::from_pointee(problems),
            seen: Mutex::new(Seen {
                folder: Ok(folder.digest),
                outside,
                again_at,
            }),
        }))
    }

    /// Reads the folder again and swaps what changed, in one step.
    ///
    /// Handshakes under way and connections keep what they have. A bad pair leaves the good one of its name live, and a
    /// folder that cannot be read, or would leave nothing, changes nothing.
    pub fn reload(&self) -> Report {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.outside = Outside::look(&self.dir).ok();
        self.apply(&mut seen, Folder::read(&self.dir))
    }

    /// Looks at the folder once, as the [`watch`](Self::watch) does: reloads when the files changed or a young certificate
    /// came of age.
    pub fn look(&self) -> Option<Report> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let due = seen.again_at.is_some_and(|at| at <= (self.clock)());
        // Looked at before it is read: a change in between is seen by the next look.
        let outside = Outside::look(&self.dir).ok();
        let settled = match (&outside, &seen.outside) {
            (Some(now), Some(before)) => now.is_settled(before),
            _ => false,
        };
        if settled && !due {
            return None;
        }
        seen.outside = outside;
        let folder = Folder::read(&self.dir);
        let same = match (&folder, &seen.folder) {
            (Ok(folder), Ok(digest)) => folder.digest == *digest,
            (Err(fault), Err(before)) => fault == before,
            _ => false,
        };
        (!same || due).then(|| self.apply(&mut seen, folder))
    }

    fn apply(&self, seen: &mut Seen, folder: Result<Folder, Fault>) -> Report {
        let before = self.live.load_full();
        let mut report = Report {
            live: before.identities.len(),
            ..Report::default()
        };
        let whole = |fault| Problem {
            file: self.dir.clone(),
            fault,
            kept: true,
        };
        match folder {
            Err(fault) => {
                seen.folder = Err(fault.clone());
                seen.again_at = None;
                report.problems = vec![whole(fault)];
            }
            Ok(folder) => {
                let step = before.step(&folder, (self.clock)());
                seen.folder = Ok(folder.digest);
                seen.again_at = step.again_at;
                report.problems = step.problems;
                if step.live.identities.is_empty() {
                    report.problems.push(whole(Fault::NothingLeft));
                } else {
                    step.live.compare(&before, &mut report);
                    self.live.store(Arc::new(step.live));
                }
            }
        }
        self.problems.store(Arc::new(report.problems.clone()));
        report
    }

    /// Watches the folder from a thread of its own: reads it every `every`, tells `changed` what a change did, and stops
    /// when the [`Watch`] is dropped.
    ///
    /// Names, times and sizes are looked at first, links followed; what looks as it did is not read again, and what was
    /// read again counts as changed only when its bytes are others.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn watch(
        self: &Arc<Self>,
        every: Duration,
        changed: impl FnMut(&Report) + Send + 'static,
    ) -> Result<Watch, CertError> {
        Watch::start(Arc::clone(self), every, changed).map_err(|source| CertError::Watch {
            dir: self.dir.clone(),
            source,
        })
    }

    /// Whether the certificate that `sni` gets covers `host` too: a request for a host that it does not cover came over
    /// the wrong connection (421). Where a name has several certificates, all of them must.
    ///
    /// Without SNI nothing is covered, because nothing was served.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        let live = self.live.load();
        let covered = |slot: &Slot| {
            name::lower(host, |host| {
                let holders = [
                    live.exact.get(host),
                    name::parent(host).and_then(|rest| live.wildcard.get(rest)),
                ];
                let covers = |identity: &Arc<Identity>| {
                    holders
                        .into_iter()
                        .flatten()
                        .flatten()
                        .any(|holder| Arc::ptr_eq(holder, identity))
                };
                Some(slot.iter().all(covers))
            })
        };
        sni.and_then(|sni| live.slot(sni))
            .and_then(covered)
            .unwrap_or(false)
    }

    /// Every pair that is live, by name.
    pub fn list(&self) -> Vec<CertInfo> {
        let now = (self.clock)();
        self.live
            .load()
            .identities
            .values()
            .map(|identity| identity.info(now))
            .collect()
    }

    /// What could not be used when the files were last read.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.load().to_vec()
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.live.load();
        let slot = live.slot(hello.server_name()?)?;
        let chosen = match slot.as_slice() {
            [only] => only,
            several => several
                .iter()
                .find(|identity| {
                    identity
                        .certified
                        .key
                        .choose_scheme(hello.signature_schemes())
                        .is_some()
                })
                .or(several.first())?,
        };
        Some(Arc::clone(&chosen.certified))
    }
}

impl fmt::Debug for CertStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.live.load().identities.len();
        f.debug_struct("CertStore")
            .field("dir", &self.dir)
            .field("live", &live)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// The next state: good pairs of the folder, and the last good one of each name that is still there.
    fn step(&self, folder: &Folder, now: SystemTime) -> Step {
        let mut step = Step {
            live: Self::default(),
            problems: Vec::new(),
            again_at: None,
        };
        for pair in &folder.pairs {
            let old = self.identities.get(&pair.name);
            let identity = match old {
                Some(old) if old.digest == pair.digest => Some(Arc::clone(old)),
                _ => Identity::load(pair, now).map(Arc::new).map_or_else(
                    |(file, fault)| {
                        step.refused(Problem {
                            file,
                            fault,
                            kept: old.is_some(),
                        });
                        old.cloned()
                    },
                    Some,
                ),
            };
            if let Some(identity) = identity {
                step.live.insert(pair.name.clone(), identity);
            }
        }
        for slot in step
            .live
            .exact
            .values_mut()
            .chain(step.live.wildcard.values_mut())
        {
            slot.sort_by(|a, b| a.rank().cmp(&b.rank()));
        }
        step
    }

    fn insert(&mut self, name: String, identity: Arc<Identity>) {
        for name in &identity.names {
            let slot = match name {
                Name::Exact(name) => self.exact.entry(name.clone()),
                Name::Wildcard(rest) => self.wildcard.entry(rest.clone()),
            };
            slot.or_default().push(Arc::clone(&identity));
        }
        self.identities.insert(name, identity);
    }

    /// The certificates for a name that a client sent. Does not allocate.
    fn slot(&self, sni: &str) -> Option<&Slot> {
        name::lower(sni, |sni| {
            self.exact
                .get(sni)
                .or_else(|| name::parent(sni).and_then(|rest| self.wildcard.get(rest)))
        })
    }

    /// Writes into `report` what is different from `before`.
    fn compare(&self, before: &Self, report: &mut Report) {
        report.live = self.identities.len();
        for (name, identity) in &self.identities {
            match before.identities.get(name) {
                None => report.added.push(name.clone()),
                Some(old) if !Arc::ptr_eq(old, identity) => report.replaced.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = before
            .identities
            .keys()
            .filter(|name| !self.identities.contains_key(*name));
        report.removed = gone.cloned().collect();
    }
}

impl Step {
    fn refused(&mut self, problem: Problem) {
        if let Fault::NotYetValid(from) = problem.fault {
            self.again_at = Some(self.again_at.map_or(from, |at| at.min(from)));
        }
        self.problems.push(problem);
    }
}
