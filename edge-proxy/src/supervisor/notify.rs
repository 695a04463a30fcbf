//! What systemd is told (`sd_notify(3)`): ready, stopping, and that it still works.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;

/// The service manager, if one waits to be told.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment names it.
    pub(super) fn of_environment() -> Self {
        let connected = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let name = name.as_bytes();
            let address = match name.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            // A manager that does not read must not hold us up.
            socket.set_nonblocking(true).ok()?;
            Some(Arc::new(socket))
        });
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let limit = std::env::var("WATCHDOG_USEC").ok();
        let limit = limit
            .and_then(|micros| micros.parse().ok())
            .filter(|_| ours);
        Self {
            socket: connected,
            watchdog: limit.map(Duration::from_micros),
        }
    }

    /// It serves.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says that it works as long as it does, twice as often as is asked: a worker that is being replaced is no
    /// fault, one that does not answer is.
    pub(super) async fn watch(&self, shared: &Shared) {
        let Some(limit) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
        loop {
            ticks.tick().await;
            let works = match shared.in_charge() {
                Some(worker) => worker.facts().await.is_ok(),
                None => true,
            };
            if works {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            tracing::warn!(%error, "the service manager could not be told: {what}");
        }
    }
}
