//! What is fuzzed: parsers of bytes that clients and origins choose, each with what must hold of them.

#[cfg(feature = "edge")]
pub mod acme;
mod covered;
#[cfg(feature = "edge")]
pub mod edge;
// By its path, so that it is fuzzed without the edge around it.
#[path = "../../edge-proxy/src/response/range.rs"]
mod range;
pub mod ranges;
pub mod rules;
