//! What operators change, and how it reaches the request path.
//!
//! A command comes in by [`admin`] over the unix socket, is decided by a pure function ([`shift`]),
//! written with its note into a [`store`] ([`embedded`]: one redb file), and carried by [`follow`]
//! to the request path, which is known only as the traits in [`edge`].

pub mod api;
pub mod edge;
pub mod embedded;
pub mod event;
pub mod follow;
pub mod shift;
pub mod state;
pub mod store;
