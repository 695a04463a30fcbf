use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn count(requests: u64, bad: u64) -> Count {
    Count {
        requests,
        failures: bad,
        bad,
        slow: 0,
    }
}

fn seen(school: usize, old: (u64, u64), new: (u64, u64)) -> Seen {
    Seen {
        tenant: format!("school-{school}"),
        old: count(old.0, old.1),
        new: count(new.0, new.1),
    }
}

/// Plays a recorded stream: what is before the line `moves` is history, then each line is a second.
/// Each school is `requests/bad` on the standing version, or `>requests/bad` on the new one.
fn play(stream: &str) -> (Judge, Vec<Opinion>) {
    let mut judge = Judge::default();
    let mut opinions = Vec::new();
    let mut moved = false;
    for line in stream.lines().filter(|line| !line.starts_with('#')) {
        if line == "moves" {
            moved = true;
            judge.acquit();
            continue;
        }
        let schools = line.split_whitespace().enumerate();
        let schools = schools.map(|(school, text)| {
            let new = text.strip_prefix('>');
            let (requests, bad) = new.unwrap_or(text).split_once('/').expect("a count");
            let counts = [requests, bad].map(|text| text.parse().expect("a number"));
            match new {
                Some(_) => seen(school, (0, 0), counts.into()),
                None => seen(school, counts.into(), (0, 0)),
            }
        });
        let schools: Vec<Seen> = schools.collect();
        match moved {
            false => judge.learn(&schools),
            true => opinions.push(judge.tick(&schools)),
        }
    }
    (judge, opinions)
}

fn convicted(opinions: &[Opinion]) -> Option<usize> {
    let worse = |opinion: &Opinion| matches!(opinion, Opinion::Worse(_));
    opinions.iter().position(worse).map(|tick| tick + 1)
}

#[test]
fn a_release_that_fails_two_in_a_hundred_is_known_after_seconds() {
    let (judge, opinions) = play(include_str!("streams/bad_release.txt"));
    let after = convicted(&opinions).expect("it is worse");
    assert!((5..=25).contains(&after), "{after}");
    assert!(judge.evidence() >= 1.0 / ALPHA);
    assert!(
        matches!(opinions[after - 1], Opinion::Worse(Why::Odds(Kind::Failures, odds)) if odds >= 5.0),
        "{:?}",
        opinions[after - 1]
    );
}

#[test]
fn a_quiet_hour_convicts_nobody() {
    let (judge, opinions) = play(include_str!("streams/quiet.txt"));
    assert!(opinions.iter().all(|opinion| *opinion == Opinion::NotWorse));
    assert!(judge.evidence() < DOUBT, "{}", judge.evidence());
}

#[test]
fn when_the_database_is_ill_both_versions_are() {
    let (_, opinions) = play(include_str!("streams/ill_database.txt"));
    assert_eq!(convicted(&opinions), None);
}

#[test]
fn one_school_alone_is_told_of_and_convicts_nobody_among_enough_others() {
    let (_, opinions) = play(include_str!("streams/one_school.txt"));
    assert_eq!(convicted(&opinions), None);
    let last = opinions.last().expect("a stream has ticks");
    assert_eq!(*last, Opinion::OneSchool("school-0".into(), Kind::Failures));
    // The same with that school and one more: too few to tell whose fault it is.
    let two: String = include_str!("streams/one_school.txt")
        .lines()
        .map(|line| {
            let mut schools: Vec<&str> = line.split_whitespace().collect();
            if schools.len() > 1 {
                schools.drain(2..4);
            }
            schools.join(" ") + "\n"
        })
        .collect();
    assert!(convicted(&play(&two).1).is_some());
}

#[test]
fn a_school_with_old_devices_has_what_it_always_had() {
    // Twenty times its neighbours' failures, before and after.
    let history: Vec<Seen> = (0..6)
        .map(|school| seen(school, (2_000, if school == 0 { 40 } else { 2 }), (0, 0)))
        .collect();
    let mut judge = Judge::default();
    judge.learn(&history);
    judge.acquit();
    let tick = |judge: &mut Judge, second: u64| {
        let all: Vec<Seen> = (0..6)
            .map(|school| match school {
                0 => seen(0, (0, 0), (10, u64::from(second.is_multiple_of(5)))),
                1 => seen(1, (0, 0), (10, 0)),
                _ => seen(school, (50, u64::from(second.is_multiple_of(20))), (0, 0)),
            })
            .collect();
        judge.tick(&all)
    };
    for second in 0..900 {
        assert_eq!(tick(&mut judge, second), Opinion::NotWorse, "{second}");
    }
    // Of whom nothing is known, little is believed.
    let mut stranger = Judge::default();
    stranger.learn(&history[1..]);
    stranger.acquit();
    assert!((0..900).all(|second| tick(&mut stranger, second) == Opinion::NotWorse));
}

#[test]
fn slow_answers_convict_as_well() {
    let mut judge = Judge::default();
    let slow = |requests, slow| Count {
        requests,
        slow,
        ..Count::default()
    };
    let both = |old, new| {
        [Seen {
            tenant: "oak".into(),
            old,
            new,
        }]
    };
    judge.learn(&both(slow(20_000, 800), slow(0, 0)));
    judge.acquit();
    let opinions: Vec<Opinion> = (0..60)
        .map(|_| judge.tick(&both(slow(50, 2), slow(10, 5))))
        .collect();
    let after = convicted(&opinions).expect("it is slow");
    assert!(matches!(
        opinions[after],
        Opinion::Worse(Why::Odds(Kind::Slow, _))
    ));
}

#[test]
fn a_version_that_fails_every_third_request_needs_no_test() {
    let mut judge = Judge::default();
    // Nobody knows anything of this school.
    assert_eq!(
        judge.tick(&[seen(0, (0, 0), (19, 9))]),
        Opinion::NotWorse,
        "too few"
    );
    let struck = judge.tick(&[seen(0, (0, 0), (11, 1))]);
    assert_eq!(struck, Opinion::Worse(Why::Guard(count(30, 10))));
    for _ in 0..10 {
        judge.tick(&[]);
    }
    assert_eq!(judge.tick(&[]), Opinion::NotWorse, "ten seconds are over");
    judge.acquit();
    // A device in a loop is one witness, not forty.
    let alone = Seen {
        new: Count {
            requests: 40,
            failures: 40,
            bad: 1,
            slow: 0,
        },
        ..seen(0, (0, 0), (0, 0))
    };
    assert_eq!(judge.tick(&[alone]), Opinion::NotWorse);
}

#[test]
fn silence_says_nothing_and_another_version_is_judged_anew() {
    let mut judge = Judge::default();
    for _ in 0..100 {
        assert_eq!(judge.tick(&[]), Opinion::NotWorse);
    }
    assert!(judge.evidence() <= 1.0);
    let (mut judge, _) = play(include_str!("streams/bad_release.txt"));
    judge.acquit();
    assert!(judge.evidence() <= 1.0);
    let history: f64 = judge.traffic().map(|(_, requests)| requests).sum();
    assert!(history > 1_000.0, "what schools are like is not forgotten");
}

#[test]
fn what_was_learnt_can_be_written_down() {
    let (judge, _) = play(include_str!("streams/one_school.txt"));
    let text = serde_json::to_string(&judge).expect("it can be written");
    let again: Judge = serde_json::from_str(&text).expect("and read");
    assert!((again.evidence() - judge.evidence()).abs() < 1e-6);
}

/// Requests and failures of a second: failures come one by one, as if by themselves.
fn second(random: &mut StdRng, requests: u64, rate: f64) -> (u64, u64) {
    let bad = (0..requests).filter(|_| random.random::<f64>() < rate);
    (requests, bad.count() as u64)
}

#[test]
fn a_version_that_is_as_good_is_convicted_once_in_a_hundred_times_at_most() {
    // Ten times the usual failures, so that much happens in little time.
    let convicted = (0..150_u64).filter(|&seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let rates: Vec<f64> = (0..6)
            .map(|school| if school == 0 { 0.1 } else { 0.01 })
            .collect();
        let mut judge = Judge::default();
        let mut tick = |judge: &mut Judge, moved: usize| {
            let all: Vec<Seen> = rates
                .iter()
                .enumerate()
                .map(|(school, &rate)| {
                    let counts = second(&mut random, 4 + school as u64, rate);
                    match school < moved {
                        true => seen(school, (0, 0), counts),
                        false => seen(school, counts, (0, 0)),
                    }
                })
                .collect();
            match moved {
                0 => {
                    judge.learn(&all);
                    Opinion::NotWorse
                }
                _ => judge.tick(&all),
            }
        };
        for _ in 0..100 {
            tick(&mut judge, 0);
        }
        judge.acquit();
        (0..400).any(|_| matches!(tick(&mut judge, 2), Opinion::Worse(_)))
    });
    let convicted = convicted.count();
    assert!(convicted <= 4, "{convicted} of 150");
}

proptest! {
    #[test]
    fn any_counts_are_weighed_without_a_fault(ticks in prop::collection::vec(
        prop::collection::vec((0usize..5, 0u64..1000, 0u64..1000, 0u64..1000, 0u64..1000), 0..5), 0..50))
    {
        let mut judge = Judge::default();
        for tick in ticks {
            let tick = tick.into_iter();
            let all: Vec<Seen> = tick
                .map(|(n, old, old_bad, new, new_bad)| seen(n, (old, old_bad.min(old)), (new, new_bad.min(new))))
                .collect();
            judge.tick(&all);
            prop_assert!(!judge.evidence().is_nan());
        }
    }

    #[test]
    fn one_more_bad_event_never_speaks_for_a_version(bad in 1u64..50, requests in 50u64..1000) {
        let with = |bad| {
            let mut judge = Judge::default();
            judge.learn(&[seen(0, (10_000, 30), (0, 0)), seen(1, (5_000, 5), (0, 0))]);
            judge.acquit();
            judge.tick(&[seen(0, (1000, 5), (0, 0)), seen(1, (0, 0), (requests, bad))]);
            judge.evidence()
        };
        prop_assert!(with(bad - 1) <= with(bad));
    }
}
