//! From what was typed to what it means. Every mistake is collected; none hides another.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_rules::rules::RawRules;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::checked::Config;
use super::document::Document;
use super::mistake::{At, Mistake, Mistakes};
use super::source::{Source, Sources};
use super::{raw, schema};

mod acme;
mod apps;
mod edge;
mod first;
mod identity;
mod listeners;
mod pictures;
mod rules;
mod tenants;

/// A file that fits its schema, under check.
struct Sheet<'a, T> {
    document: Document,
    typed: T,
    folder: &'a Path,
}

/// What a room of the check writes its mistakes on.
struct Notes<'a> {
    document: &'a Document,
    folder: &'a Path,
    mistakes: &'a mut Vec<Mistake>,
}

impl Notes<'_> {
    /// Writes a mistake down.
    fn refuse(&mut self, at: &At, message: impl Into<String>) {
        self.mistakes.push(self.document.mistake(at, message));
    }

    /// A value that knows itself why it is none.
    fn value<T, E: Display>(&mut self, at: &At, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| self.refuse(at, error.to_string()))
            .ok()
    }

    /// The parts of a table as they were typed: the second of two that clash is the one to change.
    fn in_order<'m, T>(&self, at: &At, table: &'m BTreeMap<String, T>) -> Vec<(&'m str, &'m T)> {
        let mut parts: Vec<_> = table
            .iter()
            .map(|(name, part)| (name.as_str(), part))
            .collect();
        parts.sort_by_key(|(name, _)| self.document.line(&at.key(name)));
        parts
    }

    /// A path; relative ones are beside the config file, wherever the edge was started.
    fn path(&mut self, at: &At, typed: &str) -> Option<PathBuf> {
        if typed.is_empty() {
            self.refuse(at, "is empty: write a path");
            return None;
        }
        Some(self.folder.join(typed))
    }
}

impl<'a, T: JsonSchema + DeserializeOwned> Sheet<'a, T> {
    fn read(source: &Source, folder: &'a Path, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let before = mistakes.len();
        let document = source.document(mistakes)?;
        let typed = schema::read(&document, mistakes)?;
        (mistakes.len() == before).then_some(Self {
            document,
            typed,
            folder,
        })
    }
}

impl<T> Sheet<'_, T> {
    fn notes<'a>(&'a self, mistakes: &'a mut Vec<Mistake>) -> Notes<'a> {
        Notes {
            document: &self.document,
            folder: self.folder,
            mistakes,
        }
    }
}

/// Checks all files together.
pub(super) fn check(sources: &Sources) -> Result<Config, Mistakes> {
    let mut mistakes = Vec::new();
    let folder = &sources.folder;
    let edge = Sheet::<raw::Edge>::read(&sources.edge, folder, &mut mistakes);
    let tenants = Sheet::<raw::TenantsFile>::read(&sources.tenants, folder, &mut mistakes);
    let rules = Sheet::<RawRules>::read(&sources.rules, folder, &mut mistakes);

    if let (Some(edge), Some(rules)) = (&edge, &rules) {
        rules::fit(&edge.typed, &rules.typed, &mut rules.notes(&mut mistakes));
    }
    let tenants =
        tenants.and_then(|sheet| tenants::check(&sheet.typed, &mut sheet.notes(&mut mistakes)));
    if let (Some((tenants, _)), Some(rules)) = (&tenants, &rules) {
        let hosts: Vec<_> = tenants.iter().flat_map(|(_, hosts)| hosts).collect();
        rules::danger(&rules.typed, &hosts, &mut rules.notes(&mut mistakes));
    }
    let rules = rules.and_then(|sheet| rules::check(&sheet.typed, &mut sheet.notes(&mut mistakes)));
    let edge = edge.and_then(|sheet| edge::check(&sheet.typed, &mut sheet.notes(&mut mistakes)));

    match (edge, tenants, rules) {
        (Some(edge), Some((tenants, rings)), Some(rules)) if mistakes.is_empty() => Ok(Config {
            listeners: edge.listeners,
            certificates: edge.certificates,
            acme: edge.acme,
            record_bytes: edge.record_bytes,
            ticket_keys: edge.ticket_keys,
            state: edge.state,
            store: edge.store,
            images: edge.images,
            limits: edge.limits,
            identity: edge.identity,
            events: edge.events,
            apps: edge.apps,
            tenants: Arc::new(tenants),
            rings: Arc::new(rings),
            rules: Arc::new(rules),
            access_log: edge.access_log,
            hsts: edge.hsts,
            headers: edge.headers,
            rates: edge.rates,
            orders: edge.orders,
            fingerprint: sources.fingerprint(),
        }),
        _ => Err(Mistakes::sorted(mistakes)),
    }
}
