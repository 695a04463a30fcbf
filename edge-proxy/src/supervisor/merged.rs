//! Counters of several workers as one: an upgrade or a crash does not set them back.
//!
//! Counters and histograms are added up over all workers there were. A gauge is that of the worker in charge, but for
//! those that say what a process holds: connections of one that retires are open too.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Gauges that are added up.
const HELD: [&str; 2] = ["edge_connections", "edge_tls_handshakes_open"];

/// The sums, in the order in which they were first seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug, Clone, Default)]
struct Family {
    head: Vec<String>,
    adds: Adds,
    samples: Vec<(String, f64)>,
    by_series: HashMap<String, usize>,
}

/// What the same series of two workers mean together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Adds {
    /// Everything that was counted.
    Always,
    /// What living workers hold.
    #[default]
    Living,
    /// What the one in charge says.
    Never,
}

impl Merged {
    /// Adds the text of a worker; `in_charge`: its gauges count.
    pub(super) fn add(&mut self, text: &str, in_charge: bool) {
        let mut family = None;
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# ") {
                family = self.described(line, described).or(family);
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (Some(at), Ok(value)) = (family, value.parse::<f64>()) else {
                continue;
            };
            let family: &mut Family = &mut self.families[at];
            match family.adds {
                Adds::Never if !in_charge => {}
                Adds::Always | Adds::Living | Adds::Never => family.add(series, value),
            }
        }
    }

    /// Which family this line begins or goes on with.
    fn described(&mut self, line: &str, described: &str) -> Option<usize> {
        let mut words = described.splitn(3, ' ');
        let (keyword, name, rest) = (words.next()?, words.next()?, words.next().unwrap_or(""));
        if !["HELP", "TYPE"].contains(&keyword) {
            return None;
        }
        let families = &mut self.families;
        let at = *self.by_name.entry(name.to_owned()).or_insert_with(|| {
            families.push(Family::default());
            families.len() - 1
        });
        let family = &mut families[at];
        if !family.head.iter().any(|known| known == line) {
            family.head.push(line.to_owned());
        }
        if keyword == "TYPE" {
            family.adds = match rest {
                "counter" | "histogram" => Adds::Always,
                _ if HELD.contains(&name) => Adds::Living,
                _ => Adds::Never,
            };
        }
        Some(at)
    }

    /// As it was read.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            for line in &family.head {
                text.push_str(line);
                text.push('\n');
            }
            for (series, value) in &family.samples {
                // Writing to a String does not fail.
                let _written = writeln!(text, "{series} {value}");
            }
        }
        text.push_str("# EOF\n");
        text
    }

    /// Only what was counted stays of a worker that has ended.
    pub(super) fn counted(mut self) -> Self {
        for family in &mut self.families {
            if family.adds != Adds::Always {
                family.samples.clear();
                family.by_series.clear();
            }
        }
        self
    }
}

impl Family {
    fn add(&mut self, series: &str, value: f64) {
        match self.by_series.get(series) {
            Some(at) => self.samples[*at].1 += value,
            None => {
                self.by_series.insert(series.to_owned(), self.samples.len());
                self.samples.push((series.to_owned(), value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP edge_requests_total Requests.\n# TYPE edge_requests_total counter\n\
        edge_requests_total{app=\"learn portal\"} 5\n\
        # HELP edge_connections Open.\n# TYPE edge_connections gauge\nedge_connections 2\n\
        # HELP edge_split_weight Weight.\n# TYPE edge_split_weight gauge\nedge_split_weight 9000\n\
        # HELP edge_seconds Time.\n# TYPE edge_seconds histogram\nedge_seconds_sum 0.25\n\
        edge_seconds_bucket{le=\"+Inf\"} 3\n# EOF\n";
    const TWO: &str = "# HELP edge_requests_total Requests.\n# TYPE edge_requests_total counter\n\
        edge_requests_total{app=\"learn portal\"} 7\nedge_requests_total{app=\"new\"} 1\n\
        # HELP edge_connections Open.\n# TYPE edge_connections gauge\nedge_connections 3\n\
        # HELP edge_split_weight Weight.\n# TYPE edge_split_weight gauge\nedge_split_weight 5000\n\
        # HELP edge_seconds Time.\n# TYPE edge_seconds histogram\nedge_seconds_sum 0.5\n\
        edge_seconds_bucket{le=\"+Inf\"} 4\n# EOF\n";

    fn holds(text: &str, line: &str) {
        assert!(text.lines().any(|seen| seen == line), "{line} in\n{text}");
    }

    #[test]
    fn what_is_counted_adds_up_and_what_is_measured_is_that_of_the_one_in_charge() {
        let mut merged = Merged::default();
        merged.add(ONE, false);
        merged.add(TWO, true);
        let text = merged.text();
        for line in [
            "edge_requests_total{app=\"learn portal\"} 12",
            "edge_requests_total{app=\"new\"} 1",
            "edge_connections 5",
            "edge_split_weight 5000",
            "edge_seconds_sum 0.75",
            "edge_seconds_bucket{le=\"+Inf\"} 7",
        ] {
            holds(&text, line);
        }
        assert_eq!(text.matches("# TYPE edge_requests_total").count(), 1);
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    #[test]
    fn of_a_worker_that_has_ended_only_what_it_counted_stays() {
        let mut ended = Merged::default();
        ended.add(ONE, false);
        let mut now = ended.counted();
        now.add(TWO, true);
        let text = now.text();
        holds(&text, "edge_requests_total{app=\"learn portal\"} 12");
        holds(&text, "edge_connections 3");
        holds(&text, "edge_split_weight 5000");
    }
}
