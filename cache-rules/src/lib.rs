//! What may be cached, for whom and for how long: the rules of a read cache that many schools share.
//!
//! A request is an [`Ask`](verdict::Ask). [`RuleSet::verdict`](rules::RuleSet::verdict) turns it into a
//! [`Plan`](plan::Plan) when a named rule covers it, and into a counted reason when none does: no rule, no cache.
//! A [`Grant`](identity::Grant) proves who may share the answer; without one there is no [`CacheKey`](key::CacheKey).
//! The origin's response makes a [`Storable`](answer::Storable) out of the plan only if the origin agrees too.
//!
//! Nothing here opens a socket or a file, reads a clock, draws a random number or waits: time is an argument.
//! `clippy.toml` beside this crate holds that. The same inputs give the same verdict, always, so that a table of
//! requests and responses is a complete test.

pub mod answer;
pub mod bequest;
pub mod credentials;
pub mod derived;
mod directives;
mod freshness;
pub mod group;
pub mod host;
pub mod identity;
pub mod key;
pub mod plan;
mod prefer;
mod query;
pub mod reason;
pub mod review;
pub mod rules;
pub mod tag;
pub mod target;
pub mod tenant;
mod vary;
pub mod verdict;
pub mod wishes;
pub mod writes;
