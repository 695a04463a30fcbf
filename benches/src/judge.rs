//! `judge`: how soon is a bad version known, and how often is a good one called bad?
//!
//! A town of forty schools, whose sizes follow Zipf's law, asks 200 times a second; one request of a
//! thousand fails. No network and no clock: the judge of the edge is played to, second by second. A
//! tenth of the weight is moved, by schools (their hash decides which, so their share of the traffic
//! differs from run to run) or by requests. A run ends with a verdict or after an hour.
//!
//! How soon anybody could know it is played beside: who knows the rate of every school on either version, and only has
//! to say which of the two the new one is, needs so many requests as Wald's sequential test does, the shortest that
//! there is. On average that is ln(1 / 0.01) / (p ln(p / q) - (p - q)) for rates of p in place of q: 113 requests
//! for 2 % in place of 0.1 %, 6 seconds of a tenth of the traffic, 28 of a fiftieth.

use edge_proxy::control::counters::Count;
use edge_proxy::control::judge::{ALPHA, Judge, Opinion, Seen};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// Schools of the town.
const SCHOOLS: usize = 40;
/// Requests of all of them in a second.
const PER_SECOND: f64 = 200.0;
/// The share of requests that fail on a good version.
const USUAL: f64 = 0.001;
/// The same in a school with old devices.
const OLD_DEVICES: f64 = 0.02;
/// The weight that is moved.
const WEIGHT: f64 = 0.1;
/// Seconds that a run lasts.
const HOUR: usize = 3_600;
/// The share of failures of a bad version to those of a good one.
const WORSE: f64 = 20.0;
/// Enough to see one false stop in a hundred.
pub const RUNS: u32 = 100;

/// How a weight is moved.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moves {
    /// A tenth of the requests of each school.
    Requests,
    /// A tenth of the schools; their share of the traffic is within these bounds.
    Schools(f64, f64),
}

/// One line of the table.
struct Case {
    name: &'static str,
    moves: Moves,
    /// One of the schools has old devices.
    old_devices: bool,
    /// Seconds for which the judge has known the schools.
    history: usize,
    /// For one minute all fail a hundred times as often, on both versions.
    ill_database: bool,
}

const CASES: [Case; 7] = [
    Case::new("requests", Moves::Requests, false, 1_800),
    Case::new("requests, old devices", Moves::Requests, true, 1_800),
    Case::new(
        "schools with 8 to 12 % of the traffic",
        Moves::Schools(0.08, 0.12),
        false,
        1_800,
    ),
    Case::new(
        "the same, one of them with old devices",
        Moves::Schools(0.08, 0.12),
        true,
        1_800,
    ),
    Case::new(
        "the same, known for five minutes",
        Moves::Schools(0.08, 0.12),
        true,
        300,
    ),
    Case::new(
        "schools with any share",
        Moves::Schools(0.0, 0.99),
        false,
        1_800,
    ),
    Case {
        ill_database: true,
        ..Case::new(
            "the same, the database ill for a minute",
            Moves::Schools(0.0, 0.99),
            false,
            1_800,
        )
    },
];

impl Case {
    const fn new(name: &'static str, moves: Moves, old_devices: bool, history: usize) -> Self {
        Self {
            name,
            moves,
            old_devices,
            history,
            ill_database: false,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Runs of each kind.
    pub runs: u32,
    /// One for each way to move a weight.
    pub lines: Vec<Line>,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// What is moved.
    pub name: String,
    /// Runs of an hour in which a version as good as the old one was called worse.
    pub false_stops: u32,
    /// Runs in which a version with twenty times the failures was not called worse within an hour.
    pub missed: u32,
    /// Seconds until it was, in half of the runs.
    pub p50_s: usize,
    /// And in nineteen of twenty.
    pub p95_s: usize,
    /// The same for who knows all rates.
    pub known_p95_s: usize,
}

/// After how many seconds a version is called worse; none: it is not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Called {
    /// By the judge.
    judged: Option<usize>,
    /// By who knows all rates.
    known: Option<usize>,
}

/// Plays `runs` good and `runs` bad versions of each kind.
pub fn measure(runs: u32, said: &mut impl FnMut(&str)) -> Report {
    let line = |case: &Case| {
        said(case.name);
        let stops = (0..runs).filter(|&run| play(case, run.into(), 1.0).judged.is_some());
        let false_stops = stops.count() as u32;
        let bad = (0..runs).map(|run| play(case, u64::from(run) << 32, WORSE));
        let bad: Vec<Called> = bad.collect();
        let sorted = |of: fn(&Called) -> Option<usize>| {
            let seconds = bad.iter().map(|called| of(called).unwrap_or(usize::MAX));
            let mut seconds: Vec<usize> = seconds.collect();
            seconds.sort_unstable();
            seconds
        };
        let (seconds, known) = (
            sorted(|called| called.judged),
            sorted(|called| called.known),
        );
        let at = |seconds: &[usize], share: f64| {
            seconds[((seconds.len() - 1) as f64 * share).ceil() as usize]
        };
        Line {
            name: case.name.to_owned(),
            false_stops,
            missed: seconds
                .iter()
                .filter(|&&seconds| seconds == usize::MAX)
                .count() as u32,
            p50_s: at(&seconds, 0.5),
            p95_s: at(&seconds, 0.95),
            known_p95_s: at(&known, 0.95),
        }
    };
    Report {
        runs,
        lines: CASES.iter().map(line).collect(),
    }
}

impl Report {
    /// As people read it.
    pub fn table(&self) -> String {
        let mut text = format!(
            "of {} runs each: 40 schools, 200 requests a second, 0.1 % failures, 10 % weight\n\n\
             | what is moved | good ones stopped in an hour | bad ones (2 %) missed | p50 | p95 | p95 if all rates were known |\n\
             |---|--:|--:|--:|--:|--:|\n",
            self.runs
        );
        for line in &self.lines {
            text += &format!(
                "| {} | {} | {} | {} s | {} s | {} s |\n",
                line.name, line.false_stops, line.missed, line.p50_s, line.p95_s, line.known_p95_s
            );
        }
        text
    }
}

/// When a version with so many times the failures is called worse.
fn play(case: &Case, seed: u64, worse: f64) -> Called {
    let mut random = StdRng::seed_from_u64(seed);
    let whole: f64 = (1..=SCHOOLS).map(|rank| 1.0 / rank as f64).sum();
    let size = |rank: usize| PER_SECOND / (rank + 1) as f64 / whole;
    let moved = match case.moves {
        Moves::Requests => vec![true; SCHOOLS],
        Moves::Schools(least, most) => loop {
            let moved: Vec<bool> = (0..SCHOOLS)
                .map(|_| random.random::<f64>() < WEIGHT)
                .collect();
            let share: f64 = (0..SCHOOLS)
                .filter(|&rank| moved[rank])
                .map(size)
                .sum::<f64>()
                / PER_SECOND;
            if share > least && share < most {
                break moved;
            }
        },
    };
    let some: Vec<usize> = (0..SCHOOLS).filter(|&rank| moved[rank]).collect();
    let old = case
        .old_devices
        .then(|| some[random.random_range(0..some.len())]);
    let usual = |rank: usize| {
        if old == Some(rank) {
            OLD_DEVICES
        } else {
            USUAL
        }
    };
    let names: Vec<String> = (0..SCHOOLS).map(|rank| format!("school-{rank}")).collect();
    let mut judge = Judge::default();
    let mut called = Called::default();
    let mut evidence = 0.0;
    for second in 0..case.history + HOUR {
        let under_way = second >= case.history;
        let minute = case.history + 300..case.history + 360;
        let ill = if case.ill_database && minute.contains(&second) {
            100.0
        } else {
            1.0
        };
        let seen = (0..SCHOOLS).map(|rank| {
            let share = match case.moves {
                _ if !under_way => 0.0,
                Moves::Requests => WEIGHT,
                Moves::Schools(..) => f64::from(u8::from(moved[rank])),
            };
            let mut count = |share: f64, worse: f64| {
                let requests = poisson(&mut random, size(rank) * share);
                let rate = (usual(rank) * worse * ill).min(0.5);
                let bad = poisson(&mut random, requests as f64 * rate).min(requests);
                Count {
                    requests,
                    failures: bad,
                    bad,
                    slow: 0,
                }
            };
            Seen {
                tenant: names[rank].clone(),
                old: count(1.0 - share, 1.0),
                new: count(share, worse),
            }
        });
        let seen: Vec<Seen> = seen.collect();
        for (rank, seen) in seen.iter().enumerate() {
            let rate = usual(rank) * ill;
            evidence +=
                seen.new.bad as f64 * WORSE.ln() - seen.new.requests as f64 * rate * (WORSE - 1.0);
        }
        if !under_way {
            judge.learn(&seen);
            continue;
        }
        if second == case.history {
            judge.acquit();
        }
        let now = Some(second - case.history + 1);
        if evidence >= (1.0 / ALPHA).ln() {
            called.known = called.known.or(now);
        }
        if called.judged.is_none() && matches!(judge.tick(&seen), Opinion::Worse(_)) {
            called.judged = now;
        }
        if called.judged.is_some() && (called.known.is_some() || worse < WORSE) {
            break;
        }
    }
    called
}

/// Knuth's method, piece by piece, so that no exponential is too small.
fn poisson(random: &mut StdRng, mut mean: f64) -> u64 {
    let mut count = 0;
    while mean > 0.0 {
        let piece = mean.min(16.0);
        mean -= piece;
        let (least, mut product) = ((-piece).exp(), random.random::<f64>());
        while product > least {
            count += 1;
            product *= random.random::<f64>();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_version_is_known_and_a_good_one_goes_on() {
        let case = &CASES[2];
        let bad = play(case, 1, WORSE);
        assert!(bad.judged.is_some_and(|seconds| seconds < 120));
        assert!(bad.known.is_some(), "who knows more knows it too");
        assert_eq!(play(case, 1, 1.0), Called::default());
    }

    #[test]
    fn counts_have_their_mean() {
        let mut random = StdRng::seed_from_u64(3);
        for mean in [0.1, 4.0, 40.0] {
            let sum: u64 = (0..2_000).map(|_| poisson(&mut random, mean)).sum();
            let found = sum as f64 / 2_000.0;
            assert!((found - mean).abs() < 0.1 * mean + 0.05, "{mean}: {found}");
        }
    }
}
