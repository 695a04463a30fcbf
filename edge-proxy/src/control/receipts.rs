//! What was done of what the platform told, for a day: an event that is told again is answered with
//! what its first telling did, and not done again.
//!
//! An event is known by its school and by a keyed digest of all that was posted. Not by its id alone: a
//! platform that gave one id to two events would leave what the second one ends. And not as it is: ids
//! are the platform's texts, and the state file has no text of a person. A school that tells more than
//! others loses its own oldest events first, never those of another one. An event that was forgotten is
//! done once more if it is told again: that ends stored answers once too often, while one that was
//! refused for want of room would leave an old answer. So nothing is ever refused here.
//!
//! The memory is the worker's. The note of each event that was done has its [`Receipt`], so the state
//! file has what a new worker, or a new supervisor, needs to go on with it. This is not the memory of
//! [`super::idempotency`]: that one keeps whole answers for minutes, for few clients that are
//! operators, and knows what is still being done.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use aws_lc_rs::hmac;
use cache_rules::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// How long an event is known.
pub(super) const KEEP_S: u64 = 24 * 3600;

/// Events of one school: one in each second from seven in the morning to nine in the evening.
const OF_A_SCHOOL_MAX: usize = 50_000;

/// Events of all schools: they take about 100 bytes each, so 20 MB.
const OF_ALL_MAX: usize = 200_000;

/// An event, as nobody can guess it who has not the secret that it was signed with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mark(u128);

impl Mark {
    /// `key`: of the school's secret. What is signed with it begins with a number, so no mark is a signature.
    pub(super) fn of(key: &hmac::Key, body: &[u8]) -> Self {
        let tag = hmac::sign(key, &[b"event ", body].concat());
        let first = tag.as_ref().first_chunk();
        Self(u128::from_be_bytes(
            *first.expect("it has 32 bytes, whatever is signed"),
        ))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(_)")
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        format!("{:032x}", mark.0)
    }
}

impl TryFrom<String> for Mark {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// What the note of a change has, if an event of the platform made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The school that it is of.
    pub tenant: String,
    /// Which event it was.
    pub event: Mark,
    /// What it did.
    #[serde(flatten)]
    pub done: Done,
}

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many tags it ended.
    pub tags: usize,
    /// How many stored answers carried one of them.
    pub objects: u64,
}

/// An event that was done, and where it is in the order of all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// Seconds since 1970.
    pub(super) at_s: u64,
    pub(super) sequence: u64,
    pub(super) done: Done,
}

/// What was done in the last day.
#[derive(Debug)]
pub(super) struct Receipts {
    schools: HashMap<TenantId, School>,
    of_a_school_max: usize,
    of_all_max: usize,
}

#[derive(Debug, Default)]
struct School {
    known: HashMap<Mark, Kept>,
    /// The oldest first; each is known.
    order: VecDeque<Mark>,
}

impl Default for Receipts {
    fn default() -> Self {
        Self::of_at_most(OF_A_SCHOOL_MAX, OF_ALL_MAX)
    }
}

impl Receipts {
    fn of_at_most(of_a_school_max: usize, of_all_max: usize) -> Self {
        Self {
            schools: HashMap::new(),
            of_a_school_max,
            of_all_max,
        }
    }

    /// What an event did, whichever of these marks it has.
    pub(super) fn find(&self, tenant: &TenantId, marks: &[Mark], now_s: u64) -> Option<Kept> {
        let school = self.schools.get(tenant)?;
        let kept = marks.iter().find_map(|mark| school.known.get(mark))?;
        (!is_old(kept, now_s)).then_some(*kept)
    }

    /// Keeps what an event did, and forgets what is too old, or too much of one school.
    pub(super) fn keep(&mut self, tenant: &TenantId, mark: Mark, kept: Kept, now_s: u64) {
        self.schools.retain(|_, school| {
            school.forget_old(now_s);
            !school.order.is_empty()
        });
        if is_old(&kept, now_s) {
            return;
        }
        let school = self.schools.entry(tenant.clone()).or_default();
        if school.known.insert(mark, kept).is_none() {
            school.order.push_back(mark);
        }
        if school.order.len() > self.of_a_school_max {
            school.forget_oldest();
        }
        while self.len() > self.of_all_max
            && let Some(loudest) = self.schools.values_mut().max_by_key(|one| one.order.len())
        {
            loudest.forget_oldest();
        }
    }

    fn len(&self) -> usize {
        self.schools.values().map(|school| school.order.len()).sum()
    }
}

impl School {
    fn forget_old(&mut self, now_s: u64) {
        while let Some(kept) = self.order.front().and_then(|mark| self.known.get(mark))
            && is_old(kept, now_s)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(mark) = self.order.pop_front() {
            self.known.remove(&mark);
        }
    }
}

/// A clock that was set back makes nothing older.
fn is_old(kept: &Kept, now_s: u64) -> bool {
    now_s.saturating_sub(kept.at_s) >= KEEP_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Done = Done {
        tags: 2,
        objects: 7,
    };

    fn school(name: &str) -> TenantId {
        name.parse().expect("a school")
    }

    fn done(sequence: u64, at_s: u64) -> Kept {
        Kept {
            at_s,
            sequence,
            done: DONE,
        }
    }

    /// How many of these events of a school are known.
    fn known(receipts: &Receipts, tenant: &TenantId, ids: std::ops::Range<u128>) -> Vec<u128> {
        ids.filter(|id| receipts.find(tenant, &[Mark(*id)], 0).is_some())
            .collect()
    }

    #[test]
    fn an_event_is_known_for_a_day_and_no_longer() {
        let (oak, at) = (school("oak"), 1_000_000);
        let mut receipts = Receipts::default();
        receipts.keep(&oak, Mark(1), done(9, at), at);
        let find = |receipts: &Receipts, now_s| receipts.find(&oak, &[Mark(0), Mark(1)], now_s);
        for now_s in [at - 400, at, at + KEEP_S - 1] {
            assert_eq!(find(&receipts, now_s), Some(done(9, at)), "{now_s}");
        }
        assert_eq!(find(&receipts, at + KEEP_S), None);
        // What is too old takes no room either, whoever tells the next one.
        receipts.keep(&school("elm"), Mark(2), done(10, at + KEEP_S), at + KEEP_S);
        assert_eq!((receipts.len(), receipts.schools.len()), (1, 1));
        receipts.keep(&oak, Mark(3), done(11, at), at + KEEP_S);
        assert_eq!(receipts.len(), 1, "it came from a note of yesterday");
    }

    #[test]
    fn an_event_is_all_of_it_under_its_secret() {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let (one, two) = (key("one"), key("two"));
        let marks = [
            Mark::of(&one, b"{1}"),
            Mark::of(&one, b"{1} "),
            Mark::of(&two, b"{1}"),
        ];
        for (n, mark) in marks.iter().enumerate() {
            assert!(!marks[..n].contains(mark), "{n}");
        }
        assert_eq!(marks[0], Mark::of(&one, b"{1}"));
        let text = String::from(marks[0]);
        assert_eq!(Mark::try_from(text).ok(), Some(marks[0]));
        let mut receipts = Receipts::default();
        receipts.keep(&school("oak"), Mark(1), done(1, 0), 0);
        assert_eq!(receipts.find(&school("elm"), &[Mark(1)], 0), None);
    }

    #[test]
    fn a_loud_school_forgets_its_own_events_and_no_others() {
        let (loud, quiet) = (school("loud"), school("quiet"));
        let mut receipts = Receipts::of_at_most(10, 100);
        for id in 0..3 {
            receipts.keep(&quiet, Mark(id), done(1, 0), 0);
        }
        for id in 0..1000 {
            receipts.keep(&loud, Mark(id), done(1, 0), 0);
        }
        assert_eq!(known(&receipts, &quiet, 0..3), [0, 1, 2]);
        assert_eq!(known(&receipts, &loud, 0..1000), Vec::from_iter(990..1000));
    }

    #[test]
    fn what_is_too_much_for_all_is_taken_from_the_loudest() {
        let mut receipts = Receipts::of_at_most(50, 60);
        let schools: Vec<_> = (0..20).map(|n| school(&format!("s{n}"))).collect();
        for id in 0..50 {
            receipts.keep(&schools[0], Mark(id), done(1, 0), 0);
        }
        for (tenant, id) in schools[1..].iter().zip(0..) {
            receipts.keep(tenant, Mark(id), done(1, 0), 0);
        }
        assert_eq!(receipts.len(), 60);
        assert_eq!(known(&receipts, &schools[0], 0..50), Vec::from_iter(9..50));
        for (tenant, id) in schools[1..].iter().zip(0..) {
            assert_eq!(known(&receipts, tenant, 0..20), [id]);
        }
    }

    #[test]
    fn the_same_event_takes_the_room_of_one() {
        let oak = school("oak");
        let mut receipts = Receipts::of_at_most(2, 2);
        receipts.keep(&oak, Mark(1), done(1, 0), 0);
        for sequence in 2..9 {
            receipts.keep(&oak, Mark(2), done(sequence, 0), 0);
        }
        assert_eq!(known(&receipts, &oak, 0..3), [1, 2]);
        assert_eq!(receipts.find(&oak, &[Mark(2)], 0), Some(done(8, 0)));
        let school = &receipts.schools[&oak];
        assert_eq!((school.order.len(), school.known.len()), (2, 2));
    }
}
