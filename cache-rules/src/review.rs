//! What the rules make of an API: every operation of its description with its class, and where a rule is wider than
//! what the description itself allows.

use http::Method;

use crate::rules::{RuleSet, Scope};
use crate::target::CanonicalPath;

/// One operation of an API's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The path with its parameters, such as `/api/v1/courses/{id}`, below the server's own.
    pub path: String,
    /// Its id, or nothing.
    pub id: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// The description asks for no credentials.
    pub open: bool,
}

/// An operation and what the rules make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// The rule that covers it and who shares its answers; none: never cached.
    pub rule: Option<(&'a str, Scope)>,
}

/// Every operation, and what is wrong.
#[derive(Debug, Default)]
pub struct Review<'a> {
    /// In the order of the description.
    pub operations: Vec<Reviewed<'a>>,
    /// One sentence each: rules that match no operation, and rules that are wider than an operation's own security.
    pub problems: Vec<String>,
}

/// Stands for the value of a parameter: no API has a literal segment like it.
const VALUE: &str = "0-value-0";

pub(crate) fn review<'a>(rules: &'a RuleSet, operations: &'a [Operation]) -> Review<'a> {
    let mut review = Review::default();
    let mut matched: Vec<(&str, &Operation)> = Vec::new();
    for operation in operations {
        let rule = rule_of(rules, operation);
        if let Some((name, scope)) = rule {
            let what = format!("{} {}", operation.method, operation.path);
            if scope == Scope::Public && !operation.open {
                review.problems.push(format!(
                    "rule `{name}` is public, but {what} asks for credentials: its answers may be for those who have them"
                ));
            }
            let other = matched
                .iter()
                .find(|(have, first)| *have == name && first.path != operation.path);
            if let Some((_, other)) = other {
                review.problems.push(format!(
                    "rule `{name}` covers {what} and {} {}: write a rule for each, or one that covers only one of them",
                    other.method, other.path
                ));
            }
            matched.push((name, operation));
        }
        review.operations.push(Reviewed { operation, rule });
    }
    for name in rules.names() {
        if !matched.iter().any(|(have, _)| *have == name) {
            review.problems.push(format!(
                "rule `{name}` matches no operation that can be read: is its path the description's, with the server's prefix?"
            ));
        }
    }
    review
}

fn rule_of<'a>(rules: &'a RuleSet, operation: &Operation) -> Option<(&'a str, Scope)> {
    let path = example(&operation.path);
    let path = CanonicalPath::parse(&path).ok()?;
    let rule = rules.of_path(&path)?;
    rule.covers(&operation.method)
        .then_some((&*rule.name, rule.scope))
}

/// A path of the operation: each parameter, also one inside a segment, has a value.
fn example(template: &str) -> String {
    let mut path = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str(VALUE);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    path.push_str(rest);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(method: &str, path: &str, open: bool) -> Operation {
        Operation {
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            id: String::new(),
            summary: String::new(),
            open,
        }
    }

    fn rules(text: &str) -> RuleSet {
        RuleSet::compile(toml::from_str(text).expect("TOML")).expect("no mistakes")
    }

    const RULES: &str = r#"
        [[rule]]
        name = "course"
        path = "/api/courses/{id}"
        scope = "tenant"
        ttl_s = 9

        [[rule]]
        name = "school"
        path = "/api/school"
        scope = "public"
        ttl_s = 9
    "#;

    #[test]
    fn each_operation_has_its_class_and_nothing_is_wrong() {
        let rules = rules(RULES);
        let operations = [
            operation("GET", "/api/courses/{course_id}", false),
            operation("PATCH", "/api/courses/{course_id}", false),
            operation("GET", "/api/school", true),
            operation("GET", "/api/print/{id}.pdf", false),
        ];
        let review = rules.review(&operations);
        let classes: Vec<_> = review
            .operations
            .iter()
            .map(|o| o.rule.map(|(name, _)| name))
            .collect();
        assert_eq!(classes, [Some("course"), None, Some("school"), None]);
        assert_eq!(review.problems, [""; 0]);
    }

    #[test]
    fn a_rule_that_is_wider_than_the_description_is_named() {
        let rules = rules(RULES);
        let closed = [
            operation("GET", "/api/courses/{id}", false),
            operation("GET", "/api/courses/mine", false),
            operation("GET", "/api/school", false),
        ];
        let problems = rules.review(&closed).problems.join("\n");
        assert!(
            problems.contains("rule `school` is public, but GET /api/school asks"),
            "{problems}"
        );
        assert!(
            problems.contains("rule `course` covers GET /api/courses/mine and GET"),
            "{problems}"
        );
        let none = [operation("POST", "/api/school", true)];
        let problems = rules.review(&none).problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
