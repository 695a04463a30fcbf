//! What is fuzzed: parsers of bytes that clients and origins choose, each with what must hold of them.

pub mod acme;
mod covered;
pub mod edge;
pub mod rules;
