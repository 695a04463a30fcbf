//! What attackers do to a listener, with a clock on a bystander: while it goes on, and after it, a
//! pupil's page takes less than a second, and the edge's memory stays under a bound.
//!
//! A binary of its own, so that no other test runs beside the clock. The edge is a process of its own.
//! All of it is on loopback; attackers have another address than
//! the bystander, as they do.

#[expect(
    dead_code,
    reason = "the promises use what is not used here, and the other way round"
)]
#[path = "promises/support/mod.rs"]
mod support;

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use support::apart::{Apart, p99};
use support::client::Http;
use support::h2::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, frame, get, opening,
};
use support::origin::whole;
use support::reply::Reply;
use support::stage::{MAPLE, plan};

/// What a page may take while the edge is attacked.
const P99_MAX: Duration = Duration::from_secs(1);
/// What the edge may take more than before any attack: an unoptimised build on a small machine.
const MEMORY_BYTES_MAX: u64 = 384 << 20;
/// How long each attack goes on.
const SIEGE: Duration = Duration::from_secs(3);
/// The address of the attackers; each attack comes from another, and none from the bystander's.
static ATTACKER: AtomicU8 = AtomicU8::new(1);

const LIMITS: &str = "handshake_s = 2\nheader_s = 2\nbody_idle_s = 1\nwrite_s = 1\n\
    incomplete_burst = 1500\nincomplete_per_s = 20\nhandshakes_max = 1000";
/// Who has asked may soon go again.
const BRIEF: &str = "h2_idle_s = 300\nkeep_alive_s = 3";

async fn dial(address: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    let address_of_attack = Ipv4Addr::new(127, 0, 66, ATTACKER.load(Ordering::Relaxed));
    socket.bind((address_of_attack, 0).into()).ok()?;
    // Readers that take little, so that what is sent waits at the edge and not in the kernel.
    socket.set_recv_buffer_size(4096).ok()?;
    let connecting = socket.connect(address);
    tokio::time::timeout(Duration::from_secs(2), connecting)
        .await
        .ok()?
        .ok()
}

async fn dial_tls(edge: &Apart, alpn: &str) -> Option<TlsStream<TcpStream>> {
    let tcp = dial(edge.public).await?;
    let name = MAPLE.to_owned().try_into().ok()?;
    let connector = TlsConnector::from(edge.process.set.authority.client(&[alpn]));
    let shaking = connector.connect(name, tcp);
    tokio::time::timeout(Duration::from_secs(5), shaking)
        .await
        .ok()?
        .ok()
}

/// A pupil: a page every 20 ms, each tenth over a new connection. Returns when told to stop.
async fn bystander(edge: Arc<Apart>, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut client = edge.client(MAPLE, Http::Two).await;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        if times.len() % 10 == 9 {
            client = edge.client(MAPLE, Http::BOTH[times.len() / 10 % 2]).await;
        }
        let answer = client.get("/page").await;
        assert_eq!(answer.status, 200, "the bystander is served");
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times
}

/// The promise is for a machine that has time. Where others take twice what there is, pages wait for
/// the processor and not for the attack: then three times as long is said and allowed.
fn bound() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    if load <= 2.0 * cores {
        return P99_MAX;
    }
    println!("NOTE: a load of {load} on {cores} cores: not a quiet machine");
    3 * P99_MAX
}

/// Runs an attack for a while beside a bystander, and says how that was.
async fn under<A>(what: &str, edge: &Arc<Apart>, rest: u64, attack: A)
where
    A: Future<Output = ()> + Send + 'static,
{
    under_for(SIEGE, what, edge, rest, attack).await;
}

/// As [`under`], for at most so long.
async fn under_for<A>(siege: Duration, what: &str, edge: &Arc<Apart>, rest: u64, attack: A)
where
    A: Future<Output = ()> + Send + 'static,
{
    ATTACKER.fetch_add(1, Ordering::Relaxed);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(bystander(Arc::clone(edge), Arc::clone(&stop)));
    let attacking = tokio::spawn(attack);
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < siege && !attacking.is_finished() {
        most = most.max(edge.memory().0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    attacking.abort();
    let attacked = attacking.await;
    assert!(
        attacked.is_ok() || attacked.is_err_and(|error| error.is_cancelled()),
        "{what}: the attacker fell over"
    );
    stop.store(true, Ordering::Relaxed);
    let mut times = watching.await.expect("the bystander is served");
    let slowest = p99(&mut times);
    edge.quiet(rest).await;
    println!(
        "{what}: {} pages, p99 {slowest:?}; memory at most {} MiB, {} MiB after",
        times.len(),
        most >> 20,
        edge.memory().0 >> 20
    );
    let bound = bound();
    assert!(
        slowest < bound,
        "{what}: p99 {slowest:?}, not below {bound:?}"
    );
    assert!(times.len() > 5, "{what}: {} pages", times.len());
    assert!(most < MEMORY_BYTES_MAX, "{what}: {} MiB", most >> 20);
}

/// With limits beside [`LIMITS`].
async fn edge(more: &str) -> Arc<Apart> {
    let limits = format!("{LIMITS}\n{more}");
    let edge = Apart::start(plan().limit(&limits), MAPLE).await;
    let large = vec![b'x'; 1 << 20];
    edge.process.set.blue.on("/large", move |_| {
        let large = large.clone();
        async { Reply::of("application/zip", large) }
    });
    edge.process.set.blue.on("/upload", |asked| async {
        let length = whole(asked.body).await.len();
        Reply::of("text/plain", length.to_string())
    });
    Arc::new(edge)
}

/// Keeps `count` connections that each do the same again and again until they are cut off.
async fn many<F, R>(count: usize, each: F)
where
    F: Fn(usize) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let mut all: JoinSet<()> = (0..count).map(each).collect();
    while all.join_next().await.is_some() {}
}

async fn drip(mut stream: impl AsyncWriteExt + Unpin, first: Vec<u8>, drop: &'static [u8]) {
    if stream.write_all(&first).await.is_err() {
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if stream.write_all(drop).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The attacks are one test: side by side they would measure each other.
#[tokio::test(flavor = "multi_thread")]
async fn attacks_delay_nobody() {
    slow_clients().await;
    floods_of_connections().await;
    idle_connections().await;
    floods_of_frames().await;
}

async fn slow_clients() {
    let edge = edge(BRIEF).await;
    let plain = edge.plain;
    under("2,000 slow headers", &edge, 2, async move {
        many(2_000, |_| async move {
            if let Some(stream) = dial(plain).await {
                drip(
                    stream,
                    b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
                    b"X: y\r\n",
                )
                .await;
            }
        })
        .await;
    })
    .await;
    edge.counted(&["edge_malformed_total", "header_too_slow"], 1_000)
        .await;
    edge.counted(&["edge_malformed_total", "too_many_without_request"], 1)
        .await;

    under("400 slow bodies", &edge, 2, async move {
        many(400, |_| async move {
            if let Some(stream) = dial(plain).await {
                let header = format!(
                    "POST /upload HTTP/1.1\r\nHost: {MAPLE}\r\nContent-Length: 9999\r\n\r\n"
                );
                drip(stream, header.into_bytes(), b"x").await;
            }
        })
        .await;
    })
    .await;
    edge.counted(&["edge_malformed_total", "body_too_slow"], 300)
        .await;

    under("50 slow readers", &edge, 2, async move {
        many(50, |_| async move {
            if let Some(mut stream) = dial(plain).await {
                let ask = format!("GET /large HTTP/1.1\r\nHost: {MAPLE}\r\n\r\n");
                if stream.write_all(ask.as_bytes()).await.is_ok() {
                    // Taken by nobody until the edge gives up.
                    tokio::time::sleep(SIEGE).await;
                }
            }
        })
        .await;
    })
    .await;

    let for_h2 = Arc::clone(&edge);
    under(
        "20 slow readers of 5 answers each over HTTP/2",
        &edge,
        2,
        async move {
            many(20, |_| {
                let edge = Arc::clone(&for_h2);
                async move {
                    let Some(mut stream) = dial_tls(&edge, "h2").await else {
                        return;
                    };
                    let mut asks = opening();
                    for stream in 0..5 {
                        asks.extend(frame(HEADERS, 5, 2 * stream + 1, &get(MAPLE, "/large")));
                    }
                    if stream.write_all(&asks).await.is_ok() {
                        tokio::time::sleep(SIEGE).await;
                    }
                }
            })
            .await;
        },
    )
    .await;
}

async fn floods_of_connections() {
    let edge = edge(BRIEF).await;
    let (public, plain) = (edge.public, edge.plain);
    under("half handshakes, again and again", &edge, 2, async move {
        many(200, |number| async move {
            loop {
                if let Some(mut stream) = dial(public).await {
                    let hello: &[u8] = match number % 3 {
                        0 => b"",
                        1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                        _ => b"GET / HTTP/1.1\r\n\r\n",
                    };
                    if stream.write_all(hello).await.is_ok() && number % 2 == 0 {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    })
    .await;
    edge.counted(&["edge_tls_handshakes_total", "failed"], 1)
        .await;

    under("headers of a megabyte", &edge, 2, async move {
        let long: Arc<[u8]> = [b"X-Long: ".as_slice(), &[b'a'; 1 << 20]].concat().into();
        many(100, |_| {
            let long = Arc::clone(&long);
            async move {
                loop {
                    let Some(mut stream) = dial(plain).await else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let begun = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await;
                    if begun.is_ok() && stream.write_all(&long).await.is_ok() {
                        let _refused = stream.read(&mut [0; 512]).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        })
        .await;
    })
    .await;
    edge.counted(&["edge_malformed_total", "header_too_large"], 1)
        .await;
}

/// Held open at the same time; each has asked once, every tenth over HTTP/2.
const IDLE: usize = 10_000;
/// Of these, how many come at once: a burst of SYNs would only measure the kernel's queue.
const COMING: usize = 64;

async fn idle_connections() {
    let edge = edge("keep_alive_s = 300\nh2_idle_s = 300").await;
    let attacked = Arc::clone(&edge);
    let what = "10,000 idle connections";
    under_for(Duration::from_secs(60), what, &edge, 2, async move {
        let coming = Arc::new(Semaphore::new(COMING));
        let mut all: JoinSet<Option<Held>> = (0..IDLE)
            .map(|number| {
                let (edge, coming) = (Arc::clone(&attacked), Arc::clone(&coming));
                async move {
                    let _turn = coming.acquire_owned().await.ok()?;
                    hold(&edge, number % 10 == 9).await
                }
            })
            .collect();
        let mut held = Vec::new();
        while let Some(connection) = all.join_next().await {
            held.extend(connection.ok().flatten());
        }
        assert_eq!(held.len(), IDLE, "all are answered");
        // Longer than the deadlines of headers and handshakes.
        tokio::time::sleep(SIEGE).await;
        let open = attacked.count(&["edge_connections "]).await;
        assert!(open >= IDLE as u64, "only {open} are still open");
    })
    .await;
}

/// A connection that was answered once and is kept.
type Held = Box<dyn Any + Send>;

async fn hold(edge: &Apart, h2: bool) -> Option<Held> {
    let mut answer = [0; 1024];
    if h2 {
        let mut stream = dial_tls(edge, "h2").await?;
        let mut ask = opening();
        ask.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &get(MAPLE, "/page"),
        ));
        stream.write_all(&ask).await.ok()?;
        stream.read(&mut answer).await.ok().filter(|n| *n > 0)?;
        return Some(Box::new(stream));
    }
    let mut stream = dial(edge.plain).await?;
    let ask = format!("GET / HTTP/1.1\r\nHost: {MAPLE}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.ok()?;
    stream.read(&mut answer).await.ok().filter(|n| *n > 0)?;
    Some(Box::new(stream))
}

async fn floods_of_frames() {
    let edge = edge(BRIEF).await;
    let resets: Vec<u8> = (0..2_000)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &get(MAPLE, "/page"),
                ),
                reset,
            ]
            .concat()
        })
        .collect();
    let continuations = [
        frame(HEADERS, END_STREAM, 1, &get(MAPLE, "/page")),
        frame(CONTINUATION, 0, 1, &[0; 16_000]).repeat(100),
    ]
    .concat();
    for (what, flood) in [
        ("rapid resets", resets),
        ("continuations", continuations),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(20_000)),
    ] {
        // The `h2` crate may have had enough before our budget is spent.
        let refused = ["edge_malformed_total", "h2_"];
        let before = edge.count(&refused).await;
        let attacked = Arc::clone(&edge);
        let flood: Arc<[u8]> = [opening(), flood].concat().into();
        under(what, &edge, 2, async move {
            many(8, |_| {
                let (edge, flood) = (Arc::clone(&attacked), Arc::clone(&flood));
                async move {
                    // As often as the edge lets it.
                    loop {
                        if let Some(mut stream) = dial_tls(&edge, "h2").await
                            && stream.write_all(&flood).await.is_ok()
                        {
                            let _goodbye = stream.read(&mut [0; 4096]).await;
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            })
            .await;
        })
        .await;
        edge.counted(&refused, before + 1).await;
    }
}
