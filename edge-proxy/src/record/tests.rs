use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;
use std::time::Instant;

use serde_json::{Value, json};

use super::*;

fn record<'a>() -> Record<'a> {
    Record {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_334_400_007),
        request_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        tenant: Some("oak"),
        app: Some("learn"),
        route: "/api/v1",
        rule: Some("courses"),
        method: Method::Get,
        status: 200,
        cache: Cache::Hit,
        reason: None,
        colour: Some(Colour::Green),
        release: Some("2026-11-22.3"),
        bytes_sent: 1_234,
        bytes_received: 0,
        duration: Duration::from_micros(123),
        upstream: None,
        http: http::Version::HTTP_2,
        tls: Some("1.3"),
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77))),
    }
}

fn line(record: &Record<'_>) -> String {
    let mut text = String::new();
    line::with(record, |line| {
        text = String::from_utf8(line.to_vec()).expect("a line is UTF-8");
    });
    text
}

fn value(record: &Record<'_>) -> Value {
    serde_json::from_str(&line(record)).expect("a line is JSON")
}

/// A sink whose lines the test sees, and which the test can block or break.
struct Told {
    lines: mpsc::Sender<String>,
    gate: Arc<Mutex<()>>,
    broken: bool,
}

impl Sink for Told {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let _open = self.gate.lock();
        if self.broken {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let text = String::from_utf8(lines.to_vec()).expect("lines are UTF-8");
        let _gone = self.lines.send(text);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn told(broken: bool) -> (Records, mpsc::Receiver<String>, Arc<Mutex<()>>, Counter) {
    let (lines, seen) = mpsc::channel();
    let gate = Arc::new(Mutex::new(()));
    let sink = Told {
        lines,
        gate: gate.clone(),
        broken,
    };
    let dropped = Counter::default();
    let records = Records::start(Box::new(sink), dropped.clone()).expect("a thread starts");
    (records, seen, gate, dropped)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_record_is_one_line_of_json() {
    let expected = json!({
        "v": 1, "time": "2026-11-22T08:00:00.007Z", "request": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "tenant": "oak", "app": "learn", "route": "/api/v1", "rule": "courses", "method": "GET",
        "status": 200, "cache": "hit", "colour": "green", "release": "2026-11-22.3",
        "bytes_sent": 1234, "bytes_received": 0, "duration_us": 123, "http": "2", "tls": "1.3",
        "client": "192.0.2.0/24",
    });
    assert_eq!(value(&record()), expected);
    let text = line(&record());
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.ends_with("}\n"));

    let refused = Record {
        tenant: None,
        app: None,
        rule: None,
        reason: Some("unknown_host"),
        colour: None,
        release: None,
        upstream: Some(Duration::MAX),
        status: 0,
        tls: None,
        client: None,
        ..record()
    };
    let value = value(&refused);
    assert_eq!(value["reason"], "unknown_host");
    assert_eq!(value["upstream_us"], u64::MAX);
    assert!(value.get("tenant").is_none() && value.get("client").is_none());
}

#[test]
fn hostile_text_stays_inside_its_string() {
    for hostile in [
        "\"},{\"tenant\":\"elm",
        "a\nb\r\n{\"v\":1}",
        "\u{0}\u{1}\u{8}\u{1b}[31m\u{7f}\u{85}",
        "back\\slash\\",
        "\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}",
        "käse 学校 😀",
        "",
    ] {
        let record = Record {
            route: hostile,
            tenant: Some(hostile),
            ..record()
        };
        let text = line(&record);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(['\u{2028}', '\u{202e}', '\u{2066}', '\u{feff}']));
        let value = value(&record);
        assert_eq!(value["route"], hostile);
        assert_eq!(value["app"], "learn");
    }
}

#[test]
fn long_text_is_cut_between_characters() {
    let long = "ä".repeat(10_000);
    let record = Record {
        release: Some(&long),
        ..record()
    };
    let value = value(&record);
    let kept = value["release"].as_str().expect("a string");
    assert_eq!(kept, "ä".repeat(128));
}

#[test]
fn of_a_client_only_its_network_is_written() {
    let mapped: Ipv6Addr = "::ffff:203.0.113.250".parse().expect("an address");
    let table: [(IpAddr, &str); 7] = [
        (Ipv4Addr::new(203, 0, 113, 250).into(), "203.0.113.0/24"),
        (Ipv4Addr::BROADCAST.into(), "255.255.255.0/24"),
        (mapped.into(), "203.0.113.0/24"),
        (
            "2001:db8:1:2:3:4:5:6".parse().expect("an address"),
            "2001:db8:1::/48",
        ),
        (
            "fe80::1ff:fe23:4567:890a".parse().expect("an address"),
            "fe80::/48",
        ),
        (Ipv6Addr::LOCALHOST.into(), "::/48"),
        (Ipv4Addr::UNSPECIFIED.into(), "0.0.0.0/24"),
    ];
    for (client, expected) in table {
        let record = Record {
            client: Some(client),
            ..record()
        };
        assert_eq!(value(&record)["client"], expected);
    }
}

#[test]
fn records_of_many_threads_are_whole_lines_and_all_there_after_a_close() {
    let (records, seen, _, dropped) = told(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| records.write(&record())));
        }
    });
    records.close();
    let text: String = seen.try_iter().collect();
    assert_eq!(text.lines().count(), 2_000);
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert_eq!(dropped.get(), 0);
    records.write(&record());
    assert_eq!(
        dropped.get(),
        1,
        "after the close a record is dropped and counted"
    );
}

#[test]
fn a_single_record_does_not_wait_for_company() {
    let (records, seen, _, _) = told(false);
    records.write(&record());
    let text = seen
        .recv_timeout(Duration::from_secs(20))
        .expect("it is written by itself");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn behind_a_stuck_disk_records_are_dropped_and_counted_and_the_rest_is_kept() {
    let (records, seen, gate, dropped) = told(false);
    let stuck = gate.lock();
    let mut written = 0_u64;
    while dropped.get() < 100 {
        records.write(&record());
        written += 1;
        assert!(written < 1_000_000, "the buffer has a limit");
    }
    drop(stuck);
    records.close();
    let lines: usize = seen.try_iter().map(|text| text.lines().count()).sum();
    assert_eq!(lines as u64 + dropped.get(), written);
}

#[test]
fn lines_that_a_full_disk_refused_are_counted() {
    let (records, _, _, dropped) = told(true);
    records.write(&record());
    eventually("the loss is counted", || dropped.get() == 1);

    let dropped = Counter::default();
    let full = AccessLog::File("/dev/full".into());
    let records = Records::open(&full, dropped.clone()).expect("it opens");
    records.write(&record());
    records.write(&record());
    records.close();
    assert_eq!(dropped.get(), 2);
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let moved = folder.path().join("access.log.1");
    let records =
        Records::open(&AccessLog::File(path.clone()), Counter::default()).expect("it opens");
    records.write(&record());
    eventually("the first line is written", || {
        std::fs::read_to_string(&path).is_ok_and(|text| !text.is_empty())
    });
    std::fs::rename(&path, &moved).expect("it can be moved");
    records.reopen();
    eventually("the file is made again", || path.exists());
    records.write(&record());
    records.close();
    for file in [&path, &moved] {
        let text = std::fs::read_to_string(file).expect("it is there");
        assert_eq!(text.lines().count(), 1, "{}", file.display());
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_named_and_off_writes_nothing() {
    let log = AccessLog::File("/nowhere/at/all/access.log".into());
    let error = Records::open(&log, Counter::default()).expect_err("there is no such folder");
    assert!(
        error.to_string().contains("/nowhere/at/all/access.log"),
        "{error}"
    );

    let dropped = Counter::default();
    let records = Records::open(&AccessLog::Off, dropped.clone()).expect("nothing to open");
    records.write(&record());
    records.reopen();
    records.close();
    assert_eq!(dropped.get(), 0);
}

/// `cargo test --release -p edge-proxy --lib record -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, to be run in release mode"]
fn the_cost_of_a_record() {
    let log = AccessLog::File("/dev/null".into());
    let dropped = Counter::default();
    let records = Records::open(&log, dropped.clone()).expect("it opens");
    let record = record();
    for round in 0..5 {
        let count: u32 = 1_000_000;
        let start = Instant::now();
        for _ in 0..count {
            records.write(std::hint::black_box(&record));
        }
        let each = start.elapsed() / count;
        println!(
            "round {round}: {each:?} per record, {} dropped",
            dropped.get()
        );
    }
}
