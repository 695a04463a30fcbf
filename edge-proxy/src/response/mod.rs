//! The last room: what the client is sent, and how.
//!
//! [`represent`] turns a thing that can be served (a file of a release or a cached read) and a
//! request into a status, a header and the part of the bytes that is wanted; [`send`] writes it.
//! [`refuse`] is every answer of the edge's own, [`compress`] is for answers that pass through.

pub mod compress;
pub mod conditional;
pub mod dictionary;
pub mod headers;
pub mod negotiate;
pub mod parts;
pub mod range;
pub mod refuse;
pub mod represent;
pub mod send;
