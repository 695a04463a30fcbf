use std::time::Instant;

use async_trait::async_trait;
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::checked::Limits;
use crate::listener::frames::FrameLimits;
use crate::listener::peer::{Agreed, ReadLimits};
use crate::listener::{Connections, Peer, Surface, Wire};
use crate::metrics::Metrics;

const KEEP_ALIVE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: oak.test\r\n\r\n";

/// Answers everything with 204.
struct Nothing;

#[async_trait]
impl HttpServerApp for Nothing {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let peer = Arc::clone(Peer::of(&session)?);
        peer.request_began(false);
        let header = ResponseHeader::build(204, None).ok()?;
        session.write_response_header(Box::new(header)).await.ok()?;
        peer.request_ended();
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

struct Pair {
    client: TcpStream,
    connections: Connections,
    served: JoinHandle<()>,
    // Dropped, it would say that the edge is gone.
    _drain: watch::Sender<bool>,
}

async fn open() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, address) = accepted.expect("a client");
    let limits = Limits::default();
    let connections = Connections::new(&limits);
    let arrival = connections.arrivals.arrive(address.ip(), Instant::now());
    let read = ReadLimits {
        header: limits.header,
        header_bytes_max: limits.header_bytes_max,
        body_idle: limits.body_idle,
        body_bytes_per_s_min: limits.body_bytes_per_s_min,
        frames: FrameLimits {
            resets: limits.h2_resets_max,
            control: limits.h2_control_max,
        },
    };
    let peer = Peer::new(
        address,
        Surface::DangerPlain,
        Agreed::default(),
        read,
        arrival.expect("the first"),
        Arc::new(Metrics::new()),
    );
    let wire = Wire::new(stream, limits.write);
    let connection = Connection::plain(wire, Arc::new(peer)).expect("a socket");
    let stay = Stay {
        keep_alive: KEEP_ALIVE,
        dismissed: connections.dismissed.subscribe(),
        seat: connections.room.sit(),
    };
    let (drain, draining) = watch::channel(false);
    let served = tokio::spawn(async move {
        serve(&Arc::new(Nothing), Box::new(connection), &draining, stay).await;
    });
    Pair {
        client: client.expect("the listener"),
        connections,
        served,
        _drain: drain,
    }
}

impl Pair {
    async fn get(&mut self) {
        self.client.write_all(REQUEST).await.expect("the edge");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            assert_ne!(self.client.read_buf(&mut heard).await.expect("the edge"), 0);
        }
        assert!(heard.starts_with(b"HTTP/1.1 204 "));
    }

    async fn ended(mut self) {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.expect("a close");
        assert!(rest.is_empty());
        self.served.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_connection_asks_as_often_as_it_likes_until_it_is_dismissed() {
    let mut pair = open().await;
    for _ in 0..3 {
        pair.get().await;
    }
    pair.connections.dismiss();
    pair.ended().await;
}

#[tokio::test]
async fn a_client_that_goes_ends_the_wait() {
    let mut pair = open().await;
    pair.get().await;
    pair.client.shutdown().await.expect("an open socket");
    pair.ended().await;
}

#[tokio::test]
async fn an_idle_connection_ends_when_its_time_is_over() {
    let mut pair = open().await;
    pair.get().await;
    tokio::time::pause();
    let idle = tokio::time::Instant::now();
    pair.ended().await;
    assert!(idle.elapsed() >= KEEP_ALIVE - Duration::from_secs(1));
}

#[test]
fn a_wait_needs_little_memory() {
    fn size_of_output<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }
    type Asked = (
        &'static Arc<Nothing>,
        Box<Connection>,
        &'static watch::Receiver<bool>,
        Stay,
    );
    let waiting = size_of_output(|(app, connection, draining, stay): Asked| {
        serve(app, connection, draining, stay)
    });
    assert!(waiting < 1024, "{waiting} bytes for each connection");
}
