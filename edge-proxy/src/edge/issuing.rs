//! The keeper of certificates among the other parts: what it asks of them, and what they are told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cache_rules::host::HostName;
use certs::acme::{Around, Keeper, Told};
use certs::{CertStore, Seal};
use tracing::{info, warn};

use super::StartError;
use crate::config::checked::{Acme, Config};
use crate::control::challenges::Challenges;
use crate::metrics::Metrics;
use crate::world::World;

/// The certificates of the folder, and the managed ones where authorities are configured.
pub(super) fn certificates(
    config: &Config,
) -> Result<(Arc<CertStore>, Option<Arc<Seal>>), StartError> {
    let Some(acme) = &config.acme else {
        return Ok((CertStore::open(&config.certificates)?, None));
    };
    let seal = Arc::new(Seal::open(&acme.seal_key)?);
    let store = CertStore::open_managed(
        &config.certificates,
        &acme.options.dir,
        Arc::clone(&seal),
        certs::system_clock(),
    )?;
    Ok((store, Some(seal)))
}

/// Looks after the hosts that operators named.
pub(super) fn keeper(
    acme: &Acme,
    seal: Arc<Seal>,
    certs: Arc<CertStore>,
    challenges: Challenges,
    world: Arc<ArcSwap<World>>,
    metrics: Arc<Metrics>,
) -> Result<Arc<Keeper>, StartError> {
    let around = Around {
        certs,
        answers: Arc::new(challenges),
        clock: certs::system_clock(),
        chance: Box::new(rand::random::<f64>),
        wanted: Box::new(move |name| tenant_has(&world.load(), name)),
        told: Box::new(move |told| note(&metrics, told)),
    };
    Ok(Keeper::open(acme.options.clone(), seal, around)?)
}

/// Whether some school still has the host, or one that the wildcard covers.
fn tenant_has(world: &World, name: &str) -> bool {
    let tenants = &world.config.tenants;
    match name.strip_prefix("*.") {
        Some(parent) => tenants
            .iter()
            .any(|(_, hosts)| hosts.iter().any(|host| is_below(host, parent))),
        None => HostName::parse(name).is_ok_and(|host| tenants.of_host(&host).is_some()),
    }
}

/// Whether a host is one label and `parent`.
pub(super) fn is_below(host: &HostName, parent: &str) -> bool {
    host.as_str()
        .split_once('.')
        .is_some_and(|(_, rest)| rest == parent)
}

fn note(metrics: &Metrics, told: &Told<'_>) {
    let Told {
        name,
        authority,
        outcome,
    } = told;
    let word = outcome.map_or_else(|fault| fault.as_str(), |()| "issued");
    metrics.certificate_order(authority.unwrap_or("none"), word);
    match outcome {
        Ok(()) => info!(host = name, authority, "a certificate was issued"),
        Err(fault) => warn!(host = name, authority, %fault, "a certificate was not issued"),
    }
}
