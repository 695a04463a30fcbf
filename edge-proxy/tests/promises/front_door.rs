//! Who a client is, what every answer says, and how often somebody may ask.

use http::Method;

use super::support::apart::sum;
use super::support::client::{Ask, Client, Http};
use super::support::raw::Raw;
use super::support::reply::Reply;
use super::support::stage::{MAPLE, OAK, Plan, Stage, plan};

async fn stage(plan: Plan) -> Stage {
    let stage = plan.start().await;
    stage.blue.otherwise(|asked| async move {
        let client = asked.seen.header("x-forwarded-for").to_owned();
        Reply::of("text/plain", client)
            .header("server", "Apache/2.4.1 (Secret)")
            .header("x-powered-by", "secret")
    });
    stage
}

fn page(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_balancer_says_whose_connection_it_is_and_must_say_it() {
    let stage = stage(plan().listener("proxy_protocol_from = [\"127.0.0.0/8\"]")).await;
    let addresses = [10, 0, 0, 7, 127, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat();
    for (header, client) in [
        (
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n".to_vec(),
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(),
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2, "10.0.0.7"),
    ] {
        let mut raw = Raw::plain(stage.plain_address()).await;
        raw.send([&header[..], page(MAPLE).as_bytes()].concat())
            .await;
        let heard = raw.hear().await;
        assert_eq!(heard.status(), 200, "{heard:?}");
        assert!(heard.text.ends_with(client), "{client}: {heard:?}");
    }
    for bad in [page(MAPLE).into_bytes(), b"PROXY TCP4 x y 1 2\r\n".to_vec()] {
        let mut raw = Raw::plain(stage.plain_address()).await;
        raw.send(bad).await;
        let heard = raw.hear().await;
        assert!(heard.closed && heard.text.is_empty(), "{heard:?}");
    }
    let metrics = stage.edge.metrics().text();
    assert_eq!(sum(&metrics, &["bad_proxy_header"]), 2);
    assert_eq!(stage.blue.seen_at("/").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_proxies_say_who_the_client_is() {
    let forged = || {
        Ask::get("/")
            .header("x-forwarded-for", "203.0.113.1, 192.0.2.7")
            .header("x-real-ip", "203.0.113.2")
            .header("forwarded", "for=203.0.113.3")
    };
    let stage = stage(plan()).await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        assert_eq!(client.ask(forged()).await.text(), "127.0.0.1");
    }
    let stage = self::stage(plan().listener("forwarded_from = [\"127.0.0.1\"]")).await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        assert_eq!(client.ask(forged()).await.text(), "192.0.2.7");
    }
    let seen = &stage.blue.seen_at("/")[0];
    assert!(seen.header("forwarded").is_empty() && seen.header("x-real-ip").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_security_headers_unless_the_origin_says_otherwise() {
    let stage = stage(plan()).await;
    stage.blue.on("/strict", |_| async {
        Reply::of("text/html", "x").header("referrer-policy", "no-referrer")
    });
    let policy = "strict-origin-when-cross-origin";
    for http in Http::BOTH {
        for (path, expected) in [
            ("/", policy),
            ("/strict", "no-referrer"),
            (super::support::site::SHARED, policy),
        ] {
            let answer = stage.client(MAPLE, http).await.get(path).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), expected, "{path}");
            for name in ["server", "x-powered-by"] {
                assert!(!answer.headers.contains_key(name), "{path}: {name}");
            }
        }
    }
    let off = "[headers]\ncontent_type_options = \"off\"\nreferrer_policy = \"off\"";
    let stage = self::stage(plan().table(off)).await;
    let answer = stage.h2(MAPLE).await.get("/").await;
    assert!(!answer.headers.contains_key("x-content-type-options"));
    assert!(!answer.headers.contains_key("referrer-policy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rates = "[[rate]]\nname = \"sign-in\"\nper = \"client\"\npath = \"/session\"\nburst = 3\nper_s = 0.01\n\
        [[rate]]\nname = \"exports\"\nper = \"tenant\"\npath = \"/exports\"\nburst = 2\nper_s = 0.01\n";
    let plan = plan()
        .table(rates)
        .listener("forwarded_from = [\"127.0.0.1\"]");
    let stage = stage(plan).await;
    let ask = async |client: &Client, path: &str, from: &str| {
        let ask = Ask::new(Method::POST, path).header("x-forwarded-for", from);
        client.ask(ask).await
    };
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    for _ in 0..3 {
        assert_eq!(ask(&maple, "/session", "192.0.2.1").await.status, 200);
    }
    let refused = ask(&maple, "/session", "192.0.2.1").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "100");
    assert_eq!(refused.header("ratelimit-policy"), "\"sign-in\";q=3;w=300");
    assert_eq!(refused.header("ratelimit"), "\"sign-in\";r=0;t=100");
    assert_eq!(refused.header("cache-control"), "no-store");
    // Others, and other paths, go on; and so does the connection.
    assert_eq!(ask(&oak, "/session", "192.0.2.1").await.status, 429);
    assert_eq!(ask(&maple, "/session", "192.0.2.2").await.status, 200);
    assert_eq!(ask(&maple, "/sessions", "192.0.2.1").await.status, 200);
    for from in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(ask(&maple, "/exports", from).await.status, 200);
    }
    assert_eq!(ask(&maple, "/exports", "192.0.2.3").await.status, 429);
    assert_eq!(ask(&oak, "/exports", "192.0.2.3").await.status, 200);
    assert_eq!(stage.blue.seen_at("/session").len(), 4);
    assert_eq!(sum(&stage.edge.metrics().text(), &["rate_limited"]), 3);
}
