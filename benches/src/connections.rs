//! `connections`: what does a client cost before it asks, and while it asks nothing?
//!
//! Bytes and round trips of a handshake, the server's CPU for a new and for a resumed one, and its
//! memory per idle connection that has asked once. One client at a time, by hand, on the load's core:
//! what is compared is the server's work, and that does not depend on how fast the client is.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use serde::Serialize;

use crate::case::{Protocol, Size, What};
use crate::error::BenchError;
use crate::ground::{Ground, HOST};
use crate::memory;
use crate::peers::{Peer, Place, Server};
use crate::visit::alpn;

/// Longer than any answer takes; a server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the server still does after the last client has gone.
const SETTLE: Duration = Duration::from_millis(300);

/// How the question is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Idle connections.
    pub idle: usize,
    /// Handshakes of each kind.
    pub handshakes: usize,
    /// The edge's binary, if it is not to be built.
    pub edge: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Idle connections.
    pub idle: usize,
    /// Handshakes of each kind.
    pub handshakes: usize,
    /// Whether the edge was built without optimisation: then its figures are not for keeping.
    pub debug: bool,
    /// Who took part.
    pub peers: Vec<PeerReport>,
}

/// One server.
#[derive(Debug, Clone, Serialize)]
pub struct PeerReport {
    /// Who.
    pub peer: Peer,
    /// A new handshake with a browser: X25519MLKEM768, brotli, ALPN.
    pub new: Handshake,
    /// A resumed one.
    pub resumed: Handshake,
    /// Memory per idle HTTP/1.1 connection, in bytes.
    pub idle_h1_bytes: u64,
    /// Memory per idle HTTP/2 connection, in bytes.
    pub idle_h2_bytes: u64,
}

/// What a handshake takes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Handshake {
    /// From the client to the server.
    pub sent_bytes: usize,
    /// From the server to the client.
    pub received_bytes: usize,
    /// Until the client may ask, without TCP's own.
    pub round_trips: usize,
    /// CPU of the server for it and one request, in microseconds.
    pub cpu_us: f64,
}

/// Measures the edge and nginx.
///
/// # Errors
/// When a server does not start or does not answer as it must.
pub fn measure(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).map_err(|error| BenchError::Io {
        what: "the limit of open files".to_owned(),
        source: error.into(),
    })?;
    let place = Place::on(Ground::new()?, options.edge.as_deref())?;
    let mut peers = Vec::new();
    for peer in [Peer::Edge, Peer::Nginx] {
        if let Err(error) = peer.installed() {
            tell(&format!("NOTE: measured without {}: {error}", peer.name()));
            continue;
        }
        peers.push(of_peer(peer, &place, options, tell)?);
    }
    Ok(Report {
        idle: options.idle,
        handshakes: options.handshakes,
        debug: cfg!(debug_assertions) && options.edge.is_none(),
        peers,
    })
}

fn of_peer(
    peer: Peer,
    place: &Place,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> Result<PeerReport, BenchError> {
    // Each figure of a server that has just started: what one left behind would help the next.
    let of_new = |of: &mut dyn FnMut(&Server) -> io::Result<()>| {
        let server = peer.start(place)?;
        let asked = config(&place.ground, Protocol::H1)
            .and_then(|client| ready(server.address, &client))
            .and_then(|()| of(&server));
        let said = || format!("{}:\n{}", peer.name(), server.process.said());
        asked.map_err(|error| BenchError::io(said())(error))
    };
    let mut report = PeerReport {
        peer,
        new: Handshake::default(),
        resumed: Handshake::default(),
        idle_h1_bytes: 0,
        idle_h2_bytes: 0,
    };
    of_new(&mut |server| {
        let stranger = || config(&place.ground, Protocol::H1);
        report.new = handshakes(server, options.handshakes, stranger)?;
        let pupil = config(&place.ground, Protocol::H1)?;
        Link::open(server.address, &pupil)?.ask(Protocol::H1)?;
        report.resumed = handshakes(server, options.handshakes, || Ok(Arc::clone(&pupil)))?;
        Ok(())
    })?;
    of_new(&mut |server| {
        report.idle_h1_bytes = idle(server, &place.ground, Protocol::H1, options.idle)?;
        Ok(())
    })?;
    of_new(&mut |server| {
        report.idle_h2_bytes = idle(server, &place.ground, Protocol::H2, options.idle)?;
        Ok(())
    })?;
    tell(&format!(
        "{}: {:.0} us of CPU per new handshake and request, {:.0} resumed",
        peer.name(),
        report.new.cpu_us,
        report.resumed.cpu_us
    ));
    Ok(report)
}

/// Memory for each connection that has asked once.
fn idle(server: &Server, ground: &Ground, protocol: Protocol, count: usize) -> io::Result<u64> {
    let client = config(ground, protocol)?;
    let before = memory::resident(server.process.id());
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut link = Link::open(server.address, &client)?;
        link.ask(protocol)?;
        held.push(link);
    }
    std::thread::sleep(SETTLE);
    let after = memory::resident(server.process.id());
    Ok(after.saturating_sub(before) / count.max(1) as u64)
}

/// Asks until the server answers.
fn ready(address: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<()> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let asked = Link::open(address, client).and_then(|mut link| link.ask(Protocol::H1));
        match asked {
            Ok(()) => return Ok(()),
            Err(error) if std::time::Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn handshakes(
    server: &Server,
    count: usize,
    client: impl Fn() -> io::Result<Arc<ClientConfig>>,
) -> io::Result<Handshake> {
    let mut seen = Handshake::default();
    let before = server.process.cpu();
    for _ in 0..count {
        let mut link = Link::open(server.address, &client()?)?;
        // New tickets come with the answer: each of them is good for one handshake.
        link.ask(Protocol::H1)?;
        seen = link.seen;
    }
    std::thread::sleep(SETTLE);
    let used = server.process.cpu().saturating_sub(before);
    Ok(Handshake {
        cpu_us: used.as_secs_f64() * 1e6 / count.max(1) as f64,
        ..seen
    })
}

/// What a browser offers today. A new one has no tickets.
fn config(ground: &Ground, protocol: Protocol) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(ground.certificate().clone())
        .map_err(io::Error::other)?;
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    };
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![alpn(protocol).to_vec()];
    client.resumption = Resumption::in_memory_sessions(16);
    Ok(Arc::new(client))
}

/// A connection.
struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    seen: Handshake,
}

impl Link {
    /// Shakes hands and counts what goes by.
    fn open(address: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(client), name).map_err(io::Error::other)?;
        let mut seen = Handshake::default();
        while tls.is_handshaking() {
            while tls.wants_write() {
                seen.sent_bytes += tls.write_tls(&mut socket)?;
            }
            if tls.is_handshaking() {
                seen.round_trips += 1;
                // One flight may come in several reads.
                while tls.is_handshaking() && !tls.wants_write() {
                    match tls.read_tls(&mut socket)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        n => seen.received_bytes += n,
                    }
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
            }
        }
        while tls.wants_write() {
            seen.sent_bytes += tls.write_tls(&mut socket)?;
        }
        Ok(Self { socket, tls, seen })
    }

    /// Asks for a small file and reads the answer, tickets included.
    fn ask(&mut self, protocol: Protocol) -> io::Result<()> {
        let size = Size::ALL[0];
        let path = What::File.path(size);
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        match protocol {
            Protocol::H1 => {
                write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
            }
            Protocol::H2 => stream.write_all(&h2_request(path))?,
        }
        stream.flush()?;
        let mut got = Vec::new();
        let mut buffer = [0; 16 << 10];
        while got.len() < size.bytes() {
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => got.extend_from_slice(&buffer[..n]),
            }
            // Another answer is shorter than what is waited for.
            if protocol == Protocol::H1 && !got.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other("the answer is no 200"));
            }
        }
        if self.tls.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest) {
            return Err(io::Error::other("the handshake took a round trip more"));
        }
        Ok(())
    }
}

/// Preface, settings and one request, without a table and without Huffman.
fn h2_request(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap_or(0));
            block.extend(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([
        0,
        0,
        u8::try_from(block.len()).unwrap_or(0),
        1,
        5,
        0,
        0,
        0,
        1,
    ]);
    bytes.extend(block);
    bytes
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} handshakes of each kind, {} idle connections{}\n\n",
            self.handshakes,
            self.idle,
            if self.debug { "; a DEBUG build" } else { "" }
        );
        let mut line = |what: &str, of: &dyn Fn(&PeerReport) -> f64| {
            let _ = write!(text, "{what:<40}");
            for peer in &self.peers {
                let _ = write!(text, "{:>7} {:<10.0}", peer.peer.name(), of(peer));
            }
            if let [edge, nginx] = self.peers.as_slice() {
                let _ = write!(text, "{:.2} x", of(edge) / of(nginx).max(1e-9));
            }
            text.push('\n');
        };
        for (kind, of) in [
            ("new", (|peer| peer.new) as fn(&PeerReport) -> Handshake),
            ("resumed", |peer| peer.resumed),
        ] {
            line(&format!("{kind}: bytes to the server"), &|peer| {
                of(peer).sent_bytes as f64
            });
            line(&format!("{kind}: bytes to the client"), &|peer| {
                of(peer).received_bytes as f64
            });
            line(&format!("{kind}: round trips"), &|peer| {
                of(peer).round_trips as f64
            });
            line(&format!("{kind}: CPU, us"), &|peer| of(peer).cpu_us);
            line(&format!("{kind}: per second and core"), &|peer| {
                1e6 / of(peer).cpu_us.max(1e-9)
            });
        }
        line("idle HTTP/1.1 connection, bytes", &|peer| {
            peer.idle_h1_bytes as f64
        });
        line("idle HTTP/2 connection, bytes", &|peer| {
            peer.idle_h2_bytes as f64
        });
        text
    }
}
