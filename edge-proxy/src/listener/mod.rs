//! From a listening socket to a connection that HTTP can run on.
//!
//! Knows sockets and bytes; which certificate answers is the business of [`crate::tls`], what a
//! request means that of the rooms behind it. pingora's own listeners cannot set tickets, gather
//! writes or bound a header's time, and its `Server` owns signals and sleeps its grace in full, so
//! the accept loop and the drain are here and hand each request of a connection to pingora.

mod arrivals;
mod connection;
pub mod frames;
mod h1;
mod h2;
pub mod pace;
mod peer;
pub mod proxy_protocol;
mod room;
mod sockets;
pub(crate) mod tcp;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use pingora_core::apps::HttpServerApp;
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::config::checked::Limits;
use crate::metrics::Metrics;
use crate::tls::Handshake;

pub(crate) use self::arrivals::Network;
use self::arrivals::{Arrival, Arrivals, Patience};
use self::connection::Connection;
use self::frames::FrameLimits;
use self::h1::Stay;
use self::peer::{Agreed, ReadLimits};
pub use self::peer::{Peer, Surface};
use self::room::Room;
pub use self::sockets::Sockets;
pub(crate) use self::sockets::{LISTEN_FDS_START, close_passed, copy_of_passed};
pub(crate) use self::wire::Wire;

/// After `accept` fails (no descriptors left) the next try waits: a busy loop would make it worse.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every surface shares: limits, the count of connections, the drain.
pub struct Front<A> {
    /// The HTTP side.
    pub app: Arc<A>,
    /// The handshake of the public surface.
    pub handshake: Handshake,
    /// Turns true when the edge drains.
    pub draining: watch::Receiver<bool>,
    /// Load balancers that say whose connection it is.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Bounds.
    pub limits: Limits,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Open connections.
    pub connections: Arc<Connections>,
}

/// How many connections are open, the news that one has closed, and who may come in.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    closed: Notify,
    dismissed: watch::Sender<bool>,
    arrivals: Arc<Arrivals>,
    room: Arc<Room>,
}

impl Connections {
    /// None is open yet.
    pub fn new(limits: &Limits) -> Self {
        let patience = Patience {
            burst: limits.incomplete_burst,
            per_s: limits.incomplete_per_s,
        };
        Self {
            open: AtomicUsize::new(0),
            closed: Notify::new(),
            dismissed: watch::Sender::new(false),
            arrivals: Arrivals::new(patience, limits.handshakes_max),
            room: Room::new(),
        }
    }

    /// How many handshakes are under way now.
    pub fn handshakes(&self) -> usize {
        self.arrivals.handshakes()
    }

    /// How many are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends those that wait for a request.
    pub fn dismiss(&self) {
        self.dismissed.send_replace(true);
    }

    /// Returns when none is open.
    pub async fn none_left(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }
}

/// One open connection, counted while it lives.
struct Open(Arc<Connections>);

impl Open {
    /// None: there is no room, and nobody waits who could make it. `shed`: those who leave for it are counted.
    fn count(connections: &Arc<Connections>, max: usize, shed: &Counter) -> Option<Self> {
        let open = Self(Arc::clone(connections));
        let before = connections.open.fetch_add(1, Ordering::Relaxed);
        if before < max {
            return Some(open);
        }
        let above = Room::above(max);
        let left = connections.room.make(above).inspect(|&left| {
            shed.inc_by(left as u64);
        });
        (left != Some(0) && before < max + above).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.closed.notify_waiters();
    }
}

impl<A: HttpServerApp + Send + Sync + 'static> Front<A> {
    /// Accepts until the drain.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub async fn accept(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        surface: Surface,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let mut draining = self.draining.clone();
        loop {
            tokio::select! {
                biased;
                () = async { drop(draining.wait_for(|draining| *draining).await) } => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.serve(stream, address, surface),
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, surface: Surface) {
        let (max, shed) = (self.limits.connections_max, &self.metrics.connections_shed);
        let Some(open) = Open::count(&self.connections, max, shed) else {
            self.metrics.malformed("too_many_connections");
            return;
        };
        self.metrics.connections.inc();
        let front = Arc::clone(self);
        // The watch is cloned before the handshake: a connection that finishes it after the switch
        // must still see the change.
        let shutdown = self.draining.clone();
        tokio::spawn(async move {
            let _open = open;
            match front.open(stream, address, surface).await {
                Ok(connection) if connection.is_h2() => {
                    let stream = Box::new(connection);
                    let seat = front.connections.room.sit();
                    h2::serve(&front.app, stream, &shutdown, front.limits.h2_idle, seat).await;
                }
                Ok(connection) => {
                    let stay = Stay {
                        keep_alive: front.limits.keep_alive,
                        dismissed: front.connections.dismissed.subscribe(),
                        seat: front.connections.room.sit(),
                    };
                    h1::serve(&front.app, Box::new(connection), &shutdown, stay).await;
                }
                Err(error) => debug!(%error, "a connection ended before its first request"),
            }
            front.metrics.connections.dec();
        });
    }

    async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        surface: Surface,
    ) -> io::Result<Connection> {
        let (stream, address) = self.introduced(stream, address).await?;
        let arrivals = &self.connections.arrivals;
        let arrival = arrivals
            .arrive(address.ip(), Instant::now())
            .ok_or_else(|| self.turned_away("too_many_without_request"))?;
        let wire = Wire::new(stream, self.limits.write);
        if surface != Surface::Public {
            let peer = self.peer(address, surface, Agreed::default(), arrival);
            return Connection::plain(wire, peer);
        }
        let shaking = arrivals
            .shake()
            .ok_or_else(|| self.turned_away("too_many_handshakes"))?;
        let shaken = self
            .handshake
            .accept(wire, self.limits.handshake, &self.metrics)
            .await?;
        drop(shaking);
        let agreed = Agreed {
            sni: shaken.sni,
            h2: shaken.h2,
            version: shaken.version,
        };
        Connection::tls(shaken.stream, self.peer(address, surface, agreed, arrival))
    }

    /// Behind a load balancer, the client's own address.
    async fn introduced(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let balancer = address.ip().to_canonical();
        let mut from = self.proxy_protocol_from.iter();
        if !from.any(|network| network.contains(&balancer)) {
            return Ok((stream, address));
        }
        let reading = proxy_protocol::read(&mut stream);
        match tokio::time::timeout(self.limits.handshake, reading).await {
            Ok(Ok(source)) => Ok((stream, source.unwrap_or(address))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.turned_away("bad_proxy_header"))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.turned_away("proxy_header_too_slow")),
        }
    }

    fn peer(
        &self,
        address: SocketAddr,
        surface: Surface,
        agreed: Agreed,
        arrival: Arrival,
    ) -> Arc<Peer> {
        let limits = ReadLimits {
            header: self.limits.header,
            header_bytes_max: self.limits.header_bytes_max,
            body_idle: self.limits.body_idle,
            body_bytes_per_s_min: self.limits.body_bytes_per_s_min,
            frames: FrameLimits {
                resets: self.limits.h2_resets_max,
                control: self.limits.h2_control_max,
            },
        };
        let metrics = Arc::clone(&self.metrics);
        Arc::new(Peer::new(
            address, surface, agreed, limits, arrival, metrics,
        ))
    }

    fn turned_away(&self, reason: &'static str) -> io::Error {
        self.metrics.malformed(reason);
        io::Error::other(reason)
    }
}
