//! The edge of a multi-tenant school platform.

pub mod assets;
pub mod colour;
pub mod config;
pub mod control;
pub mod metrics;
pub mod observe;
pub mod record;
pub mod response;
mod surface;
