//! `tenants.toml`: each host is one school's, each school is in one ring.

use std::collections::BTreeMap;

use cache_rules::host::HostName;
use cache_rules::tenant::{TenantId, Tenants};
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::Notes;
use crate::config::mistake::At;
use crate::config::raw::{self, TenantsFile};
use crate::config::rings::{Freeze, REST, Rings};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

pub(super) fn check(typed: &TenantsFile, notes: &mut Notes<'_>) -> Option<(Tenants, Rings)> {
    let before = notes.mistakes.len();
    let table = At::top().key("tenants");
    if typed.tenants.is_empty() {
        notes.refuse(&table, "no tenant: every host would be refused");
    }
    let mut seen: BTreeMap<HostName, (&str, At)> = BTreeMap::new();
    let mut tenants = Vec::new();
    let freezes = freezes(typed, notes);
    let mut rings = BTreeMap::new();
    for (name, tenant) in notes.in_order(&table, &typed.tenants) {
        let at = table.key(name);
        let id = notes.value(&at, name.parse::<TenantId>());
        if let Some(ring) = &tenant.ring {
            if !freezes.contains_key(ring) {
                let known: Vec<_> = freezes.keys().map(String::as_str).collect();
                notes.refuse(
                    &at.key("ring"),
                    format!(
                        "no ring is called `{ring}`; [rings] has: {}",
                        known.join(", ")
                    ),
                );
            }
            rings.extend(id.clone().map(|id| (id, ring.clone())));
        }
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
        .map(|tenants| (tenants, Rings::new(rings, freezes)))
}

/// The rings that there are, and when each is frozen.
fn freezes(typed: &TenantsFile, notes: &mut Notes<'_>) -> BTreeMap<String, Vec<Freeze>> {
    let table = At::top().key("rings");
    let mut rings = BTreeMap::from([(REST.to_owned(), Vec::new())]);
    for (name, ring) in notes.in_order(&table, &typed.rings) {
        let at = table.key(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            notes.refuse(&at, "a ring's name has letters, digits, `-` and `_` only");
        }
        let at = at.key("freeze");
        let freezes = ring.freeze.iter().enumerate();
        let freezes = freezes.filter_map(|(index, typed)| freeze(typed, &at.index(index), notes));
        rings.insert(name.to_owned(), freezes.collect());
    }
    rings
}

fn freeze(typed: &raw::Freeze, at: &At, notes: &mut Notes<'_>) -> Option<Freeze> {
    let mut days = Vec::new();
    if typed.days.is_empty() {
        notes.refuse(&at.key("days"), "is empty: name the days, such as `mon`");
    }
    for (index, day) in typed.days.iter().enumerate() {
        let found = DAYS.iter().find(|(name, _)| name == day);
        match found {
            Some((_, day)) => days.push(*day),
            None => notes.refuse(&at.key("days").index(index), "a day is `mon` to `sun`"),
        }
    }
    let mut time = |key: &str, text: &str| {
        let time = text
            .parse::<Time>()
            .map_err(|_| "a time is written as `07:30`");
        notes.value(&at.key(key), time)
    };
    let (from, to) = (time("from", &typed.from), time("to", &typed.to));
    let zone =
        TimeZone::get(&typed.zone).map_err(|_| "no such IANA time zone; one is `Europe/Berlin`");
    let zone = notes.value(&at.key("zone"), zone);
    let (from, to, zone) = (from?, to?, zone?);
    if from >= to {
        notes.refuse(
            &at.key("to"),
            "is not later than `from`: a freeze over midnight is two of them",
        );
    }
    Some(Freeze {
        days,
        from,
        to,
        zone,
    })
}
