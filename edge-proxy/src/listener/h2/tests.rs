use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::super::room::Room;
use super::{FIRST_REQUEST, serve};

const IDLE: Duration = Duration::from_secs(300);

/// `/` is answered at once, `/later` when it is told to, `/panic` never.
#[derive(Default)]
struct Script {
    later: Notify,
}

#[async_trait]
impl HttpServerApp for Script {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.req_header().uri.path() {
            "/later" => self.later.notified().await,
            "/panic" => panic!("as the test wants it"),
            _ => {}
        }
        let header = ResponseHeader::build(204, None).expect("a status");
        session
            .write_response_header(Box::new(header))
            .await
            .expect("a client that listens");
        session.finish().await.expect("a client that listens");
        None
    }
}

/// An edge's end, served, and a client's end of the same connection.
struct Pair {
    script: Arc<Script>,
    client: SendRequest<Bytes>,
    /// The client's connection: done when the edge has closed it.
    closed: JoinHandle<Result<(), h2::Error>>,
    served: JoinHandle<()>,
    drain: watch::Sender<bool>,
}

impl Pair {
    async fn open() -> Self {
        let (edge, client) = tokio::io::duplex(64 << 10);
        let script = Arc::new(Script::default());
        let (drain, draining) = watch::channel(false);
        let app = Arc::clone(&script);
        let served = tokio::spawn(async move {
            serve(&app, Box::new(edge), &draining, IDLE, Room::new().sit()).await
        });
        let (client, connection) = h2::client::handshake(client).await.expect("a server");
        Self {
            script,
            client,
            closed: tokio::spawn(connection),
            served,
            drain,
        }
    }

    /// The status of an answer.
    async fn get(&self, path: &str) -> Result<u16, h2::Error> {
        let mut client = self.client.clone().ready().await?;
        let request = Request::get(format!("https://oak.test{path}")).body(());
        let (answer, _) = client.send_request(request.expect("a request"), true)?;
        Ok(answer.await?.status().as_u16())
    }
}

#[tokio::test]
async fn who_waits_holds_up_nobody() {
    let pair = Pair::open().await;
    let others = async {
        for _ in 0..50 {
            assert_eq!(pair.get("/").await.expect("an answer"), 204);
        }
        pair.script.later.notify_one();
    };
    let (later, ()) = tokio::join!(pair.get("/later"), others);
    assert_eq!(later.expect("an answer"), 204);
}

#[tokio::test]
async fn a_panic_ends_its_request_alone() {
    let pair = Pair::open().await;
    assert!(
        pair.get("/panic")
            .await
            .is_err_and(|error| error.is_reset())
    );
    assert_eq!(pair.get("/").await.expect("an answer"), 204);
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_says_goodbye() {
    let pair = Pair::open().await;
    let drain = async {
        assert_eq!(pair.get("/").await.expect("an answer"), 204);
        pair.drain.send(true).expect("a connection that listens");
        pair.script.later.notify_one();
    };
    let (later, ()) = tokio::join!(pair.get("/later"), drain);
    assert_eq!(later.expect("an answer"), 204);
    pair.served.await.expect("no panic");
    pair.closed.await.expect("no panic").expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_drain_loses_no_first_request_of_a_new_connection() {
    let pair = Pair::open().await;
    pair.drain.send(true).expect("a connection that listens");
    // Everything that a goodbye could do has been done meanwhile.
    tokio::time::sleep(FIRST_REQUEST / 2).await;
    assert_eq!(pair.get("/").await.expect("an answer"), 204);
    pair.served.await.expect("no panic");
    pair.closed.await.expect("no panic").expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_who_never_asks() {
    let pair = Pair::open().await;
    let began = tokio::time::Instant::now();
    pair.drain.send(true).expect("a connection that listens");
    pair.closed.await.expect("no panic").expect("a clean end");
    pair.served.await.expect("no panic");
    let took = began.elapsed();
    assert!(took < FIRST_REQUEST * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_before_it_is_closed() {
    let pair = Pair::open().await;
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(pair.get("/").await.expect("an answer"), 204);
    let asked = tokio::time::Instant::now();
    pair.closed.await.expect("no panic").expect("a clean end");
    pair.served.await.expect("no panic");
    assert!(asked.elapsed() >= IDLE, "{:?}", asked.elapsed());
    assert!(asked.elapsed() <= IDLE * 2, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_under_way_is_not_idle() {
    let pair = Pair::open().await;
    let wait = async {
        tokio::time::sleep(IDLE * 3).await;
        pair.script.later.notify_one();
    };
    let (later, ()) = tokio::join!(pair.get("/later"), wait);
    assert_eq!(later.expect("an answer"), 204);
}
