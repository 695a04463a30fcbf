//! When each tag was last purged, as a number that every purge raises.
//!
//! An entry is valid while nothing that it depends on was purged after its fetch began:
//! `max(epoch(tags), epoch(tenant), epoch(all)) <= born`. A purge is one atomic store for each name,
//! whatever the number of objects. Tags share slots: a collision purges too much, never too little.
//!
//! The number is this process' own and not the log's: what a write through the edge ends is ended
//! here and now, and waits for no log; another process that serves beside this one is told. Purges of the log take their
//! numbers when they are applied.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use cache_rules::tenant::TenantId;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::control::beside::Ended;
use crate::control::event::Purge;

/// Slots per tenant: 16 KiB, and with 1,000 purged tags one in two others is purged with them.
pub(super) const SLOTS: usize = 2048;

/// Of one answer, that are kept beside it: most have two tags or three.
const SLOTS_INLINE: usize = 8;

/// A place in the order of all purges of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// The epochs of all tenants.
#[derive(Default)]
pub struct Epochs {
    now: AtomicU64,
    all: AtomicU64,
    tenants: ArcSwap<HashMap<TenantId, Arc<TenantEpochs>>>,
    others: OnceLock<Tell>,
}

/// Tells other processes what was ended here; must not wait.
type Tell = Box<dyn Fn(Ended) + Send + Sync>;

impl std::fmt::Debug for Epochs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

/// The epochs of one tenant.
#[derive(Debug, Default)]
pub struct TenantEpochs {
    hard: Table,
    /// Most tenants never get a soft purge.
    soft: OnceLock<Table>,
}

#[derive(Debug)]
struct Table {
    all: AtomicU64,
    slots: Box<[AtomicU64]>,
}

/// Which epochs something depends on.
#[derive(Debug, Clone)]
pub struct Depends {
    tenant: Arc<TenantEpochs>,
    slots: SmallVec<[u16; SLOTS_INLINE]>,
    born: Moment,
}

impl Epochs {
    /// Now: read it before the request to the origin is sent.
    pub fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::Acquire))
    }

    /// What is fetched from `born` on and carries these names depends on these.
    pub fn depends<'a>(
        &self,
        tenant: &TenantId,
        names: impl IntoIterator<Item = &'a str>,
        born: Moment,
    ) -> Depends {
        let slots = names.into_iter().map(|name| slot(name) as u16).collect();
        Depends {
            tenant: self.tenant(tenant),
            slots,
            born,
        }
    }

    /// What another process had, and what depends on these of its slots: it was born before anything that was ever
    /// ended here. None: there is no such slot.
    pub(super) fn inherited(&self, tenant: &TenantId, slots: &[u16]) -> Option<Depends> {
        let there = |slot: &u16| usize::from(*slot) < SLOTS;
        slots.iter().all(there).then(|| Depends {
            tenant: self.tenant(tenant),
            slots: slots.into(),
            born: Moment::default(),
        })
    }

    /// Whether nothing it depends on was purged since it was born.
    pub fn valid(&self, depends: &Depends) -> bool {
        self.all.load(Ordering::Acquire) <= depends.born.0 && depends.tenant.hard.valid(depends)
    }

    /// Whether nothing it depends on was purged softly since it was born.
    pub fn current(&self, depends: &Depends) -> bool {
        depends
            .tenant
            .soft
            .get()
            .is_none_or(|soft| soft.valid(depends))
    }

    /// The moment when it was born, and that of the last hard purge of anything that it depends on.
    pub fn moments(&self, depends: &Depends) -> (u64, u64) {
        let load = |epoch: &AtomicU64| epoch.load(Ordering::Acquire);
        let hard = &depends.tenant.hard;
        let slots = depends
            .slots
            .iter()
            .map(|&slot| load(&hard.slots[usize::from(slot)]));
        let last = slots.chain([load(&self.all), load(&hard.all)]).max();
        (depends.born.0, last.unwrap_or(0))
    }

    /// A purge: nothing that it covers and that was asked for until now is served again.
    pub fn purge(&self, purge: &Purge) {
        match purge {
            Purge::Everything => raise(&self.all, self.tick()),
            Purge::Tenant(tenant) => {
                let tenant = self.tenant(tenant);
                raise(&tenant.hard.all, self.tick());
            }
            Purge::Tag(tenant, tag) => self.invalidate(tenant, [tag.as_str()]),
            Purge::Tags(tenant, tags) => {
                self.invalidate(tenant, tags.iter().map(cache_rules::tag::Tag::as_str))
            }
            Purge::Path(tenant, path) => {
                self.invalidate(tenant, [path_tag(path.as_str()).as_str()])
            }
        }
    }

    /// A soft purge: what it covers is stale from now on. Nothing of all tenants, and nothing that the platform ends, is purged softly.
    pub fn soften(&self, purge: &Purge) {
        let (tenant, name) = match purge {
            Purge::Everything | Purge::Tags(..) => return self.purge(purge),
            Purge::Tenant(tenant) => (tenant, None),
            Purge::Tag(tenant, tag) => (tenant, Some(tag.as_str().to_owned())),
            Purge::Path(tenant, path) => (tenant, Some(path_tag(path.as_str()))),
        };
        let tenant = self.tenant(tenant);
        let soft = tenant.soft.get_or_init(Table::default);
        let epoch = match &name {
            None => &soft.all,
            Some(name) => &soft.slots[slot(name)],
        };
        raise(epoch, self.tick());
    }

    /// From now on others are told of each [`Self::end`].
    pub fn tell(&self, others: impl Fn(Ended) + Send + Sync + 'static) {
        // Set once, by whoever put the process together.
        let _first = self.others.set(Box::new(others));
    }

    /// Ends what carries any of these names, here and in processes that serve beside this one.
    pub fn end<'a>(&self, tenant: &TenantId, names: impl IntoIterator<Item = &'a str>) {
        let marks: Vec<u64> = names.into_iter().map(mark).collect();
        self.raise_to_now(tenant, marks.iter().copied());
        if let Some(tell) = self.others.get() {
            let tenant = tenant.to_string();
            tell(Ended::Marks { tenant, marks });
        }
    }

    /// What another process ended is ended here.
    pub fn ended(&self, ended: &Ended) {
        match ended {
            Ended::Marks { tenant, marks } => match tenant.parse() {
                Ok(tenant) => self.raise_to_now(&tenant, marks.iter().copied()),
                Err(_) => self.purge(&Purge::Everything),
            },
            Ended::Everything => self.purge(&Purge::Everything),
        }
    }

    /// Ends what carries any of these names, here.
    pub fn invalidate<'a>(&self, tenant: &TenantId, names: impl IntoIterator<Item = &'a str>) {
        self.raise_to_now(tenant, names.into_iter().map(mark));
    }

    fn raise_to_now(&self, tenant: &TenantId, marks: impl Iterator<Item = u64>) {
        let tenant = self.tenant(tenant);
        let now = self.tick();
        for mark in marks {
            raise(&tenant.hard.slots[slot_of(mark)], now);
        }
    }

    /// Whether a purge would end what depends on something, were it made now. What it names is looked up once,
    /// for the many that are asked about.
    pub fn covering(&self, purge: &Purge) -> impl Fn(&Depends) -> bool + use<> {
        let tenant = purge.tenant().map(|tenant| self.tenant(tenant));
        let slot = |name: &str| slot(name) as u16;
        let slots: Option<Vec<u16>> = match purge {
            Purge::Everything | Purge::Tenant(_) => None,
            Purge::Tag(_, tag) => Some(vec![slot(tag.as_str())]),
            Purge::Tags(_, tags) => Some(tags.iter().map(|tag| slot(tag.as_str())).collect()),
            Purge::Path(_, path) => Some(vec![slot(&path_tag(path.as_str()))]),
        };
        move |depends| {
            let of = tenant.as_ref();
            of.is_none_or(|tenant| Arc::ptr_eq(tenant, &depends.tenant))
                && slots.as_ref().is_none_or(|named| {
                    let mut named = named.iter();
                    named.any(|slot| depends.slots.contains(slot))
                })
        }
    }

    /// The next moment. It is there before any epoch is raised to it: what is fetched from then on
    /// is newer than the purge.
    fn tick(&self) -> Moment {
        Moment(self.now.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn tenant(&self, id: &TenantId) -> Arc<TenantEpochs> {
        if let Some(epochs) = self.tenants.load().get(id) {
            return Arc::clone(epochs);
        }
        // Tenants come from the config, so there are as many as it names; none is ever forgotten.
        self.tenants.rcu(|tenants| {
            let mut tenants = HashMap::clone(tenants);
            tenants.entry(id.clone()).or_default();
            tenants
        });
        Arc::clone(&self.tenants.load()[id])
    }
}

impl Depends {
    /// Where its names are, in the tables of every process.
    pub(super) fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// When the fetch began.
    pub fn born(&self) -> Moment {
        self.born
    }
}

fn raise(epoch: &AtomicU64, to: Moment) {
    epoch.fetch_max(to.0, Ordering::AcqRel);
}

impl Table {
    fn valid(&self, depends: &Depends) -> bool {
        let born = depends.born.0;
        self.all.load(Ordering::Acquire) <= born
            && depends
                .slots
                .iter()
                .all(|&slot| self.slots[usize::from(slot)].load(Ordering::Acquire) <= born)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            all: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// The name of a group (RFC 9875). A space: no tag can be the same.
pub fn group_tag(group: &str) -> String {
    format!("group {group}")
}

/// The tag that everything of one canonical path has. A space: no origin's tag can be the same.
pub fn path_tag(path: &str) -> String {
    format!("path {path}")
}

fn slot(tag: &str) -> usize {
    slot_of(mark(tag))
}

/// The same in every process: it has no key, and does not change with versions.
fn mark(tag: &str) -> u64 {
    SipHasher13::new().hash(tag.as_bytes())
}

fn slot_of(mark: u64) -> usize {
    (mark % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use cache_rules::tag::Tag;

    use super::*;
    use crate::control::event::PurgePath;

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a valid id")
    }

    fn tag(of: &str, tag: &str) -> Purge {
        Purge::Tag(tenant(of), Tag::parse(tag).expect("a tag"))
    }

    fn all(of: &str) -> Purge {
        Purge::Tenant(tenant(of))
    }

    #[test]
    fn a_purge_ends_what_was_born_before_it_and_nothing_after() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let before = epochs.depends(&a, ["course:1"], epochs.now());
        epochs.purge(&tag("a", "course:1"));
        let after = epochs.depends(&a, ["course:1"], epochs.now());
        assert!(!epochs.valid(&before));
        assert!(epochs.valid(&after));
    }

    #[test]
    fn a_purge_of_one_tenant_leaves_the_others() {
        let epochs = Epochs::default();
        let kept = epochs.depends(&tenant("b"), ["course:1"], epochs.now());
        epochs.purge(&tag("a", "course:1"));
        epochs.purge(&all("a"));
        assert!(epochs.valid(&kept));
        epochs.purge(&Purge::Everything);
        assert!(!epochs.valid(&kept));
    }

    #[test]
    fn what_another_process_had_is_older_than_anything_that_was_ended() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let last_slot = SLOTS as u16 - 1;
        let taken = |at: &[u16]| epochs.inherited(&a, at);
        let last = taken(&[0, last_slot]).expect("these are slots");
        assert_eq!(last.slots(), [0, last_slot]);
        assert!(epochs.valid(&last));
        assert!(
            taken(&[0, last_slot + 1]).is_none(),
            "there is no such slot"
        );
        epochs.purge(&all("a"));
        assert!(!epochs.valid(&last));
        let late = taken(&[0]).expect("it is a slot");
        assert!(!epochs.valid(&late), "it was ended before it came");
    }

    #[test]
    fn no_tag_is_the_name_of_a_path_or_a_group() {
        let names = [path_tag("a"), path_tag("b"), group_tag("a"), group_tag("b")];
        for (at, name) in names.iter().enumerate() {
            assert!(Tag::parse(name).is_err(), "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn a_purge_covers_what_it_would_end_and_nothing_else() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let of = |school: &str, names: &[&str]| {
            epochs.depends(&tenant(school), names.iter().copied(), epochs.now())
        };
        let path = path_tag("/x");
        let dependent = [
            of("a", &["course:1", &path]),
            of("a", &["course:2"]),
            of("b", &["course:1", &path]),
        ];
        let tags = ["course:2", "course:3"].map(|tag| Tag::parse(tag).expect("a tag"));
        for (purge, covered) in [
            (tag("a", "course:1"), [true, false, false]),
            (tag("a", "course:3"), [false, false, false]),
            (Purge::Tags(a.clone(), tags.into()), [false, true, false]),
            (
                Purge::Path(a.clone(), PurgePath::parse("/x").expect("a path")),
                [true, false, false],
            ),
            (all("a"), [true, true, false]),
            (Purge::Everything, [true, true, true]),
        ] {
            let covers = epochs.covering(&purge);
            assert_eq!(dependent.each_ref().map(covers), covered, "{purge:?}");
        }
    }

    #[test]
    fn when_something_was_born_and_last_purged_is_known() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let depends = |epochs: &Epochs| epochs.depends(&a, ["course:1"], epochs.now());
        let first = depends(&epochs);
        assert_eq!((first.born(), epochs.moments(&first)), (Moment(0), (0, 0)));
        for (moment, purge) in (1..).zip([
            tag("a", "course:1"),
            all("a"),
            Purge::Everything,
            tag("a", "course:1"),
        ]) {
            epochs.purge(&purge);
            assert_eq!(epochs.moments(&first), (0, moment), "{purge:?}");
        }
        let later = depends(&epochs);
        assert_eq!((later.born(), epochs.moments(&later)), (Moment(4), (4, 4)));
        epochs.purge(&tag("a", "course:2"));
        epochs.purge(&all("b"));
        assert_eq!(epochs.moments(&later), (4, 4), "of others");
    }

    #[test]
    fn a_path_is_purged_apart_from_tags() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let of_path = epochs.depends(&a, [path_tag("/x").as_str()], epochs.now());
        epochs.purge(&tag("a", "/x"));
        assert!(epochs.valid(&of_path));
        let path = PurgePath::parse("/x").expect("a path");
        epochs.purge(&Purge::Path(a, path));
        assert!(!epochs.valid(&of_path));
    }

    #[test]
    fn what_one_process_ends_the_other_does_not_serve() {
        let (one, other) = (Epochs::default(), Arc::new(Epochs::default()));
        let a = tenant("a");
        let of = |names: &[&str]| other.depends(&a, names.iter().copied(), other.now());
        let [written, kept] = [of(&["course:1"]), of(&["course:2"])];
        let elsewhere = other.depends(&tenant("b"), ["course:1"], other.now());
        let told = Arc::clone(&other);
        one.tell(move |ended| told.ended(&ended));
        one.end(&a, ["course:1"]);
        assert!(!other.valid(&written));
        assert!(other.valid(&kept) && other.valid(&elsewhere));
        other.ended(&Ended::Everything);
        assert!(!other.valid(&kept) && !other.valid(&elsewhere));
    }

    #[test]
    fn a_purge_that_is_told_twice_ends_no_less() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let before = epochs.depends(&a, [], epochs.now());
        epochs.purge(&all("a"));
        epochs.purge(&all("a"));
        let after = epochs.depends(&a, [], epochs.now());
        assert!(!epochs.valid(&before) && epochs.valid(&after));
    }

    #[test]
    fn a_soft_purge_makes_stale_and_ends_nothing() {
        let epochs = Epochs::default();
        let (a, b) = (tenant("a"), tenant("b"));
        let one = epochs.depends(&a, ["course:1"], epochs.now());
        let other = epochs.depends(&a, ["course:2"], epochs.now());
        let elsewhere = epochs.depends(&b, ["course:1"], epochs.now());
        epochs.soften(&tag("a", "course:1"));
        assert!(epochs.valid(&one) && !epochs.current(&one));
        assert!(epochs.current(&other) && epochs.current(&elsewhere));
        let after = epochs.depends(&a, ["course:1"], epochs.now());
        assert!(epochs.current(&after));
        epochs.soften(&all("a"));
        assert!(!epochs.current(&other) && !epochs.current(&after) && epochs.current(&elsewhere));
        epochs.soften(&Purge::Everything);
        assert!(!epochs.valid(&elsewhere));
    }
}
