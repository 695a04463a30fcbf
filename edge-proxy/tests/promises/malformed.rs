//! What could be read in two ways is refused with 400 and the connection is closed; the origin sees
//! no byte of it.

use super::support::apart::sum;
use super::support::client::{Ask, Http};
use super::support::reply::Reply;
use super::support::stage::{MAPLE, OAK, Stage, plan};

async fn stage() -> Stage {
    let stage = plan().start().await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/plain", "from the origin") });
    stage
}

/// How many requests were refused for their form.
fn refused(stage: &Stage) -> u64 {
    sum(&stage.edge.metrics().text(), &["edge_malformed_total"])
}

/// A request with a marker that no origin may see. `HOST` stands for a good host.
const MALFORMED: &[(&str, &str)] = &[
    (
        "two lengths beside each other",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "the same the other way round",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "two different lengths",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 8\r\n\r\nsmuggled",
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 8\r\nContent-Length: 8\r\n\r\nsmuggled",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 8, 8\r\n\r\nsmuggled",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +8\r\n\r\nsmuggled",
    ),
    (
        "a length that is none",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x8\r\n\r\nsmuggled",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length:\r\n\r\nsmuggled",
    ),
    (
        "a coding that is not the last",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "a coding in HTTP/1.0",
        "POST /smuggled HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two hosts",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nHost: OTHER\r\n\r\n",
    ),
    (
        "the same host twice",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
    ),
    ("no host", "GET /smuggled HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    ("an empty host", "GET /smuggled HTTP/1.1\r\nHost:\r\n\r\n"),
    (
        "a host with a user",
        "GET /smuggled HTTP/1.1\r\nHost: user@HOST\r\n\r\n",
    ),
    (
        "a host with a path",
        "GET /smuggled HTTP/1.1\r\nHost: HOST/x\r\n\r\n",
    ),
    (
        "a host with a space",
        "GET /smuggled HTTP/1.1\r\nHost: HOST OTHER\r\n\r\n",
    ),
    (
        "a host with a port that is none",
        "GET /smuggled HTTP/1.1\r\nHost: HOST:8x\r\n\r\n",
    ),
    (
        "another host in the target",
        "GET http://OTHER/smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    ("a bare line feed", "GET /smuggled HTTP/1.1\nHost: HOST\n\n"),
    (
        "a bare line feed in the middle",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\nX-A: b\r\n\r\n",
    ),
    (
        "a folded line",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nX-A: b\r\n c\r\n\r\n",
    ),
    (
        "a space before the colon",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nX-A : b\r\n\r\n",
    ),
    (
        "a line without a colon",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nnonsense\r\n\r\n",
    ),
    (
        "a zero byte in a value",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nX-A: b\0c\r\n\r\n",
    ),
    (
        "a carriage return in a value",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nX-A: b\rc\r\n\r\n",
    ),
    (
        "a zero byte in the path",
        "GET /smuggled%00 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "a control character in the path",
        "GET /smuggled%0d%0aX-A:%20b HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "a broken triplet",
        "GET /smuggled%zz HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "half a triplet",
        "GET /smuggled%4 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "dot segments",
        "GET /a/../smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "encoded dot segments",
        "GET /a/%2e%2e/smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    ("a dot", "GET /./smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    (
        "a backslash",
        "GET /a\\..\\smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "an encoded backslash",
        "GET /a%5c..%5csmuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "a fragment",
        "GET /smuggled#x HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "bytes that are no ASCII",
        "GET /smuggled\u{e9} HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    ("no version", "GET /smuggled\r\nHost: HOST\r\n\r\n"),
    (
        "a version from the future",
        "GET /smuggled HTTP/3.0\r\nHost: HOST\r\n\r\n",
    ),
    (
        "a method that is none",
        "G(T /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    (
        "an upgrade where there is none",
        "GET /smuggled HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ),
];

fn filled(request: &str) -> String {
    request.replace("HOST", MAPLE).replace("OTHER", OAK)
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_get_400_and_the_connection_ends() {
    let stage = stage().await;
    let mut wrong = Vec::new();
    for (what, request) in MALFORMED {
        for plain in [false, true] {
            let mut raw = match plain {
                true => super::support::raw::Raw::plain(stage.plain_address()).await,
                false => stage.raw(MAPLE).await,
            };
            let before = refused(&stage);
            let host_first = *what == "no host" || *what == "an empty host";
            raw.send(filled(request)).await;
            // What follows on the connection must not be taken for a request of its own.
            raw.send(filled("GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n"))
                .await;
            let heard = raw.hear().await;
            let fine = heard.status() == 400 && heard.answers() == 1 && heard.closed;
            if !fine || host_first && heard.text.contains("from the origin") {
                wrong.push(format!("{what} (plain: {plain}): {heard:?}"));
            }
            if refused(&stage) - before != 1 {
                wrong.push(format!(
                    "{what} (plain: {plain}) was counted {} times",
                    refused(&stage) - before
                ));
            }
            if heard.text.to_ascii_lowercase().contains("server:") {
                wrong.push(format!("{what}: the answer says what runs here"));
            }
            if heard.text.contains("smuggled") {
                wrong.push(format!("{what}: the answer repeats what was sent"));
            }
        }
    }
    if stage.blue.was_sent("smuggled") || !stage.blue.seen().is_empty() {
        wrong.push(format!("the origin was asked: {:?}", stage.blue.seen()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Not everything is refused.
    for request in [
        "GET /fine HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
        "GET /fine HTTP/1.1\r\nHost: HOST:8443\r\nConnection: close\r\n\r\n",
        "POST /fine HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "POST /fine HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        "GET /a%2Fb/c%20d/%C3%A9/[x]?q=%zz&;=| HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
    ] {
        let mut raw = stage.raw(MAPLE).await;
        raw.send(filled(request)).await;
        let heard = raw.hear().await;
        assert_eq!(heard.status(), 200, "{request:?}: {heard:?}");
    }
    // What has no rule passes byte for byte.
    assert_eq!(
        stage.blue.seen_at("/a%2Fb/c%20d/%C3%A9/[x]")[0].target,
        "/a%2Fb/c%20d/%C3%A9/[x]?q=%zz&;=|"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_no_site_has_are_refused() {
    let stage = stage().await;
    for request in [
        "TRACE /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "CONNECT HOST:443 HTTP/1.1\r\nHost: HOST:443\r\n\r\n",
    ] {
        let mut raw = stage.raw(MAPLE).await;
        raw.send(filled(request)).await;
        let heard = raw.hear().await;
        assert_eq!(heard.status(), 405, "{heard:?}");
    }
    assert!(stage.blue.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_knows_the_same_bounds() {
    let stage = stage().await;
    for target in [
        "/smuggled%00",
        "/a/../smuggled",
        "/a/%2e%2e/smuggled",
        "/smuggled%zz",
        "/a%5csmuggled",
    ] {
        let client = stage.client(MAPLE, Http::Two).await;
        assert_eq!(client.get(target).await.status, 400, "{target}");
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("host", OAK),
    ] {
        let client = stage.client(MAPLE, Http::Two).await;
        let refused = match client
            .try_ask(Ask::get("/smuggled").header(name, value))
            .await
        {
            // The stream is reset, which is what RFC 9113, 8.1.1 asks for.
            Err(_) => true,
            Ok(answer) => answer.status == 400,
        };
        // hyper removes the fields of a connection itself; a `host` it sends.
        assert!(refused || name != "host", "{name}");
    }
    let seen = stage.blue.seen();
    assert!(
        seen.iter().all(|seen| seen.header("host") == MAPLE),
        "{seen:?}"
    );
    assert!(seen.iter().all(
        |seen| seen.header("transfer-encoding").is_empty() && seen.header("upgrade").is_empty()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_waits_its_turn_or_is_not_heard() {
    let stage = stage().await;
    let mut raw = stage.raw(MAPLE).await;
    let two = "GET /one HTTP/1.1\r\nHost: HOST\r\n\r\nGET /two HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    raw.send(filled(two)).await;
    let heard = raw.hear().await;
    assert_eq!(heard.status(), 200);
    // Each answer belongs to a request that the origin saw whole.
    assert_eq!(heard.answers(), stage.blue.seen().len(), "{heard:?}");
}
