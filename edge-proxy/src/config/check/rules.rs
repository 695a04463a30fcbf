//! `rules.toml`: the rules themselves are checked where they are made, their place in this edge here.

use cache_rules::host::HostName;
use cache_rules::rules::{RawPolicy, RawRules, RawScope, RuleSet};

use super::Notes;
use crate::config::checked::covers;
use crate::config::mistake::At;
use crate::config::raw;

/// What a rule needs of `edge.toml`.
pub(super) fn fit(edge: &raw::Edge, typed: &RawRules, notes: &mut Notes<'_>) {
    for (index, rule) in typed.rule.iter().enumerate() {
        let at = At::top().key("rule").index(index);
        match (rule.scope, &edge.identity) {
            (RawScope::Public, _) | (RawScope::Tenant, Some(_)) => {}
            (RawScope::Tenant | RawScope::Role, None) => notes.refuse(
                &at.key("scope"),
                "needs to know who asks: write [identity] in edge.toml",
            ),
            (RawScope::Role, Some(identity)) if identity.roles.is_none() => notes.refuse(
                &at.key("scope"),
                "needs to know the roles: write `roles` in [identity] of edge.toml",
            ),
            (RawScope::Role, Some(_)) => {}
        }
        let without_roles = edge.identity.as_ref().is_none_or(|i| i.roles.is_none());
        if !rule.reload_roles.is_empty() && without_roles {
            notes.refuse(
                &at.key("reload_roles"),
                "needs to know the roles: write `roles` in [identity] of edge.toml",
            );
        }
        let fixed = rule.path.split('{').next().unwrap_or_default();
        let routes = edge.apps.values().flat_map(|app| &app.routes);
        let nearest = routes
            .filter(|route| covers(&route.path, fixed))
            .max_by_key(|route| route.path.len());
        if let Some(route) = nearest.filter(|route| route.kind == raw::RouteKind::Stream) {
            let message = format!(
                "is below the stream route `{}`, and streams are never stored",
                route.path
            );
            notes.refuse(&at.key("path"), message);
        }
    }
}

/// A rule that asks for less than all is for conformance runs, where nobody's data is.
pub(super) fn danger(typed: &RawRules, hosts: &[&HostName], notes: &mut Notes<'_>) {
    for (index, rule) in typed.rule.iter().enumerate() {
        if rule.policy == RawPolicy::Strict {
            continue;
        }
        if let Some(host) = hosts.iter().find(|host| !is_loopback(host)) {
            let at = At::top().key("rule").index(index).key("policy");
            let message = format!(
                "`danger_rfc9111` is for conformance runs, where every host of tenants.toml is a loopback address; `{host}` is none"
            );
            notes.refuse(&at, message);
        }
    }
}

fn is_loopback(host: &HostName) -> bool {
    let text = host.as_str();
    let literal = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: Result<std::net::IpAddr, _> = literal.unwrap_or(text).parse();
    address.is_ok_and(|address| address.is_loopback())
}

/// The rules, if each is one and all fit together.
pub(super) fn check(typed: &RawRules, notes: &mut Notes<'_>) -> Option<RuleSet> {
    RuleSet::compile(typed.clone())
        .map_err(|mistakes| {
            for mistake in mistakes {
                notes.refuse(&At::from(mistake.at), mistake.message);
            }
        })
        .ok()
}
