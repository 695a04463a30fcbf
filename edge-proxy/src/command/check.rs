//! `edge-proxy check`: everything that `run` would read, without opening a port.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use certs::{CertError, CertStore, Seal};
use edge_proxy::config::{self, Config, Mistakes};
use serde::Serialize;

use super::out;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    good: bool,
    /// What is wrong in the config files.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<Mistakes>,
    /// What is wrong with the certificates.
    certificates: Vec<String>,
    /// What the config says, in numbers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

#[derive(Debug, Serialize)]
struct Counts {
    apps: usize,
    tenants: usize,
    hosts: usize,
    rules: usize,
}

/// Reads the config and its certificates.
pub(crate) fn check(path: &Path) -> Findings {
    match config::load(path) {
        Ok(config) => {
            let certificates = certificates(&config);
            Findings {
                good: certificates.is_empty(),
                mistakes: None,
                certificates,
                counts: Some(Counts {
                    apps: config.apps.len(),
                    tenants: config.tenants.iter().count(),
                    hosts: hosts(&config).count(),
                    rules: config.rules.names().count(),
                }),
            }
        }
        Err(mistakes) => Findings {
            good: false,
            mistakes: Some(mistakes),
            certificates: Vec::new(),
            counts: None,
        },
    }
}

/// A running edge goes on without a broken pair; to find it out before is what this is for.
fn certificates(config: &Config) -> Vec<String> {
    // Where authorities are configured a host may wait for its first certificate.
    let all = config.acme.is_none();
    let opened = match &config.acme {
        // A folder that is not there yet is made by the account that serves, not by the one that checks.
        Some(acme) if acme.options.dir.is_dir() => match Seal::open(&acme.seal_key) {
            Err(problem) => return vec![problem.to_string()],
            Ok(seal) => CertStore::open_managed(
                &config.certificates,
                &acme.options.dir,
                Arc::new(seal),
                certs::system_clock(),
            ),
        },
        _ => CertStore::open(&config.certificates),
    };
    let store = match opened {
        Ok(store) => store,
        Err(CertError::NothingUsable { problems, .. }) if !all || !problems.is_empty() => {
            return problems.iter().map(ToString::to_string).collect();
        }
        Err(error) => return vec![error.to_string()],
    };
    let folder = config.certificates.display();
    let without = hosts(config).filter(|host| all && !store.covers(Some(host), host));
    let without = without.map(|host| format!("{folder}: no certificate covers the host `{host}`"));
    let problems = store.problems();
    problems
        .iter()
        .map(ToString::to_string)
        .chain(without)
        .collect()
}

fn hosts(config: &Config) -> impl Iterator<Item = &str> {
    let tenants = config.tenants.iter();
    tenants.flat_map(|(_, hosts)| hosts.iter().map(|host| host.as_str()))
}

impl Findings {
    /// Prints them; the exit code says whether there was nothing to complain about.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        match (json, self.good) {
            (true, _) => out(format_args!("{:#}", serde_json::json!(self))),
            (false, true) => out(self),
            (false, false) => eprintln!("{self}"),
        }
        ExitCode::from(u8::from(!self.good))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mistakes = self.mistakes.iter().map(ToString::to_string);
        for line in mistakes.chain(self.certificates.iter().cloned()) {
            writeln!(f, "{line}")?;
        }
        match &self.counts {
            Some(Counts {
                apps,
                tenants,
                hosts,
                rules,
            }) if self.good => {
                write!(
                    f,
                    "good: {apps} apps, {tenants} tenants with {hosts} hosts, {rules} rules"
                )
            }
            _ => f.write_str("the config cannot be used"),
        }
    }
}
