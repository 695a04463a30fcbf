use super::super::api::{
    App, Cache, Certificate, ColourStatus, Member, Reason, Step, Traffic, Weights,
};
use super::*;

fn colour(colour: &str, weight_bp: u16, healthy: bool) -> ColourStatus {
    let member = |service: &str, port: u16, healthy| Member {
        service: service.into(),
        address: format!("127.0.0.1:{port}"),
        healthy,
        why: None,
    };
    ColourStatus {
        colour: colour.into(),
        weight_bp,
        phase: if weight_bp > 0 { "live" } else { "idle" }.into(),
        release: format!("2026-11-22.{}", colour.len()),
        complete: healthy,
        missing: if healthy { 0 } else { 12 },
        schema: "1..1".into(),
        traffic: Traffic {
            requests: 1_234 * u64::from(weight_bp > 2_000),
            failures: 2,
            p50_ms: Some(21),
            p95_ms: Some(84),
        },
        members: vec![
            member("api", 1, healthy),
            member("web", 2, true),
            member("web", 3, true),
        ],
        refused: if healthy {
            vec![]
        } else {
            vec![Reason::Unhealthy {
                service: "api".into(),
                member: "127.0.0.1:1".into(),
                why: Some("connection refused".into()),
            }]
        },
        in_flight: vec![],
        bound_s: None,
        mirror: None,
    }
}

fn example() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4242,
        uptime_s: 11_520,
        not_ready: vec![],
        sequence: 7,
        connections: 1_234,
        apps: [(
            "learn".to_owned(),
            App {
                revision: 5,
                colours: vec![colour("blue", 8_750, true), colour("green", 1_250, false)],
                paused: false,
                held: 0,
            },
        )]
        .into(),
        cache: Cache {
            off: false,
            entries: 412,
            bytes: 8_493_465,
            bytes_max: 268_435_456,
            hits: 1_234,
            misses: 90,
        },
        certificates: vec![
            Certificate {
                file: "oak.crt".into(),
                names: vec!["oak.example".into(), "*.oak.example".into()],
                not_after: "2027-01-22T00:00:00Z".into(),
                days_left: 61,
                source: "folder".into(),
                urgency: "good".into(),
                next: "nothing: it is read again when its files change".into(),
            },
            Certificate {
                file: "elm.crt".into(),
                names: vec!["elm.example".into()],
                not_after: "2026-11-20T00:00:00Z".into(),
                days_left: -2,
                source: "folder".into(),
                urgency: "expired".into(),
                next: "put a new pair in its place".into(),
            },
        ],
        certificate_problems: vec!["/certs/ash.crt: expired".into()],
    }
}

#[test]
fn status_is_a_table_that_fits_a_terminal() {
    let expected = "\
edge 0.1.0 (pid 4242), up 3h 12m, ready
1,234 open connections, change 7

APP    COLOUR  WEIGHT  PHASE  RELEASE       FILES       HEALTHY MEMBERS
learn  blue     87.5%  live   2026-11-22.4  complete    api 1/1, web 2/2
       green    12.5%  live   2026-11-22.5  12 missing  api 0/1, web 2/2
  learn blue, last minute: 1,234 requests, 2 FAILED, p50 21 ms, p95 84 ms
  ! learn green: member 127.0.0.1:1 of service api is unhealthy: connection refused

CACHE         412 entries  8.1 MiB of 256.0 MiB, 93.2% of 1,324 reads were hits
CERTIFICATES  oak.crt      61 days left, oak.example *.oak.example
              elm.crt      EXPIRED 2 days ago, elm.example
";
    assert_eq!(status(&example()), expected);
    assert!(expected.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn certificates_are_listed_by_what_is_left_of_them() {
    let expected = "\
CERTIFICATE  SOURCE  LEFT                NEXT                                             NAMES
elm.crt      folder  EXPIRED 2 days ago  put a new pair in its place                      elm.example
oak.crt      folder  61 days left        nothing: it is read again when its files change  oak.example *.oak.example
  ! /certs/ash.crt: expired
";
    assert_eq!(certificates(&example()), expected);
}

#[test]
fn an_edge_that_is_not_ready_says_so_first() {
    let mut example = example();
    example.not_ready = vec!["draining".into()];
    example.apps.clear();
    let text = status(&example);
    let head: Vec<&str> = text.lines().take(3).collect();
    assert_eq!(head[0], "edge 0.1.0 (pid 4242), up 3h 12m, NOT READY");
    assert_eq!(head[2], "  ! draining");
}

#[test]
fn a_shift_says_what_was_and_what_is() {
    let report = |changed, dry_run| ShiftReport {
        app: "learn".into(),
        from: Weights {
            blue_bp: 10_000,
            green_bp: 0,
        },
        to: Weights {
            blue_bp: 9_000,
            green_bp: 1_000,
        },
        changed,
        dry_run,
        revision: 3,
    };
    assert_eq!(
        shift(&report(true, false)),
        "learn: moved from blue 100%, green 0% to blue 90%, green 10%; requests see it now"
    );
    assert!(shift(&report(true, true)).ends_with("nothing was changed"));
    assert!(shift(&report(false, false)).contains("so already"));
}

#[test]
fn a_purge_says_how_many_answers_it_ends() {
    let said = |objects, exact, sequence| {
        purge(&PurgeReport {
            sequence,
            purged: "tag course:7 of oak".into(),
            objects,
            exact,
            micros: 685,
            dry_run: sequence.is_none(),
        })
    };
    for (objects, exact, words) in [
        (0, true, "nothing that is stored carries it"),
        (1, true, "1 stored answer"),
        (12_345, true, "12,345 stored answers"),
        (12_345, false, "about 12,345 stored answers"),
    ] {
        let done = said(objects, exact, Some(3));
        let dry = said(objects, exact, None);
        assert_eq!(
            done,
            format!("purged tag course:7 of oak: {words}, in 685 us (change 3)")
        );
        assert_eq!(
            dry,
            format!("would purge tag course:7 of oak: {words}; nothing was changed")
        );
    }
}

#[test]
fn a_problem_lists_every_reason() {
    let reasons = vec![
        Reason::NoMember {
            service: "web".into(),
        },
        Reason::FilesMissing {
            release: "r2".into(),
            missing: 3,
            first: vec!["a.js".into(), "b.css".into()],
        },
    ];
    assert_eq!(
        problem(&Problem::refused("learn green=10%: no", reasons)),
        "refused: learn green=10%: no\n  - service web has no member\n  - release r2 lacks 3 files on this edge: a.js, b.css\n"
    );
    assert!(problem(&Problem::usage("what?")).starts_with("error: what?"));
}

#[test]
fn an_explanation_goes_room_by_room() {
    let step = |room: &str, outcome: &str, detail: Option<&str>| Step {
        room: room.into(),
        outcome: outcome.into(),
        detail: detail.map(Into::into),
    };
    let explanation = Explanation {
        summary: "passed to the origin: no rule names the path".into(),
        steps: vec![
            step("session", "tenant oak", None),
            step("rule", "pass: no_rule", Some("see rules.toml")),
        ],
    };
    assert_eq!(
        super::explanation(&explanation),
        "passed to the origin: no rule names the path\n\nsession  tenant oak\nrule     pass: no_rule  see rules.toml\n"
    );
}

#[test]
fn numbers_are_written_for_people() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(grouped),
        ["0", "999", "1,000", "1,234,567"]
    );
    assert_eq!(
        [0, 1_536, 5 << 30].map(bytes),
        ["0 B", "1.5 KiB", "5.0 GiB"]
    );
    assert_eq!(
        [59, 61, 3_600, 90_000].map(duration),
        ["59s", "1m 1s", "1h 0m", "1d 1h"]
    );
}
