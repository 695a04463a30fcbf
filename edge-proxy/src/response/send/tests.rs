//! Through pingora's own sessions, in memory: what a client reads is what was to be sent.

use std::collections::HashMap;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method, Request};
use pingora_core::apps::ServerApp as _;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, http_proxy};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::response::conditional::ETag;
use crate::response::negotiate::Coding;
use crate::response::represent::{Representation, Source};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers from memory or from a file, by path.
struct House {
    things: HashMap<&'static str, Representation<Bytes>>,
    files: HashMap<&'static str, (Arc<File>, u64)>,
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

fn source(tag: &str, bytes: &Bytes) -> Source<Bytes> {
    let tag = http::HeaderValue::from_str(tag).expect("a field value");
    Source {
        etag: ETag::parse(&tag),
        bytes: bytes.len() as u64,
        at: bytes.clone(),
    }
}

fn house() -> House {
    let sizes = [
        ("/empty", 0),
        ("/1k", 1 << 10),
        ("/40k", 40 << 10),
        ("/300k", 300 << 10),
    ];
    let things = sizes.into_iter().map(|(path, length)| {
        let encoded = vec![(Coding::Br, source("\"x-br\"", &bytes(length / 2)))];
        let whole = source("\"x\"", &bytes(length));
        (
            path,
            Representation::complete(HeaderMap::new(), whole, encoded),
        )
    });
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes(1 << 20)).expect("written");
    let file = Arc::new(file);
    House {
        things: things.collect(),
        // The second one claims more than there is, as if it had been cut while it was sent.
        files: HashMap::from([
            ("/file", (Arc::clone(&file), 1 << 20)),
            ("/cut", (file, (1 << 20) + 1)),
        ]),
    }
}

#[async_trait]
impl ProxyHttp for House {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "everything is answered here")
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        session.set_keepalive(Some(60));
        session.set_write_timeout(Some(Duration::from_millis(200)));
        let request = session.req_header();
        let path = request.uri.path();
        let reply = if let Some(thing) = self.things.get(path) {
            thing.answer(&request.method, &request.headers).into()
        } else {
            let (file, length) = &self.files[path];
            let whole = Source {
                etag: None,
                bytes: *length,
                at: (),
            };
            let thing = Representation::complete(HeaderMap::new(), whole, Vec::new());
            let answer = thing.answer(&request.method, &request.headers);
            let body = answer.content.map_or(Body::Empty, |content| {
                Body::of_file(Arc::clone(file), content.cut)
            });
            Reply {
                header: answer.header,
                body,
            }
        };
        send(session, reply).await?;
        Ok(true)
    }
}

/// A pipe that says which protocol was agreed on.
#[derive(Debug)]
struct Pipe(DuplexStream, ALPN);

#[async_trait]
impl Shutdown for Pipe {
    async fn shutdown(&mut self) {
        // The other end learns from the drop.
    }
}
impl UniqueID for Pipe {
    fn id(&self) -> UniqueIDType {
        0
    }
}
impl Ssl for Pipe {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(self.1.clone())
    }
}
impl GetTimingDigest for Pipe {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}
impl GetProxyDigest for Pipe {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}
impl GetSocketDigest for Pipe {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
impl Peek for Pipe {}
impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}
impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The client's end of a connection to the house.
fn connect(protocol: ALPN) -> DuplexStream {
    let (ours, theirs) = duplex(16 << 10);
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), house()));
    tokio::spawn(async move {
        let (_hold, shutdown) = watch::channel(false);
        let mut stream: Box<dyn pingora_core::protocols::IO> = Box::new(Pipe(theirs, protocol));
        while let Some(next) = proxy.process_new(stream, &shutdown).await {
            stream = next;
        }
    });
    ours
}

#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    /// HTTP/2: the header ended the stream. HTTP/1: always false.
    ended_on_header: bool,
}

type Fields = &'static [(&'static str, &'static str)];

async fn over_h1(client: &mut DuplexStream, method: &Method, path: &str, fields: Fields) -> Seen {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    client.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("a header"));
    }
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .expect("a status line");
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            (
                http::HeaderName::try_from(name).expect("a name"),
                http::HeaderValue::from_str(value).expect("a value"),
            )
        })
        .collect();
    let status: u16 = status.parse().expect("a number");
    let bodiless = method == Method::HEAD || status == 304;
    let length = match headers.get("content-length") {
        Some(length) if !bodiless => length.to_str().expect("text").parse().expect("a number"),
        _ => 0,
    };
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.expect("the whole body");
    Seen {
        status,
        headers,
        body,
        ended_on_header: false,
    }
}

async fn over_h2(
    client: &h2::client::SendRequest<Bytes>,
    method: &Method,
    path: &str,
    fields: Fields,
) -> Result<Seen, h2::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://a.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let mut client = client.clone().ready().await?;
    let (parts, mut stream) = client.send_request(request, true)?.0.await?.into_parts();
    let ended_on_header = stream.is_end_stream();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    Ok(Seen {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        ended_on_header,
    })
}

async fn h2_client() -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(connect(ALPN::H2))
        .await
        .expect("a session");
    tokio::spawn(connection);
    client
}

/// Method, path, request fields, status, content length as it is said, body.
type Row = (Method, &'static str, Fields, u16, Option<usize>, Bytes);

fn table() -> Vec<Row> {
    let get = |path, fields: Fields, status, body: Bytes| {
        (Method::GET, path, fields, status, Some(body.len()), body)
    };
    let none = Bytes::new;
    let mut table = Vec::new();
    for (path, length) in [
        ("/empty", 0),
        ("/1k", 1 << 10),
        ("/40k", 40 << 10),
        ("/300k", 300 << 10),
    ] {
        let fields: Fields = &[("accept-encoding", "br")];
        table.push(get(path, &[], 200, bytes(length)));
        table.push(get(path, fields, 200, bytes(length / 2)));
        table.push((Method::HEAD, path, fields, 200, Some(length / 2), none()));
        table.push((
            Method::GET,
            path,
            &[("if-none-match", "\"x\"")],
            304,
            None,
            none(),
        ));
    }
    let file = bytes(1 << 20);
    table.push(get(
        "/1k",
        &[("range", "bytes=100-299")],
        206,
        bytes(1 << 10).slice(100..300),
    ));
    table.push(get(
        "/300k",
        &[("range", "bytes=5-")],
        206,
        bytes(300 << 10).slice(5..),
    ));
    table.push(get("/1k", &[("range", "bytes=5000-")], 416, none()));
    table.push(get("/1k", &[("if-match", "\"y\"")], 412, none()));
    table.push(get("/file", &[], 200, file.clone()));
    table.push(get(
        "/file",
        &[("range", "bytes=131071-400000")],
        206,
        file.slice(131_071..400_001),
    ));
    table.push((Method::HEAD, "/file", &[], 200, Some(1 << 20), none()));
    table
}

fn check(seen: &Seen, status: u16, length: Option<usize>, body: &[u8]) {
    assert_eq!(seen.status, status);
    assert!(
        seen.body == body,
        "{} bytes instead of {}",
        seen.body.len(),
        body.len()
    );
    let said = seen
        .headers
        .get("content-length")
        .map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(said, length.map(|length| length.to_string()));
}

#[tokio::test]
async fn every_answer_is_exact_over_http_1_on_one_connection() {
    let mut client = connect(ALPN::H1);
    for (method, path, fields, status, length, body) in table() {
        let asked = over_h1(&mut client, &method, path, fields);
        let seen = timeout(PATIENCE, asked).await.expect("an answer");
        check(&seen, status, length, &body);
        assert_eq!(seen.headers["connection"], "keep-alive", "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_is_exact_over_http_2_and_an_empty_one_ends_on_its_header() {
    let client = h2_client().await;
    for (method, path, fields, status, length, body) in table() {
        let asked = over_h2(&client, &method, path, fields);
        let seen = timeout(PATIENCE, asked)
            .await
            .expect("in time")
            .expect("an answer");
        check(&seen, status, length, &body);
        assert_eq!(
            seen.ended_on_header,
            body.is_empty(),
            "{method} {path} {fields:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_was_cut_is_never_taken_for_whole() {
    let client = h2_client().await;
    let cut = over_h2(&client, &Method::GET, "/cut", &[]);
    assert!(
        timeout(PATIENCE, cut).await.expect("in time").is_err(),
        "the stream is reset"
    );

    let mut client = connect(ALPN::H1);
    let request = b"GET /cut HTTP/1.1\r\nhost: a.test\r\n\r\n";
    client.write_all(request).await.expect("sent");
    let mut all = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut all)).await;
    read.expect("the connection is closed").expect("read");
    let end = b"\r\n\r\n";
    let header = all
        .windows(4)
        .position(|four| four == end)
        .expect("a header")
        + 4;
    assert!(all.len() - header < (1 << 20) + 1, "as long as it said");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go() {
    let mut client = connect(ALPN::H1);
    let request = b"GET /file HTTP/1.1\r\nhost: a.test\r\n\r\n";
    client.write_all(request).await.expect("sent");
    // Nothing is read until the house has given up and dropped its end.
    let gone = async {
        while client.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone)
        .await
        .expect("the write timeout ends it");
    let mut all = Vec::new();
    client
        .read_to_end(&mut all)
        .await
        .expect("what was in the pipe");
    assert!(all.len() < 1 << 20);
}
