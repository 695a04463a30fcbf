//! Certificates that manage themselves (ACME, RFC 8555; renewal windows, RFC 9773).
//!
//! ```text
//!   keeper     -> arrival      -> account     -> order        -> shelf
//!   what is       does it         of the         challenges,     checked, key
//!   due, who      point here?     authority      key, chain      sealed, served
//!   may ask                       in turn
//! ```
//!
//! Nothing here happens inside a handshake: what is due is done by a task, and what it brings lies in the managed folder,
//! where the [`CertStore`](crate::CertStore) finds it. There is no HTTP server: who listens on port 80 lends its
//! [`Answers`]. Time and chance are arguments.

mod account;
mod answers;
mod arrival;
mod fault;
mod keeper;
mod order;
mod rehearsal;
mod schedule;
mod shelf;
mod tame;
mod wire;

pub use account::{Authority, External};
pub use answers::{Answers, is_token};
pub use arrival::PointsHere;
pub use fault::IssueFault;
pub use keeper::{
    Act, Around, Keeper, KeeperProblem, Managed, NotNow, NotRekeyed, Options, Stage, Told,
};
pub use rehearsal::rehearse;
pub use wire::RootsProblem;
