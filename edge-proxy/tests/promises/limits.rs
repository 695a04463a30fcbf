//! Every bound has an outcome: a slow client is cut off, a dead origin is answered for, a bad config
//! is refused with everything that is wrong with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edge_proxy::colour::Colour;
use http::Method;
use tokio::net::TcpListener;

use super::support::apart::sum;
use super::support::bytes;
use super::support::client::{Ask, Http};
use super::support::origin::whole;
use super::support::reply::Reply;
use super::support::site::noise;
use super::support::stage::{MAPLE, Plan, Stage, plan};
use super::support::wait::until;

async fn stage(plan: Plan) -> Stage {
    let stage = plan.start().await;
    stage.blue.otherwise(|asked| async move {
        let length = whole(asked.body).await.len();
        Reply::of("text/plain", length.to_string())
    });
    stage
}

/// An address where nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_drips_is_cut_off() {
    let stage = stage(plan().limit("header_s = 1")).await;
    for first in [true, false] {
        let mut raw = stage.raw(MAPLE).await;
        if !first {
            raw.send(format!("GET / HTTP/1.1\r\nHost: {MAPLE}\r\n\r\n"))
                .await;
            raw.hear_until("\r\n\r\n0").await;
        }
        let began = Instant::now();
        raw.send("GET /drip HTTP/1.1\r\n").await;
        // A byte now and then must not earn more time.
        let dripped = until("the edge has had enough", async || {
            let heard = raw.hear_for(Duration::from_millis(150)).await;
            let alive = !heard.closed && raw.send("x").await;
            (!alive).then_some(began.elapsed())
        })
        .await;
        assert!(
            dripped < Duration::from_secs(5),
            "first: {first}, after {dripped:?}"
        );
    }
    assert!(!stage.blue.was_sent("/drip"));
    assert_eq!(stage.h2(MAPLE).await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let stage = stage(plan().limit("header_s = 1\nhandshake_s = 1\nkeep_alive_s = 1")).await;
    let mut silent = super::support::raw::Raw::plain(stage.address()).await;
    let heard = silent.hear().await;
    assert!(
        heard.closed && heard.after < Duration::from_secs(5),
        "before the handshake: {heard:?}"
    );
    let mut silent = stage.raw(MAPLE).await;
    let heard = silent.hear().await;
    assert!(
        heard.closed && heard.after < Duration::from_secs(5),
        "after the handshake: {heard:?}"
    );
    let mut idle = stage.raw(MAPLE).await;
    idle.send(format!("GET / HTTP/1.1\r\nHost: {MAPLE}\r\n\r\n"))
        .await;
    let heard = idle.hear().await;
    assert!(
        heard.closed && heard.after < Duration::from_secs(8),
        "after an answer: {heard:?}"
    );
    assert_eq!(heard.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_cut_off() {
    let stage = stage(plan().limit("body_idle_s = 1")).await;
    for path in ["/upload", "/api/v1/upload"] {
        let mut raw = stage.raw(MAPLE).await;
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {MAPLE}\r\nContent-Length: 100\r\n\r\nhalf"
        ))
        .await;
        let heard = raw.hear().await;
        assert!(
            heard.closed && heard.after < Duration::from_secs(6),
            "{heard:?}"
        );
        assert_ne!(heard.status(), 200);
    }
    until("the origin is told", async || {
        (stage.blue.in_flight() == 0).then_some(())
    })
    .await;
    assert_eq!(stage.h2(MAPLE).await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_cut_off_and_one_on_a_slow_link_is_not() {
    let stage = stage(plan().limit("body_idle_s = 1\nbody_bytes_per_s_min = 2000")).await;
    let header = |length: usize| {
        format!("POST /upload HTTP/1.1\r\nHost: {MAPLE}\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut raw = stage.raw(MAPLE).await;
    raw.send(header(9999)).await;
    let began = Instant::now();
    // No pause is too long.
    let dripped = until("the edge has had enough", async || {
        let heard = raw.hear_for(Duration::from_millis(150)).await;
        let alive = !heard.closed && raw.send("x").await;
        (!alive).then_some(began.elapsed())
    })
    .await;
    assert!(dripped < Duration::from_secs(5), "{dripped:?}");
    let mut slow = stage.raw(MAPLE).await;
    slow.send(header(10_000)).await;
    for _ in 0..20 {
        let heard = slow.hear_for(Duration::from_millis(100)).await;
        assert!(!heard.closed, "{heard:?}");
        slow.send([b'x'; 500]).await;
    }
    slow.hear_until("10000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_an_end_is_not_read_to_its_end() {
    let stage = stage(plan()).await;
    let mut raw = stage.raw(MAPLE).await;
    raw.send("GET /long HTTP/1.1\r\nX-Long: ").await;
    for _ in 0..64 {
        if !raw.send([b'x'; 16 << 10]).await {
            break;
        }
    }
    let heard = raw.hear().await;
    assert!(
        heard.closed && matches!(heard.status(), 431 | 0),
        "{heard:?}"
    );
    // pingora would have read a megabyte and said 400.
    let metrics = stage.edge.metrics().text();
    let counted =
        super::support::apart::sum(&metrics, &["edge_malformed_total", "header_too_large"]);
    assert_eq!(counted, 1);
    assert!(!stage.blue.was_sent("/long"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_ask_are_bounded_and_those_that_ask_are_not() {
    let limits =
        "incomplete_burst = 5\nincomplete_per_s = 0.1\nhandshakes_max = 3\nhandshake_s = 1";
    let stage = stage(plan().limit(limits)).await;
    // Handshakes that are under way at once.
    let mut halves = Vec::new();
    for _ in 0..3 {
        halves.push(super::support::raw::Raw::plain(stage.address()).await);
    }
    let refused = until("three handshakes are under way", async || {
        let mut fourth = super::support::raw::Raw::plain(stage.address()).await;
        let heard = fourth.hear_for(Duration::from_millis(300)).await;
        heard.closed.then_some(heard)
    })
    .await;
    assert_eq!(refused.text, "");
    drop(halves);
    let counted = |reason: &str| {
        let parts = ["edge_malformed_total", reason];
        super::support::apart::sum(&stage.edge.metrics().text(), &parts)
    };
    assert!(counted("too_many_handshakes") + counted("too_many_without_request") >= 1);
    // Nobody asks anything, until the patience with this network is at its end.
    until("the network has no patience left", async || {
        let mut silent = super::support::raw::Raw::plain(stage.plain_address()).await;
        let heard = silent.hear_for(Duration::from_millis(50)).await;
        heard.closed.then_some(())
    })
    .await;
    assert!(counted("too_many_without_request") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_school_behind_one_address_may_open_any_number_of_connections() {
    let stage = stage(plan().limit("incomplete_burst = 5\nincomplete_per_s = 0.1")).await;
    let mut held = Vec::new();
    for number in 0..40 {
        let client = stage.client(MAPLE, Http::BOTH[number % 2]).await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    assert_eq!(held[0].get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_never_reaches_the_origin() {
    let limits = "header_bytes_max = 4096\nheader_count_max = 40\ntarget_bytes_max = 512\nbody_bytes_max = 10000";
    let stage = stage(
        plan()
            .limit(limits)
            .route("/large", "kind = \"pass\"\nbody_bytes_max = 50000"),
    )
    .await;
    for http in Http::BOTH {
        let status = async |ask: Ask| {
            let client = stage.client(MAPLE, http).await;
            client
                .try_ask(ask)
                .await
                .map(|answer| answer.status.as_u16())
        };
        let long = "x".repeat(5000);
        let header = status(Ask::get("/refused").header("x-long", &long)).await;
        // HTTP/2 may refuse the stream before there is a request.
        assert!(
            matches!(header, Ok(431)) || http == Http::Two && header.is_err(),
            "{http:?}: {header:?}"
        );
        let many = (0..50).fold(Ask::get("/refused"), |ask, n| {
            ask.header(&format!("x-{n}"), "x")
        });
        assert_eq!(status(many).await.ok(), Some(431), "{http:?}");
        let target = format!("/refused/{}", "x".repeat(600));
        assert_eq!(status(Ask::get(&target)).await.ok(), Some(414), "{http:?}");
        let body = |path, length| Ask::new(Method::POST, path).body(noise(length));
        assert_eq!(
            status(body("/refused", 10_001)).await.ok(),
            Some(413),
            "{http:?}"
        );
        assert_eq!(
            status(body("/fine", 10_000)).await.ok(),
            Some(200),
            "{http:?}"
        );
        assert_eq!(
            status(body("/large/fine", 50_000)).await.ok(),
            Some(200),
            "{http:?}"
        );
        assert_eq!(
            status(body("/large/refused", 50_001)).await.ok(),
            Some(413),
            "{http:?}"
        );
    }
    assert!(!stage.blue.was_sent("refused"));
    // Without a length it is found out on the way.
    let mut raw = stage.raw(MAPLE).await;
    raw.send(format!(
        "POST /chunked HTTP/1.1\r\nHost: {MAPLE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    for _ in 0..20 {
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
        if !raw.send(chunk).await {
            break;
        }
    }
    let heard = raw.hear().await;
    assert!(
        heard.closed && matches!(heard.status(), 413 | 0),
        "{heard:?}"
    );
    until("the origin is told", async || {
        (stage.blue.in_flight() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bound_who_waited_longest_makes_room_and_who_is_answered_stays() {
    let plan = plan().limit("connections_max = 3").stream("/live");
    let stage = stage(plan).await;
    stage.blue.on("/live", |_| std::future::pending());
    for http in Http::BOTH {
        let held = [
            stage.client(MAPLE, http).await,
            stage.client(MAPLE, http).await,
            stage.client(MAPLE, http).await,
        ];
        for place in [0, 2, 1, 0] {
            assert_eq!(held[place].get("/").await.status, 200);
        }
        // The third asked longest ago.
        let fourth = stage.client(MAPLE, http).await;
        assert_eq!(fourth.get("/").await.status, 200);
        until("the third is closed", async || {
            held[2].try_ask(Ask::get("/")).await.err()
        })
        .await;
        for client in [&held[0], &held[1], &fourth] {
            assert_eq!(client.get("/").await.status, 200);
        }
        drop((held, fourth));
        until("they are gone", async || {
            (sum(&stage.edge.metrics().text(), &["edge_connections "]) == 0).then_some(())
        })
        .await;
    }
    let shed = sum(
        &stage.edge.metrics().text(),
        &["edge_connections_shed_total"],
    );
    assert_eq!(shed, 2);

    // Nobody is sent away who is being answered: then newcomers are.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let client = stage.h2(MAPLE).await;
        waiting.push(tokio::spawn(async move {
            client.try_ask(Ask::get("/live")).await
        }));
    }
    until("all three are under way", async || {
        (stage.blue.hits("/live") == 3).then_some(())
    })
    .await;
    let config = stage.authority.client(&["h2"]);
    let fourth = super::support::client::tls(stage.address(), MAPLE, config).await;
    assert!(fourth.is_err());
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_origin_is_answered_for_at_once() {
    let stage = plan()
        .member(Colour::Blue, nobody().await)
        .unready()
        .start()
        .await;
    let page = || Ask::get("/").header("accept", "text/html,*/*;q=0.8");
    let program = || Ask::get("/api/v1/x").header("accept", "application/json");
    for http in Http::BOTH {
        let began = Instant::now();
        for (ask, kind) in [
            (page(), "text/html; charset=utf-8"),
            (program(), "application/problem+json"),
            (
                Ask::new(Method::POST, "/").body("x"),
                "application/problem+json",
            ),
        ] {
            // An HTTP/1.1 connection is not used again after a failure.
            let answer = stage.client(MAPLE, http).await.ask(ask).await;
            assert!(matches!(answer.status.as_u16(), 502 | 503), "{answer:?}");
            assert_eq!(answer.header("content-type"), kind);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("x-request-id").len(), 32);
            assert!(!answer.text().contains("127.0.0.1"));
            if http == Http::One {
                assert_eq!(answer.header("connection"), "close");
            }
            match kind {
                "application/problem+json" => {
                    assert_eq!(answer.json()["status"], answer.status.as_u16());
                }
                _ => assert!(answer.text().starts_with("<!doctype html>")),
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    assert!(!stage.edge.not_ready().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_goes_away_is_answered_for_and_its_files_stay() {
    let stage = stage(plan()).await;
    let client = stage.h2(MAPLE).await;
    assert_eq!(client.get("/").await.status, 200);
    stage.blue.stop();
    let answer = until("it is gone", async || {
        let answer = client.get("/").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert!(
        matches!(answer.status.as_u16(), 502 | 503),
        "{}",
        answer.status
    );
    assert_eq!(client.get(super::support::site::SHARED).await.status, 200);
    assert_eq!(client.get(super::support::site::NOTES).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_silent_is_given_up() {
    let rules =
        "[[rule]]\nname = \"news\"\npath = \"/api/v1/news\"\nscope = \"public\"\nttl_s = 60\n";
    let stage = stage(
        plan()
            .rules(rules)
            .limit("upstream_read_s = 1\nfill_s = 1\nfill_wait_s = 1"),
    )
    .await;
    for path in ["/silent", "/api/v1/news"] {
        stage.blue.on(path, |_| async {
            std::future::pending::<()>().await;
            Reply::new(200)
        });
        for http in Http::BOTH {
            let began = Instant::now();
            let answer = stage.client(MAPLE, http).await.get(path).await;
            assert_eq!(answer.status, 504, "{path}");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
        }
    }
    until("the origin is told", async || {
        (stage.blue.in_flight() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_does_not_speak_http_is_answered_for() {
    let address = bytes::origin(|target| match target {
        "/up" => {
            let well = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            (well.to_owned(), false)
        }
        "/garbage" => ("secret garbage\r\n\r\n".to_owned(), false),
        "/split" => {
            let split = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc";
            (split.to_owned(), false)
        }
        _ => (String::new(), false),
    })
    .await;
    let stage = plan().member(Colour::Blue, address).start().await;
    for path in ["/garbage", "/split", "/nothing"] {
        for http in Http::BOTH {
            let answer = stage.client(MAPLE, http).await.get(path).await;
            assert_eq!(answer.status, 502, "{path}");
            assert!(!answer.text().contains("secret"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_mistakes_is_refused_with_all_of_them() {
    let stage = plan().start().await;
    let folder = stage.folder();
    let good = std::fs::read_to_string(folder.join("edge.toml")).expect("the stage wrote it");
    let put = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("the folder can be written")
    };
    let broken = good
        .replace("poll_s = 0.1", "poll_s = 0.1\npool_s = 3")
        .replace(
            "live = \"blue\"",
            "weight_bp = { blue = 9000, green = 999 }",
        )
        .replace("hsts = \"off\"", "hsts = 5");
    put("edge.toml", &broken);
    put(
        "tenants.toml",
        "[tenants.a]\nhosts = [\"same.test\"]\n[tenants.b]\nhosts = [\"same.test\"]\n",
    );
    put(
        "rules.toml",
        "[[rule]]\nname = \"x\"\npath = \"/x\"\nscope = \"everybody\"\nttl_s = 1\n",
    );
    let checked = stage.command(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    for part in [
        "edge.toml:",
        "pool_s",
        "hsts",
        "tenants.toml:",
        "same.test",
        "rules.toml:",
        "scope",
    ] {
        assert!(said.contains(part), "no word of {part} in:\n{said}");
    }
    let fixed = broken
        .replace("hsts = 5", "hsts = \"off\"")
        .replace("pool_s = 3", "");
    put("edge.toml", &fixed);
    put("tenants.toml", "[tenants.a]\nhosts = [\"same.test\"]\n");
    put("rules.toml", "");
    let checked = stage.command(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        said.contains("weight_bp") && said.contains("10000"),
        "{said}"
    );
    // The edge that runs does not care.
    stage.blue.otherwise(|_| async { Reply::new(204) });
    assert_eq!(stage.h2(MAPLE).await.get("/").await.status, 204);

    put("edge.toml", &good);
    std::fs::remove_file(stage.certificates().join("school.key"))
        .expect("the folder can be written");
    let checked = stage.command(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("school"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_edge_takes_over_good_files_and_leaves_bad_ones() {
    let stage = stage(plan()).await;
    let load = || edge_proxy::config::load(&stage.folder().join("edge.toml"));
    let put = |name: &str, text: &str| {
        std::fs::write(stage.folder().join(name), text).expect("the folder can be written");
    };
    put(
        "tenants.toml",
        "[tenants.maple]\nhosts = [\"maple.school.test\"]\n[tenants.elm]\nhosts = [\"elm.school.test\"]\n",
    );
    let unchanged = stage.edge.reload(load().expect("the files are good"));
    assert!(unchanged.is_empty(), "{unchanged:?}");
    let client = stage.h2(MAPLE).await;
    assert_eq!(
        client
            .ask(Ask::get("/").host("elm.school.test"))
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .ask(Ask::get("/").host("oak.school.test"))
            .await
            .status,
        421
    );
    put(
        "tenants.toml",
        "[tenants.maple]\nhosts = [\"elm.school.test\"]\n[tenants.elm]\nhosts = [\"elm.school.test\"]\n",
    );
    assert!(load().is_err());
    assert_eq!(
        client
            .ask(Ask::get("/").host("elm.school.test"))
            .await
            .status,
        200
    );
}
