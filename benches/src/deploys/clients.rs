//! Clients without a second try. What does not come whole is counted, by what became of it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::application::{EVENT, EVENTS, page};
use crate::error::BenchError;
use crate::ground::{Ground, HOST};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Examples that are shown of what went wrong.
const EXAMPLES_MAX: usize = 5;
/// Messages of one WebSocket, ten each second.
const MESSAGES: usize = 30;
/// An upload comes in so many pieces, ten each second.
const PIECES: usize = 40;

/// What became of requests.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// All of them: a stream, a socket and an upload are one each.
    pub requests: u64,
    /// No connection.
    pub refused: u64,
    /// The connection ended before the answer.
    pub reset: u64,
    /// The answer ended too early.
    pub short: u64,
    /// The answer was another one.
    pub wrong: u64,
    /// The status was not one of success.
    pub status: u64,
    /// Some of these, in words.
    pub examples: Vec<String>,
}

impl Tally {
    /// Everything that did not come whole.
    pub fn lost(&self) -> u64 {
        self.refused + self.reset + self.short + self.wrong + self.status
    }
}

enum Lost {
    Refused(String),
    Reset(String),
    Short(String),
    Wrong(String),
    Status(u16),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "no connection: {why}"),
            Self::Reset(why) => write!(f, "no answer: {why}"),
            Self::Short(why) => write!(f, "too short: {why}"),
            Self::Wrong(why) => write!(f, "wrong: {why}"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// How a client asks.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// HTTP/1.1, kept, with pauses of up to so many milliseconds.
    Kept(u64),
    /// HTTP/1.1, a connection for each request.
    Anew,
    /// HTTP/2, kept.
    Two,
    /// A body that comes back, kept.
    Post,
    Events,
    Socket,
    Upload(usize),
}

/// A crowd: those who read and pause, those who hurry, and those who stay.
fn crowd(upload_bytes: usize) -> Vec<Habit> {
    let of = |count, habit| std::iter::repeat_n(habit, count);
    of(20, Habit::Kept(10_000))
        .chain(of(10, Habit::Kept(200)))
        .chain(of(3, Habit::Anew))
        .chain(of(4, Habit::Two))
        .chain(of(4, Habit::Post))
        .chain(of(4, Habit::Events))
        .chain(of(4, Habit::Socket))
        .chain(of(2, Habit::Upload(upload_bytes)))
        .collect()
}

/// One request's end.
struct Seen {
    lost: Option<(Habit, Lost)>,
    /// Of small answers.
    took: Option<Duration>,
}

/// Clients that ask until they are stopped.
pub(super) struct Clients {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    counting: std::thread::JoinHandle<(Tally, Vec<Duration>)>,
    timed: watch::Receiver<usize>,
}

impl Clients {
    pub(super) fn start(
        address: SocketAddr,
        ground: &Ground,
        upload_bytes: usize,
    ) -> Result<Self, BenchError> {
        let broken = || BenchError::io("the clients cannot be started");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(broken())?;
        let (stop, stopped) = watch::channel(false);
        let (seen, mut heard) = mpsc::unbounded_channel::<Seen>();
        let (timing, timed) = watch::channel(0);
        let counting = std::thread::spawn(move || {
            let (mut tally, mut times) = (Tally::default(), Vec::new());
            while let Some(seen) = heard.blocking_recv() {
                tally.count(seen.lost);
                times.extend(seen.took);
                timing.send_replace(times.len());
            }
            (tally, times)
        });
        let mut tasks = JoinSet::new();
        for (number, habit) in crowd(upload_bytes).into_iter().enumerate() {
            let client = Client {
                address,
                h1: config(ground, b"http/1.1").map_err(broken())?,
                h2: config(ground, b"h2").map_err(broken())?,
                habit,
                number: number as u64,
                seen: seen.clone(),
            };
            tasks.spawn_on(client.run(stopped.clone()), runtime.handle());
        }
        Ok(Self {
            runtime,
            stop,
            tasks,
            counting,
            timed,
        })
    }

    /// How many small answers there were so far.
    pub(super) fn mark(&self) -> usize {
        *self.timed.borrow()
    }

    /// Lets each client finish what it asks.
    pub(super) fn stop(mut self) -> Result<(Tally, Vec<Duration>), BenchError> {
        self.stop.send_replace(true);
        self.runtime
            .block_on(async { while self.tasks.join_next().await.is_some() {} });
        drop(self.runtime);
        self.counting.join().map_err(|_| {
            let panicked = io::Error::other("a panic");
            BenchError::io("the clients were not counted")(panicked)
        })
    }
}

impl Tally {
    fn count(&mut self, lost: Option<(Habit, Lost)>) {
        self.requests += 1;
        let Some((habit, lost)) = lost else { return };
        match &lost {
            Lost::Refused(_) => self.refused += 1,
            Lost::Reset(_) => self.reset += 1,
            Lost::Short(_) => self.short += 1,
            Lost::Wrong(_) => self.wrong += 1,
            Lost::Status(_) => self.status += 1,
        }
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{habit:?}: {lost}"));
        }
    }
}

/// Whether a page comes now.
pub(super) fn answers(address: SocketAddr, ground: &Ground) -> bool {
    let asked = || -> Option<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let client = Client {
            address,
            h1: config(ground, b"http/1.1").ok()?,
            h2: config(ground, b"h2").ok()?,
            habit: Habit::Anew,
            number: 0,
            seen: mpsc::unbounded_channel().0,
        };
        let asked = async { client.once(&mut None).await.ok().flatten() };
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(2), asked)
                .await
                .ok()?
        })
    };
    asked().is_some()
}

fn config(ground: &Ground, alpn: &[u8]) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(ground.certificate().clone())
        .map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

struct Client {
    address: SocketAddr,
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    habit: Habit,
    number: u64,
    seen: mpsc::UnboundedSender<Seen>,
}

/// An answer, or None: the connection said goodbye before the request was sent.
type Asked = Result<Option<()>, Lost>;

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut open = None;
        let mut pause = self.number * 37;
        while !*stop.borrow() {
            let began = Instant::now();
            let outcome = tokio::time::timeout(PATIENCE, self.once(&mut open)).await;
            let outcome = match outcome {
                Ok(Ok(Some(()))) => Ok(()),
                Ok(Ok(None)) => {
                    open = None;
                    continue;
                }
                Ok(Err(lost)) => Err(lost),
                Err(_) => Err(Lost::Short("nothing more came".into())),
            };
            let small = matches!(self.habit, Habit::Kept(_) | Habit::Two);
            if outcome.is_err() || matches!(self.habit, Habit::Anew) {
                open = None;
            }
            let seen = Seen {
                took: (small && outcome.is_ok()).then(|| began.elapsed()),
                lost: outcome.err().map(|lost| (self.habit, lost)),
            };
            // Who counts lives longer than who asks.
            let _counted = self.seen.send(seen);
            let longest = match self.habit {
                Habit::Kept(longest) => longest,
                _ => 5,
            };
            // Spread as if by chance, and the same in every run.
            pause = (pause * 31 + 17) % 1009;
            let pause = Duration::from_millis(longest * pause / 1009);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn once(&self, open: &mut Option<Sender>) -> Asked {
        let whole = match self.habit {
            Habit::Kept(_) | Habit::Anew | Habit::Two => {
                return self.ask(open, Method::GET, "/page", page()).await;
            }
            Habit::Post => return self.ask(open, Method::POST, "/echo", page()).await,
            Habit::Events => self.events().await,
            Habit::Socket => self.socket().await,
            Habit::Upload(bytes) => self.upload(bytes).await,
        };
        whole.map(Some)
    }

    /// A kept connection that was announced to end is another one before the request is sent, as in every browser.
    async fn ask(
        &self,
        open: &mut Option<Sender>,
        method: Method,
        path: &str,
        right: Bytes,
    ) -> Asked {
        let usable = match open {
            Some(Sender::One(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Two(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *open = Some(
                self.connect()
                    .await
                    .map_err(|error| Lost::Refused(error.to_string()))?,
            );
        }
        let body = if method == Method::POST {
            right.clone()
        } else {
            Bytes::new()
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let reset = |error: hyper::Error| Lost::Reset(format!("{error:?}"));
        let answer = match open {
            Some(Sender::One(sender)) => {
                *request.uri_mut() = path.parse().map_err(|_| Lost::Wrong("no path".into()))?;
                let host = HOST.parse().map_err(|_| Lost::Wrong("no host".into()))?;
                request.headers_mut().insert("host", host);
                sender.send_request(request).await
            }
            Some(Sender::Two(sender)) => {
                let uri = format!("https://{HOST}{path}");
                *request.uri_mut() = uri.parse().map_err(|_| Lost::Wrong("no path".into()))?;
                *request.version_mut() = Version::HTTP_2;
                sender.send_request(request).await
            }
            None => return Err(Lost::Refused("no connection".into())),
        };
        let answer = match answer {
            Err(error) if was_told_to_go(&error) => return Ok(None),
            answer => answer.map_err(reset)?,
        };
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body
            .map_err(|error| Lost::Short(error.to_string()))?
            .to_bytes();
        if !status.is_success() {
            return Err(Lost::Status(status.as_u16()));
        }
        if body != right {
            return Err(Lost::Wrong(format!("{} bytes", body.len())));
        }
        Ok(Some(()))
    }

    async fn connect(&self) -> io::Result<Sender> {
        let two = matches!(self.habit, Habit::Two);
        let io = TokioIo::new(self.tls(if two { &self.h2 } else { &self.h1 }).await?);
        Ok(if two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::One(sender)
        })
    }

    async fn tls(&self, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
    }

    /// Sends a head by hand; returns the connection and what came after the head of the answer.
    async fn begin(
        &self,
        head: &str,
        status: u16,
    ) -> Result<(TlsStream<TcpStream>, Vec<u8>), Lost> {
        let opened = self.tls(&self.h1).await;
        let mut stream = opened.map_err(|error| Lost::Refused(error.to_string()))?;
        send(&mut stream, head.as_bytes()).await?;
        let rest = answered(&mut stream, status).await?;
        Ok((stream, rest))
    }

    async fn events(&self) -> Result<(), Lost> {
        let head = format!(
            "GET /live/events HTTP/1.1\r\nhost: {HOST}\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n"
        );
        let (mut stream, mut text) = self.begin(&head, 200).await?;
        // A server that ends without a goodbye of TLS has said the end of the body before.
        let _ended = stream.read_to_end(&mut text).await;
        let events = String::from_utf8_lossy(&text).matches(EVENT).count();
        if events == EVENTS {
            Ok(())
        } else {
            Err(Lost::Short(format!("{events} events")))
        }
    }

    async fn socket(&self) -> Result<(), Lost> {
        let head = format!(
            "GET /live/socket HTTP/1.1\r\nhost: {HOST}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let (mut stream, _) = self.begin(&head, 101).await?;
        for number in 0..MESSAGES {
            // A text frame of eight bytes under a mask of zeros.
            let text = format!("{number:08}");
            let frame = [&[0x81, 0x88, 0, 0, 0, 0], text.as_bytes()].concat();
            send(&mut stream, &frame).await?;
            let mut back = vec![0; frame.len()];
            let read = stream.read_exact(&mut back).await;
            read.map_err(|error| Lost::Short(format!("message {number}: {error}")))?;
            if back != frame {
                return Err(Lost::Wrong("another message".into()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn upload(&self, bytes: usize) -> Result<(), Lost> {
        let piece = vec![b'x'; bytes / PIECES];
        let length = piece.len() * PIECES;
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let opened = self.tls(&self.h1).await;
        let mut stream = opened.map_err(|error| Lost::Refused(error.to_string()))?;
        send(&mut stream, head.as_bytes()).await?;
        for _ in 0..PIECES {
            send(&mut stream, &piece).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut text = answered(&mut stream, 200).await?;
        let _ended = stream.read_to_end(&mut text).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains(&length.to_string()) {
            Ok(())
        } else {
            Err(Lost::Wrong(text))
        }
    }
}

/// RFC 9113, 6.8: the server has said goodbye, and this request was never sent. Who gets that asks on another
/// connection, as every browser does; a request that was sent is to be answered all the same.
fn was_told_to_go(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.is_some_and(|error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

async fn send(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> Result<(), Lost> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error: io::Error| Lost::Reset(error.to_string()))
}

/// Reads the head of an answer; returns what came after it.
async fn answered(stream: &mut TlsStream<TcpStream>, status: u16) -> Result<Vec<u8>, Lost> {
    let mut text = Vec::new();
    loop {
        if let Some(end) = text.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let found = text
                .get(9..12)
                .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
            let found: u16 = found.unwrap_or_default();
            if found != status {
                return Err(Lost::Status(found));
            }
            return Ok(text.split_off(end + 4));
        }
        match stream.read_buf(&mut text).await {
            Ok(1..) => {}
            Ok(0) => return Err(Lost::Reset("no answer".into())),
            Err(error) => return Err(Lost::Reset(error.to_string())),
        }
    }
}
