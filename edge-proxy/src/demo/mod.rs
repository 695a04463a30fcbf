//! `edge-proxy demo`: everything on loopback, to be looked at.

#[cfg(test)]
mod art;
mod ca;
mod origin;
mod school;
mod site;
