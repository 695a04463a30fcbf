//! Origins: who answers for a colour, whether they are well, and the edge's own requests to them.

pub mod client;
pub mod connect;
pub mod health;
pub mod leave;
pub mod ledger;
pub mod outlier;
pub mod pool;
pub mod retries;
#[cfg(test)]
pub(crate) mod scripted;
pub mod secure;
