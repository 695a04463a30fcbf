use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::Metrics;

struct Running {
    address: SocketAddr,
    reasons: Arc<Mutex<Vec<String>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Told {
    metrics: Metrics,
    reasons: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Observed for Told {
    async fn metrics(&self) -> String {
        self.metrics.text()
    }

    async fn not_ready(&self) -> Vec<String> {
        self.reasons.lock().clone()
    }
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::new(Told {
        metrics: Metrics::new(),
        reasons: reasons.clone(),
    });
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve(listener, observed, stopping));
    Running {
        address,
        reasons,
        stop,
        task,
    }
}

/// Status, head and body of one request.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        head.to_lowercase(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn it_answers_three_paths_with_get_and_head_and_nothing_else() {
    let running = start().await;
    for (method, path, expected) in [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/readyz", 405),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/debug/pprof", 404),
        ("GET", "/v1/status", 404),
        ("POST", "/v1/purge", 404),
    ] {
        let (status, _, body) = ask(running.address, method, path).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(
            method != "HEAD" || body.is_empty(),
            "{method} {path}: {body}"
        );
    }
    let (_, head, body) = ask(running.address, "GET", "/metrics").await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("edge_connections 0"), "{body}");
}

#[tokio::test]
async fn readiness_says_why_not_and_health_is_another_question() {
    let running = start().await;
    *running.reasons.lock() = vec![
        "draining".into(),
        "learn: blue has no healthy member".into(),
    ];
    let (status, _, body) = ask(running.address, "GET", "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (503, "draining\nlearn: blue has no healthy member\n")
    );
    assert_eq!(ask(running.address, "GET", "/healthz").await.0, 200);
    running.reasons.lock().clear();
    assert_eq!(ask(running.address, "GET", "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_stop_ends_it_even_when_a_client_says_nothing() {
    let running = start().await;
    let mut silent = TcpStream::connect(running.address)
        .await
        .expect("it listens");
    assert_eq!(ask(running.address, "GET", "/healthz").await.0, 200);
    running.stop.send(true).expect("it listens to the stop");
    tokio::time::timeout(Duration::from_secs(20), running.task)
        .await
        .expect("it ends in time")
        .expect("without a panic");
    assert!(TcpStream::connect(running.address).await.is_err());
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the silent client is let go");
}

#[tokio::test]
async fn junk_is_no_request() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address)
        .await
        .expect("it listens");
    stream
        .write_all(b"\x16\x03\x01\x02\x00 tls?\r\n\r\n")
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers or closes");
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
}
