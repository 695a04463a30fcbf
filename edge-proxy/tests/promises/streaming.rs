//! What streams, streams: no event waits for the next, no socket is closed to be tidy, and a client
//! that leaves takes its request along.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Method;
use tokio_tungstenite::tungstenite::Message;

use super::assets::decode;
use super::support::client::{Ask, Http, tls};
use super::support::origin::whole;
use super::support::reply::{Gate, Reply};
use super::support::site::{SHARED, noise, text};
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::{soon, until};

async fn stage() -> Stage {
    plan().stream("/live").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_before_the_next_one_is_written() {
    let stage = stage().await;
    let mut pipes = stage.blue.on_stream("/live/events", "text/event-stream");
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let ask = Ask::get("/live/events")
            .header("accept", "text/event-stream")
            .header("accept-encoding", "br, gzip");
        let (mut coming, pipe) = tokio::join!(
            async {
                // The header comes before the first event.
                client.begin(ask).await
            },
            async { pipes.recv().await.expect("the origin is asked") }
        );
        assert_eq!(coming.status, 200);
        assert_eq!(coming.headers["content-type"], "text/event-stream");
        assert!(!coming.headers.contains_key("content-encoding"));
        assert!(!coming.headers.contains_key("content-length"));
        for n in 0..5 {
            let event = format!("data: {n}\n\n");
            assert!(pipe.send(event.clone()).await);
            let mut heard = Vec::new();
            while heard.len() < event.len() {
                let piece = coming
                    .piece()
                    .await
                    .expect("it goes on")
                    .expect("it goes on");
                heard.extend_from_slice(&piece);
            }
            assert_eq!(heard, event.as_bytes(), "{http:?}");
        }
        drop(pipe);
        assert_eq!(coming.piece().await.expect("it ends well"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_goes_both_ways() {
    let stage = stage().await;
    stage.blue.on_websocket("/live/socket");
    stage.blue.on_websocket("/socket");
    let connect = async |path: &str| {
        let tls = tls(
            stage.address(),
            MAPLE,
            stage.authority.client(&["http/1.1"]),
        )
        .await;
        let stream = tls.expect("the edge shakes hands");
        tokio_tungstenite::client_async(format!("wss://{MAPLE}{path}"), stream).await
    };
    let (mut socket, response) = connect("/live/socket").await.expect("the socket opens");
    assert_eq!(response.status(), 101);
    for message in [
        Message::text("hello"),
        Message::binary(noise(200_000)),
        Message::text(""),
    ] {
        socket
            .send(message.clone())
            .await
            .expect("the socket is open");
        let echo = soon("the echo comes", socket.next()).await;
        assert_eq!(
            echo.expect("the socket is open")
                .expect("the socket is open"),
            message
        );
    }
    socket.close(None).await.expect("the socket is open");
    // Only where the config says so.
    assert!(connect("/socket").await.is_err());
    assert!(
        stage
            .blue
            .seen_at("/socket")
            .iter()
            .all(|seen| seen.header("upgrade").is_empty())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_along() {
    let stage = stage().await;
    let mut streams = stage.blue.on_stream("/live/events", "text/event-stream");
    let mut pages = stage.blue.on_stream("/page", "text/html");
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on("/waiting", move |_| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            Reply::new(200)
        }
    });
    for http in Http::BOTH {
        for (path, pipes) in [("/live/events", &mut streams), ("/page", &mut pages)] {
            let client = stage.client(MAPLE, http).await;
            let begun = tokio::spawn(async move { client.begin(Ask::get(path)).await });
            let pipe = soon("the origin is asked", pipes.recv())
                .await
                .expect("the origin is asked");
            assert!(pipe.send("data: 1\n\n").await);
            let coming = begun.await.expect("the answer begins");
            drop(coming);
            soon("the origin is told", pipe.abandoned()).await;
        }
        let client = stage.client(MAPLE, http).await;
        let hits = stage.blue.hits("/waiting");
        let waiting =
            tokio::spawn(async move { client.try_ask(Ask::get("/waiting")).await.is_ok() });
        until("the origin is asked", async || {
            (stage.blue.hits("/waiting") > hits).then_some(())
        })
        .await;
        waiting.abort();
        until("the origin is told", async || {
            (stage.blue.in_flight() == 0).then_some(())
        })
        .await;
    }
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_pass_are_compressed_by_weight() {
    let stage = stage().await;
    let body = text("page", 30_000);
    let types = [
        ("/html", "text/html; charset=utf-8"),
        ("/json", "application/json"),
        ("/js", "text/javascript"),
        ("/css", "text/css"),
        ("/svg", "image/svg+xml"),
    ];
    for (path, kind) in types {
        let body = body.clone();
        stage.blue.on(path, move |_| {
            let body = body.clone();
            async move { Reply::of(kind, body).header("etag", "\"strong\"") }
        });
    }
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for (path, _) in types {
            for (accept, expected) in [
                ("gzip, deflate, br, zstd", "br"),
                ("gzip;q=1, br;q=0.1", "gzip"),
                ("br;q=0, gzip;q=0.1", "gzip"),
                ("zstd", "zstd"),
                ("identity", ""),
                ("br;q=0", ""),
            ] {
                let answer = client
                    .ask(Ask::get(path).header("accept-encoding", accept))
                    .await;
                let coding = answer.header("content-encoding").to_owned();
                // zstd cannot hide a length, so what may hold a secret is sent plain.
                let secret = matches!(path, "/html" | "/json");
                let expected = if expected == "zstd" && secret {
                    ""
                } else {
                    expected
                };
                assert_eq!(coding, expected, "{path} {accept}");
                assert_eq!(decode(&coding, &answer.body), body, "{path} {accept}");
                assert!(
                    answer
                        .header("vary")
                        .to_ascii_lowercase()
                        .contains("accept-encoding")
                );
                let etag = if coding.is_empty() {
                    "\"strong\""
                } else {
                    "W/\"strong\""
                };
                assert_eq!(answer.header("etag"), etag);
                assert!(coding.is_empty() || answer.body.len() < body.len() / 2);
            }
        }
        let head = Ask::new(Method::HEAD, "/html").header("accept-encoding", "br");
        assert!(client.ask(head).await.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_touched_passes_byte_for_byte() {
    type Case = (&'static str, fn(Reply) -> Reply);
    let cases: [Case; 7] = [
        ("encoded already", |r| {
            r.header("content-type", "text/html")
                .header("content-encoding", "x-own")
        }),
        ("no-transform", |r| {
            r.header("content-type", "text/html")
                .header("cache-control", "private, No-Transform")
        }),
        ("a picture", |r| r.header("content-type", "image/png")),
        ("bytes", |r| {
            r.header("content-type", "application/octet-stream")
        }),
        ("no type", |r| r),
        ("events", |r| r.header("content-type", "text/event-stream")),
        ("a part", |r| {
            r.header("content-type", "text/html")
                .header("content-range", "bytes 0-29999/40000")
        }),
    ];
    let stage = plan()
        .stream("/live")
        .route("/off", "kind = \"pass\"\ncompress = false")
        .start()
        .await;
    let body = noise(30_000);
    let client = stage.h2(MAPLE).await;
    for (n, (why, make)) in cases.into_iter().enumerate() {
        let path = format!("/untouched/{n}");
        let sent = body.clone();
        stage.blue.on(&path, move |_| {
            let body = sent.clone();
            async move {
                make(Reply::new(200))
                    .header("etag", "\"strong\"")
                    .body(body)
            }
        });
        let answer = client
            .ask(Ask::get(&path).header("accept-encoding", "br, gzip"))
            .await;
        assert_eq!(answer.body, body, "{why}");
        assert_eq!(answer.header("etag"), "\"strong\"", "{why}");
        assert_eq!(answer.header("content-length"), "30000", "{why}");
    }
    for path in ["/off/page", "/live/page", "/small"] {
        let page = if path == "/small" {
            "small".to_owned()
        } else {
            text("page", 30_000)
        };
        let sent = page.clone();
        stage.blue.on(path, move |_| {
            let page = sent.clone();
            async move { Reply::of("text/html", page) }
        });
        let answer = client
            .ask(Ask::get(path).header("accept-encoding", "br, gzip"))
            .await;
        assert_eq!(answer.header("content-encoding"), "", "{path}");
        assert_eq!(answer.text(), page, "{path}");
    }
    stage.blue.on("/ranges", |asked| async move {
        assert_eq!(asked.seen.header("range"), "bytes=0-9");
        assert_eq!(asked.seen.header("if-range"), "\"strong\"");
        Reply::new(206)
            .header("content-type", "text/html")
            .header("content-range", "bytes 0-9/30000")
            .body("0123456789")
    });
    let ask = Ask::get("/ranges")
        .header("range", "bytes=0-9")
        .header("if-range", "\"strong\"")
        .header("accept-encoding", "br");
    let answer = client.ask(ask).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "0123456789"));
    assert_eq!(answer.header("content-encoding"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_page_is_readable_as_far_as_the_origin_wrote_it() {
    use std::io::Read;
    let stage = stage().await;
    let mut pipes = stage.blue.on_stream("/page", "text/html");
    for (http, accept) in [(Http::One, "br"), (Http::Two, "br"), (Http::Two, "gzip")] {
        let client = stage.client(MAPLE, http).await;
        let ask = Ask::get("/page").header("accept-encoding", accept);
        let begun = tokio::spawn(async move { client.begin(ask).await });
        let pipe = soon("the origin is asked", pipes.recv())
            .await
            .expect("the origin is asked");
        let (mut written, mut heard) = (String::new(), Vec::new());
        for n in 0..5 {
            let piece = text(&format!("piece {n}"), 300);
            assert!(pipe.send(piece.clone()).await);
            written.push_str(&piece);
        }
        let mut coming = begun.await.expect("the answer begins");
        assert_eq!(coming.headers["content-encoding"], accept);
        let mut readable = String::new();
        while readable.len() < written.len() {
            heard.extend_from_slice(
                &coming
                    .piece()
                    .await
                    .expect("it goes on")
                    .expect("it goes on"),
            );
            let mut out = Vec::new();
            let mut reader: Box<dyn Read> = match accept {
                "br" => Box::new(brotli::Decompressor::new(heard.as_slice(), 4096)),
                _ => Box::new(flate2::read::GzDecoder::new(heard.as_slice())),
            };
            let mut buffer = [0; 512];
            // What is not there yet is an error at its end.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                out.extend_from_slice(&buffer[..n]);
            }
            readable = String::from_utf8(out).expect("it is text");
        }
        // The origin has not ended its answer.
        assert_eq!(readable, written, "{accept}");
        drop(pipe);
        let rest = coming.rest().await.expect("it ends well");
        heard.extend_from_slice(&rest);
        assert_eq!(decode(accept, &heard), written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_page_tells_nothing_of_a_secret_in_it() {
    let stage = stage().await;
    stage.blue.on("/page", |_| async {
        Reply::of("text/html", text("secret", 5_000))
    });
    let client = stage.h2(MAPLE).await;
    for coding in ["br", "gzip"] {
        let mut lengths = BTreeSet::new();
        for _ in 0..20 {
            let answer = client
                .ask(Ask::get("/page").header("accept-encoding", coding))
                .await;
            assert_eq!(answer.header("content-encoding"), coding);
            assert_eq!(decode(coding, &answer.body), text("secret", 5_000));
            lengths.insert(answer.body.len());
        }
        assert!(lengths.len() > 4, "{coding}: {lengths:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let stage = stage().await;
    let mut pipes = stage.blue.on_stream("/page", "text/plain");
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let begun = tokio::spawn(async move { client.begin(Ask::get("/page")).await });
        let pipe = soon("the origin is asked", pipes.recv())
            .await
            .expect("the origin is asked");
        assert!(pipe.send("half").await);
        let mut coming = begun.await.expect("the answer begins");
        assert_eq!(
            coming
                .piece()
                .await
                .expect("it goes on")
                .expect("it goes on"),
            "half"
        );
        pipe.break_off().await;
        assert!(coming.rest().await.is_err(), "{http:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_as_it_was_sent_and_answers_of_the_origin_stay_its_own() {
    let stage = stage().await;
    let body = noise(3_000_000);
    let expected = body.clone();
    stage.blue.on("/upload", move |asked| {
        let expected = expected.clone();
        async move {
            assert_eq!(asked.seen.method, Method::PUT);
            let same = whole(asked.body).await == expected;
            Reply::new(if same { 201 } else { 422 })
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
        }
    });
    stage.blue.on("/same", |asked| async move {
        assert_eq!(asked.seen.header("if-none-match"), "\"x\"");
        Reply::new(304).header("etag", "\"x\"")
    });
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let answer = client
            .ask(Ask::new(Method::PUT, "/upload").body(body.clone()))
            .await;
        assert_eq!(answer.status, 201, "{http:?}");
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(answer.header("x-request-id").len(), 32);
        let same = client
            .ask(Ask::get("/same").header("if-none-match", "\"x\""))
            .await;
        assert_eq!(same.status, 304);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_be_silent_for_longer_than_an_answer() {
    let stage = plan()
        .stream("/live")
        .limit("upstream_read_s = 0.5\nstream_read_s = 5")
        .start()
        .await;
    let mut streams = stage.blue.on_stream("/live/events", "text/event-stream");
    let mut pages = stage.blue.on_stream("/page", "text/plain");
    let client = stage.h2(MAPLE).await;
    let begun = {
        let client = client.clone();
        tokio::spawn(async move { client.begin(Ask::get("/live/events")).await })
    };
    let stream = soon("the origin is asked", streams.recv())
        .await
        .expect("the origin is asked");
    assert!(stream.send("data: 1\n\n").await);
    let mut events = begun.await.expect("the answer begins");
    events.piece().await.expect("it goes on");
    // A page that is as silent is given up meanwhile.
    let begun = tokio::spawn(async move { client.begin(Ask::get("/page")).await });
    let page = soon("the origin is asked", pages.recv())
        .await
        .expect("the origin is asked");
    assert!(page.send("half").await);
    let coming = begun.await.expect("the answer begins");
    let given_up = tokio::time::timeout(Duration::from_secs(4), coming.rest()).await;
    assert!(given_up.expect("the page is given up").is_err());
    assert!(stream.send("data: 2\n\n").await);
    assert_eq!(
        events
            .piece()
            .await
            .expect("it goes on")
            .expect("it goes on"),
        "data: 2\n\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_asked_at_once_over_one_connection_is_answered() {
    const REQUESTS: usize = 1200;
    let stage = stage().await;
    let page = text("bell", 40 << 10);
    let sent = page.clone();
    stage.blue.on("/page", move |_| {
        let reply = Reply::of("text/html; charset=utf-8", sent.clone());
        async move { reply }
    });
    let client = stage.h2(MAPLE).await;
    // Files and refusals, which the connection answers in its own turn, between pages that wait for
    // the origin, with and without compression.
    let wrong = futures_util::stream::iter(0..REQUESTS)
        .map(async |n| {
            let ask = match n % 4 {
                0 => Ask::get("/page"),
                1 => Ask::get("/page").header("accept-encoding", "br"),
                2 => Ask::get(SHARED),
                _ => Ask::get("/%00"),
            };
            let answer = soon("each is answered", client.ask(ask)).await;
            let right = match n % 4 {
                0 | 1 => decode(answer.header("content-encoding"), &answer.body) == page.as_bytes(),
                2 => answer.status == 200,
                _ => answer.status == 400,
            };
            (!right).then_some((n, answer.status))
        })
        .buffer_unordered(60)
        .filter_map(async |wrong| wrong)
        .collect::<Vec<_>>();
    assert_eq!(wrong.await, []);
}
