use cache_rules::host::HostName;
use cache_rules::identity::Grant;
use cache_rules::rules::RuleSet;
use cache_rules::verdict::{Ask, Verdict};
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;

fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant id")
}

/// The key of a path; keys are made by rules only.
fn key(n: u32) -> CacheKey {
    let rules = "[[rule]]\nname = \"r\"\npath = \"/{n}\"\nscope = \"public\"\nttl_s = 9";
    let rules = RuleSet::compile(toml::from_str(rules).expect("TOML")).expect("no mistakes");
    let path = format!("/{n}");
    let headers = HeaderMap::new();
    let verdict = rules.verdict(&Ask {
        method: &Method::GET,
        path: &path,
        query: None,
        headers: &headers,
        has_body: false,
    });
    let Verdict::Store(plan) = verdict else {
        panic!("the rule covers it");
    };
    let host = HostName::parse("oak.example").expect("a host");
    plan.key(&Grant::public(&tenant("oak")), &host, "r1")
}

fn put(shelves: &Shelves<u32>, school: &str, n: u32, weight: u32) -> Kept {
    shelves.insert(&tenant(school), key(n), Arc::new(n), weight, |_| false)
}

fn has(shelves: &Shelves<u32>, school: &str, n: u32) -> bool {
    shelves.get(&tenant(school), &key(n)).as_deref() == Some(&n)
}

#[test]
fn one_school_cannot_push_out_what_the_others_have() {
    let shelves = Shelves::new(100_000, 50_000);
    for n in 0..20 {
        put(&shelves, "small", n, 500);
    }
    for n in 0..10_000 {
        put(&shelves, "loud", n, 700);
    }
    assert!((0..20).all(|n| has(&shelves, "small", n)));
    // Three loud ones share what is left, and the small one still has all of its own.
    for n in 0..3_000 {
        put(&shelves, "loud", n, 700);
        put(&shelves, "louder", n, 700);
        put(&shelves, "loudest", n, 700);
    }
    assert!((0..20).all(|n| has(&shelves, "small", n)));
    let (_, bytes) = shelves.size();
    assert!(bytes <= 100_000, "{bytes}");
}

#[test]
fn what_stands_is_seen_by_school_until_the_eye_has_enough() {
    let shelves = Shelves::new(1_000_000, 500_000);
    for (school, n) in [("oak", 1), ("oak", 2), ("elm", 3)] {
        assert!(put(&shelves, school, n, 100).kept);
    }
    let seen = |school: Option<&str>, most: usize| {
        let mut seen = Vec::new();
        shelves.each(school.map(tenant).as_ref(), |n| {
            seen.push(*n);
            seen.len() < most
        });
        seen.sort_unstable();
        seen
    };
    assert_eq!(seen(Some("oak"), 9), [1, 2]);
    assert_eq!(seen(Some("elm"), 9), [3]);
    assert_eq!(seen(None, 9), [1, 2, 3]);
    assert_eq!(seen(None, 1).len(), 1);
    let mut all: Vec<_> = shelves
        .all()
        .into_iter()
        .map(|(of, _, n)| (of, *n))
        .collect();
    all.sort();
    let expected = [("elm", 3), ("oak", 1), ("oak", 2)].map(|(of, n)| (tenant(of), n));
    assert_eq!(all, expected);
}

#[test]
fn a_shelf_holds_as_much_as_it_may_and_says_what_went() {
    let shelves = Shelves::new(1_000_000, 6_400);
    for n in 0..64 {
        let put = put(&shelves, "oak", n, 100);
        assert_eq!((put.kept, put.evicted), (true, 0), "{n}");
    }
    assert_eq!(shelves.size(), (64, 6_400));
    let one_more = put(&shelves, "oak", 64, 100);
    assert_eq!((one_more.kept, one_more.evicted), (true, 1));
    // As large as the whole shelf: the second time it is asked for, all others go.
    assert!(!put(&shelves, "oak", 65, 6_400).kept);
    let whole = put(&shelves, "oak", 65, 6_400);
    assert_eq!((whole.kept, whole.evicted), (true, 64));
    assert!(!put(&shelves, "oak", 66, 6_401).kept, "never");
    // All together: whoever has most gives.
    let shelves = Shelves::new(200, 200);
    for (school, n) in [("oak", 1), ("elm", 2)] {
        assert!(!put(&shelves, school, n, 100).kept);
        assert_eq!(put(&shelves, school, n, 100).evicted, 0);
    }
    assert_eq!(shelves.size(), (2, 200));
    put(&shelves, "ash", 3, 101);
    let ash = put(&shelves, "ash", 3, 101);
    assert_eq!((ash.kept, ash.evicted), (true, 1));
    assert!(
        !has(&shelves, "ash", 3),
        "it was let in, and its school had most"
    );
    assert_eq!(shelves.size(), (2, 200));
}

#[test]
fn what_is_read_stays_and_what_is_dead_goes_first() {
    let shelves = Shelves::new(1_000_000, 64_000);
    for n in 0..100 {
        put(&shelves, "oak", n, 600);
    }
    assert!(has(&shelves, "oak", 3));
    for n in 100..180 {
        put(&shelves, "oak", n, 600);
    }
    assert!(has(&shelves, "oak", 3), "read since the hand came by");
    assert!(!has(&shelves, "oak", 4));
    // Dead: it goes although it was read a moment ago, and takes nobody along.
    let shelves = Shelves::new(1_000_000, 64_000);
    for n in 0..106 {
        put(&shelves, "oak", n, 600);
        assert!(has(&shelves, "oak", n));
    }
    let oak = tenant("oak");
    let one_more = shelves.insert(&oak, key(106), Arc::new(106), 600, |n| *n == 3);
    assert_eq!(one_more.evicted, 1);
    let gone: Vec<u32> = (0..107).filter(|n| !has(&shelves, "oak", *n)).collect();
    assert_eq!(gone, [3]);
}

#[test]
fn the_hand_goes_on_where_it_was_also_when_what_it_points_at_is_taken_away() {
    let shelves = Shelves::new(1_000_000, 64_000);
    for n in 0..106 {
        put(&shelves, "oak", n, 600);
    }
    let gone = |from: &[u32]| -> Vec<u32> {
        let stands: Vec<u32> = shelves.all().into_iter().map(|(_, _, n)| *n).collect();
        let gone = from.iter().filter(|n| !stands.contains(n));
        gone.copied().collect()
    };
    assert!(has(&shelves, "oak", 0));
    put(&shelves, "oak", 200, 600);
    assert_eq!(gone(&[0, 1, 2, 3, 4]), [1], "the hand is at 2");
    for n in [2, 50] {
        shelves.remove(&tenant("oak"), &key(n));
        put(&shelves, "oak", 200 + n, 600);
    }
    put(&shelves, "oak", 300, 600);
    assert_eq!(gone(&[0, 1, 2, 3, 4]), [1, 2, 3], "0 is behind it");
}

#[test]
fn a_large_answer_is_let_in_when_it_is_asked_for_again() {
    let shelves = Shelves::new(1_000_000, 64_000);
    assert!(!put(&shelves, "oak", 1, 2_000).kept);
    assert!(put(&shelves, "oak", 1, 2_000).kept);
    assert!(has(&shelves, "oak", 1));
    for _ in 0..3 {
        assert!(
            !put(&shelves, "oak", 2, 64_001).kept,
            "larger than the shelf"
        );
    }
    assert!(
        !put(&shelves, "elm", 1, 2_000).kept,
        "each school for itself"
    );
    // Others do not count as asked for because somebody else was, however many there are.
    assert!((10..2_000).all(|n| !put(&shelves, "oak", n, 2_000).kept));
    // They have pushed out that it was asked for; but it stands there, and a new answer takes its place.
    assert!(put(&shelves, "oak", 1, 2_000).kept);
    // What another process let in is not asked about again.
    let inherited = shelves.inherit(&tenant("oak"), key(3), Arc::new(3), 2_000, 7);
    assert!(inherited.kept);
}

#[test]
fn what_is_read_most_is_known_also_after_a_new_answer_and_each_school_has_its_turn() {
    let shelves = Shelves::new(1_000_000, 500_000);
    let read = |school: &str, n: u32, times: u32| {
        put(&shelves, school, n, 100);
        assert!((0..times).all(|_| has(&shelves, school, n)));
    };
    let hottest = |bytes_max| -> Vec<(u32, u32)> {
        let hottest = shelves.hottest(bytes_max).into_iter();
        hottest.map(|hot| (*hot.value, hot.reads)).collect()
    };
    read("oak", 1, 0);
    assert_eq!(hottest(1_000), [], "what nobody reads is not hot");
    read("oak", 2, 7);
    read("oak", 3, 9);
    read("oak", 2, 0);
    assert_eq!(
        hottest(1_000),
        [(3, 9), (2, 3)],
        "what it was before counts half"
    );
    read("elm", 4, 1);
    read("elm", 5, 2);
    // By turns, and by weight: who got less is next.
    assert_eq!(hottest(1_000), [(5, 2), (3, 9), (4, 1), (2, 3)]);
    assert_eq!(
        hottest(200),
        [(5, 2), (3, 9)],
        "as much as there is room for, to the byte"
    );
    assert_eq!(hottest(199), [(5, 2)]);
    // What does not fit is left out, and what is smaller comes instead.
    put(&shelves, "ash", 6, 250);
    assert!((0..3).all(|_| has(&shelves, "ash", 6)));
    read("ash", 7, 1);
    assert_eq!(hottest(200), [(7, 1), (5, 2)]);
    assert_eq!(hottest(650), [(6, 3), (5, 2), (3, 9), (4, 1), (2, 3)]);
}

proptest! {
    /// The oracle is a map without bounds: what is found is what was put last, and the bounds hold.
    #[test]
    fn whatever_is_done_the_bounds_hold_and_nothing_else_is_found(
        steps in proptest::collection::vec((0_u32..3, 0_u32..12, 0_u32..4, 1_u32..90), 1..200),
    ) {
        let shelves: Shelves<u32> = Shelves::new(5_000, 3_000);
        let keys: Vec<CacheKey> = (0..12).map(key).collect();
        let mut put: HashMap<(u32, u32), u32> = HashMap::new();
        for (turn, (school, n, what, weight)) in steps.into_iter().enumerate() {
            let tenant = tenant(["a", "b", "c"][school as usize]);
            let key = &keys[n as usize];
            match what {
                0 | 1 => {
                    let value = turn as u32;
                    // Below the size of a large answer in most cases.
                    let kept = shelves.insert(&tenant, key.clone(), Arc::new(value), weight, |v| v % 5 == 0);
                    if kept.kept {
                        put.insert((school, n), value);
                    } else if let Some(found) = shelves.get(&tenant, key) {
                        prop_assert_eq!(Some(&*found), put.get(&(school, n)));
                    }
                }
                2 => {
                    shelves.remove(&tenant, key);
                    put.remove(&(school, n));
                    prop_assert!(shelves.get(&tenant, key).is_none());
                }
                _ => {
                    if let Some(found) = shelves.get(&tenant, key) {
                        prop_assert_eq!(Some(&*found), put.get(&(school, n)));
                    }
                }
            }
            let (entries, bytes) = shelves.size();
            prop_assert!(bytes <= 5_000 && entries <= 36);
            let mut seen = 0;
            shelves.each(None, |_| { seen += 1; true });
            prop_assert_eq!(seen, entries);
        }
    }
}
