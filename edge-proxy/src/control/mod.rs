//! What operators change, and how it reaches the request path.
//!
//! A command comes in by [`admin`] over the unix socket, is decided by a pure function ([`shift`],
//! [`deploy`], [`rollout`], [`drain`]),
//! written with its note into a [`store`] ([`embedded`]: one redb file), and carried by [`follow`]
//! to the request path, which is known only as the traits in [`edge`]. [`link`] is the same store
//! from another process.

pub mod admin;
pub mod api;
pub mod beside;
pub mod challenges;
pub mod client;
mod conductor;
pub mod counters;
pub mod deploy;
pub mod drain;
pub mod edge;
pub mod embedded;
pub mod event;
pub mod events;
pub mod follow;
mod idempotency;
pub mod judge;
pub mod link;
mod observed;
pub(crate) mod problem;
pub mod receipts;
pub mod rollout;
pub mod shift;
mod show;
pub mod socket;
pub mod state;
mod status;
pub mod store;

#[cfg(test)]
mod tests;
