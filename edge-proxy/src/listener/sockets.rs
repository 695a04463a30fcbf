//! The one place where listening sockets come from, and the switch that ends accepting.
//!
//! A socket is inherited from systemd (`LISTEN_FDS`, matched by its address) or bound. Issue of
//! order: inherited sockets are taken once, at start, before any thread exists that could fork.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

/// Connections that the kernel keeps until it is told the number of the config.
const BACKLOG: i32 = 4096;
/// The first descriptor that systemd passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: i32 = 3;
/// More than any config has listeners.
const LISTEN_FDS_MAX: i32 = 64;

/// Listening sockets and the drain switch.
#[derive(Debug)]
pub struct Sockets {
    inherited: HashMap<SocketAddr, TcpListener>,
    drain: watch::Sender<bool>,
}

impl Sockets {
    /// Without inherited sockets.
    pub fn new() -> Self {
        Self {
            inherited: HashMap::new(),
            drain: watch::Sender::new(false),
        }
    }

    /// With the sockets that systemd passed to this process, if any.
    ///
    /// # Errors
    /// When a passed descriptor is not a listening TCP socket.
    pub fn inherit() -> io::Result<Self> {
        let mut sockets = Self::new();
        let ours =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let count: i32 = match std::env::var("LISTEN_FDS") {
            Ok(count) if ours => count.parse().map_err(io::Error::other)?,
            _ => 0,
        };
        if count > LISTEN_FDS_MAX {
            return Err(io::Error::other(format!(
                "LISTEN_FDS is {count}, more than {LISTEN_FDS_MAX}"
            )));
        }
        for fd in LISTEN_FDS_START..LISTEN_FDS_START + count {
            let listener = TcpListener::from(adopt(fd)?);
            sockets.inherited.insert(listener.local_addr()?, listener);
        }
        Ok(sockets)
    }

    /// The listening socket for `address`, inherited or bound now.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = match self.inherited.remove(&address) {
            Some(listener) => listener,
            None => bind(address)?,
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Turns true once, when no more connections are to be accepted.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }

    /// No more connections.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }
}

impl Default for Sockets {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    unsafe_code,
    reason = "a descriptor that systemd passes is a number; only this can own it"
)]
fn adopt(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: sd_listen_fds(3) promises that the descriptors from 3 on are open and ours alone, and
    // `Sockets::inherit` is called once, before anything else could have taken them.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
