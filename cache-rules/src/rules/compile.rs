//! From what was typed to what it means, with every mistake at once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_LANGUAGE};
use http::{HeaderName, HeaderValue};

use super::pattern::{Pattern, TagTemplate};
use super::raw::{RawConsent, RawPolicy, RawRule, RawRules, RawScope};
use super::table::Table;
use super::{Consent, Policy, QueryName, Rule, RuleMistake, RuleSet, Scope, Take, VaryOn};
use crate::target::encode;

/// Many times an API's reads; bounds the comparison of each pattern with each.
const RULES_MAX: usize = 1000;
/// A day: what nobody purged by then is asked for again. The origin's lifetime is usually far shorter.
const TTL_S_MAX: u32 = 86_400;
/// The longest stale windows: of what everyone may see, and of what some may. A minute hides a slow origin, an hour
/// bridges its failure; what belongs to a school must not outlive a change of its people by more than minutes.
const WHILE_REVALIDATE_S_MAX: [u32; 2] = [60, 10];
const IF_ERROR_S_MAX: [u32; 2] = [3600, 300];
/// The length of each list in a rule: more is a rule that should be two.
const LIST_MAX: usize = 32;

/// Content types that are never stored in this release: pages, their fragments, and streams.
const TYPES_REFUSED: [&str; 4] = [
    "text/html",
    "application/xhtml+xml",
    "text/x-component",
    "text/event-stream",
];

/// Request headers that no answer may be keyed by: credentials, what belongs to one connection or one transfer, and
/// what the edge says itself.
const VARY_REFUSED: [&str; 22] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "pragma",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];
const VARY_REFUSED_PREFIXES: [&str; 3] = ["if-", "x-edge-", "x-forwarded-"];

/// Collects mistakes under the rule that is being read.
struct Mistakes {
    rule: usize,
    list: Vec<RuleMistake>,
}

impl Mistakes {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        let at = format!("rule[{}].{key}", self.rule);
        let message = message.into();
        self.list.push(RuleMistake { at, message });
    }

    fn note<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.add(key, message)).ok()
    }

    /// Reads each entry of a list; refuses an entry that is there twice.
    fn each<T: PartialEq>(
        &mut self,
        key: &str,
        list: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if list.len() > LIST_MAX {
            self.add(key, format!("has more than {LIST_MAX} entries"));
        }
        let mut out: Vec<T> = Vec::new();
        for (place, text) in list.iter().enumerate() {
            let key = format!("{key}[{place}]");
            match self.note(&key, parse(text)) {
                Some(value) if out.contains(&value) => {
                    self.add(&key, format!("`{text}` is listed twice"))
                }
                Some(value) => out.push(value),
                None => {}
            }
        }
        out
    }
}

pub(super) fn compile(raw: RawRules) -> Result<RuleSet, Vec<RuleMistake>> {
    if raw.rule.len() > RULES_MAX {
        let at = "rule".to_owned();
        let message = format!("there are more than {RULES_MAX} rules");
        return Err(vec![RuleMistake { at, message }]);
    }
    let mut mistakes = Mistakes {
        rule: 0,
        list: Vec::new(),
    };
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut rules = Vec::with_capacity(raw.rule.len());
    for (place, raw) in raw.rule.iter().enumerate() {
        mistakes.rule = place;
        if let Some(first) = names.insert(&raw.name, place) {
            mistakes.add(
                "name",
                format!("`{}` is also the name of rule[{first}]", raw.name),
            );
        }
        rules.push(rule(raw, &mut mistakes));
    }
    let table = join(&rules, &mut mistakes);
    if mistakes.list.is_empty() {
        // Without a mistake every rule was made.
        let rules = rules.into_iter().flatten().map(Arc::new).collect();
        Ok(RuleSet { rules, table })
    } else {
        Err(mistakes.list)
    }
}

/// Puts the patterns together. Which of two rules a path belongs to must not decide who sees it.
fn join(rules: &[Option<Rule>], mistakes: &mut Mistakes) -> Table {
    let mut table = Table::default();
    for (place, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        mistakes.rule = place;
        if let Some(first) = table.add(&rule.pattern, place) {
            mistakes.add(
                "path",
                format!("is the same as rule[{first}].path; a path has one rule"),
            );
            continue;
        }
        let earlier = rules[..place].iter().enumerate();
        for (first, other) in earlier.filter_map(|(i, r)| Some((i, r.as_ref()?))) {
            if other.scope != rule.scope && other.pattern.overlaps(&rule.pattern) {
                let message = format!(
                    "some path matches this (scope {}) and rule[{first}].path (`{}`, scope {}); overlapping rules have one scope",
                    rule.scope, other.name, other.scope
                );
                mistakes.add("path", message);
            }
        }
    }
    table
}

/// None when there was a mistake that leaves nothing to compare with others.
fn rule(raw: &RawRule, mistakes: &mut Mistakes) -> Option<Rule> {
    let name = mistakes.note("name", name(&raw.name));
    let scope = match raw.scope {
        RawScope::Public => Scope::Public,
        RawScope::Tenant => Scope::Tenant,
        RawScope::Role => Scope::Role,
    };
    let methods = mistakes.each("methods", &raw.methods, method);
    if raw.methods.is_empty() {
        mistakes.add("methods", "is empty; leave it out for GET and HEAD");
    }
    let query = mistakes.each("query", &raw.query, query_name);
    let ignore = mistakes.each("ignore", &raw.ignore, query_name);
    if let Some(both) = ignore.iter().find(|name| query.contains(name)) {
        let name = &both.decoded;
        mistakes.add(
            "ignore",
            format!("`{name}` is also in `query`; a name is either keyed or dropped"),
        );
    }
    let types = mistakes.each("types", &raw.types, content_type);
    let vary = vary(raw, &types, mistakes);
    if raw.types.is_empty() {
        mistakes.add("types", "is empty; leave it out for `application/json`");
    }
    let accept = HeaderValue::from_str(&types.join(", ")).ok();
    if !(1..=TTL_S_MAX).contains(&raw.ttl_s) {
        mistakes.add("ttl_s", format!("is from 1 to {TTL_S_MAX}"));
    }
    if scope != Scope::Public {
        public_only(raw, scope, mistakes);
    }
    windows(raw, scope, mistakes);
    let reload_roles = mistakes.each("reload_roles", &raw.reload_roles, role);
    if scope == Scope::Public && !raw.reload_roles.is_empty() {
        mistakes.add(
            "reload_roles",
            "is for rules that know who asks; nobody proves a role to a public one",
        );
    }
    let pattern = mistakes.note("path", Pattern::parse(&raw.path))?;
    let policy = match raw.policy {
        RawPolicy::Strict => Policy::Strict,
        RawPolicy::DangerRfc9111 => Policy::Rfc9111,
    };
    if policy == Policy::Strict && pattern.is_open() {
        mistakes.add(
            "path",
            "ends with `**`: a rule names its paths, segment by segment",
        );
    }
    if policy != Policy::Strict && scope != Scope::Public {
        mistakes.add(
            "policy",
            "`danger_rfc9111` is for public rules: it asks nobody who they are",
        );
    }
    let tags = mistakes.each("tags", &raw.tags, |text| TagTemplate::parse(text, &pattern));
    let invalidates = mistakes.each("invalidates", &raw.invalidates, |text| {
        TagTemplate::parse(text, &pattern)
    });
    let mut rule = Rule {
        name: name?,
        scope,
        get: methods.contains(&"GET"),
        head: methods.contains(&"HEAD"),
        pattern,
        query: query.into(),
        ignore: ignore.into_iter().map(|name| name.decoded).collect(),
        vary: vary.into(),
        types: types.into(),
        accept: accept?,
        ttl: Duration::from_secs(raw.ttl_s.into()),
        stale_while_revalidate: Duration::from_secs(raw.stale_while_revalidate_s.into()),
        stale_if_error: Duration::from_secs(raw.stale_if_error_s.into()),
        reload_roles: reload_roles.into(),
        tags: tags.into(),
        invalidates: invalidates.into(),
        consent: match raw.consent {
            RawConsent::Origin => Consent::Origin,
            RawConsent::Rule => Consent::Rule,
        },
        across_colours: raw.across_colours,
        policy,
        digest: 0,
    };
    rule.digest = digest(&rule);
    Some(rule)
}

fn public_only(raw: &RawRule, scope: Scope, mistakes: &mut Mistakes) {
    let scoped = format!("rule[{}].scope is `{scope}`", mistakes.rule);
    if raw.consent == RawConsent::Rule {
        mistakes.add(
            "consent",
            format!("`rule` is for public rules, and {scoped}; the origin must consent"),
        );
    }
    if raw.across_colours {
        mistakes.add(
            "across_colours",
            format!("is for public rules, and {scoped}; leave it out"),
        );
    }
}

fn windows(raw: &RawRule, scope: Scope, mistakes: &mut Mistakes) {
    let column = usize::from(scope != Scope::Public);
    let windows = [
        (
            "stale_while_revalidate_s",
            raw.stale_while_revalidate_s,
            WHILE_REVALIDATE_S_MAX,
        ),
        ("stale_if_error_s", raw.stale_if_error_s, IF_ERROR_S_MAX),
    ];
    for (key, typed, max) in windows {
        let max = max[column];
        if typed > max {
            mistakes.add(key, format!("is at most {max} for scope `{scope}`"));
        }
    }
}

/// The headers of `vary`, and those that `locales` and `negotiate` reduce, sorted by name.
fn vary(raw: &RawRule, types: &[Box<str>], mistakes: &mut Mistakes) -> Vec<VaryOn> {
    let names = mistakes.each("vary", &raw.vary, vary_name);
    let locales = mistakes.each("locales", &raw.locales, locale);
    let whole = |name| VaryOn {
        name,
        take: Take::Value,
    };
    let mut vary: Vec<_> = names.into_iter().map(whole).collect();
    let mut reduced = |key: &str, on: VaryOn| {
        if vary.iter().any(|have| have.name == on.name) {
            mistakes.add(
                key,
                format!(
                    "reduces `{}`, which `vary` takes whole; write one of them",
                    on.name
                ),
            );
        } else {
            vary.push(on);
        }
    };
    if !locales.is_empty() {
        let take = Take::Locale(locales.into());
        reduced(
            "locales",
            VaryOn {
                name: ACCEPT_LANGUAGE,
                take,
            },
        );
    }
    if raw.negotiate {
        let take = Take::Type(types.into());
        reduced("negotiate", VaryOn { name: ACCEPT, take });
    }
    vary.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    vary
}

/// The hasher is the one without a random seed. The digest need not outlive the process, nor resist anybody: only
/// operators write rules.
fn digest(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Rule {
        name,
        scope,
        get,
        head,
        pattern,
        query,
        ignore,
        vary,
        types,
        accept: _,
        ttl,
        stale_while_revalidate,
        stale_if_error,
        reload_roles,
        tags,
        invalidates: _,
        consent,
        across_colours,
        policy,
        digest: _,
    } = rule;
    (name, scope, get, head, pattern).hash(&mut hasher);
    (query, ignore, vary, types).hash(&mut hasher);
    (ttl, stale_while_revalidate, stale_if_error, reload_roles).hash(&mut hasher);
    (tags, consent, across_colours, policy).hash(&mut hasher);
    hasher.finish()
}

fn name(text: &str) -> Result<Box<str>, String> {
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fits {
        Ok(text.into())
    } else {
        Err(
            "is 1 to 64 lower-case letters, digits, `-` or `_`: it is a label in metrics"
                .to_owned(),
        )
    }
}

fn method(text: &str) -> Result<&'static str, String> {
    match text {
        "GET" => Ok("GET"),
        "HEAD" => Ok("HEAD"),
        _ => Err(format!(
            "`{text}` is never cached; only `GET` and `HEAD` are"
        )),
    }
}

fn query_name(text: &str) -> Result<QueryName, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~[]:".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(QueryName {
            decoded: text.into(),
            encoded: encode(text).into(),
        })
    } else {
        Err(format!(
            "`{text}` is no query name: 1 to 64 letters, digits and `-._~[]:`, not encoded"
        ))
    }
}

fn locale(text: &str) -> Result<Box<str>, String> {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if text.len() <= 35 && text.split('-').all(part) {
        Ok(text.into())
    } else {
        Err(format!("`{text}` is no language, such as `de` or `de-AT`"))
    }
}

fn role(text: &str) -> Result<Box<str>, String> {
    if (1..=64).contains(&text.len()) && !text.contains(char::is_control) {
        Ok(text.into())
    } else {
        Err(format!(
            "`{}` is no role: 1 to 64 characters",
            text.escape_debug()
        ))
    }
}

fn vary_name(text: &str) -> Result<HeaderName, String> {
    if text == "*" {
        return Err("`*` would vary on everything; list the headers".to_owned());
    }
    let name: HeaderName = text
        .parse()
        .map_err(|_| format!("`{text}` is no header name"))?;
    let refused = VARY_REFUSED.contains(&name.as_str())
        || VARY_REFUSED_PREFIXES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
    if refused {
        Err(format!(
            "no answer is shared by `{name}`; codings and ranges are made from the stored answer, and credentials by scope"
        ))
    } else {
        Ok(name)
    }
}

fn content_type(text: &str) -> Result<Box<str>, String> {
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&^_.+-".contains(&b))
    };
    let fits = text
        .split_once('/')
        .is_some_and(|(kind, sub)| token(kind) && token(sub));
    if !fits {
        return Err(format!(
            "`{text}` is no content type: lower case, without parameters and `*`, such as `application/json`"
        ));
    }
    if TYPES_REFUSED.contains(&text) || text.starts_with("multipart/") {
        return Err(format!(
            "`{text}` is never stored: pages and streams are passed on"
        ));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests;
