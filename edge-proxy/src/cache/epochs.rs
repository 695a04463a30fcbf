//! When each tag was last purged, as a number in the log of events.
//!
//! An entry is valid while nothing that it depends on was purged after its fetch began:
//! `max(epoch(tags), epoch(tenant), epoch(all)) <= born`. A purge is one atomic store whatever the
//! number of objects. Tags share slots: a collision purges too much, never too little.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cache_rules::tenant::TenantId;
use siphasher::sip::SipHasher13;

use crate::control::event::Purge;
use crate::control::store::Sequence;

/// Slots per tenant: 16 KiB, and with 1,000 purged tags one in two others is purged with them.
const SLOTS: usize = 2048;

/// The epochs of all tenants.
#[derive(Debug, Default)]
pub struct Epochs {
    head: AtomicU64,
    all: AtomicU64,
    tenants: ArcSwap<HashMap<TenantId, Arc<TenantEpochs>>>,
}

/// The epochs of one tenant.
#[derive(Debug)]
pub struct TenantEpochs {
    all: AtomicU64,
    slots: Box<[AtomicU64]>,
}

/// Which epochs something depends on.
#[derive(Debug, Clone)]
pub struct Depends {
    tenant: Arc<TenantEpochs>,
    slots: Box<[u16]>,
    born: Sequence,
}

impl Epochs {
    /// The last event of the log: read it before the request to the origin is sent.
    pub fn head(&self) -> Sequence {
        Sequence(self.head.load(Ordering::Acquire))
    }

    /// The log has reached `sequence`.
    pub fn advance(&self, sequence: Sequence) {
        self.head.fetch_max(sequence.0, Ordering::AcqRel);
    }

    /// What is fetched from `born` on and carries `tags` depends on these.
    pub fn depends<'a>(
        &self,
        tenant: &TenantId,
        tags: impl IntoIterator<Item = &'a str>,
        born: Sequence,
    ) -> Depends {
        let slots = tags.into_iter().map(|tag| slot(tag) as u16).collect();
        Depends {
            tenant: self.tenant(tenant),
            slots,
            born,
        }
    }

    /// Whether nothing it depends on was purged since it was born.
    pub fn valid(&self, depends: &Depends) -> bool {
        let born = depends.born.0;
        let tenant = &depends.tenant;
        self.all.load(Ordering::Acquire) <= born
            && tenant.all.load(Ordering::Acquire) <= born
            && depends
                .slots
                .iter()
                .all(|&slot| tenant.slots[usize::from(slot)].load(Ordering::Acquire) <= born)
    }

    /// A purge at `sequence`. The head moves first: what is fetched from then on is newer than it.
    pub fn purge(&self, purge: &Purge, sequence: Sequence) {
        self.advance(sequence);
        let raise = |epoch: &AtomicU64| epoch.fetch_max(sequence.0, Ordering::AcqRel);
        match purge {
            Purge::Everything => raise(&self.all),
            Purge::Tenant(tenant) => raise(&self.tenant(tenant).all),
            Purge::Tag(tenant, tag) => raise(&self.tenant(tenant).slots[slot(tag.as_str())]),
            Purge::Path(tenant, path) => {
                raise(&self.tenant(tenant).slots[slot(&path_tag(path.as_str()))])
            }
        };
    }

    fn tenant(&self, id: &TenantId) -> Arc<TenantEpochs> {
        if let Some(epochs) = self.tenants.load().get(id) {
            return Arc::clone(epochs);
        }
        // Tenants come from the config, so there are as many as it names; none is ever forgotten.
        self.tenants.rcu(|tenants| {
            let mut tenants = HashMap::clone(tenants);
            tenants
                .entry(id.clone())
                .or_insert_with(|| Arc::new(TenantEpochs::new()));
            tenants
        });
        Arc::clone(&self.tenants.load()[id])
    }
}

impl TenantEpochs {
    fn new() -> Self {
        Self {
            all: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// The tag that everything of one canonical path has. A space: no origin's tag can be the same.
pub fn path_tag(path: &str) -> String {
    format!("path {path}")
}

fn slot(tag: &str) -> usize {
    (SipHasher13::new().hash(tag.as_bytes()) % SLOTS as u64) as usize
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
        let before = epochs.depends(&a, ["course:1"], epochs.head());
        epochs.purge(&tag("a", "course:1"), Sequence(7));
        let after = epochs.depends(&a, ["course:1"], epochs.head());
        assert!(!epochs.valid(&before));
        assert!(epochs.valid(&after));
    }

    #[test]
    fn a_purge_of_one_tenant_leaves_the_others() {
        let epochs = Epochs::default();
        let kept = epochs.depends(&tenant("b"), ["course:1"], epochs.head());
        epochs.purge(&tag("a", "course:1"), Sequence(1));
        epochs.purge(&all("a"), Sequence(2));
        assert!(epochs.valid(&kept));
        epochs.purge(&Purge::Everything, Sequence(3));
        assert!(!epochs.valid(&kept));
    }

    #[test]
    fn a_path_is_purged_apart_from_tags() {
        let epochs = Epochs::default();
        let a = tenant("a");
        let of_path = epochs.depends(&a, [path_tag("/x").as_str()], epochs.head());
        epochs.purge(&tag("a", "/x"), Sequence(1));
        assert!(epochs.valid(&of_path));
        let path = PurgePath::parse("/x").expect("a path");
        epochs.purge(&Purge::Path(a, path), Sequence(2));
        assert!(!epochs.valid(&of_path));
    }

    #[test]
    fn an_event_that_arrives_late_never_lowers_an_epoch() {
        let epochs = Epochs::default();
        let born = epochs.depends(&tenant("a"), [], Sequence(5));
        epochs.purge(&all("a"), Sequence(9));
        epochs.purge(&all("a"), Sequence(4));
        assert!(!epochs.valid(&born));
        assert_eq!(epochs.head(), Sequence(9));
    }
}
