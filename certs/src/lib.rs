//! The certificates of the edge.
//!
//! A folder of PEM pairs becomes a [`CertStore`]: it answers SNI without allocating, is watched while it is in use, and
//! never lets a bad certificate replace a good one. [`Tickets`] makes and opens session tickets under keys that turn.
//! [`server_config`] joins both into what a TLS listener needs.
//!
//! ```text
//!   folder     -> identity   -> store      -> server
//!   pairs and     chain, key,   by name,      rustls::ServerConfig,
//!   bytes         names, dates  swapped       with tickets
//!                 or a Fault    whole
//! ```
//!
//! Not here: HTTP, sockets, routing. Nothing in this crate logs; what went wrong is a value ([`Problem`]), and no value
//! holds key material or text taken from a file.

mod error;
mod folder;
mod identity;
mod name;
mod server;
mod store;
mod tickets;
mod watch;

use std::sync::Arc;
use std::time::SystemTime;

pub use error::{CertError, Fault, Problem};
pub use identity::CertInfo;
pub use server::{ServerOptions, server_config};
pub use store::{CertStore, Report};
pub use tickets::{TICKET_KEY_PERIOD, Tickets};
pub use watch::Watch;

/// Where this crate reads the time, so that tests can move it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}
