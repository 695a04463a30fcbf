//! HTTP/2 frames that break the rules, or are too many, end their connection: with one counted
//! reason, and without the origin.

use std::time::{Duration, Instant};

use super::support::apart::sum;
use super::support::client::{Ask, Client};
use super::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, fields, frame, get, opening,
};
use super::support::raw::{Heard, Raw};
use super::support::reply::Reply;
use super::support::stage::{MAPLE, Plan, Stage, plan};
use super::support::wait::until;

async fn stage(plan: Plan) -> Stage {
    let stage = plan.start().await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/plain", "from the origin") });
    stage
}

async fn refused(stage: &Stage) -> String {
    let metrics = Client::open_plain(stage.observe_address(), "localhost").await;
    let text = metrics.get("/metrics").await.text().to_owned();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("edge_malformed_total"));
    lines.collect::<Vec<_>>().join("\n")
}

async fn send(stage: &Stage, bytes: &[u8]) -> Heard {
    let mut raw = Raw::tls(stage.address(), MAPLE, stage.authority.client(&["h2"])).await;
    raw.send(bytes).await;
    raw.hear_for(Duration::from_millis(500)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_breach_ends_the_connection_with_one_counted_reason_and_no_origin() {
    let stage = stage(plan().limit("h2_resets_max = 20\nh2_control_max = 20")).await;
    let smuggled = get(MAPLE, "/smuggled");
    let whole = |flags: u8, stream: u32| frame(HEADERS, flags, stream, &smuggled);
    let with = |name: &str, value: &str| {
        let block = [smuggled.clone(), fields(&[(name, value)])].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
    };
    let after_opening: Vec<(&str, &str, Vec<u8>)> = vec![
        ("h2_bad_stream", "an even stream", whole(5, 2)),
        ("h2_bad_stream", "stream 0", whole(5, 0)),
        (
            "h2_bad_stream",
            "data on stream 0",
            frame(DATA, 1, 0, b"smuggled"),
        ),
        (
            "h2_bad_frame_length",
            "a short ping",
            frame(PING, 0, 0, &[0; 7]),
        ),
        (
            "h2_bad_frame_length",
            "odd settings",
            frame(SETTINGS, 0, 0, &[0; 7]),
        ),
        (
            "h2_bad_frame_length",
            "a long reset",
            frame(RST_STREAM, 0, 1, &[0; 8]),
        ),
        ("h2_push_from_client", "a promise", frame(5, 4, 1, &[0; 8])),
        (
            "h2_header_interrupted",
            "a continuation of nothing",
            frame(CONTINUATION, 4, 1, &smuggled),
        ),
        (
            "h2_header_interrupted",
            "a ping inside of a header",
            [frame(HEADERS, 0, 1, &smuggled), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "h2_frame_too_large",
            "a frame above 16 KiB",
            frame(DATA, 0, 1, &[0; 20_000]),
        ),
        (
            "h2_protocol_error",
            "a header that is no HPACK",
            frame(HEADERS, 5, 1, &[0xff; 20]),
        ),
        (
            "h2_protocol_error",
            "an index beyond the table",
            frame(HEADERS, 5, 1, &[0xfe]),
        ),
        (
            "h2_protocol_error",
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "h2_protocol_error",
            "data on an idle stream",
            frame(DATA, 1, 5, b"x"),
        ),
        (
            "h2_protocol_error",
            "an unknown pseudo header",
            with(":smuggled", "x"),
        ),
        (
            "h2_protocol_error",
            "a name with capitals",
            with("X-Smuggled", "x"),
        ),
        (
            "h2_protocol_error",
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
        ),
        ("h2_protocol_error", "connection", with("connection", "x-a")),
        ("h2_reset_flood", "cancelled requests", rapid_reset(50)),
        (
            "h2_ping_flood",
            "pings",
            frame(PING, 0, 0, &[0; 8]).repeat(50),
        ),
        (
            "h2_settings_flood",
            "settings",
            frame(SETTINGS, 0, 0, &[]).repeat(50),
        ),
        (
            "h2_priority_flood",
            "priorities",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(50),
        ),
        (
            "h2_continuation_flood",
            "continuations",
            [
                frame(HEADERS, 0, 1, &smuggled),
                frame(CONTINUATION, 0, 1, b"").repeat(50),
            ]
            .concat(),
        ),
    ];
    let mut wrong = Vec::new();
    for (reason, what, frames) in after_opening {
        let before = refused(&stage).await;
        let heard = send(&stage, &[opening(), frames].concat()).await;
        let delta = until("the breach is counted", async || {
            let now = refused(&stage).await;
            let delta = sum(&now, &[]) - sum(&before, &[]);
            (delta > 0).then_some((delta, sum(&now, &[reason]) - sum(&before, &[reason])))
        })
        .await;
        // A stream's error leaves the others alone; a connection's ends it.
        let ends = reason != "h2_protocol_error";
        if delta != (1, 1) || ends && !heard.closed {
            wrong.push(format!(
                "{what}: counted {delta:?}, closed {}",
                heard.closed
            ));
        }
    }
    let before = refused(&stage).await;
    let heard = send(
        &stage,
        b"GET /smuggled HTTP/1.1\r\nHost: maple.school.test\r\n\r\n",
    )
    .await;
    let after = refused(&stage).await;
    assert!(heard.closed);
    assert_eq!(
        sum(&after, &["h2_bad_preface"]) - sum(&before, &["h2_bad_preface"]),
        1
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen = stage.blue.seen();
    let floods = seen
        .iter()
        .filter(|seen| seen.path() == "/cancelled")
        .count();
    assert!(seen.len() == floods && floods <= 21, "{seen:?}");
    assert_eq!(stage.h2(MAPLE).await.get("/fine").await.status, 200);
}

fn rapid_reset(times: u32) -> Vec<u8> {
    let block = get(MAPLE, "/cancelled");
    (0..times)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, 5, stream, &block), reset].concat()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_in_pieces_has_the_same_deadline_as_one_over_http_1() {
    let stage = stage(plan().limit("header_s = 1")).await;
    let whole = get(MAPLE, "/drip");
    let mut raw = Raw::tls(stage.address(), MAPLE, stage.authority.client(&["h2"])).await;
    raw.send(opening()).await;
    let began = Instant::now();
    // The length says that more is to come, and it comes byte by byte.
    let header = frame(HEADERS, END_HEADERS | END_STREAM, 1, &whole);
    raw.send(&header[..12]).await;
    let mut bytes = header[12..header.len() - 1].iter();
    let dripped = until("the edge has had enough", async || {
        let heard = raw.hear_for(Duration::from_millis(150)).await;
        let alive = !heard.closed && raw.send([*bytes.next().unwrap_or(&0)]).await;
        (!alive).then_some(began.elapsed())
    })
    .await;
    assert!(dripped < Duration::from_secs(5), "{dripped:?}");
    assert_eq!(sum(&refused(&stage).await, &["header_too_slow"]), 1);
    assert!(!stage.blue.was_sent("/drip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_connection_with_nothing_to_ask_stays_open_beyond_the_headers_deadline() {
    let stage = stage(plan().limit("header_s = 0.3\nbody_idle_s = 0.3")).await;
    let client = stage.h2(MAPLE).await;
    let idle = Raw::tls(stage.address(), MAPLE, stage.authority.client(&["h2"])).await;
    let mut idle = idle;
    idle.send(opening()).await;
    for _ in 0..3 {
        let heard = idle.hear_for(Duration::from_millis(300)).await;
        assert!(!heard.closed);
        assert_eq!(client.get("/").await.status, 200);
    }
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(MAPLE, "/late"));
    idle.send(get).await;
    until("the origin has it", async || {
        stage.blue.was_sent("/late").then_some(())
    })
    .await;
    // An upload over the same kind of connection is not taken for a header.
    let upload = Ask::new(http::Method::POST, "/upload").body(vec![7; 200_000]);
    assert_eq!(client.ask(upload).await.status, 200);
}
