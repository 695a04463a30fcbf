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
//! ```
//! use certs::{CertStore, ServerOptions, Tickets, server_config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let made = rcgen::generate_simple_self_signed(["north.example".to_owned(), "*.north.example".to_owned()])?;
//! std::fs::write(folder.path().join("north.crt"), made.cert.pem())?;
//! std::fs::write(folder.path().join("north.key"), made.signing_key.serialize_pem())?;
//!
//! let store = CertStore::open(folder.path())?;
//! assert!(store.covers(Some("north.example"), "library.north.example"));
//! assert!(!store.covers(Some("north.example"), "south.example"));
//!
//! let config = server_config(store.clone(), Tickets::new(), ServerOptions::default());
//! assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
//!
//! // A damaged file is named, and what was live stays live.
//! std::fs::write(folder.path().join("north.key"), "oh no")?;
//! let report = store.reload();
//! assert!(report.problems[0].kept);
//! assert!(report.problems[0].to_string().contains("north.key"));
//! assert_eq!(store.list()[0].names, ["north.example", "*.north.example"]);
//! # Ok(())
//! # }
//! ```
//!
//! [`acme`] has certificates issued and renewed; their keys lie sealed ([`Seal`]) in a folder beside that one.
//!
//! Not here: an HTTP server, listeners, routing. Nothing in this crate logs; what went wrong is a value ([`Problem`]), and no value
//! holds key material.

pub mod acme;
mod error;
mod folder;
mod identity;
mod name;
mod seal;
mod server;
mod store;
mod tickets;
mod watch;

use std::sync::Arc;
use std::time::SystemTime;

pub use error::{CertError, Fault, Problem};
pub use identity::{CertInfo, Source, Urgency};
pub use seal::{Seal, SealFault, SealProblem};
pub use server::{ServerOptions, server_config};
pub use store::{CertStore, Report};
pub use tickets::{TICKET_KEY_PERIOD, TicketFault, TicketProblem, Tickets};
pub use watch::Watch;

/// Where this crate reads the time, so that tests can move it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}
