//! Files of releases: which there are, where their bytes are, and what is known to be complete.
//!
//! [`release`] is the table that a request looks into: only names that a manifest lists are ever
//! served, so no path of a request becomes a path of the disk. [`blobs`] brings bytes from memory,
//! from the mirror folder, or from the store, each checked against its digest. [`images`] chooses
//! among the smaller forms of a picture. [`catalog`] keeps both up to date with the store, and never
//! takes away what is mirrored because the store is down; [`in_use`] tells the store what this edge needs.

pub mod blobs;
pub mod catalog;
pub mod images;
pub mod in_use;
mod mirror;
pub mod release;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
