use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use cache_rules::reason::PassReason;

use super::labels::{Cache, Method};
use super::*;

/// Every metric with a value.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    let route = metrics.route("learn", "/api/v1");
    for (status, us) in [(200, 90), (304, 2_000), (503, 99_000_000), (0, 1)] {
        route.count(&Counted {
            method: Method::Get,
            status,
            colour: Some(Colour::Green),
            cache: Cache::Hit,
            duration: Duration::from_micros(us),
        });
    }
    let pool = metrics.upstream("learn", "web", Colour::Blue);
    pool.requests.inc();
    pool.failures.inc();
    pool.healthy.set(1);
    pool.members.set(2);
    metrics.split("learn", Split::all(Colour::Green));
    metrics.certificates([("oak.crt", 1_800_000_000)].into_iter());
    metrics.handshake(Handshake::Done, true);
    metrics.cache_hit(Scope::Tenant);
    metrics.cache_miss(Miss::Purged);
    metrics.cache_fill(Fill::Stored);
    metrics.identity(Identity::Yes);
    metrics.purged("tag");
    metrics.pass(PassReason::NoRule.as_str());
    metrics.malformed("host");
    metrics.on_scrape(|metrics| {
        metrics.cache_bytes.set(7);
    });
    metrics
}

#[test]
fn the_text_says_what_was_counted() {
    let text = busy().text();
    for line in [
        r#"edge_http_requests_total{app="learn",route="/api/v1",method="GET",status="5xx",colour="green",cache="hit"} 1"#,
        r#"edge_http_requests_total{app="learn",route="/api/v1",method="GET",status="none",colour="green",cache="hit"} 1"#,
        r#"edge_http_request_duration_seconds_bucket{le="0.0001",app="learn",route="/api/v1"} 2"#,
        r#"edge_http_request_duration_seconds_bucket{le="10.0",app="learn",route="/api/v1"} 3"#,
        r#"edge_http_request_duration_seconds_bucket{le="+Inf",app="learn",route="/api/v1"} 4"#,
        r#"edge_http_request_duration_seconds_count{app="learn",route="/api/v1"} 4"#,
        r#"edge_upstream_healthy{app="learn",service="web",colour="blue"} 1"#,
        r#"edge_split_weight{app="learn",colour="green"} 10000"#,
        r#"edge_tls_handshakes_total{result="done",resumed="true"} 1"#,
        r#"edge_pass_total{reason="no_rule"} 1"#,
        r#"edge_pass_total{reason="set_cookie"} 0"#,
        "# TYPE edge_pass_total counter",
        "# TYPE edge_records_dropped_total counter",
        "edge_records_dropped_total 0",
        "edge_cache_bytes 7",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nis not in\n{text}"
        );
    }
    assert_eq!(busy().cache_totals(), (1, 1));
}

#[test]
fn every_combination_of_labels_has_a_number_of_its_own() {
    let metrics = Metrics::new();
    let route = metrics.route("a", "r");
    let colours = [None, Some(Colour::Blue), Some(Colour::Green)];
    for &method in Method::ALL {
        for status in [0, 100, 200, 300, 400, 500] {
            for colour in colours {
                for &cache in Cache::ALL {
                    route.count(&Counted {
                        method,
                        status,
                        colour,
                        cache,
                        duration: Duration::ZERO,
                    });
                }
            }
        }
    }
    let text = metrics.text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("edge_http_requests_total{"));
    let ones = lines
        .inspect(|line| assert!(line.ends_with(" 1"), "{line}"))
        .count();
    assert_eq!(ones, 8 * 6 * 3 * 7);
}

#[test]
fn counts_of_many_threads_add_up_and_a_route_is_one_whoever_asks() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let route = metrics.route("a", "r");
                for _ in 0..1_000 {
                    route.count(&Counted {
                        method: Method::Post,
                        status: 201,
                        colour: None,
                        cache: Cache::Pass,
                        duration: Duration::from_micros(3),
                    });
                }
            });
        }
    });
    let text = metrics.text();
    assert!(
        text.contains(r#"method="POST",status="2xx",colour="none",cache="pass"} 4000"#),
        "{text}"
    );
    assert!(
        text.contains(r#"edge_http_request_duration_seconds_sum{app="a",route="r"} 0.012"#),
        "{text}"
    );
}

#[test]
fn routes_beyond_the_limit_are_counted_together() {
    let metrics = Metrics::new();
    for number in 0..400 {
        metrics.route("a", &number.to_string()).count(&Counted {
            method: Method::Get,
            status: 200,
            colour: None,
            cache: Cache::Pass,
            duration: Duration::ZERO,
        });
    }
    let text = metrics.text();
    assert!(text.contains(
        r#"{app="other",route="other",method="GET",status="2xx",colour="none",cache="pass"} 144"#
    ));
}

#[test]
fn hostile_names_cannot_break_out_of_a_label() {
    let metrics = Metrics::new();
    metrics.route("a\"} 1\nfake_total 9", "\\").count(&Counted {
        method: Method::Get,
        status: 200,
        colour: None,
        cache: Cache::Pass,
        duration: Duration::ZERO,
    });
    assert!(
        !metrics
            .text()
            .lines()
            .any(|line| line.starts_with("fake_total"))
    );
}

/// The outside judge: Prometheus' own parser and linter, from Debian's package `prometheus`.
#[test]
fn promtool_finds_nothing_to_say() {
    let check = |metrics: &Metrics| -> std::io::Result<std::process::Output> {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let text = metrics.text();
        promtool
            .stdin
            .take()
            .expect("it was piped")
            .write_all(text.as_bytes())?;
        promtool.wait_with_output()
    };
    for metrics in [Metrics::new(), busy()] {
        match check(&metrics) {
            Ok(output) => assert!(
                output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
                "{}{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                metrics.text()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: promtool is not installed (Debian: apt install prometheus)");
            }
            Err(error) => panic!("promtool did not run: {error}"),
        }
    }
}
