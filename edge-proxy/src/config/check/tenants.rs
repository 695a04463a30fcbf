//! `tenants.toml`: each host is one school's.

use std::collections::BTreeMap;

use cache_rules::host::HostName;
use cache_rules::tenant::{TenantId, Tenants};

use super::Notes;
use crate::config::mistake::At;
use crate::config::raw::TenantsFile;

pub(super) fn check(typed: &TenantsFile, notes: &mut Notes<'_>) -> Option<Tenants> {
    let before = notes.mistakes.len();
    let table = At::top().key("tenants");
    if typed.tenants.is_empty() {
        notes.refuse(&table, "no tenant: every host would be refused");
    }
    let mut seen: BTreeMap<HostName, (&str, At)> = BTreeMap::new();
    let mut tenants = Vec::new();
    for (name, tenant) in notes.in_order(&table, &typed.tenants) {
        let at = table.key(name);
        let id = notes.value(&at, name.parse::<TenantId>());
        let at = at.key("hosts");
        if tenant.hosts.is_empty() {
            notes.refuse(&at, "is empty: a school without a host cannot be reached");
        }
        let mut hosts = Vec::new();
        for (index, text) in tenant.hosts.iter().enumerate() {
            let at = at.index(index);
            let Some(host) = notes.value(&at, HostName::parse(text)) else {
                continue;
            };
            if let Some((owner, taken)) = seen.get(&host) {
                let place = notes.document.place(taken);
                notes.refuse(
                    &at,
                    format!(
                        "`{}` is a host of `{owner}` already ({place})",
                        host.as_str()
                    ),
                );
                continue;
            }
            seen.insert(host.clone(), (name, at));
            hosts.push(host);
        }
        tenants.extend(id.map(|id| (id, hosts)));
    }
    // The list says the same of itself, but without lines.
    if notes.mistakes.len() > before {
        return None;
    }
    Tenants::build(tenants)
        .map_err(|mistakes| {
            for mistake in mistakes {
                notes.refuse(&table, mistake.to_string());
            }
        })
        .ok()
}
