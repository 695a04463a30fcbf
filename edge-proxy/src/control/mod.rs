//! What operators change, and how it reaches the request path.

pub mod state;
