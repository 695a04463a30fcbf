//! What the edge promises: one file per promise, each held against a real edge on loopback, between
//! origins that do as they are told and clients that do not.
//!
//! One binary, so that the edge is linked once.

mod assets;
mod audit;
mod blue_green;
mod canary;
mod conformance;
mod deploys;
mod drain;
mod explain;
mod frames;
mod front_door;
mod fuzzed;
mod images;
mod inherited;
mod interim;
mod limits;
mod malformed;
mod managed;
mod members;
mod mirror;
mod next_site;
mod operators;
mod origins;
mod pause;
mod pictures;
mod pins;
mod platform_events;
mod pooled;
mod read_cache;
mod release_dictionary;
mod replacing;
mod returning_visitor;
mod rollouts;
mod signed_identity;
mod stale_reads;
mod streaming;
#[expect(dead_code, reason = "what only the attacks use is not used here")]
mod support;
mod tenant_isolation;
mod tls;
mod two_tabs;
