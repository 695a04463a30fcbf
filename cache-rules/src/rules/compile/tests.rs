use super::*;

fn mistakes(text: &str) -> Vec<String> {
    let raw: RawRules = toml::from_str(text).expect("TOML of the right shape");
    match RuleSet::compile(raw) {
        Ok(_) => Vec::new(),
        Err(list) => list.iter().map(ToString::to_string).collect(),
    }
}

/// A rule that is right but for what is added.
fn with(more: &str) -> String {
    format!("[[rule]]\nname = \"r\"\npath = \"/a/{{id}}\"\nttl_s = 30\n{more}")
}

#[test]
fn one_mistake_is_reported_at_its_key() {
    let public = "scope = \"public\"\n";
    let tenant = "scope = \"tenant\"\n";
    let table = [
        (public, "methods = []", "rule[0].methods: is empty"),
        (
            public,
            "methods = [\"GET\", \"POST\"]",
            "rule[0].methods[1]: `POST`",
        ),
        (public, "methods = [\"get\"]", "rule[0].methods[0]: `get`"),
        (
            public,
            "query = [\"a\", \"a\"]",
            "rule[0].query[1]: `a` is listed twice",
        ),
        (
            public,
            "query = [\"a b\"]",
            "rule[0].query[0]: `a b` is no query name",
        ),
        (
            public,
            "query = [\"a\"]\nignore = [\"a\"]",
            "rule[0].ignore: `a` is also in `query`",
        ),
        (
            public,
            "stale_while_revalidate_s = 61",
            "rule[0].stale_while_revalidate_s: is at most 60",
        ),
        (
            tenant,
            "stale_while_revalidate_s = 11",
            "rule[0].stale_while_revalidate_s: is at most 10",
        ),
        (
            public,
            "stale_if_error_s = 3601",
            "rule[0].stale_if_error_s: is at most 3600",
        ),
        (
            tenant,
            "stale_if_error_s = 301",
            "rule[0].stale_if_error_s: is at most 300",
        ),
        (
            public,
            "reload_roles = [\"teacher\"]",
            "rule[0].reload_roles: is for rules that know who asks",
        ),
        (
            tenant,
            "reload_roles = [\"\"]",
            "rule[0].reload_roles[0]: `` is no role",
        ),
        (
            public,
            "locales = [\"d e\"]",
            "rule[0].locales[0]: `d e` is no language",
        ),
        (
            public,
            "locales = [\"de\"]\nvary = [\"accept-language\"]",
            "rule[0].locales: reduces `accept-language`, which `vary` takes whole",
        ),
        (
            public,
            "negotiate = true\nvary = [\"accept\"]",
            "rule[0].negotiate: reduces `accept`",
        ),
        (public, "vary = [\"*\"]", "rule[0].vary[0]: `*`"),
        (
            public,
            "vary = [\"Cookie\"]",
            "rule[0].vary[0]: no answer is shared by `cookie`",
        ),
        (
            public,
            "vary = [\"if-range\"]",
            "rule[0].vary[0]: no answer",
        ),
        (
            public,
            "vary = [\"x-forwarded-host\"]",
            "rule[0].vary[0]: no answer",
        ),
        (
            public,
            "vary = [\"accept-encoding\"]",
            "rule[0].vary[0]: no answer",
        ),
        (
            public,
            "vary = [\"a b\"]",
            "rule[0].vary[0]: `a b` is no header name",
        ),
        (public, "types = []", "rule[0].types: is empty"),
        (
            public,
            "types = [\"text/html\"]",
            "rule[0].types[0]: `text/html` is never stored",
        ),
        (
            public,
            "types = [\"text/event-stream\"]",
            "rule[0].types[0]: `text/event-stream`",
        ),
        (
            public,
            "types = [\"*/*\"]",
            "rule[0].types[0]: `*/*` is no content type",
        ),
        (
            public,
            "types = [\"application/JSON\"]",
            "rule[0].types[0]: `application/JSON`",
        ),
        (
            public,
            "tags = [\"x:{no}\"]",
            "rule[0].tags[0]: the path has no parameter `{no}`",
        ),
        (public, "tags = [\"a b\"]", "rule[0].tags[0]: a tag is"),
        (
            tenant,
            "consent = \"rule\"",
            "rule[0].consent: `rule` is for public rules, and rule[0].scope is `tenant`",
        ),
        (
            tenant,
            "across_colours = true",
            "rule[0].across_colours: is for public rules, and rule[0].scope",
        ),
    ];
    for (scope, more, expected) in table {
        let seen = mistakes(&with(&format!("{scope}{more}")));
        assert_eq!(seen.len(), 1, "{more}: {seen:?}");
        assert!(seen[0].starts_with(expected), "{more}: {seen:?}");
    }
    for (scope, more) in [
        (public, ""),
        (tenant, ""),
        (public, "consent = \"rule\"\nacross_colours = true"),
        (
            public,
            "query = [\"ids[]\"]\nignore = [\"utm_source\"]\nvary = [\"Accept-Language\"]",
        ),
        (
            tenant,
            "tags = [\"a:{id}\"]\ntypes = [\"application/json\", \"application/vnd.api+json\"]",
        ),
    ] {
        assert_eq!(
            mistakes(&with(&format!("{scope}{more}"))),
            [""; 0],
            "{more}"
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"
        [[rule]]
        name = "Bad Name"
        path = "/a/"
        scope = "public"
        ttl_s = 0

        [[rule]]
        name = "ok"
        path = "/b/{id}"
        scope = "tenant"
        ttl_s = 90000

        [[rule]]
        name = "ok"
        path = "/b/featured"
        scope = "public"
        ttl_s = 60

        [[rule]]
        name = "again"
        path = "/b/{other}"
        scope = "tenant"
        ttl_s = 60
    "#;
    let seen = mistakes(text);
    let expected = [
        "rule[0].name: is 1 to 64",
        "rule[0].ttl_s: is from 1",
        "rule[0].path: a path has no empty segment",
        "rule[1].ttl_s: is from 1",
        "rule[2].name: `ok` is also the name of rule[1]",
        "rule[2].path: some path matches this (scope public) and rule[1].path (`ok`, scope tenant)",
        "rule[3].path: is the same as rule[1].path",
    ];
    assert_eq!(seen.len(), expected.len(), "{seen:#?}");
    for (seen, expected) in seen.iter().zip(expected) {
        assert!(seen.starts_with(expected), "{seen}");
    }
}

#[test]
fn unknown_keys_and_missing_ones_are_errors() {
    for (text, word) in [
        ("[[rules]]", "unknown field `rules`"),
        (
            &with("scope = \"public\"\nttl = 3")[..],
            "unknown field `ttl`",
        ),
        (&with("scope = \"user\""), "unknown variant `user`"),
        (&with(""), "missing field `scope`"),
        (
            &with("scope = \"public\"\nconsent = \"nobody\""),
            "unknown variant `nobody`",
        ),
    ] {
        let error = toml::from_str::<RawRules>(text)
            .expect_err(word)
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_rule_that_means_something_else_has_another_digest() {
    let digest = |more: &str| {
        let raw = toml::from_str(&with(more)).expect("TOML of the right shape");
        RuleSet::compile(raw).expect("no mistakes").rules[0].digest
    };
    let changes = [
        "scope = \"public\"",
        "scope = \"tenant\"",
        "scope = \"public\"\nmethods = [\"GET\"]",
        "scope = \"public\"\nmethods = [\"HEAD\"]",
        "scope = \"public\"\nquery = [\"a\"]",
        "scope = \"public\"\nignore = [\"a\"]",
        "scope = \"public\"\nvary = [\"accept\"]",
        "scope = \"public\"\ntypes = [\"text/plain\"]",
        "scope = \"public\"\ntags = [\"a\"]",
        "scope = \"public\"\nconsent = \"rule\"",
        "scope = \"public\"\nacross_colours = true",
    ];
    let digests: std::collections::HashSet<u64> = changes.iter().map(|more| digest(more)).collect();
    assert_eq!(digests.len(), changes.len());
    assert_eq!(
        digest(changes[0]),
        digest("scope = \"public\"\nconsent = \"origin\"")
    );
}

#[test]
fn a_rule_for_conformance_runs_is_public_and_only_it_is_open() {
    let open = |policy: &str, scope: &str| {
        mistakes(&format!(
            "[[rule]]\nname = \"r\"\npath = \"/a/**\"\nttl_s = 30\nscope = \"{scope}\"\npolicy = \"{policy}\""
        ))
    };
    assert_eq!(
        open("strict", "public"),
        ["rule[0].path: ends with `**`: a rule names its paths, segment by segment"]
    );
    assert_eq!(open("danger_rfc9111", "public"), [""; 0]);
    let said = open("danger_rfc9111", "tenant");
    assert!(
        said[0].starts_with("rule[0].policy: `danger_rfc9111` is for public rules"),
        "{said:?}"
    );
}

#[test]
fn what_is_just_within_a_bound_is_no_mistake() {
    let list = |entries: usize| {
        let names: Vec<String> = (0..entries).map(|n| format!("\"n{n}\"")).collect();
        with(&format!(
            "scope = \"public\"\nquery = [{}]",
            names.join(", ")
        ))
    };
    assert_eq!(mistakes(&list(LIST_MAX)), Vec::<String>::new());
    assert_eq!(
        mistakes(&list(LIST_MAX + 1)),
        ["rule[0].query: has more than 32 entries"]
    );

    let rules = |count: usize| -> String {
        let one = |n| {
            format!("[[rule]]\nname = \"r{n}\"\npath = \"/{n}\"\nscope = \"public\"\nttl_s = 1\n")
        };
        (0..count).map(one).collect()
    };
    assert_eq!(mistakes(&rules(RULES_MAX)), Vec::<String>::new());
    assert_eq!(
        mistakes(&rules(RULES_MAX + 1)),
        ["rule: there are more than 1000 rules"]
    );

    for (scope, bridged, standing_in) in
        [("public", 60, 3600), ("tenant", 10, 300), ("role", 10, 300)]
    {
        let windows = format!(
            "scope = \"{scope}\"\nstale_while_revalidate_s = {bridged}\nstale_if_error_s = {standing_in}"
        );
        assert_eq!(mistakes(&with(&windows)), Vec::<String>::new());
    }
}
