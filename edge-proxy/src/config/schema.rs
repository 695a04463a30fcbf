//! The schemas of the files, and what is wrong with a file by its schema: every mistake, not the first.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::document::Document;
use super::mistake::{At, Mistake, listed, meant};

/// The JSON schema of one file.
pub(super) fn of<T: JsonSchema>() -> Json {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(WithoutNull))
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// TOML has no null: an optional key is left out. Without this, a mistake in an optional table would
/// read "neither this table nor null".
#[derive(Debug, Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Json::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [name] = &types[..] {
                let name = name.clone();
                schema.insert("type".to_owned(), name);
            }
        }
        if let Some(Json::Array(any)) = schema.get_mut("anyOf") {
            any.retain(|branch| *branch != json!({ "type": "null" }));
            if let [Json::Object(only)] = &mut any[..] {
                let only = std::mem::take(only);
                schema.remove("anyOf");
                for (key, value) in only {
                    schema.ensure_object().entry(key).or_insert(value);
                }
            }
        }
        if schema.get("default") == Some(&Json::Null) {
            schema.remove("default");
        }
    }
}

/// What was typed, if the file fits its schema.
pub(super) fn read<T: JsonSchema + DeserializeOwned>(
    document: &Document,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let schema = of::<T>();
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => {
            mistakes
                .push(document.mistake(&At::top(), format!("no schema for this file: {error}")));
            return None;
        }
    };
    let before = mistakes.len();
    for error in validator.iter_errors(document.json()) {
        explain(&schema, &error, document, mistakes);
    }
    if mistakes.len() > before {
        return None;
    }
    T::deserialize(document.json())
        .inspect_err(|error| mistakes.push(document.mistake(&At::top(), error.to_string())))
        .ok()
}

fn explain(
    schema: &Json,
    error: &ValidationError<'_>,
    document: &Document,
    mistakes: &mut Vec<Mistake>,
) {
    let at = at(error);
    let mut say = |at: &At, message: String| mistakes.push(document.mistake(at, message));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let table = holder(schema, error);
            let known = table["properties"].as_object().into_iter().flatten();
            let known: BTreeSet<&str> = known.map(|(key, _)| key.as_str()).collect();
            for key in unexpected {
                let hint = match meant(key, known.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("known here: {}", listed(known.iter().copied())),
                };
                say(&at.key(key), format!("unknown key, {hint}"));
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let what = holder(schema, error)["properties"][key]["description"]
                .as_str()
                .and_then(|text| text.lines().next())
                .map(|line| format!(": {line}"))
                .unwrap_or_default();
            say(&at.key(key), format!("missing{what}"));
        }
        ValidationErrorKind::Type { kind } => {
            say(
                &at,
                format!("is {}, not {}", a(error.instance()), wanted(kind)),
            );
        }
        ValidationErrorKind::Minimum { limit } => say(
            &at,
            format!(
                "is {}: at least {} is wanted",
                error.instance(),
                plain(limit)
            ),
        ),
        ValidationErrorKind::Maximum { limit } => say(
            &at,
            format!(
                "is {}: at most {} is allowed",
                error.instance(),
                plain(limit)
            ),
        ),
        ValidationErrorKind::MinItems { .. } | ValidationErrorKind::MinLength { .. } => {
            say(&at, "is empty".to_owned());
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            match choices(context) {
                Some(names) => say(&at, not_one_of(error.instance(), &names)),
                // The branch that fails least is the one that was meant.
                None => {
                    let nearest = context.iter().min_by_key(|errors| errors.len());
                    for error in nearest.into_iter().flatten() {
                        explain(schema, error, document, mistakes);
                    }
                }
            }
        }
        ValidationErrorKind::Enum { options } => {
            let names: Vec<String> = options
                .as_array()
                .map(|all| all.iter().map(text).collect())
                .unwrap_or_default();
            say(&at, not_one_of(error.instance(), &names));
        }
        _ => say(&at, error.to_string()),
    }
}

fn at(error: &ValidationError<'_>) -> At {
    error
        .instance_path()
        .segments()
        .fold(At::top(), |at, segment| match segment {
            LocationSegment::Property(name) => at.key(&name),
            LocationSegment::Index(index) => at.index(index),
        })
}

/// The schema of the table that a keyword such as `required` stands in.
fn holder<'a>(schema: &'a Json, error: &ValidationError<'_>) -> &'a Json {
    let keyword = error.schema_path().as_str();
    let table = keyword.rsplit_once('/').map_or("", |(table, _)| table);
    schema.pointer(table).unwrap_or(&Json::Null)
}

/// The constants of an enum whose variants are documented one by one.
fn choices(context: &[Vec<ValidationError<'static>>]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for branch in context {
        for error in branch {
            match error.kind() {
                ValidationErrorKind::Constant { expected_value } => {
                    names.push(text(expected_value))
                }
                ValidationErrorKind::Enum { options } => {
                    names.extend(options.as_array()?.iter().map(text));
                }
                ValidationErrorKind::Type { .. } => {}
                _ => return None,
            }
        }
    }
    (!names.is_empty()).then_some(names)
}

fn not_one_of(typed: &Json, names: &[String]) -> String {
    let all = listed(names.iter().map(String::as_str));
    match typed.as_str() {
        Some(typed) => format!("`{typed}` is not one of {all}"),
        None => format!("is {}, not one of {all}", a(typed)),
    }
}

fn text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A bound as it is typed: 1, not 1.0.
fn plain(limit: &Json) -> String {
    limit
        .as_f64()
        .map_or_else(|| limit.to_string(), |n| n.to_string())
}

fn a(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

fn wanted(kind: &TypeKind) -> String {
    let name = |name: &str| match name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text in quotes",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    };
    match kind {
        TypeKind::Single(kind) => name(&kind.to_string()).to_owned(),
        TypeKind::Multiple(kinds) => {
            let names: Vec<_> = kinds.iter().map(|kind| name(&kind.to_string())).collect();
            names.join(" or ")
        }
    }
}
