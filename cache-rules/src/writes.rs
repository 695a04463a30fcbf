//! What a write through the edge ends (RFC 9111, 4.4, and RFC 9875): what is stored under its target, under the
//! places that its answer names, what its rule lists, and the groups that the origin names.
//!
//! All of it in the tenant whose host was asked and in all scopes. What no rule can have stored is left out.

use http::header::{CONTENT_LOCATION, HeaderMap, HeaderName, LOCATION};
use http::{Method, StatusCode, Uri};

use crate::group::{self, CACHE_GROUP_INVALIDATION, Group};
use crate::host::{Authority, HostName};
use crate::rules::RuleSet;
use crate::tag::Tag;
use crate::target::CanonicalPath;

/// What must not be served again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Canonical paths, with every query.
    pub paths: Vec<Box<str>>,
    /// Tags of the rules.
    pub tags: Vec<Tag>,
    /// Groups of the origin.
    pub groups: Vec<Group>,
}

impl Ended {
    /// Whether it ends nothing.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.tags.is_empty() && self.groups.is_empty()
    }

    fn add_path(&mut self, rules: &RuleSet, raw_path: &str) {
        let Ok(path) = CanonicalPath::parse(raw_path) else {
            // It has no canonical form, so nothing is stored under it.
            return;
        };
        if rules.of_path(&path).is_some() && !self.paths.iter().any(|p| **p == *path.as_str()) {
            self.paths.push(path.as_str().into());
        }
    }
}

/// What the answer to a request ends: nothing for a safe method, and nothing when the origin did not do it.
pub(crate) fn ended(
    rules: &RuleSet,
    (method, host, raw_path): (&Method, &HostName, &str),
    status: StatusCode,
    answer: &HeaderMap,
) -> Ended {
    let mut ended = Ended::default();
    if method.is_safe() || !(status.is_success() || status.is_redirection()) {
        return ended;
    }
    if let Ok(path) = CanonicalPath::parse(raw_path)
        && let Some(rule) = rules.of_path(&path)
    {
        ended.tags = rule.ended_tags(path.as_str());
    }
    ended.add_path(rules, raw_path);
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(path) = place(answer, &name, host, raw_path) {
            ended.add_path(rules, &path);
        }
    }
    // A list that cannot be read names nothing.
    ended.groups = group::named(answer, &CACHE_GROUP_INVALIDATION).unwrap_or_default();
    ended
}

/// The path of a URI in the answer, if it is of the same host: others' answers are theirs to end.
fn place(answer: &HeaderMap, name: &HeaderName, host: &HostName, base: &str) -> Option<String> {
    let mut lines = answer.get_all(name).iter();
    let text = lines.next()?.to_str().ok()?;
    if lines.next().is_some() || text.is_empty() || text.starts_with("//") {
        return None;
    }
    if text.starts_with('/') {
        return Some(text.split(['?', '#']).next()?.to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://")
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        let uri: Uri = text.parse().ok()?;
        let authority = Authority::parse(uri.authority()?.as_str()).ok()?;
        return (authority.host == *host).then(|| uri.path().to_owned());
    }
    // Relative to the folder of the target. Dot segments make a path that has no canonical form.
    let (folder, _) = base.rsplit_once('/')?;
    Some(format!("{folder}/{}", text.split(['?', '#']).next()?))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const RULES: &str = r#"
        [[rule]]
        name = "courses"
        path = "/courses"
        scope = "tenant"
        ttl_s = 9
        invalidates = ["courses"]

        [[rule]]
        name = "course"
        path = "/courses/{id}"
        scope = "public"
        ttl_s = 9
        invalidates = ["courses", "course:{id}"]
    "#;

    fn said(method: &str, path: &str, status: u16, lines: &[(&'static str, &str)]) -> String {
        let rules = RuleSet::compile(toml::from_str(RULES).expect("TOML")).expect("no mistakes");
        let mut answer = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).expect("a value");
            answer.append(HeaderName::from_static(name), value);
        }
        let method = method.parse().expect("a method");
        let host = HostName::parse("oak.example").expect("a host");
        let status = StatusCode::from_u16(status).expect("a status");
        let ended = rules.ended((&method, &host, path), status, &answer);
        let tags = ended.tags.iter().map(|tag| format!("#{tag}"));
        let groups = ended
            .groups
            .iter()
            .map(|group| format!("@{}", group.as_str()));
        let paths = ended.paths.iter().map(ToString::to_string);
        paths
            .chain(tags)
            .chain(groups)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn whoever_ends_one_thing_ends_something() {
        let nothing = Ended::default();
        assert!(nothing.is_empty());
        let lines = [(CACHE_GROUP_INVALIDATION, HeaderValue::from_static("\"a\""))];
        let groups = group::named(&HeaderMap::from_iter(lines), &CACHE_GROUP_INVALIDATION);
        let something = [
            Ended {
                paths: vec!["/a".into()],
                ..Ended::default()
            },
            Ended {
                tags: vec![Tag::parse("a").expect("a tag")],
                ..Ended::default()
            },
            Ended {
                groups: groups.expect("a list"),
                ..Ended::default()
            },
        ];
        assert!(!something.iter().any(Ended::is_empty));
    }

    #[test]
    fn a_write_that_was_done_ends_what_it_names() {
        let elsewhere = "https://elm.example/courses/8";
        type Row<'a> = (
            &'a str,
            &'a str,
            u16,
            &'a [(&'static str, &'a str)],
            &'a str,
        );
        let table: &[Row<'_>] = &[
            (
                "GET",
                "/courses/7",
                200,
                &[("cache-group-invalidation", "\"g\"")],
                "",
            ),
            ("HEAD", "/courses/7", 200, &[], ""),
            ("OPTIONS", "/courses/7", 200, &[], ""),
            (
                "PATCH",
                "/courses/7",
                200,
                &[],
                "/courses/7 #courses #course:7",
            ),
            (
                "DELETE",
                "/courses/%37",
                204,
                &[],
                "/courses/7 #courses #course:7",
            ),
            (
                "M-SEARCH",
                "/courses/7",
                200,
                &[],
                "/courses/7 #courses #course:7",
            ),
            (
                "PATCH",
                "/courses/7",
                303,
                &[],
                "/courses/7 #courses #course:7",
            ),
            ("PATCH", "/courses/7", 422, &[], ""),
            ("PATCH", "/courses/7", 500, &[], ""),
            (
                "POST",
                "/courses",
                201,
                &[("location", "/courses/8?x")],
                "/courses /courses/8 #courses",
            ),
            (
                "POST",
                "/courses",
                201,
                &[("location", "courses/8")],
                "/courses /courses/8 #courses",
            ),
            (
                "POST",
                "/courses",
                201,
                &[("content-location", "https://OAK.example/courses/9")],
                "/courses /courses/9 #courses",
            ),
            (
                "POST",
                "/courses",
                201,
                &[("location", elsewhere)],
                "/courses #courses",
            ),
            (
                "POST",
                "/courses",
                201,
                &[("location", "//elm.example/courses/8")],
                "/courses #courses",
            ),
            (
                "POST",
                "/courses",
                201,
                &[("location", "../courses/8")],
                "/courses #courses",
            ),
            // Nobody knows which is meant, and an empty one is no folder.
            (
                "POST",
                "/courses",
                201,
                &[("location", "/courses/8"), ("location", "/courses/9")],
                "/courses #courses",
            ),
            ("POST", "/other/", 201, &[("location", "")], ""),
            (
                "POST",
                "/other",
                201,
                &[("location", "/courses/8")],
                "/courses/8",
            ),
            (
                "POST",
                "/other",
                200,
                &[("cache-group-invalidation", "\"a\", \"b\"")],
                "@a @b",
            ),
            (
                "POST",
                "/other",
                500,
                &[("cache-group-invalidation", "\"a\"")],
                "",
            ),
            (
                "POST",
                "/other",
                200,
                &[("cache-group-invalidation", "a")],
                "",
            ),
            (
                "PUT",
                "/courses/7.json",
                200,
                &[],
                "/courses/7.json #courses",
            ),
            ("PUT", "/courses%2F7", 200, &[], ""),
        ];
        for (method, path, status, lines, expected) in table {
            assert_eq!(
                said(method, path, *status, lines),
                *expected,
                "{method} {path} {status} {lines:?}"
            );
        }
    }
}
