//! What every promise needs: origins that do as they are told, a real edge, and clients.

pub(crate) mod admin;
pub(crate) mod apart;
#[path = "../../../../certs/tests/acme/authority.rs"]
pub(crate) mod authority;
pub(crate) mod browser;
pub(crate) mod bytes;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod fixtures;
pub(crate) mod h2;
pub(crate) mod issuer;
pub(crate) mod load;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod reply;
pub(crate) mod school;
pub(crate) mod site;
pub(crate) mod stage;
pub(crate) mod wait;
