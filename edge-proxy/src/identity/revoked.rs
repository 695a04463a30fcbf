//! Tokens that were good and are no more: a purge of `u:<subject>` ends those that were issued before it.
//!
//! A kept verdict ends by the epochs like everything else. A signature, though, is as good after a
//! purge as before it, so the moment of the purge has to be remembered until the last token of that
//! moment has expired. What does not fit any more, and what cannot be read again after a restart,
//! ends all tokens that were issued so far: too many, never too few.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use cache_rules::tenant::TenantId;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::control::event::{Event, Purge};
use crate::control::store::{ControlStore, Note, Sequence, StoreError};

/// More people than sign out of one edge's schools within the lifetime of a token.
const SUBJECTS_MAX: usize = 100_000;
/// Commands of an hour that are looked through at a start; after more of them nothing older is trusted.
const NOTES_MAX: usize = 20_000;
const PAGE: usize = 512;

/// Seconds since 1970, as tokens count.
pub(super) type Seconds = u64;

/// Whose tokens end when.
pub struct Revoked {
    ends: Mutex<Ends>,
    clock: Clock,
    lifetime_max: Duration,
}

#[derive(Default)]
struct Ends {
    /// Tokens of these people that were issued until then are no more.
    subjects: HashMap<(TenantId, Box<str>), Seconds>,
    /// Nobody's token that was issued until then is any more.
    everybody: Option<Seconds>,
}

impl Revoked {
    /// Nobody's; no token lives longer than `lifetime_max`, and with zero there are none.
    pub fn new(clock: Clock, lifetime_max: Duration) -> Self {
        Self {
            ends: Mutex::default(),
            clock,
            lifetime_max,
        }
    }

    /// A purge that happens now. To be told before the epochs are: whoever sees the purge there must find it here.
    pub fn purged(&self, purge: &Purge) {
        self.note(purge, self.now(), SUBJECTS_MAX);
    }

    /// Whether a token of somebody is no more.
    pub(super) fn ends(&self, tenant: &TenantId, subject: &str, issued: Seconds) -> bool {
        let ends = self.ends.lock();
        // Nobody signs in so often that this allocation counts: verdicts are kept.
        let of = ends.subjects.get(&(tenant.clone(), subject.into()));
        of.is_some_and(|until| issued <= *until)
            || ends.everybody.is_some_and(|until| issued <= until)
    }

    /// Reads what was purged before a restart and may still matter.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn recall(&self, store: &dyn ControlStore) -> Result<(), StoreError> {
        self.recall_among(store, NOTES_MAX).await
    }

    async fn recall_among(
        &self,
        store: &dyn ControlStore,
        notes_max: usize,
    ) -> Result<(), StoreError> {
        let since = self.now().saturating_sub(self.lifetime_max.as_secs());
        let newest = store.audit(notes_max, None).await?.newest;
        // Of a note that cannot be read nobody knows how old it is.
        let at = |note: Option<Note>| {
            note.map_or(self.now(), |note| {
                note.at.as_second().try_into().unwrap_or(0)
            })
        };
        let young: HashMap<Sequence, Seconds> = newest
            .into_iter()
            .map(|noted| (noted.sequence, at(noted.note)))
            .filter(|(_, at)| *at >= since)
            .collect();
        if young.len() >= notes_max {
            // There may be more of them.
            self.end_all();
            return Ok(());
        }
        let Some(first) = young.keys().min() else {
            return Ok(());
        };
        let mut after = Sequence(first.0.saturating_sub(1));
        loop {
            let page = match store.events(after, PAGE).await {
                Ok(page) => page,
                Err(StoreError::Compacted { .. }) => {
                    self.end_all();
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.sequence;
            for entry in &page {
                let (Event::Purge(purge) | Event::SoftPurge(purge)) = &entry.event;
                if let Some(at) = young.get(&entry.sequence) {
                    self.note(purge, *at, SUBJECTS_MAX);
                }
            }
        }
    }

    fn note(&self, purge: &Purge, at: Seconds, subjects_max: usize) {
        if self.lifetime_max.is_zero() {
            return;
        }
        let (tenant, tags) = match purge {
            Purge::Tag(tenant, tag) => (tenant, std::slice::from_ref(tag)),
            Purge::Tags(tenant, tags) => (tenant, &tags[..]),
            // Events were missed, and sessions may have ended in them.
            Purge::Everything => return self.end_all(),
            Purge::Path(..) | Purge::Tenant(_) => return,
        };
        let mut ends = self.ends.lock();
        for subject in tags
            .iter()
            .filter_map(|tag| tag.as_str().strip_prefix("u:"))
        {
            if ends.subjects.len() >= subjects_max {
                let since = self.now().saturating_sub(self.lifetime_max.as_secs());
                ends.subjects.retain(|_, until| *until >= since);
            }
            if ends.subjects.len() >= subjects_max {
                ends.subjects.clear();
                ends.everybody = ends.everybody.max(Some(self.now()));
            }
            let until = ends
                .subjects
                .entry((tenant.clone(), subject.into()))
                .or_insert(at);
            *until = at.max(*until);
        }
    }

    fn end_all(&self) {
        let mut ends = self.ends.lock();
        ends.everybody = ends.everybody.max(Some(self.now()));
    }

    pub(super) fn now(&self) -> Seconds {
        let since_1970 = self.clock.wall().duration_since(UNIX_EPOCH);
        since_1970.map_or(0, |since| since.as_secs())
    }
}

/// Subjects are people.
impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cache_rules::tag::Tag;
    use jiff::Timestamp;

    use super::*;
    use crate::control::embedded::Embedded;
    use crate::control::store::Change;

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a tenant id")
    }

    fn signed_out(of: &str, subject: &str) -> Purge {
        let tag = Tag::parse(&format!("u:{subject}")).expect("a tag");
        Purge::Tags(tenant(of), vec![tag])
    }

    fn nobody() -> Revoked {
        Revoked::new(Clock::default(), Duration::from_secs(900))
    }

    #[test]
    fn tokens_of_one_person_that_were_issued_until_the_purge_end() {
        let revoked = nobody();
        let now = revoked.now();
        revoked.purged(&signed_out("oak", "7"));
        let oak = tenant("oak");
        assert!(revoked.ends(&oak, "7", now - 1) && revoked.ends(&oak, "7", now));
        assert!(!revoked.ends(&oak, "7", now + 5));
        assert!(!revoked.ends(&oak, "8", now) && !revoked.ends(&tenant("elm"), "7", now));
        revoked.purged(&Purge::Tenant(tenant("oak")));
        assert!(
            !revoked.ends(&oak, "8", now),
            "a purge of a school signs nobody out"
        );
        revoked.purged(&Purge::Everything);
        assert!(revoked.ends(&oak, "8", now), "what was missed may have");
    }

    #[test]
    fn what_does_not_fit_ends_too_much_and_never_too_little() {
        let revoked = nobody();
        let now = revoked.now();
        let oak = tenant("oak");
        for subject in 0..3 {
            revoked.note(&signed_out("oak", &subject.to_string()), now, 3);
        }
        assert!(!revoked.ends(&oak, "9", now));
        revoked.note(&signed_out("oak", "3"), now, 3);
        for subject in ["0", "1", "2", "3", "9"] {
            assert!(revoked.ends(&oak, subject, now), "{subject}");
        }
        assert!(!revoked.ends(&oak, "9", now + 5));
    }

    #[test]
    fn what_no_token_can_outlive_makes_room() {
        let revoked = nobody();
        let oak = tenant("oak");
        let then = revoked.now();
        for subject in 0..3 {
            revoked.note(&signed_out("oak", &subject.to_string()), then, 3);
        }
        revoked.clock.advance(Duration::from_secs(901));
        revoked.note(&signed_out("oak", "3"), revoked.now(), 3);
        assert!(!revoked.ends(&oak, "9", then), "room was made");
        assert!(revoked.ends(&oak, "3", then));
    }

    #[tokio::test]
    async fn after_a_restart_those_are_remembered_whose_tokens_may_still_live() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(&folder.path().join("state.redb")).expect("it opens");
        let (oak, now) = (tenant("oak"), nobody().now());
        let recalled = async |notes_max| {
            let revoked = nobody();
            let outcome = revoked.recall_among(&store, notes_max).await;
            outcome.expect("the log can be read");
            revoked
        };
        assert!(!recalled(3).await.ends(&oak, "1", now), "nothing happened");
        for (subject, ago) in [("1", 2000), ("2", 600), ("3", 0)] {
            let at = i64::try_from(now - ago).expect("this century");
            let note = Note {
                at: Timestamp::from_second(at).expect("this century"),
                who: "test".into(),
                what: "purge".into(),
                from: String::new(),
                to: String::new(),
                why: None,
                receipt: None,
            };
            let event = Event::Purge(signed_out("oak", subject));
            let committed = store.commit(Change::Append(event), note).await;
            committed.expect("it is committed");
        }
        // The oldest of three notes is older than any token: there are no more that matter.
        for notes_max in [3, 4] {
            let revoked = recalled(notes_max).await;
            assert!(!revoked.ends(&oak, "1", now - 2000), "it ended by itself");
            assert!(revoked.ends(&oak, "2", now - 600));
            assert!(!revoked.ends(&oak, "2", now - 599), "issued after it");
            assert!(revoked.ends(&oak, "3", now));
            assert!(!revoked.ends(&oak, "9", now - 600), "somebody else");
        }
        let revoked = recalled(2).await;
        assert!(revoked.ends(&oak, "9", now), "there may be more than two");
        let revoked = nobody();
        revoked.recall(&store).await.expect("the log can be read");
        assert!(revoked.ends(&oak, "3", now) && !revoked.ends(&oak, "9", now));
    }
}
