//! Publishes immutable releases of a site, and reads them back.

pub mod digest;
pub mod id;
pub mod manifest;
pub mod store;
