//! `wrk`: HTTP/1.1 over connections that are kept.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Seen;
use crate::error::BenchError;

/// As many as keep one core busy, and few enough that a handshake is no part of the figures.
const CONNECTIONS: &str = "64";

pub(super) fn command(program: &Path, url: &str, time: Duration) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--threads=1", "--latency", "--timeout=10s"])
        .args(["--connections", CONNECTIONS])
        .arg(format!("--duration={}s", time.as_secs()))
        .args(["--header", "accept-encoding: identity"])
        .arg(url);
    command
}

/// Reads its summary. A connection that failed or an answer that was no success spoils the run.
pub(super) fn parse(said: &str) -> Result<Seen, BenchError> {
    let missing = |part| BenchError::Output {
        program: "wrk",
        part,
        said: said.to_owned(),
    };
    let failed = ["Socket errors:", "Non-2xx or 3xx responses:"];
    if failed.iter().any(|sign| said.contains(sign)) {
        return Err(BenchError::Failed {
            program: "wrk",
            said: said.to_owned(),
        });
    }
    let mut seen = None;
    let mut p99 = None;
    for line in said.lines().map(str::trim) {
        if let Some(time) = line.strip_prefix("99%") {
            p99 = duration(time.trim());
        } else if let Some((requests, rest)) = line.split_once(" requests in ") {
            let time = rest.split_once(',').and_then(|(time, _)| duration(time));
            seen = requests.parse().ok().zip(time);
        }
    }
    let (requests, time): (u64, Duration) = seen.ok_or_else(|| missing("count of requests"))?;
    Ok(Seen {
        requests,
        seconds: time.as_secs_f64(),
        p99: p99.ok_or_else(|| missing("99th percentile"))?,
    })
}

/// `812.00us`, `4.22ms`, `2.04s`, `1.10m`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = text[..unit].parse().ok()?;
    let seconds = match &text[unit..] {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Running 2s test @ https://localhost:18443/1k.bin
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.22ms    5.63ms  54.01ms   91.83%
    Req/Sec     5.16k     1.86k    8.89k    75.00%
  Latency Distribution
     50%    3.42ms
     75%    5.63ms
     90%    8.74ms
     99%   25.82ms
  10484 requests in 2.04s, 12.78MB read
Requests/sec:   5149.11
Transfer/sec:      6.28MB
";

    #[test]
    fn a_summary_is_read() {
        let seen = parse(SAID).expect("it is a summary of wrk 4.1");
        let expected = Seen {
            requests: 10_484,
            seconds: 2.04,
            p99: Duration::from_micros(25_820),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn errors_spoil_the_run() {
        for line in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
            "  Non-2xx or 3xx responses: 12\n",
        ] {
            let said = SAID.replace("Requests/sec:", &format!("{line}Requests/sec:"));
            assert!(matches!(parse(&said), Err(BenchError::Failed { .. })));
        }
    }

    #[test]
    fn a_summary_that_is_cut_off_is_an_error() {
        let cut = &SAID[..SAID.find("99%").expect("it is there")];
        assert!(matches!(parse(cut), Err(BenchError::Output { .. })));
        assert!(matches!(parse(""), Err(BenchError::Output { .. })));
    }

    #[test]
    fn units_are_those_of_wrk() {
        let table = [
            ("812.00us", Some(Duration::from_micros(812))),
            ("4.22ms", Some(Duration::from_micros(4220))),
            ("2.04s", Some(Duration::from_millis(2040))),
            ("1.50m", Some(Duration::from_secs(90))),
            ("-nanus", None),
            ("12", None),
            ("1.0parsec", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
