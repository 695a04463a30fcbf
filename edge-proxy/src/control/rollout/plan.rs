//! What each step comes to: whom it moves.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Step, weight_of};
use crate::colour::{Colour, WHOLE_BP};

/// One school, as far as a split moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its id.
    pub tenant: String,
    /// Its bucket of the app's split.
    pub bucket: u16,
    /// The ring it belongs to.
    pub ring: String,
}

impl Unit {
    /// Whether it is on the new version after these steps.
    fn has_moved(&self, to: Colour, steps: &[Step]) -> bool {
        let weight_bp = weight_of(steps);
        let by_weight = match to {
            Colour::Green => self.bucket < weight_bp,
            Colour::Blue => self.bucket >= WHOLE_BP - weight_bp,
        };
        by_weight
            || steps
                .iter()
                .any(|step| matches!(step, Step::Ring(ring) if *ring == self.ring))
    }
}

/// What one step comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The schools that it moves.
    pub adds: Vec<String>,
    /// The rings of these schools.
    pub rings: BTreeSet<String>,
    /// Schools on the new version from then on.
    pub tenants: usize,
    /// Their share of the traffic; none: nobody has traffic yet.
    pub share: Option<f64>,
    /// Whether a school that it moves has traffic.
    pub adds_traffic: bool,
}

/// What each step comes to, by what schools asked of late. `units`: every school; none where
/// something else than schools is split.
pub fn plan(
    to: Colour,
    steps: &[Step],
    units: &[Unit],
    traffic: &BTreeMap<String, f64>,
) -> Vec<Planned> {
    let of = |unit: &Unit| traffic.get(&unit.tenant).copied().unwrap_or(0.0);
    let all: f64 = units.iter().map(of).sum();
    let planned = |index: usize| {
        let moved = |unit: &&Unit| unit.has_moved(to, &steps[..=index]);
        let added = |unit: &&Unit| moved(unit) && !unit.has_moved(to, &steps[..index]);
        let adds = || units.iter().filter(added);
        Planned {
            adds: adds().map(|unit| unit.tenant.clone()).collect(),
            rings: adds().map(|unit| unit.ring.clone()).collect(),
            tenants: units.iter().filter(moved).count(),
            share: (all > 0.0).then(|| units.iter().filter(moved).map(of).sum::<f64>() / all),
            adds_traffic: adds().any(|unit| of(unit) > 0.0),
        }
    };
    (0..steps.len()).map(planned).collect()
}

/// The first step from `from` on that moves a school with traffic; the last one if none does.
pub fn worth(plan: &[Planned], from: usize) -> usize {
    let last = plan.len().saturating_sub(1);
    let nobody_has_traffic = plan.iter().all(|step| step.share.is_none());
    if nobody_has_traffic {
        return from.min(last);
    }
    let worth = (from..last).find(|&step| plan[step].adds_traffic);
    worth.unwrap_or(last)
}
