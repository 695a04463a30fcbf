//! What needs no test: a version that fails every fourth request.

use std::collections::VecDeque;

use super::super::counters::Count;
use super::Seen;

/// Ticks that are looked back.
const TICKS: usize = 10;

/// Fewer requests than these say nothing.
const REQUESTS_MIN: u64 = 20;

/// The share of failures that is too many.
const SHARE: f64 = 0.25;

/// Fewer failures of different clients, or of one at different times, say nothing.
const WITNESSES_MIN: u64 = 3;

/// The requests of the last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard(VecDeque<Vec<(String, Count)>>);

impl Guard {
    pub(super) fn remember(&mut self, seen: &[Seen]) {
        let new = seen.iter().filter(|seen| seen.new.requests > 0);
        let tick = new.map(|seen| (seen.tenant.clone(), seen.new));
        self.0.push_back(tick.collect());
        if self.0.len() > TICKS {
            self.0.pop_front();
        }
    }

    /// The requests, if too many failed; those of one school left out.
    pub(super) fn struck(&self, without: Option<&str>) -> Option<Count> {
        let mut sum = Count::default();
        for (tenant, count) in self.0.iter().flatten() {
            if Some(tenant.as_str()) != without {
                sum += *count;
            }
        }
        let too_many = sum.failures as f64 > SHARE * sum.requests as f64;
        (sum.requests >= REQUESTS_MIN && sum.bad >= WITNESSES_MIN && too_many).then_some(sum)
    }
}
