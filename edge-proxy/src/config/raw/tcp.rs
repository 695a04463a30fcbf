//! What is typed of clients' TCP sockets.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::checked;

/// TCP options of clients' sockets; a change needs a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Tcp {
    /// Whether small packets go out at once.
    pub(in crate::config) nodelay: bool,
    /// What the kernel may hold that was not sent yet.
    #[schemars(range(min = 4096, max = 16_777_216))]
    pub(in crate::config) notsent_lowat_bytes: u32,
    /// The congestion control, such as `bbr`; the kernel's own by default.
    pub(in crate::config) congestion: Option<String>,
    /// Connections that wait to be accepted.
    #[schemars(range(min = 1, max = 65_535))]
    pub(in crate::config) backlog: u32,
    /// After so long without a byte a client is asked whether it is there.
    #[schemars(range(min = 1, max = 32_767))]
    pub(in crate::config) keepalive_idle_s: u32,
    /// How often it is asked again.
    #[schemars(range(min = 1, max = 32_767))]
    pub(in crate::config) keepalive_interval_s: u32,
    /// How often before it is given up.
    #[schemars(range(min = 1, max = 127))]
    pub(in crate::config) keepalive_retries: u32,
}

/// Writes are gathered here, so Nagle's algorithm could only delay the last packet of an answer.
const NODELAY: bool = true;
/// What lies in the kernel can neither be overtaken by a more urgent answer nor be taken back. As much as a link of 100 Mbit/s
/// carries in ten milliseconds, in which this process is certainly back.
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;
/// A bell at 8:00 is a burst.
const BACKLOG: u32 = 4096;
/// Dead peers behind school firewalls are noticed after about a minute and a half.
const KEEPALIVE_IDLE_S: u32 = 60;
const KEEPALIVE_INTERVAL_S: u32 = 10;
const KEEPALIVE_RETRIES: u32 = 3;

impl Default for Tcp {
    fn default() -> Self {
        Self {
            nodelay: NODELAY,
            notsent_lowat_bytes: NOTSENT_LOWAT_BYTES,
            congestion: None,
            backlog: BACKLOG,
            keepalive_idle_s: KEEPALIVE_IDLE_S,
            keepalive_interval_s: KEEPALIVE_INTERVAL_S,
            keepalive_retries: KEEPALIVE_RETRIES,
        }
    }
}

impl Tcp {
    /// What it means; whether the kernel has the congestion control is seen at the start.
    pub(in crate::config) fn checked(&self) -> checked::Tcp {
        checked::Tcp {
            nodelay: self.nodelay,
            notsent_lowat_bytes: self.notsent_lowat_bytes,
            congestion: self.congestion.clone(),
            backlog: i32::try_from(self.backlog).unwrap_or(i32::MAX),
            keepalive_idle: seconds(self.keepalive_idle_s.into()),
            keepalive_interval: seconds(self.keepalive_interval_s.into()),
            keepalive_retries: self.keepalive_retries,
        }
    }
}
