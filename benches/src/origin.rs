//! The application behind the peers: as cheap as it can be, since it shares the core of the load.
//!
//! It knows no more of HTTP than its callers need: requests without a body, kept connections, and
//! answers that were made before.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::case::{Size, What};
use crate::error::BenchError;
use crate::ground::Ground;

/// The longest header of a request that is expected here.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Longer than any run: what is stored in the first second stays a hit.
const FRESH_S: u32 = 86_400;
/// Where the edge asks whose credentials these are.
pub(crate) const SESSION: &str = "/api/v1/me";
/// One answer for everything below, which has a tag.
pub(crate) const ITEMS: &str = "/api/v1/items/";

/// An item of a list.
const ITEM_BYTES: usize = 200;

/// The running origin; it ends when it is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    answers: Arc<Answers>,
    _stop: oneshot::Sender<()>,
}

type Answers = BTreeMap<&'static str, Answer>;

struct Answer {
    wire: Bytes,
    asked: AtomicU64,
}

impl Origin {
    /// Starts it on a thread of its own, on the core of the thread that calls this.
    pub(crate) fn start(ground: &Ground) -> Result<Self, BenchError> {
        let broken = || BenchError::io("the origin cannot be started");
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(broken())?;
        listener.set_nonblocking(true).map_err(broken())?;
        let address = listener.local_addr().map_err(broken())?;
        let answers = Arc::new(answers(ground));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(broken())?;
        let known = Arc::clone(&answers);
        std::thread::Builder::new()
            .name("origin".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        _ = accept(listener, known) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(broken())?;
        Ok(Self {
            address,
            answers,
            _stop: stop,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for a path.
    pub(crate) fn asked(&self, path: &str) -> u64 {
        let asked = |answer: &Answer| answer.asked.load(Ordering::Relaxed);
        self.answers.get(path).map_or(0, asked)
    }
}

fn answers(ground: &Ground) -> Answers {
    let made = |fields: String, body: &[u8]| {
        let header = format!(
            "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n",
            body.len()
        );
        Answer {
            wire: [header.as_bytes(), body].concat().into(),
            asked: AtomicU64::new(0),
        }
    };
    let mut answers = Answers::new();
    let healthy = "content-type: text/plain\r\ncache-control: no-store\r\n".to_owned();
    answers.insert("/up", made(healthy, b"up"));
    let json = |more: &str| {
        format!(
            "content-type: application/json\r\ncache-control: public, max-age={FRESH_S}\r\n{more}\r\n"
        )
    };
    let session = "content-type: application/json\r\ncache-control: no-store\r\n".to_owned();
    answers.insert(
        SESSION,
        made(session, br#"{"id":"7","school":{"id":"bench"}}"#),
    );
    let tagged = json("x-edge-cache-scope: public\r\nxkey: items");
    answers.insert(ITEMS, made(tagged, &[b'a'; ITEM_BYTES]));
    for size in Size::ALL {
        for (what, scope) in [(What::Json, "public"), (What::Tenant, "tenant")] {
            let path = what.path(size);
            let fields = json(&format!("x-edge-cache-scope: {scope}"));
            answers.insert(path, made(fields, &ground.body(path)));
        }
        let path = What::Pass.path(size);
        let fields = "content-type: application/octet-stream\r\ncache-control: no-store\r\n";
        answers.insert(path, made(fields.to_owned(), &ground.body(path)));
    }
    answers
}

async fn accept(listener: StdListener, answers: Arc<Answers>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(converse(stream, Arc::clone(&answers)));
    }
}

async fn converse(mut stream: TcpStream, answers: Arc<Answers>) -> io::Result<()> {
    const UNKNOWN: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let mut request = Vec::with_capacity(2048);
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut request).await?;
            if read == 0 || request.len() > HEADER_BYTES_MAX {
                return Ok(());
            }
        }
        match path(&request).and_then(|path| answers.get(one_of(path))) {
            Some(answer) => {
                answer.asked.fetch_add(1, Ordering::Relaxed);
                stream.write_all(&answer.wire).await?;
            }
            None => stream.write_all(UNKNOWN).await?,
        }
        request.clear();
    }
}

/// Items are answered alike.
fn one_of(path: &str) -> &str {
    if path.starts_with(ITEMS) { ITEMS } else { path }
}

fn path(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    str::from_utf8(line).ok()?.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_second_word() {
        assert_eq!(path(b"GET /up HTTP/1.1\r\nhost: a\r\n\r\n"), Some("/up"));
        assert_eq!(path(b"GET"), None);
        assert_eq!(path(b"\xff\xff /up"), None);
    }
}
