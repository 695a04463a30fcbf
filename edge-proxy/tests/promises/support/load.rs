//! Clients without a second try: whatever goes wrong is counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{Method, Request, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::certificates::Authority;
use super::client::{Http, tls};
use super::wait::soon;

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Habit {
    /// One connection for as long as the edge lets it, with pauses.
    KeepAlive(Http),
    /// A connection for each request.
    Anew(Http),
    /// The same, and the body comes in small pieces.
    Slow(Http),
    /// A WebSocket on which every message comes back.
    Socket,
}

/// Pieces of a slow body, and messages on a WebSocket, and what is between two of them.
const PIECES: usize = 10;
const BETWEEN: Duration = Duration::from_millis(40);

/// What a request is, and the whole answer that is right.
#[derive(Debug, Clone)]
pub(crate) struct Right {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) answer: Bytes,
}

/// Clients that ask until they are stopped.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Tally>,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: usize,
    pub(crate) connections: usize,
    pub(crate) failed: Vec<String>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    /// One more client.
    pub(crate) fn add(
        &mut self,
        (address, host): (SocketAddr, &'static str),
        authority: &Authority,
        habit: Habit,
        right: Right,
    ) {
        let http = match habit {
            Habit::KeepAlive(http) | Habit::Anew(http) | Habit::Slow(http) => http,
            Habit::Socket => Http::One,
        };
        let client = Client {
            address,
            host,
            config: authority.client(&[http.alpn()]),
            habit,
            http,
            right,
        };
        self.tasks.spawn(client.run(self.stop.subscribe()));
    }

    /// How many there are.
    pub(crate) fn clients(&self) -> usize {
        self.tasks.len()
    }

    /// Lets each client finish what it asks.
    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        let mut all = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            let tally = tally.expect("no client panics");
            all.asked += tally.asked;
            all.connections += tally.connections;
            all.failed.extend(tally.failed);
        }
        all
    }
}

struct Client {
    address: SocketAddr,
    host: &'static str,
    config: Arc<ClientConfig>,
    habit: Habit,
    http: Http,
    right: Right,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// A body, at once or piece by piece.
fn body(bytes: &Bytes, slow: bool) -> Body {
    if !slow {
        return Full::new(bytes.clone()).boxed_unsync();
    }
    let size = bytes.len().div_ceil(PIECES).max(1);
    let pieces = stream::unfold(bytes.clone(), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(BETWEEN).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok(Frame::data(piece)), rest))
    });
    StreamBody::new(pieces).boxed_unsync()
}

impl Client {
    async fn run(self, stop: watch::Receiver<bool>) -> Tally {
        let mut tally = Tally::default();
        let mut open: Option<Sender> = None;
        while !*stop.borrow() {
            tally.asked += 1;
            if let Habit::Socket = self.habit {
                tally.connections += 1;
                if let Err(error) = self.talk().await {
                    let path = self.right.path;
                    tally.failed.push(format!("WebSocket {path}: {error}"));
                }
                continue;
            }
            if open.as_ref().is_none_or(|sender| !sender.is_open()) {
                tally.connections += 1;
                match self.connect().await {
                    Ok(sender) => open = Some(sender),
                    Err(error) => {
                        tally
                            .failed
                            .push(format!("{:?} connect: {error}", self.habit));
                        open = None;
                        continue;
                    }
                }
            }
            let Some(sender) = &mut open else { continue };
            if let Err(error) = self.ask(sender).await {
                if was_told_to_go(&*error) {
                    tally.asked -= 1;
                    open = None;
                    continue;
                }
                let what = format!(
                    "{:?} {} {}: {error}",
                    self.habit, self.right.method, self.right.path
                );
                tally.failed.push(what);
                open = None;
            }
            match self.habit {
                Habit::Anew(_) | Habit::Slow(_) | Habit::Socket => open = None,
                Habit::KeepAlive(_) => {
                    let pause = [0, 3, 20, 170][tally.asked % 4];
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
        tally
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = tls(self.address, self.host, Arc::clone(&self.config)).await?;
        Ok(match self.http {
            Http::One => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Http::Two => {
                let io = TokioIo::new(stream);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        })
    }

    /// Says something again and again, and hears it.
    async fn talk(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let stream = tls(self.address, self.host, Arc::clone(&self.config)).await?;
        let url = format!("wss://{}{}", self.host, self.right.path);
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        for number in 0..PIECES {
            let message = Message::text(format!("message {number}"));
            socket.send(message.clone()).await?;
            let back = soon("the echo comes", socket.next()).await;
            let back = back.ok_or("it ended before the echo")??;
            if back != message {
                return Err(format!("another message: {back:?}").into());
            }
            tokio::time::sleep(BETWEEN).await;
        }
        socket.close(None).await?;
        Ok(())
    }

    async fn ask(
        &self,
        sender: &mut Sender,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let slow = matches!(self.habit, Habit::Slow(_));
        let mut request = Request::new(body(&self.right.body, slow));
        *request.method_mut() = self.right.method.clone();
        let answer = match sender {
            Sender::One(sender) => {
                *request.uri_mut() = self.right.path.parse::<Uri>()?;
                request.headers_mut().insert("host", self.host.parse()?);
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                let uri = format!("https://{}{}", self.host, self.right.path);
                *request.uri_mut() = uri.parse::<Uri>()?;
                *request.version_mut() = Version::HTTP_2;
                sender.send_request(request).await?
            }
        };
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != 200 {
            return Err(format!("status {status}").into());
        }
        if body != self.right.answer {
            return Err(format!(
                "{} bytes, not the {} that are right",
                body.len(),
                self.right.answer.len()
            )
            .into());
        }
        Ok(())
    }
}

/// RFC 9113, 6.8: the edge has said goodbye, and this request was never sent. Who gets that asks on another connection,
/// as every browser does; a request that was sent is answered all the same.
fn was_told_to_go(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let source = error.downcast_ref::<hyper::Error>();
    let source = source.and_then(|error| std::error::Error::source(error)?.downcast_ref());
    source.is_some_and(|error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

impl Sender {
    /// Whether a browser would still ask here: what the edge has announced is known.
    fn is_open(&self) -> bool {
        match self {
            Self::One(sender) => !sender.is_closed() && sender.is_ready(),
            Self::Two(sender) => !sender.is_closed() && sender.is_ready(),
        }
    }
}
