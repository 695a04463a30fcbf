//! The one place where listening sockets come from, and the switch that ends accepting.
//!
//! A socket is inherited or bound. systemd and the supervisor hand sockets over in the same way:
//! descriptors from 3 on, `LISTEN_FDS` says how many, `LISTEN_FDNAMES` may name them. They are
//! matched by their address; one whose port the system chose, by its name too. Inherited sockets are
//! taken once, at start, before anything else could have taken their numbers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::io::FdFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::watch;

/// Connections that the kernel keeps until it is told the number of the config.
const BACKLOG: i32 = 4096;
/// The first descriptor that is passed (`sd_listen_fds(3)`).
pub(crate) const LISTEN_FDS_START: i32 = 3;
/// More than any config has listeners.
const LISTEN_FDS_MAX: i32 = 64;

/// Listening sockets and the drain switch.
#[derive(Debug)]
pub struct Sockets {
    inherited: Vec<Inherited>,
    may_bind: bool,
    drain: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inherited {
    name: String,
    socket: OwnedFd,
}

impl Sockets {
    /// Without inherited sockets.
    pub fn new() -> Self {
        Self {
            inherited: Vec::new(),
            may_bind: true,
            drain: watch::Sender::new(false),
        }
    }

    /// With the sockets that systemd passed to this process, if any. Call it once.
    ///
    /// # Errors
    /// When a passed descriptor is not a listening socket.
    pub fn inherit() -> io::Result<Self> {
        let ours =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let mut sockets = Self::new();
        if ours {
            sockets.inherited = passed()?;
        }
        Ok(sockets)
    }

    /// With these sockets and their names, from whoever had them before.
    pub(crate) fn of(sockets: Vec<(String, OwnedFd)>) -> Self {
        let inherited = sockets.into_iter();
        let inherited = inherited.map(|(name, socket)| Inherited { name, socket });
        Self {
            inherited: inherited.collect(),
            ..Self::new()
        }
    }

    /// With the sockets that the supervisor passed to this worker, and no others: one that a worker
    /// bound itself could not be passed on to the next one. Call it once.
    ///
    /// # Errors
    /// When a passed descriptor is not a listening socket.
    pub fn handed() -> io::Result<Self> {
        Ok(Self {
            inherited: passed()?,
            may_bind: false,
            ..Self::new()
        })
    }

    /// The listening socket for `address`, inherited or bound now. `name` tells those apart whose
    /// port the system chose.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn listen(&mut self, name: &str, address: SocketAddr) -> io::Result<TcpListener> {
        let fits = |inherited: &Inherited| {
            let Some(at) = address_of(&inherited.socket) else {
                return false;
            };
            let chosen = address.port() == 0 && inherited.name == name && at.ip() == address.ip();
            at == address || chosen
        };
        let listener = match self.inherited.iter().position(fits) {
            Some(at) => TcpListener::from(self.inherited.swap_remove(at).socket),
            None if self.may_bind => bind(address)?,
            None => {
                return Err(io::Error::other(
                    "the running edge does not hold this socket; listeners change when the service is restarted",
                ));
            }
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// The unix socket that was passed under `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn listen_unix(&mut self, name: &str) -> io::Result<UnixListener> {
        let named = |inherited: &Inherited| inherited.name == name;
        let at = self.inherited.iter().position(named).ok_or_else(|| {
            io::Error::other(format!("no socket was passed under the name `{name}`"))
        })?;
        let listener = UnixListener::from(self.inherited.swap_remove(at).socket);
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

/// What was passed to this process.
fn passed() -> io::Result<Vec<Inherited>> {
    let Ok(count) = std::env::var("LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    let count: i32 = count.parse().map_err(io::Error::other)?;
    if count > LISTEN_FDS_MAX {
        return Err(io::Error::other(format!(
            "LISTEN_FDS is {count}, more than {LISTEN_FDS_MAX}"
        )));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    (LISTEN_FDS_START..LISTEN_FDS_START + count)
        .map(|fd| {
            let socket = adopt(fd)?;
            // What this process starts later is no business of theirs.
            rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
            if !SockRef::from(&socket).is_listener()? {
                return Err(io::Error::other(format!(
                    "the passed descriptor {fd} is no listening socket"
                )));
            }
            let name = names.next().unwrap_or_default().to_owned();
            Ok(Inherited { name, socket })
        })
        .collect()
}

/// Another descriptor of what this process was executed with.
///
/// # Errors
/// When it is not open.
#[expect(
    unsafe_code,
    reason = "a descriptor that is passed is a number; only this can borrow it"
)]
pub(crate) fn copy_of_passed(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the program before left it open for this one, and only `close_passed` closes it. A number that is not
    // open is an error of the system call.
    let passed = unsafe { BorrowedFd::borrow_raw(fd) };
    passed.try_clone_to_owned()
}

/// Closes what this process was executed with. Nothing of it is used after that.
pub(crate) fn close_passed(fd: i32) {
    drop(adopt(fd));
}

fn address_of(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).local_addr().ok()?.as_socket()
}

#[expect(
    unsafe_code,
    reason = "a descriptor that is passed is a number; only this can own it"
)]
fn adopt(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: sd_listen_fds(3) promises that the descriptors from 3 on are open and ours alone, as
    // does the supervisor, and the constructors of `Sockets` are called once, before anything else
    // could have taken them.
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
