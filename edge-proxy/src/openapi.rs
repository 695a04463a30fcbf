//! An API's description (OpenAPI 3), as far as rules are held against it: its operations and whether
//! they ask for credentials.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cache_rules::review::Operation;
use http::{Method, Uri};
use serde::Deserialize;
use serde_json::Value;

/// Larger than any description of an API that people wrote.
pub const BYTES_MAX: usize = 16 << 20;

/// A text that is no such description.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotADescription {
    #[error("larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("not YAML or JSON of an OpenAPI 3 document: {0}")]
    Unreadable(#[from] serde_yaml::Error),
    #[error("has no `paths`: nothing to hold the rules against")]
    NoPaths,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    servers: Vec<Server>,
    #[serde(default)]
    security: Vec<Value>,
    #[serde(default)]
    paths: BTreeMap<String, BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Server {
    url: String,
}

/// The operations of a description in YAML or JSON, by path; paths begin with that of the first server.
///
/// # Errors
/// When it is no such description.
pub fn operations(text: &str) -> Result<Vec<Operation>, NotADescription> {
    if text.len() > BYTES_MAX {
        return Err(NotADescription::TooLarge);
    }
    let document: Document = serde_yaml::from_str(text)?;
    let prefix = document.servers.first().map_or("", |server| &server.url);
    let prefix = prefix
        .parse::<Uri>()
        .map_or(String::new(), |uri| uri.path().to_owned());
    let prefix = prefix.trim_end_matches('/');
    let mut operations = Vec::new();
    for (path, item) in &document.paths {
        for (word, operation) in item {
            let Some(method) = method(word) else { continue };
            let text = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
            let security = operation.get("security").and_then(Value::as_array);
            operations.push(Operation {
                method,
                path: format!("{prefix}{path}"),
                id: text("operationId"),
                summary: text("summary"),
                open: is_open(security.unwrap_or(&document.security)),
            });
        }
    }
    if operations.is_empty() {
        return Err(NotADescription::NoPaths);
    }
    Ok(operations)
}

fn method(word: &str) -> Option<Method> {
    const METHODS: [&str; 8] = [
        "get", "head", "post", "put", "patch", "delete", "options", "trace",
    ];
    let known = METHODS.contains(&word);
    known
        .then(|| word.to_ascii_uppercase().parse().ok())
        .flatten()
}

/// No requirement, or an empty one among several: then nobody has to show anything.
fn is_open(security: &[Value]) -> bool {
    security.is_empty()
        || security
            .iter()
            .any(|one| one.as_object().is_some_and(serde_json::Map::is_empty))
}

/// A `rules.toml` in which nothing is cached yet: every read of the API, commented out, with what to decide.
pub fn first_rules(operations: &[Operation]) -> String {
    let mut text = String::from(
        "# rules.toml: the reads that the edge may cache. Nothing is, until you take a `#` away.\n\
         #\n\
         # For each read decide who may share its answer: `public` (everyone who reaches the school's host),\n\
         # `tenant` (everyone who is signed in to the school), `role` (those with the very same roles), or nobody:\n\
         # then leave it as it is. The origin has to agree on each answer with X-Edge-Cache-Scope.\n",
    );
    for operation in operations.iter().filter(|one| one.method == Method::GET) {
        let name: String = operation
            .path
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let name = if operation.id.is_empty() {
            name
        } else {
            operation.id.replace('_', "-").to_lowercase()
        };
        let name = name.trim_matches('-');
        let who = if operation.open {
            "asks for no credentials"
        } else {
            "asks for credentials: never public"
        };
        let scope = if operation.open { "public" } else { "tenant" };
        // Writing to a String does not fail.
        let _never = write!(
            text,
            "\n# {}: {who}\n# [[rule]]\n# name = \"{name}\"\n# path = \"{}\"\n# scope = \"{scope}\"\n# ttl_s = 30\n",
            operation.summary.replace(char::is_control, " "),
            operation.path,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = r#"
openapi: 3.1.0
servers: [{url: "https://school.example/api/v1/"}]
security: [{session: []}]
paths:
  /courses/{id}:
    parameters: []
    get: {operationId: get_course, summary: "Read one course"}
    patch: {operationId: update_course}
  /school:
    get: {operationId: school, security: []}
  /news:
    get: {security: [{session: []}, {}]}
"#;

    #[test]
    fn operations_have_the_servers_prefix_and_their_own_security() {
        let operations = operations(API).expect("a description");
        let said: Vec<String> = operations
            .iter()
            .map(|one| format!("{} {} {}", one.method, one.path, one.open))
            .collect();
        assert_eq!(
            said,
            [
                "GET /api/v1/courses/{id} false",
                "PATCH /api/v1/courses/{id} false",
                "GET /api/v1/news true",
                "GET /api/v1/school true",
            ]
        );
    }

    #[test]
    fn what_is_no_description_says_why() {
        for text in ["", "[", "a: 1", "paths: 7"] {
            assert!(operations(text).is_err(), "{text:?}");
        }
        let json = r#"{"paths": {"/a": {"get": {}}}}"#;
        assert_eq!(operations(json).expect("JSON is YAML").len(), 1);
    }

    #[test]
    fn the_first_rules_cache_nothing_and_are_rules_once_uncommented() {
        let operations = operations(API).expect("a description");
        let text = first_rules(&operations);
        let none: cache_rules::rules::RawRules = toml::from_str(&text).expect("TOML");
        assert!(none.rule.is_empty());
        let keys = |line: &&str| line.starts_with("# [[") || line.contains(" = ");
        let rules: String = text
            .lines()
            .filter(keys)
            .map(|line| format!("{}\n", line.trim_start_matches("# ")))
            .collect();
        let rules = toml::from_str(&rules).expect("TOML");
        let rules = cache_rules::rules::RuleSet::compile(rules).expect("no mistakes");
        assert_eq!(
            rules.names().collect::<Vec<_>>(),
            ["get-course", "api-v1-news", "school"]
        );
        assert!(rules.review(&operations).problems.is_empty());
    }
}
