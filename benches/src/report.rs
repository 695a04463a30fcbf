//! What was measured: for people as a table, for programs as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::peers::Peer;

/// The answer to a question.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub question: &'static str,
    /// What was measured.
    pub about: &'static str,
    /// How many rounds.
    pub rounds: usize,
    /// How long each peer was driven in each round.
    pub seconds: u64,
    /// The programs that took part.
    pub versions: Vec<String>,
    /// How busy the machine was before, as its load average of one minute.
    pub load_average: f64,
    /// The rows.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    /// Who took part.
    pub peers: Vec<PeerReport>,
}

/// One peer in one case.
#[derive(Debug, Clone, Serialize)]
pub struct PeerReport {
    /// Who.
    pub peer: Peer,
    /// What it sends.
    pub wire: Wire,
    /// Round by round.
    pub rounds: Vec<Round>,
    /// CPU per request in microseconds, the median of the rounds.
    pub cpu_us: f64,
    /// Its CPU per request divided by nginx's in the same round, the median of the rounds.
    pub to_nginx: Option<f64>,
    /// Requests per second, the median.
    pub requests_per_s: f64,
    /// The 99th percentile of the time to the end of an answer, in milliseconds, the median.
    pub p99_ms: f64,
    /// How many of the requests are in its access log, in percent.
    pub logged_percent: f64,
}

/// What an answer weighs beside its body.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Wire {
    /// Names and values of its header, uncompressed.
    pub header_bytes: usize,
}

/// One peer's turn.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Requests that the load tool counted.
    pub requests: u64,
    /// Requests in the access log: those that the tool did not count too.
    pub logged: u64,
    /// CPU per request in microseconds.
    pub cpu_us: f64,
    /// How busy its core was, in percent.
    pub busy_percent: f64,
    /// How much of the core the host of a virtual machine took, in percent: more than a few spoil it.
    pub stolen_percent: f64,
    /// CPU per request divided by nginx's in this round.
    pub to_nginx: Option<f64>,
    /// Requests per second.
    pub requests_per_s: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

impl CaseReport {
    /// Sums up the turns of all peers in a case.
    pub(crate) fn new(case: String, turns: Vec<(Peer, Wire, Vec<Round>)>) -> Self {
        let nginx: Option<Vec<f64>> = turns
            .iter()
            .find(|(peer, ..)| *peer == Peer::Nginx)
            .map(|(_, _, rounds)| rounds.iter().map(|round| round.cpu_us).collect());
        let peers = turns.into_iter().map(|(peer, wire, mut rounds)| {
            if let Some(nginx) = &nginx {
                for (round, nginx) in rounds.iter_mut().zip(nginx) {
                    round.to_nginx = Some(round.cpu_us / nginx);
                }
            }
            PeerReport::new(peer, wire, rounds)
        });
        Self {
            case,
            peers: peers.collect(),
        }
    }
}

impl PeerReport {
    fn new(peer: Peer, wire: Wire, rounds: Vec<Round>) -> Self {
        let of = |part: fn(&Round) -> f64| median(rounds.iter().map(part).collect());
        let ratios: Option<Vec<f64>> = rounds.iter().map(|round| round.to_nginx).collect();
        let requests: u64 = rounds.iter().map(|round| round.requests).sum();
        // A request that the tool no longer counted, as its time was over, is recorded too.
        let logged: u64 = rounds
            .iter()
            .map(|round| round.logged.min(round.requests))
            .sum();
        Self {
            peer,
            wire,
            cpu_us: of(|round| round.cpu_us),
            to_nginx: ratios.map(median),
            requests_per_s: of(|round| round.requests_per_s),
            p99_ms: of(|round| round.p99_ms),
            logged_percent: 100.0 * logged as f64 / requests.max(1) as f64,
            rounds,
        }
    }
}

impl Report {
    /// As a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: {}; {} rounds of {} s, one core for each server; {}\n\n",
            self.question,
            self.about,
            self.rounds,
            self.seconds,
            self.versions.join(", ")
        );
        text.push_str(
            "| case | server | CPU per request | to nginx | in each round | requests/s | p99 | logged |\n\
             |---|---|--:|--:|---|--:|--:|--:|\n",
        );
        for case in &self.cases {
            for (index, peer) in case.peers.iter().enumerate() {
                let name = if index == 0 { case.case.as_str() } else { "" };
                let ratio = |ratio: f64| format!("{ratio:.2}");
                let each: Vec<String> = peer
                    .rounds
                    .iter()
                    .filter_map(|round| round.to_nginx.map(ratio))
                    .collect();
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "| {name} | {} | {:.1} us | {} | {} | {:.0} | {:.2} ms | {:.0} % |",
                    peer.peer.name(),
                    peer.cpu_us,
                    peer.to_nginx.map_or_else(|| "-".to_owned(), ratio),
                    if each.is_empty() {
                        "-".to_owned()
                    } else {
                        each.join(" ")
                    },
                    peer.requests_per_s,
                    peer.p99_ms,
                    peer.logged_percent,
                );
            }
        }
        text
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cpu_us: f64) -> Round {
        Round {
            requests: 1000,
            logged: 1003,
            cpu_us,
            busy_percent: 90.0,
            stolen_percent: 0.0,
            to_nginx: None,
            requests_per_s: 50_000.0,
            p99_ms: 1.5,
        }
    }

    fn case() -> CaseReport {
        let wire = Wire { header_bytes: 300 };
        let turns = vec![
            (Peer::Edge, wire, vec![round(9.0), round(20.0), round(12.0)]),
            (
                Peer::Nginx,
                wire,
                vec![round(10.0), round(10.0), round(16.0)],
            ),
        ];
        CaseReport::new("file 1 KB, H1".to_owned(), turns)
    }

    #[test]
    fn a_ratio_is_made_within_a_round() {
        let case = case();
        let edge = &case.peers[0];
        let ratios: Vec<_> = edge.rounds.iter().map(|round| round.to_nginx).collect();
        assert_eq!(ratios, [Some(0.9), Some(2.0), Some(0.75)]);
        assert_eq!(edge.to_nginx, Some(0.9));
        assert_eq!(edge.cpu_us, 12.0);
        assert_eq!(edge.logged_percent, 100.0);
        assert_eq!(case.peers[1].to_nginx, Some(1.0));
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        let wire = Wire { header_bytes: 300 };
        let turns = vec![(Peer::Edge, wire, vec![round(9.0), round(11.0)])];
        let case = CaseReport::new("file 1 KB, H1".to_owned(), turns);
        assert_eq!(case.peers[0].to_nginx, None);
        assert_eq!(case.peers[0].cpu_us, 10.0);
    }

    #[test]
    fn the_table_has_a_row_for_each_peer() {
        let report = Report {
            question: "hits",
            about: "files",
            rounds: 3,
            seconds: 3,
            versions: vec!["nginx/1.22.1".to_owned()],
            load_average: 0.1,
            cases: vec![case()],
        };
        let table = report.table();
        let row =
            "| file 1 KB, H1 | edge | 12.0 us | 0.90 | 0.90 2.00 0.75 | 50000 | 1.50 ms | 100 % |";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("|  | nginx | 10.0 us | 1.00 |"), "{table}");
    }
}
