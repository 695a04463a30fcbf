//! Is the new version worse than the standing one? Sequential tests on exact counts.
//!
//! Two questions are asked of each kind of trouble, failures and slow answers, and a version is worse
//! when both are answered with yes, so a wrong assumption of one of them harms nobody:
//!
//! - **Than before?** Each school's trouble on the new version against what it had on the standing one,
//!   before it moved and beside it. A school's rate is not known but learnt: it is integrated out
//!   (gamma prior, so the ratio of the two marginal likelihoods has a closed form), and who has little
//!   history says little. One school with old devices and ten times its neighbours' errors moves whole
//!   with a split by tenant: it must not look like a bad version.
//! - **Than the others now?** A bad event falls on the new version with probability
//!   `w l / (w l + 1 - w)`, where `w` is the share that its requests would have of all bad events if it
//!   were as good, and `l` how many times worse it is. When the database is ill, both versions are.
//!
//! Each gives the ratio of how likely the counts are under some `l` of [`ODDS`] to how likely they are
//! under "not worse". Their mean passes `1 / alpha` with probability `alpha` at most when the version
//! is not worse, however often one looks (Ville's inequality; Lindon and Malek, Anytime-Valid Inference
//! for Multinomial Count Data, 2022).
//!
//! Pure: counts and ticks in, an opinion out.

mod guard;
mod test;

use serde::{Deserialize, Serialize};

use self::guard::Guard;
use self::test::Test;
use super::counters::Count;

/// How many times worse a version may be that is sought, and how much it is expected.
const ODDS: [(f64, f64); 6] = [
    (1.5, 0.05),
    (2.0, 0.1),
    (3.0, 0.15),
    (5.0, 0.2),
    (10.0, 0.2),
    (20.0, 0.3),
];

/// What still counts as not worse.
const NULL_ODDS: f64 = 1.1;

/// The probability of calling a version worse that is not: of both kinds of trouble together.
pub const ALPHA: f64 = 0.01;

/// From here on it is not certain that a version is not worse: it gets no more traffic.
pub const DOUBT: f64 = 10.0;

/// With so many schools on the new version, one of them alone is not the version's fault.
const SCHOOLS_FOR_ONE_ALONE: usize = 3;

/// What happened to one school since the last tick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The school.
    pub tenant: String,
    /// On the standing version.
    pub old: Count,
    /// On the version that is judged.
    pub new: Count,
}

/// What the judge thinks.
#[derive(Debug, Clone, PartialEq)]
pub enum Opinion {
    /// Nothing speaks against the new version, or too little.
    NotWorse,
    /// One school alone has trouble on it, of this kind.
    OneSchool(String, Kind),
    /// It is worse.
    Worse(Why),
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It failed.
    Failures,
    /// It was answered late.
    Slow,
}

impl Kind {
    /// Its share of [`ALPHA`].
    fn share(self) -> f64 {
        match self {
            Self::Failures => 0.8,
            Self::Slow => 0.2,
        }
    }
}

/// Why a version is worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// So many times more trouble than there should be.
    Odds(Kind, f64),
    /// So many of so many requests within the guard's time failed.
    Guard(Count),
}

/// Weighs one version against another.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Judge {
    failures: Test,
    slow: Test,
    #[serde(skip)]
    guard: Guard,
}

impl Judge {
    /// Forgets what was held against a version, not what schools are like: another one is judged now.
    pub fn acquit(&mut self) {
        self.failures.acquit();
        self.slow.acquit();
        self.guard = Guard::default();
    }

    /// Learns what schools are like while nobody is judged.
    pub fn learn(&mut self, seen: &[Seen]) {
        self.failures.learn(seen, |count| count.bad);
        self.slow.learn(seen, |count| count.slow);
    }

    /// Takes in what happened since the last tick, a second ago.
    pub fn tick(&mut self, seen: &[Seen]) -> Opinion {
        self.failures.weigh(seen, |count| count.bad);
        self.slow.weigh(seen, |count| count.slow);
        self.learn(seen);
        self.guard.remember(seen);
        self.opinion()
    }

    /// How strong the evidence against the new version is: 1 is none, 1 / [`ALPHA`] a verdict.
    /// A school that is excused for being alone does not count.
    pub fn evidence(&self) -> f64 {
        [Kind::Failures, Kind::Slow]
            .map(|kind| {
                let test = self.test(kind);
                let excused = test.alone(SCHOOLS_FOR_ONE_ALONE);
                test.evidence(excused) * kind.share()
            })
            .into_iter()
            .fold(0.0, f64::max)
    }

    /// What a school had on the standing version: requests, older ones counting less.
    pub fn traffic(&self) -> impl Iterator<Item = (&str, f64)> {
        self.failures.traffic()
    }

    fn test(&self, kind: Kind) -> &Test {
        match kind {
            Kind::Failures => &self.failures,
            Kind::Slow => &self.slow,
        }
    }

    fn opinion(&self) -> Opinion {
        let mut alone = None;
        if let Some(count) = self.guard.struck(None) {
            let excused = self.failures.alone(SCHOOLS_FOR_ONE_ALONE);
            match excused.filter(|school| self.guard.struck(Some(school)).is_none()) {
                Some(school) => alone = Some((school, Kind::Failures)),
                None => return Opinion::Worse(Why::Guard(count)),
            }
        }
        for kind in [Kind::Failures, Kind::Slow] {
            let test = self.test(kind);
            if !test.convicts(1.0 / (ALPHA * kind.share())) {
                continue;
            }
            match test.alone(SCHOOLS_FOR_ONE_ALONE) {
                Some(school) => alone = alone.or(Some((school, kind))),
                None => return Opinion::Worse(Why::Odds(kind, test.likeliest())),
            }
        }
        match alone {
            Some((school, kind)) => Opinion::OneSchool(school.to_owned(), kind),
            None => Opinion::NotWorse,
        }
    }
}

#[cfg(test)]
mod tests;
