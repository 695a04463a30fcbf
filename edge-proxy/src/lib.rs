//! The edge of a multi-tenant school platform.
//!
//! A request walks through rooms, one module each, and arrows go one way:
//!
//! ```text
//! listener -> tls -> session -> route -> split -> rule -> cache -> upstream -> response
//! ```
//!
//! [`proxy`] is the hall that calls them in this order, the only file that knows pingora's phases.
//! [`world`] is what they read, [`edge`] starts and ends it all, [`supervisor`] replaces it while it runs, [`control`] is what operators change.

pub mod assets;
pub mod cache;
pub mod clock;
pub mod colour;
pub mod config;
pub mod control;
#[cfg(feature = "demo")]
pub mod demo;
pub mod edge;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod hold;
pub mod identity;
pub mod listener;
pub mod metrics;
pub mod mirror;
pub mod observe;
pub mod openapi;
pub mod pictures;
pub mod proxy;
pub mod rate;
pub mod record;
pub mod response;
pub mod route;
pub mod rule;
pub mod session;
pub mod signing;
pub mod split;
pub mod supervisor;
pub mod surface;
pub mod tally;
pub mod tls;
pub mod upstream;
pub mod world;
