//! Interim answers (1xx) end at the edge. They come before the origin said for whom they are, and a
//! fetch for the cache has many readers: neither a client nor the store sees anything of them.

use edge_proxy::colour::Colour;

use super::support::bytes;
use super::support::client::{Ask, Http};
use super::support::stage::{MAPLE, plan};

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 60
"#;

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nlink: </early.css>; rel=preload\r\nx-early: yes\r\n\
    cache-control: no-store\r\nset-cookie: early=1\r\nx-edge-identity: {\"id\":\"anna\"}\r\n\r\n";
const LATER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=60\r\n\
    x-edge-cache-scope: public\r\ncontent-length: 2\r\n\r\n{}";

/// Answers twice early and then once for good.
fn early(target: &str) -> bytes::Sent {
    match target {
        "/up" => (LATER.to_owned(), true),
        _ => (format!("{EARLY}{EARLY}{LATER}"), true),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_an_interim_answer_and_nothing_of_it_is_stored() {
    let stage = plan()
        .rules(RULES)
        .member(Colour::Blue, bytes::origin(early).await)
        .start()
        .await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for path in ["/api/v1/news/1", "/api/v1/news/1", "/api/v1/notes"] {
            let answer = client.ask(Ask::get(path)).await;
            assert_eq!(answer.status, 200, "{path}");
            let said = format!("{:?}", answer.headers);
            assert!(!said.contains("early") && !said.contains("anna"), "{said}");
        }
    }
    let mut raw = stage.raw(MAPLE).await;
    let request =
        format!("GET /api/v1/notes HTTP/1.1\r\nHost: {MAPLE}\r\nConnection: close\r\n\r\n");
    raw.send(request).await;
    let heard = raw.hear().await;
    assert!(heard.text.starts_with("HTTP/1.1 200 "), "{}", heard.text);
    assert!(!heard.text.contains("early"), "{}", heard.text);
    let stored = stage.edge.stored();
    assert_eq!(stored.len(), 1, "the answer that came for good");
    assert!(!String::from_utf8_lossy(&stored[0].bytes).contains("early"));
}
