//! `edge-proxy rules check|init`: the rules beside the description of the API that they are for.

use std::fmt::{self, Write as _};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use cache_rules::review::Operation;
use cache_rules::rules::{RawRules, RuleSet};
use clap::{Args, Subcommand};
use edge_proxy::openapi;
use serde::Serialize;

use super::out;

/// Refused by policy: a rule is wider than the description allows.
const REFUSED: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Lists every operation of the API with who shares its answers; exits with 3 when a rule matches none, or is wider than
    /// the operation's own security.
    Check(Check),
    /// Writes a rules.toml in which every read of the API is commented out: nothing is cached until somebody decides.
    Init(Init),
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The API's description: OpenAPI 3, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    openapi: PathBuf,
    /// The rules; by default `rules.toml` beside the config.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The API's description: OpenAPI 3, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    openapi: PathBuf,
}

/// What `check` found.
#[derive(Debug, Serialize)]
struct Findings {
    operations: Vec<Found>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    method: String,
    path: String,
    /// `public`, `tenant`, `role` or `never`.
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// Does what was asked.
pub(crate) fn run(asked: &Rules, config: &Path, json: bool) -> anyhow::Result<ExitCode> {
    match asked {
        Rules::Check(check) => {
            let beside = config.with_file_name("rules.toml");
            let findings = findings(check, check.rules.as_deref().unwrap_or(&beside))?;
            if json {
                out(serde_json::to_string(&findings).context("a list has a JSON form")?);
            } else {
                out(&findings);
            }
            Ok(match findings.problems.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(REFUSED),
            })
        }
        Rules::Init(init) => {
            out(openapi::first_rules(&operations(&init.openapi)?));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn findings(check: &Check, rules: &Path) -> anyhow::Result<Findings> {
    let operations = operations(&check.openapi)?;
    let place = rules.display();
    let text = read(rules)?;
    let raw: RawRules = toml::from_str(&text).with_context(|| format!("{place}"))?;
    let rules = RuleSet::compile(raw).map_err(|mistakes| {
        let lines: Vec<String> = mistakes
            .iter()
            .map(|mistake| format!("{place}: {mistake}"))
            .collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    let review = rules.review(&operations);
    let found = review.operations.iter().map(|one| Found {
        method: one.operation.method.to_string(),
        path: one.operation.path.clone(),
        class: one.rule.map_or("never", |(_, scope)| scope.as_str()),
        rule: one.rule.map(|(name, _)| name.to_owned()),
    });
    Ok(Findings {
        operations: found.collect(),
        problems: review.problems.clone(),
    })
}

fn operations(path: &Path) -> anyhow::Result<Vec<Operation>> {
    let text = read(path)?;
    openapi::operations(&text).with_context(|| format!("{}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut text = String::new();
    let limit = openapi::BYTES_MAX as u64 + 1;
    file.take(limit)
        .read_to_string(&mut text)
        .with_context(|| format!("{}", path.display()))?;
    Ok(text)
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for one in &self.operations {
            let rule = one.rule.as_deref().unwrap_or("-");
            writeln!(
                text,
                "{:<7} {:<7} {rule:<20} {}",
                one.class, one.method, one.path
            )?;
        }
        let shared = self
            .operations
            .iter()
            .filter(|one| one.rule.is_some())
            .count();
        write!(
            text,
            "{shared} of {} operations are cached",
            self.operations.len()
        )?;
        for problem in &self.problems {
            write!(text, "\nREFUSED: {problem}")?;
        }
        f.write_str(&text)
    }
}
