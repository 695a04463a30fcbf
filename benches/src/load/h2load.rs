//! `h2load`: HTTP/2 with many streams on each connection.
//!
//! Its summary has no percentiles, so they come from its log: per request when it began, its status
//! and how long it took in microseconds, separated by tabs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{CIPHER, GROUP, Seen};
use crate::error::BenchError;

/// 80 requests at once: fewer than the connections that each peer keeps to its origin.
const CONNECTIONS: &str = "4";
/// About what a browser has under way while it loads a page.
const STREAMS: &str = "20";

pub(super) fn command(program: &Path, url: &str, time: Duration, log: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--threads=1", "--clients", CONNECTIONS])
        .args(["--max-concurrent-streams", STREAMS])
        .arg(format!("--duration={}s", time.as_secs()))
        .args(["--connection-inactivity-timeout", "10s"])
        .arg(format!("--tls13-ciphers={CIPHER}"))
        .arg(format!("--groups={GROUP}"))
        .arg("--npn-list=h2")
        .args(["--header", "accept-encoding: identity"])
        .arg(format!("--log-file={}", log.display()))
        .arg(url);
    command
}

/// Reads its summary and its log. A request that failed spoils the run.
pub(super) fn parse(said: &str, log: &str) -> Result<Seen, BenchError> {
    let missing = |part| BenchError::Output {
        program: "h2load",
        part,
        said: said.to_owned(),
    };
    let seconds = said
        .lines()
        .find_map(|line| line.strip_prefix("finished in ")?.split_once(','))
        .and_then(|(time, _)| duration(time))
        .ok_or_else(|| missing("time"))?
        .as_secs_f64();
    let counts = said
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .ok_or_else(|| missing("counts of requests"))?;
    let count = |name: &str| -> Option<u64> {
        let part = counts.split(", ").find_map(|part| part.strip_suffix(name));
        part?.trim().parse().ok()
    };
    let requests = count("done").ok_or_else(|| missing("count of finished requests"))?;
    let succeeded = count("succeeded").ok_or_else(|| missing("count of good requests"))?;
    if requests == 0 || succeeded != requests || !said.contains("Application protocol: h2") {
        return Err(BenchError::Failed {
            program: "h2load",
            said: said.to_owned(),
        });
    }
    let p99 = percentile_99(log).ok_or_else(|| missing("line in its log"))?;
    Ok(Seen {
        requests,
        seconds,
        p99,
    })
}

fn percentile_99(log: &str) -> Option<Duration> {
    let micros = log
        .lines()
        .map(|line| line.split('\t').nth(2)?.parse().ok());
    let mut micros: Vec<u64> = micros.collect::<Option<_>>()?;
    let last = micros.len().checked_sub(1)?;
    let (_, p99, _) = micros.select_nth_unstable(last * 99 / 100);
    Some(Duration::from_micros(*p99))
}

/// `860us`, `33.45ms`, `2.01s`, `1m03s`: the last only in runs of minutes.
fn duration(text: &str) -> Option<Duration> {
    let (minutes, rest) = match text.split_once('m') {
        Some((minutes, rest)) if rest != "s" => (minutes.parse().ok()?, rest),
        _ => (0.0, text),
    };
    let unit = rest.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = rest[..unit].parse().ok()?;
    let seconds = match &rest[unit..] {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        _ => return None,
    };
    Duration::try_from_secs_f64(minutes * 60.0 + seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
starting benchmark...
progress: 100% of clients started
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
Stopped all clients for thread #0

finished in 2.01s, 11015.00 req/s, 12.18MB/s
requests: 22030 total, 22190 started, 22030 done, 22030 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 22030 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 24.35MB (25533162) total, 2.46MB (2577510) headers (space savings 39.38%), 21.51MB (22558720) data
                     min         max         mean         sd        +/- sd
time for request:      159us     33.45ms     13.46ms      6.53ms    68.40%
";

    fn log(requests: u64) -> String {
        (1..=requests)
            .map(|n| format!("1795315509922324\t200\t{n}\n"))
            .collect()
    }

    #[test]
    fn a_summary_and_its_log_are_read() {
        let seen = parse(SAID, &log(1000)).expect("it is a summary of h2load 1.52");
        let expected = Seen {
            requests: 22_030,
            seconds: 2.01,
            p99: Duration::from_micros(990),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_failed_request_spoils_the_run() {
        let said = SAID.replace("22030 succeeded, 0 failed", "22029 succeeded, 1 failed");
        assert!(matches!(
            parse(&said, &log(9)),
            Err(BenchError::Failed { .. })
        ));
    }

    #[test]
    fn another_protocol_than_h2_spoils_the_run() {
        let said = SAID.replace("protocol: h2", "protocol: http/1.1");
        assert!(matches!(
            parse(&said, &log(9)),
            Err(BenchError::Failed { .. })
        ));
    }

    #[test]
    fn nothing_done_is_no_result() {
        let said = SAID.replace("22030", "0");
        assert!(matches!(
            parse(&said, &log(9)),
            Err(BenchError::Failed { .. })
        ));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let cut = &SAID[..SAID.find("requests:").expect("it is there")];
        assert!(matches!(
            parse(cut, &log(9)),
            Err(BenchError::Output { .. })
        ));
        assert!(matches!(parse(SAID, ""), Err(BenchError::Output { .. })));
        let torn = "1795315509922324\t200";
        assert!(matches!(parse(SAID, torn), Err(BenchError::Output { .. })));
    }

    #[test]
    fn units_are_those_of_h2load() {
        let table = [
            ("860us", Some(Duration::from_micros(860))),
            ("33.45ms", Some(Duration::from_micros(33_450))),
            ("2.01s", Some(Duration::from_millis(2010))),
            ("1m03s", Some(Duration::from_secs(63))),
            ("12", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
