//! What is under way, so that many who want the same start it once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Work under way, by key; bounded.
#[derive(Debug)]
pub struct Flights<K, F> {
    under_way: Mutex<HashMap<K, Arc<F>>>,
    max: usize,
}

/// How one came aboard.
#[derive(Debug)]
pub enum Boarded<F> {
    /// Nobody was there: whoever gets this has to do the work.
    Started(Arc<F>),
    /// It was under way.
    Joined(Arc<F>),
    /// As much is under way as may be.
    Full,
}

impl<K: Eq + Hash + Clone, F> Flights<K, F> {
    /// At most `max` at once.
    pub fn new(max: usize) -> Self {
        Self {
            under_way: Mutex::default(),
            max,
        }
    }

    /// Joins what is under way while `joinable`, else starts anew in its place.
    pub fn board(
        &self,
        key: &K,
        joinable: impl Fn(&F) -> bool,
        start: impl FnOnce() -> F,
    ) -> Boarded<F> {
        self.board_unless(key, |_| false, joinable, start)
    }

    /// As [`Self::board`], with at most `among_max` at once of those that `among` names.
    pub fn board_among(
        &self,
        key: &K,
        among: impl Fn(&K) -> bool,
        among_max: usize,
        joinable: impl Fn(&F) -> bool,
        start: impl FnOnce() -> F,
    ) -> Boarded<F> {
        let full = |under_way: &HashMap<K, Arc<F>>| {
            under_way.keys().filter(|key| among(key)).count() >= among_max
        };
        self.board_unless(key, full, joinable, start)
    }

    fn board_unless(
        &self,
        key: &K,
        full: impl Fn(&HashMap<K, Arc<F>>) -> bool,
        joinable: impl Fn(&F) -> bool,
        start: impl FnOnce() -> F,
    ) -> Boarded<F> {
        let mut under_way = self.under_way.lock();
        match under_way.get(key) {
            Some(flight) if joinable(flight) => return Boarded::Joined(Arc::clone(flight)),
            Some(_) => {}
            None if under_way.len() >= self.max || full(&under_way) => return Boarded::Full,
            None => {}
        }
        let flight = Arc::new(start());
        under_way.insert(key.clone(), Arc::clone(&flight));
        Boarded::Started(flight)
    }

    /// The work is done; a newer one in its place stays.
    pub fn land(&self, key: &K, flight: &Arc<F>) {
        let mut under_way = self.under_way.lock();
        if under_way
            .get(key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
        {
            under_way.remove(key);
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(flights: &Flights<&str, u32>, key: &'static str, joinable: bool) -> Boarded<u32> {
        flights.board(&key, |_| joinable, || 1)
    }

    #[test]
    fn who_may_join_does_and_who_may_not_starts_in_its_place() {
        let flights = Flights::new(1);
        assert!(flights.is_empty());
        let Boarded::Started(first) = board(&flights, "a", true) else {
            panic!("nobody was there");
        };
        let Boarded::Joined(joined) = board(&flights, "a", true) else {
            panic!("it is under way");
        };
        assert!(Arc::ptr_eq(&first, &joined));
        let Boarded::Started(second) = board(&flights, "a", false) else {
            panic!("it is not to be joined, and takes no other place");
        };
        assert!(!Arc::ptr_eq(&first, &second));
        flights.land(&"a", &first);
        assert_eq!(flights.len(), 1, "the newer one stays");
        assert!(!flights.is_empty());
        flights.land(&"a", &second);
        assert!(flights.is_empty());
    }

    #[test]
    fn as_many_are_under_way_as_may_be() {
        let flights = Flights::new(3);
        let kind = |kind: char| move |key: &&str| key.starts_with(kind);
        for (key, full) in [
            ("a1", false),
            ("a2", false),
            ("a3", true),
            ("b1", false),
            ("b2", true),
        ] {
            let of_kind = kind(key.chars().next().expect("a letter"));
            let boarded = flights.board_among(&key, of_kind, 2, |_| true, || 1);
            assert_eq!(matches!(boarded, Boarded::Full), full, "{key}");
        }
        assert_eq!(flights.len(), 3);
        let joined = flights.board_among(&"a1", kind('a'), 2, |_| true, || 1);
        assert!(matches!(joined, Boarded::Joined(_)), "that takes no place");
        assert!(matches!(board(&flights, "c1", true), Boarded::Full));
    }
}
