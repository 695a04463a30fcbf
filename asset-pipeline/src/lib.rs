//! Publishes immutable releases of a site, and reads them back.

pub mod digest;
#[cfg(feature = "publish")]
pub mod gc;
pub mod id;
#[cfg(feature = "image")]
pub mod image;
pub mod manifest;
#[cfg(feature = "publish")]
pub mod publish;
pub mod signature;
pub mod store;
#[cfg(feature = "publish")]
pub mod weigh;
