//! The crate through its public door: folders on disk, and a rustls client and server with the wire in memory.

mod allocation;
mod files;
mod handshake;
mod link;
mod paper;
mod reload;
mod resumption;
