//! Measures the edge beside its peers: same machine, same run, same files, same certificate.
//!
//! A *question* is a list of *cases* ("a cached file of 1 KB over H2"). Every peer runs as its own
//! process on one core, with one worker and its access log on; the load tool and the origin run on
//! another core. Before anything is measured, every peer must answer the same bytes over the same
//! protocol. Then they take turns (A B C, A B C, ...), so that what else the machine does meets all
//! of them, and what is compared is the ratio within a round.
//!
//! What is measured is the CPU time of the server's process per request, from the kernel: unlike
//! requests per second it does not depend on how fast the load tool is.

pub mod assets;
mod case;
pub mod certificates;
pub mod connections;
mod cores;
mod cpu;
pub mod deploys;
pub mod entries;
mod error;
mod ground;
pub mod hits;
pub mod images;
mod inside;
pub mod judge;
mod load;
mod log;
mod memory;
pub mod morning;
mod origin;
mod peers;
mod process;
pub mod proxy;
pub mod purges;
mod report;
mod rounds;
pub mod scopes;
pub mod stall;
mod tools;
mod verify;
mod visit;

pub use case::{Case, Protocol, Question, Size, What};
pub use error::BenchError;
pub use peers::Peer;
pub use report::{CaseReport, PeerReport, Report, Round, Wire};
pub use rounds::{Options, run};
