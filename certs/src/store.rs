//! The certificates that are live: found by name, swapped whole, never by a worse one.
//!
//! A pair is live from the moment it was good until its files are gone or hold another good one. Its last good state
//! outlives damage, a missing key and its own end of life: a client that sees an expired certificate can at least say
//! so, and nothing that a file does may take a host away by accident. Only a new pair must be in date.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{CertError, Fault, Problem};
use crate::folder::{Digest, Folder, Outside, Place};
use crate::identity::{CertInfo, Identity, Source};
use crate::name::{self, Name};
use crate::seal::Seal;
use crate::watch::Watch;
use crate::{Clock, system_clock};

/// The certificates of a folder, and of the managed one beside it.
///
/// It is a rustls [`ResolvesServerCert`]: the exact name, else a wildcard for its first label, else nothing, which ends
/// the handshake with an alert. There is no default certificate: a client without SNI gets the alert too.
pub struct CertStore {
    clock: Clock,
    live: ArcSwap<Live>,
    problems: ArcSwap<Vec<Problem>>,
    /// Held while files are read, so that two reloads cannot overtake each other.
    seen: Mutex<Vec<Seen>>,
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
    identities: BTreeMap<(Source, String), Arc<Identity>>,
    exact: HashMap<Box<str>, Slot>,
    wildcard: HashMap<Box<str>, Slot>,
}

/// The certificates of one name, the best first.
type Slot = Vec<Arc<Identity>>;

/// What the files of one place were when they were last read.
struct Seen {
    source: Source,
    place: Place,
    problems: Vec<Problem>,
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
        Self::begin(dir.into(), None, clock)
    }

    /// As [`open`](Self::open), with the managed folder beside it, whose keys `seal` opens. Both may hold nothing yet.
    ///
    /// # Errors
    ///
    /// When one of the folders cannot be read.
    pub fn open_managed(
        dir: impl Into<PathBuf>,
        managed: impl Into<PathBuf>,
        seal: Arc<Seal>,
        clock: Clock,
    ) -> Result<Arc<Self>, CertError> {
        let managed = Place {
            dir: managed.into(),
            seal: Some(seal),
        };
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&managed.dir);
        made.map_err(|error| {
            CertError::Folder(Problem {
                file: managed.dir.clone(),
                fault: Fault::Unreadable(error.kind()),
                kept: false,
            })
        })?;
        Self::begin(dir.into(), Some(managed), clock)
    }

    fn begin(dir: PathBuf, managed: Option<Place>, clock: Clock) -> Result<Arc<Self>, CertError> {
        let folder = Place {
            dir: dir.clone(),
            seal: None,
        };
        let may_be_empty = managed.is_some();
        let places = [(Source::Folder, folder)]
            .into_iter()
            .chain(managed.map(|place| (Source::Managed, place)));
        let mut live = Live::default();
        let mut seen = Vec::new();
        for (source, place) in places {
            let outside = Outside::look(&place.dir).ok();
            let folder = Folder::read(&place).map_err(|fault| {
                CertError::Folder(Problem {
                    file: place.dir.clone(),
                    fault,
                    kept: false,
                })
            })?;
            let step = live.step(source, &folder, clock());
            live = step.live;
            seen.push(Seen {
                source,
                place,
                problems: step.problems,
                folder: Ok(folder.digest),
                outside,
                again_at: step.again_at,
            });
        }
        let problems = problems(&seen);
        if live.identities.is_empty() && !may_be_empty {
            return Err(CertError::NothingUsable { dir, problems });
        }
        Ok(Arc::new(Self {
            clock,
            live: ArcSwap::from_pointee(live),
            problems: ArcSwap::from_pointee(problems),
            seen: Mutex::new(seen),
        }))
    }

    /// Reads the folder again and swaps what changed, in one step.
    ///
    /// Handshakes under way and connections keep what they have. A bad pair leaves the good one of its name live, and a
    /// folder that cannot be read, or would leave nothing, changes nothing.
    pub fn reload(&self) -> Report {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Report::default();
        for at in 0..seen.len() {
            let place = &mut seen[at];
            place.outside = Outside::look(&place.place.dir).ok();
            let folder = Folder::read(&place.place);
            self.apply(place, folder, &mut report);
        }
        self.reported(&seen, report)
    }

    /// Looks at the folder once, as the [`watch`](Self::watch) does: reloads when the files changed or a young certificate
    /// came of age.
    pub fn look(&self) -> Option<Report> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = None;
        for place in seen.iter_mut() {
            if let Some(folder) = place.changed((self.clock)()) {
                self.apply(place, folder, report.get_or_insert_default());
            }
        }
        Some(self.reported(&seen, report?))
    }

    fn apply(&self, seen: &mut Seen, folder: Result<Folder, Fault>, report: &mut Report) {
        let before = self.live.load_full();
        let whole = |fault| Problem {
            file: seen.place.dir.clone(),
            fault,
            kept: true,
        };
        match folder {
            Err(fault) => {
                seen.problems = vec![whole(fault.clone())];
                seen.folder = Err(fault);
                seen.again_at = None;
            }
            Ok(folder) => {
                let step = before.step(seen.source, &folder, (self.clock)());
                let nothing_left = step.live.identities.is_empty() && !before.identities.is_empty();
                let left = nothing_left.then(|| whole(Fault::NothingLeft));
                seen.folder = Ok(folder.digest);
                seen.again_at = step.again_at;
                seen.problems = step.problems;
                if let Some(left) = left {
                    seen.problems.push(left);
                } else {
                    step.live.compare(&before, report);
                    self.live.store(Arc::new(step.live));
                }
            }
        }
        report.problems.extend(seen.problems.iter().cloned());
    }

    fn reported(&self, seen: &[Seen], mut report: Report) -> Report {
        report.live = self.live.load().identities.len();
        self.problems.store(Arc::new(problems(seen)));
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
            dir: self.dir(),
            source,
        })
    }

    fn dir(&self) -> PathBuf {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.first()
            .map_or_else(PathBuf::new, |seen| seen.place.dir.clone())
    }

    /// The life of a managed certificate that is live.
    pub(crate) fn managed_life(&self, name: &str) -> Option<(SystemTime, SystemTime)> {
        let key = (Source::Managed, name.to_owned());
        Some(self.live.load().identities.get(&key)?.life())
    }

    /// The chain of a managed certificate that is live, its own first.
    pub(crate) fn managed_chain(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let key = (Source::Managed, name.to_owned());
        Some(Arc::clone(
            &self.live.load().identities.get(&key)?.certified,
        ))
    }

    /// Whether the certificate that `sni` gets covers `host` too: a request for a host that it does not cover came over
    /// the wrong connection (421). Where a name has several certificates, all of them must.
    ///
    /// Without SNI nothing is covered, because nothing was served.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        let live = self.live.load();
        if sni == Some(host) {
            return live.slot(host).is_some();
        }
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
            .iter()
            .map(|((source, _), identity)| identity.info(*source, now))
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
            .field("live", &live)
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// The files, if they must be read again and are not what they were.
    fn changed(&mut self, now: SystemTime) -> Option<Result<Folder, Fault>> {
        let due = self.again_at.is_some_and(|at| at <= now);
        // Looked at before it is read: a change in between is seen by the next look.
        let outside = Outside::look(&self.place.dir).ok();
        let settled = match (&outside, &self.outside) {
            (Some(now), Some(before)) => now.is_settled(before),
            _ => false,
        };
        if settled && !due {
            return None;
        }
        self.outside = outside;
        let folder = Folder::read(&self.place);
        let same = match (&folder, &self.folder) {
            (Ok(folder), Ok(digest)) => folder.digest == *digest,
            (Err(fault), Err(before)) => fault == before,
            _ => false,
        };
        (!same || due).then_some(folder)
    }
}

fn problems(seen: &[Seen]) -> Vec<Problem> {
    seen.iter().flat_map(|seen| seen.problems.clone()).collect()
}

impl Live {
    /// The next state: what other sources gave, good pairs of this folder, and the last good one of each of its names that
    /// is still there.
    fn step(&self, source: Source, folder: &Folder, now: SystemTime) -> Step {
        let mut step = Step {
            live: Self::default(),
            problems: Vec::new(),
            again_at: None,
        };
        for (key, identity) in &self.identities {
            if key.0 != source {
                step.live.insert(key.clone(), Arc::clone(identity));
            }
        }
        for pair in &folder.pairs {
            let key = (source, pair.name.clone());
            let old = self.identities.get(&key);
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
                step.live.insert(key, identity);
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

    fn insert(&mut self, key: (Source, String), identity: Arc<Identity>) {
        for name in &identity.names {
            let slot = match name {
                Name::Exact(name) => self.exact.entry(name.clone()),
                Name::Wildcard(rest) => self.wildcard.entry(rest.clone()),
            };
            slot.or_default().push(Arc::clone(&identity));
        }
        self.identities.insert(key, identity);
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
        for (key, identity) in &self.identities {
            let (_, name) = key;
            match before.identities.get(key) {
                None => report.added.push(name.clone()),
                Some(old) if !Arc::ptr_eq(old, identity) => report.replaced.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = before
            .identities
            .keys()
            .filter(|key| !self.identities.contains_key(*key));
        report.removed.extend(gone.map(|(_, name)| name.clone()));
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
