//! The test of one kind of trouble: ratios of likelihoods, as logarithms, one for each of [`ODDS`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::counters::Count;
use super::{NULL_ODDS, ODDS, Seen};

/// How alike schools are in their rates: the shape of the gamma prior. Small: a school may well have
/// twenty times its neighbours' trouble, and one without history says little.
const ALIKE: f64 = 0.3;

/// Bad events of all schools that are assumed before any was seen, and among how many requests.
const PRIOR_BAD: (f64, f64) = (1.0, 1_000.0);

/// What a school is like is forgotten at this rate for each tick with traffic: half of it in an hour.
const FORGET: f64 = 1.0 - std::f64::consts::LN_2 / 3_600.0;

/// The second question is there for days on which everything is ill: of those, one in twenty may be
/// misjudged, where of all rollouts it is one in a hundred. So its answer counts five times.
const BESIDE: f64 = 5.0;

type Ratios = [f64; ODDS.len()];

/// One kind of trouble.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Test {
    /// What all schools say of the new version beside the standing one.
    now: Ratios,
    schools: BTreeMap<String, School>,
}

/// What is known of one school.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct School {
    /// On the standing version, older requests counting less.
    requests: f64,
    bad: f64,
    /// The same as of when the rollout began: what happens to both versions since then must not look
    /// usual for those alone who have not moved.
    known_requests: f64,
    known_bad: f64,
    /// On the version that is judged.
    new_requests: f64,
    new_bad: f64,
    /// What all the others say of the new version beside the standing one.
    without: Ratios,
}

/// The bad events of some schools in one tick, and those that they should have had.
#[derive(Debug, Clone, Copy, Default)]
struct Events {
    requests_old: f64,
    requests_new: f64,
    expected_old: f64,
    expected_new: f64,
    bad_old: f64,
    bad_new: f64,
}

impl Test {
    pub(super) fn acquit(&mut self) {
        self.now = Ratios::default();
        for school in self.schools.values_mut() {
            school.without = Ratios::default();
            (school.new_requests, school.new_bad) = (0.0, 0.0);
            (school.known_requests, school.known_bad) = (school.requests, school.bad);
        }
    }

    pub(super) fn learn(&mut self, seen: &[Seen], bad: fn(&Count) -> u64) {
        for seen in seen.iter().filter(|seen| seen.old.requests > 0) {
            let without = self.now;
            let school = self.school(&seen.tenant, without);
            // Not by the clock: what a school was like is kept while it is on the new version.
            school.requests = school.requests * FORGET + seen.old.requests as f64;
            school.bad = school.bad * FORGET + bad(&seen.old) as f64;
        }
    }

    /// Who comes new has said nothing so far: all the others have said all.
    fn school(&mut self, tenant: &str, without: Ratios) -> &mut School {
        if !self.schools.contains_key(tenant) {
            let school = School {
                without,
                ..School::default()
            };
            self.schools.insert(tenant.to_owned(), school);
        }
        self.schools.entry(tenant.to_owned()).or_default()
    }

    pub(super) fn weigh(&mut self, seen: &[Seen], bad: fn(&Count) -> u64) {
        let usual = self.known_usual();
        let before = self.now;
        let mut all = Events::default();
        let mut events = BTreeMap::new();
        for seen in seen {
            let school = self.school(&seen.tenant, before);
            let rate = school.known_rate(usual);
            let of_school = Events {
                requests_old: seen.old.requests as f64,
                requests_new: seen.new.requests as f64,
                expected_old: seen.old.requests as f64 * rate,
                expected_new: seen.new.requests as f64 * rate,
                bad_old: bad(&seen.old) as f64,
                bad_new: bad(&seen.new) as f64,
            };
            school.new_requests += seen.new.requests as f64;
            school.new_bad += of_school.bad_new;
            all = all.and(of_school, 1.0);
            events.insert(seen.tenant.as_str(), of_school);
        }
        if all.bad_old + all.bad_new < 0.5 {
            return; // Mostly nothing happens.
        }
        all.weigh(&mut self.now);
        for (tenant, school) in &mut self.schools {
            let own = events.get(tenant.as_str()).copied().unwrap_or_default();
            all.and(own, -1.0).weigh(&mut school.without);
        }
    }

    /// The rate of all schools together.
    fn usual(&self) -> f64 {
        let sum = |of: fn(&School) -> f64| self.schools.values().map(of).sum::<f64>();
        (sum(|school| school.bad) + PRIOR_BAD.0) / (sum(|school| school.requests) + PRIOR_BAD.1)
    }

    /// The same as of when the rollout began.
    fn known_usual(&self) -> f64 {
        let sum = |of: fn(&School) -> f64| self.schools.values().map(of).sum::<f64>();
        (sum(|school| school.known_bad) + PRIOR_BAD.0)
            / (sum(|school| school.known_requests) + PRIOR_BAD.1)
    }

    /// How strong the evidence is, a school left out: the weaker of the two answers.
    pub(super) fn evidence(&self, without: Option<&str>) -> f64 {
        let now = match without.and_then(|tenant| self.schools.get(tenant)) {
            Some(school) => &school.without,
            None => &self.now,
        };
        (BESIDE * mean(now)).min(mean(&self.before(without)))
    }

    /// Whether the evidence is at least so strong: mostly it is not, and that is seen at once.
    pub(super) fn convicts(&self, at: f64) -> bool {
        BESIDE * mean(&self.now) >= at && self.evidence(None) >= at
    }

    /// What schools say of the new version against what they had on the standing one.
    fn before(&self, without: Option<&str>) -> Ratios {
        let usual = self.usual();
        let mut sum = Ratios::default();
        let schools = self.schools.iter();
        for (_, school) in schools.filter(|(tenant, _)| Some(tenant.as_str()) != without) {
            school.weigh(usual, &mut sum);
        }
        sum
    }

    /// The one school on the new version that has all the trouble, if there is one: all others together
    /// speak for the version.
    pub(super) fn alone(&self, schools_min: usize) -> Option<&str> {
        let moved = || {
            self.schools
                .iter()
                .filter(|(_, school)| school.new_requests > 0.0)
        };
        if moved().count() < schools_min {
            return None;
        }
        let usual = self.usual();
        let mut all = Ratios::default();
        let mut each = Vec::new();
        for (tenant, school) in moved() {
            let mut own = Ratios::default();
            school.weigh(usual, &mut own);
            for (sum, own) in all.iter_mut().zip(own) {
                *sum += own;
            }
            each.push((tenant, own));
        }
        let (worst, own) = each
            .iter()
            .max_by(|(_, one), (_, other)| mean(one).total_cmp(&mean(other)))?;
        let suspected = likeliest(&all);
        let others = all[suspected] - own[suspected];
        (mean(own) > 1.0 && others < 0.0).then_some(worst.as_str())
    }

    /// How many times worse the new version most likely is.
    pub(super) fn likeliest(&self) -> f64 {
        ODDS[likeliest(&self.before(None))].0
    }

    pub(super) fn traffic(&self) -> impl Iterator<Item = (&str, f64)> {
        let schools = self.schools.iter();
        schools.map(|(tenant, school)| (tenant.as_str(), school.requests + school.new_requests))
    }
}

impl School {
    /// What is known of its rate: shape and rate of a gamma distribution.
    fn rate(&self, usual: f64) -> (f64, f64) {
        (ALIKE + self.bad, ALIKE / usual + self.requests)
    }

    /// Its most likely rate when the rollout began.
    fn known_rate(&self, usual: f64) -> f64 {
        (ALIKE + self.known_bad) / (ALIKE / usual + self.known_requests)
    }

    /// Adds the logarithms of the ratios of its likelihoods, its own rate integrated out.
    fn weigh(&self, usual: f64, ratios: &mut Ratios) {
        if self.new_requests <= 0.0 {
            return;
        }
        let (shape, requests) = self.rate(usual);
        let shape = shape + self.new_bad;
        let not_worse = requests + NULL_ODDS * self.new_requests;
        for (ratio, (odds, _)) in ratios.iter_mut().zip(ODDS) {
            let worse = requests + odds * self.new_requests;
            *ratio += self.new_bad * (odds / NULL_ODDS).ln() - shape * (worse / not_worse).ln();
        }
    }
}

impl Events {
    fn and(self, other: Self, sign: f64) -> Self {
        Self {
            requests_old: self.requests_old + sign * other.requests_old,
            requests_new: self.requests_new + sign * other.requests_new,
            expected_old: self.expected_old + sign * other.expected_old,
            expected_new: self.expected_new + sign * other.expected_new,
            bad_old: self.bad_old + sign * other.bad_old,
            bad_new: self.bad_new + sign * other.bad_new,
        }
    }

    /// Multiplies the ratios by those of each bad event.
    fn weigh(self, ratios: &mut Ratios) {
        // What is left after a subtraction may be a little less than nothing.
        let (old, new) = (self.expected_old.max(0.0), self.expected_new.max(0.0));
        if old <= 1e-9 || new <= 1e-9 || self.bad_old + self.bad_new < 0.5 {
            return; // Nothing to compare with, or nothing to compare.
        }
        // When the database is ill, everybody has the same trouble, whatever was usual for whom.
        let (requests_old, requests_new) = (self.requests_old.max(0.0), self.requests_new.max(0.0));
        let share = (new / (old + new)).max(requests_new / (requests_old + requests_new));
        let on_new = |odds: f64| share * odds / (share * odds + 1.0 - share);
        let on_old = |odds: f64| (1.0 - share) / (share * odds + 1.0 - share);
        for (ratio, (odds, _)) in ratios.iter_mut().zip(ODDS) {
            *ratio += self.bad_new * (on_new(odds) / on_new(NULL_ODDS)).ln()
                + self.bad_old * (on_old(odds) / on_old(NULL_ODDS)).ln();
        }
    }
}

fn mean(ratios: &Ratios) -> f64 {
    let weighed = ratios.iter().zip(ODDS);
    weighed
        .map(|(ratio, (_, weight))| weight * ratio.exp())
        .sum()
}

fn likeliest(ratios: &Ratios) -> usize {
    let best = (0..ODDS.len()).max_by(|&one, &other| ratios[one].total_cmp(&ratios[other]));
    best.unwrap_or_default()
}
