//! One good config, and what is said of each way to spoil it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::check::check;
use super::checked::{AccessLog, Proof, RouteKind};
use super::source::{Source, Sources};
use super::{ConfigFile, Mistakes, admin_socket, load, schema, watch};
use crate::colour::Colour;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EDGE: &str = r#"state = "state"

[listeners]
public = ["127.0.0.1:8443"]
redirect = ["127.0.0.1:8080"]
observe = "127.0.0.1:9464"

[tls]
certificates = "certs"

[store]
url = "file:///srv/assets"

[identity]
cookies = ["_planner_session"]
subject = "/id"
tenant = "/school"

[apps.learn.services.web]
paths = ["/"]

[apps.learn.services.api]
paths = ["/api"]
probe = { path = "/api/up" }

[[apps.learn.routes]]
path = "/api/v1/live"
kind = "stream"

[apps.learn.first]
live = "blue"

[apps.learn.first.blue]
release = "r1"
schema = "12..14"
members = { web = ["127.0.0.1:3000"], api = ["127.0.0.1:3001"] }
"#;

const TENANTS: &str = r#"[tenants.maple]
hosts = ["maple.school.test", "maple.example"]

[tenants.oak]
hosts = ["oak.school.test"]
"#;

const RULES: &str = r#"[[rule]]
name = "courses"
path = "/api/v1/courses"
scope = "tenant"
ttl_s = 60
"#;

/// The three files in a folder of their own, with a folder for certificates.
fn written(edge: &str, tenants: &str, rules: &str) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("certs"))?;
    fs::write(folder.path().join("edge.toml"), edge)?;
    fs::write(folder.path().join("tenants.toml"), tenants)?;
    fs::write(folder.path().join("rules.toml"), rules)?;
    Ok(folder)
}

/// What is said of the files, with the folder left out.
fn said(folder: &Path) -> Vec<String> {
    match load(&folder.join("edge.toml")) {
        Ok(_) => Vec::new(),
        Err(mistakes) => lines(&mistakes, folder),
    }
}

fn lines(mistakes: &Mistakes, folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    let text = mistakes.to_string().replace(&prefix, "");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_good_config_means_what_it_says() -> Outcome {
    let folder = written(EDGE, TENANTS, RULES)?;
    let config = load(&folder.path().join("edge.toml"))?;
    assert_eq!(config.state, folder.path().join("state"));
    assert_eq!(config.certificates, folder.path().join("certs"));
    assert_eq!(
        config.listeners.admin,
        folder.path().join("state/admin.sock")
    );
    assert_eq!(config.listeners.redirect_port, 443);
    assert_eq!(config.access_log, AccessLog::Stdout);
    assert_eq!(config.hsts.as_deref(), Some("max-age=31536000"));
    assert_eq!(config.limits.header, Duration::from_secs(10));
    let identity = config.identity.ok_or("there is an [identity]")?;
    assert_eq!(
        (identity.proof, identity.keep.as_secs()),
        (
            Proof::Origin {
                path: "/api/v1/me".to_owned()
            },
            30
        )
    );
    let app = config.apps.values().next().ok_or("there is an app")?;
    assert_eq!(app.salt, "learn");
    assert_eq!(app.services["api"].probe.path, "/api/up");
    assert_eq!(app.services["web"].probe.path, "/up");
    assert_eq!(app.routes[0].kind, RouteKind::Stream);
    assert!(!app.routes[0].compress);
    assert_eq!(app.first_split.weight_bp(Colour::Blue), 10_000);
    assert!(app.first.blue.is_some() && app.first.green.is_none());
    let oak = config
        .tenants
        .of_host(&cache_rules::host::HostName::parse("oak.school.test")?);
    assert_eq!(oak.map(|tenant| tenant.as_str()), Some("oak"));
    assert_eq!(config.rules.names().collect::<Vec<_>>(), ["courses"]);
    Ok(())
}

/// `from` becomes `to` in `edge.toml`; exactly these lines are said of it.
const EDGE_TABLE: &[(&str, &str, &[&str])] = &[
    (
        "public =",
        "publik =",
        &["edge.toml:4: listeners.publik: unknown key, did you mean `public`?"],
    ),
    (
        "subject =",
        "whoever =",
        &[
            "edge.toml:14: identity.subject: missing: JSON pointer to the id of the user in the answer, such as `/id`.",
            "edge.toml:16: identity.whoever: unknown key, known here: `cookies`, `keep_s`, `path`, `roles`, `subject`, `tenant`, `token`",
        ],
    ),
    (
        "state = \"state\"",
        "",
        &[
            "edge.toml: state: missing: The folder for state that survives a restart, mirrored files and the admin socket.",
        ],
    ),
    (
        "state = \"state\"",
        "state = \"edge.toml\"",
        &["edge.toml:1: state: `edge.toml` is not a folder"],
    ),
    (
        "public = [\"127.0.0.1:8443\"]",
        "public = 8443",
        &["edge.toml:4: listeners.public: is a number, not a list"],
    ),
    (
        "public = [\"127.0.0.1:8443\"]",
        "public = [\"localhost:443\", 8443]",
        &["edge.toml:4: listeners.public[1]: is a number, not text in quotes"],
    ),
    (
        "public = [\"127.0.0.1:8443\"]",
        "public = [\"localhost:443\"]",
        &[
            "edge.toml:4: listeners.public[0]: `localhost:443` is no address: write IP:PORT, such as 127.0.0.1:3000 or [::1]:3000",
        ],
    ),
    (
        "public = [\"127.0.0.1:8443\"]",
        "",
        &[
            "edge.toml:3: listeners.public: nothing is served: write an address such as \"0.0.0.0:443\"",
        ],
    ),
    (
        "127.0.0.1:8080",
        "127.0.0.1:8443",
        &[
            "edge.toml:5: listeners.redirect[0]: 127.0.0.1:8443 is taken by listeners.public[0] (edge.toml:4)",
        ],
    ),
    (
        "127.0.0.1:9464",
        "0.0.0.0:8443",
        &[
            "edge.toml:6: listeners.observe: 0.0.0.0:8443 is taken by listeners.public[0] (edge.toml:4)",
        ],
    ),
    (
        "observe = ",
        "danger_plain = [\"192.0.2.7:80\"]\nobserve = ",
        &[
            "edge.toml:6: listeners.danger_plain[0]: 192.0.2.7:80 is not loopback, and this listener has no TLS",
        ],
    ),
    (
        "observe = ",
        "redirect_port = 0\nobserve = ",
        &["edge.toml:6: listeners.redirect_port: is 0: at least 1 is wanted"],
    ),
    (
        "certificates = \"certs\"",
        "certificates = \"nowhere\"",
        &["edge.toml:9: tls.certificates: there is no folder `nowhere`"],
    ),
    (
        "[store]",
        "hsts = \"always\"\n[store]",
        &[
            "edge.toml:11: tls.hsts: `always` is neither `off` nor a value such as `max-age=31536000`",
        ],
    ),
    (
        "file:///srv/assets",
        "ftp://assets",
        &[
            "edge.toml:12: store.url: `ftp://assets` is no store: write `file:///` and the path of a folder, or `s3://` and a bucket",
        ],
    ),
    (
        "[identity]",
        "trusted_keys = [\"ed25519:00\"]\n[identity]",
        &[
            "edge.toml:14: store.trusted_keys[0]: `ed25519:00` is no key: a public key is `ed25519:` and 64 hex digits, as `asset-pipeline keygen` prints it",
        ],
    ),
    (
        "[identity]",
        "[acme]\nseal_key = \"seal.key\"\npoints_here = \"here\"\ndns_hook = \"hook\"\n[[acme.authority]]\nname = \"A B\"\ndirectory = \"http://ca.example/dir\"\ncontact = [\"ops@school.example\"]\n[identity]",
        &[
            "edge.toml:15: acme.seal_key: seal key: seal.key: cannot be read: entity not found; check owner and mode, or make one with `openssl rand -hex 32`",
            "edge.toml:16: acme.points_here: `here` is none of `dns`, `off` and an address IP:PORT",
            "edge.toml:17: acme.dns_hook: there is no program `hook`",
            "edge.toml:19: acme.authority[0].name: `A B` is no name: 1 to 32 lower case letters, digits or `-`",
            "edge.toml:20: acme.authority[0].directory: `http://ca.example/dir` is no https URL",
            "edge.toml:21: acme.authority[0].contact[0]: is no contact: write one such as `mailto:operators@school.example`",
        ],
    ),
    (
        "[identity]",
        "[apps.learn.services.api.tls]\nname = \"\"\nauthorities = \"nowhere.pem\"\n[identity]",
        &[
            "edge.toml:15: apps.learn.services.api.tls.name: `` is no name: write the one that the members' certificates have, such as `api.internal`",
        ],
    ),
    (
        "[identity]",
        "[listeners.admin_tcp]\nlisten = \"nowhere\"\ncertificate = \"a.crt\"\nkey = \"a.key\"\nclients = \"b.pem\"\n[identity]",
        &[
            "edge.toml:15: listeners.admin_tcp.listen: `nowhere` is no address: write IP:PORT, such as 127.0.0.1:3000 or [::1]:3000",
            "edge.toml:16: listeners.admin_tcp.certificate: `a.crt` cannot be read",
        ],
    ),
    (
        "[identity]",
        "[apps.learn.pictures]\npath = \"/api\"\nmedia = \"/a+b\"\nkeys = \"edge.toml\"\n[identity]",
        &[
            "edge.toml:15: apps.learn.pictures.path: `/api` and the route `/api/v1/live` are one below the other: take one of them away",
            "edge.toml:16: apps.learn.pictures.media: `/a+b` is no prefix of pictures: letters, digits and `-._~`, and not all of the site",
            "edge.toml:17: apps.learn.pictures.keys: `edge.toml` has no line, or more than two: write the key in one line, and while it is changed both",
        ],
    ),
    (
        "[identity]",
        "[apps.learn.pictures]\npath = \"/media\"\nkeys = \"picture.keys\"\nqualities = [75, 101]\nwidths = []\n[identity]",
        &[
            "edge.toml:17: apps.learn.pictures.qualities[1]: is 101: at most 100 is allowed",
            "edge.toml:18: apps.learn.pictures.widths: is empty",
        ],
    ),
    (
        "[identity]",
        "poll_s = -1\n[identity]",
        &["edge.toml:14: store.poll_s: is -1: at least 0.1 is wanted"],
    ),
    (
        "[identity]",
        "[log]\naccess = \"stdot\"\n[identity]",
        &[
            "edge.toml:15: log.access: `stdot` is neither `stdout`, `off` nor a path such as `./access.log`",
        ],
    ),
    (
        "[identity]",
        "[limits]\nheader_s = 600\nfill_wait_s = 60\nobject_bytes_max = 1e3\n[identity]",
        &[
            "edge.toml:15: limits.header_s: is 600: at most 60 is allowed",
            "edge.toml:17: limits.object_bytes_max: is 1000: at least 1024 is wanted",
        ],
    ),
    (
        "[identity]",
        "[limits]\nfill_wait_s = 60\ntarget_bytes_max = 16384\n[identity]",
        &[
            "edge.toml:15: limits.fill_wait_s: is more than `fill_s`, so it could never be reached",
            "edge.toml:16: limits.target_bytes_max: is more than `header_bytes_max`, so it could never be reached",
        ],
    ),
    (
        "[identity]",
        "[limits]\nheader_bytes_max = 12000.5\n[identity]",
        &["edge.toml:15: limits.header_bytes_max: is a number, not a whole number"],
    ),
    (
        "[identity]",
        "[limits]\nheader_s = 2026-11-22\ndrain_s = nan\n[identity]",
        &[
            "edge.toml:15: limits.header_s: is a date, which no key takes: write text in quotes",
            "edge.toml:16: limits.drain_s: is no number that can be used",
        ],
    ),
    (
        "_planner_session",
        "_planner session",
        &["edge.toml:15: identity.cookies[0]: `_planner session` is no name of a cookie"],
    ),
    (
        "\"/id\"",
        "\"id\"",
        &["edge.toml:16: identity.subject: `id` is no JSON pointer: write one such as `/id`"],
    ),
    (
        "tenant = \"/school\"",
        "tenant = \"/school\"\nkeep_s = 31",
        &["edge.toml:18: identity.keep_s: is 31: at most 30 is allowed"],
    ),
    (
        "paths = [\"/\"]",
        "paths = [\"/app\"]",
        &[
        // Nothing else: the API still answers where identity is asked.
    ],
    ),
    (
        "tenant = \"/school\"",
        "tenant = \"/school\"\npath = \"/me\"\n[identity.token]\nkeys = \"http://id.example/keys\"\nalgorithms = []\nissuer = \"\"\naudience = \"edge\"\nepoch = \"epoch\"\nstale_s = 60",
        &[
            "edge.toml:18: identity.path: is asked nobody: with [identity.token] the token says who it is",
            "edge.toml:20: identity.token.keys: `http://id.example/keys` is neither a file nor an `https://` URL (`http://` only for an address of this machine): who could change the keys on their way could be anybody",
            "edge.toml:21: identity.token.algorithms: is empty: write what the issuer signs with, such as \"ES256\"",
            "edge.toml:22: identity.token.issuer: is empty: any token would do",
            "edge.toml:24: identity.token.epoch: `epoch` is no JSON pointer: write one such as `/id`",
            "edge.toml:25: identity.token.stale_s: is less than `refresh_s`, so nobody would be believed for part of the time",
        ],
    ),
    (
        "tenant = \"/school\"",
        "tenant = \"/school\"\n[identity.token]\nkeys = \"https://id.example/keys\"\nalgorithms = [\"none\", \"HS256\"]\nissuer = \"i\"\naudience = \"a\"",
        &[
            "edge.toml:20: identity.token.algorithms[0]: `none` is not one of `ES256`, `ES384`, `EdDSA`, `PS256`, `RS256`",
            "edge.toml:20: identity.token.algorithms[1]: `HS256` is not one of `ES256`, `ES384`, `EdDSA`, `PS256`, `RS256`",
        ],
    ),
    (
        "tenant = \"/school\"",
        "tenant = \"/school\"\n[identity.token]\nkeys = \"keys.json\"\nalgorithms = [\"ES256\"]\nissuer = \"i\"\naudience = \"a\"",
        &["edge.toml:19: identity.token.keys: there is no file `keys.json`"],
    ),
    (
        "cookies =",
        "path = \"/api/v1/ich bin\"\ncookies =",
        &[
            "edge.toml:15: identity.path: `/api/v1/ich bin` cannot be asked for: encode what is not ASCII",
        ],
    ),
    (
        "paths = [\"/\"]",
        "paths = [\"/api\"]",
        &[
            "edge.toml:23: apps.learn.services.api.paths[0]: `/api` is answered by apps.learn.services.web.paths[0] already (edge.toml:20)",
        ],
    ),
    (
        "paths = [\"/\"]",
        "paths = [\"/app/\", \"app\", \"/a//b\", \"/a%20b\"]",
        &[
            "edge.toml:20: apps.learn.services.web.paths[0]: write `/app`: it covers `/app/` and everything below",
            "edge.toml:20: apps.learn.services.web.paths[1]: `app` is no path: it starts with `/`",
            "edge.toml:20: apps.learn.services.web.paths[2]: `/a//b` has an empty segment or one of dots",
            "edge.toml:20: apps.learn.services.web.paths[3]: `/a%20b` is no prefix: write the decoded path, without a query",
        ],
    ),
    (
        "paths = [\"/\"]",
        "paths = []",
        &[
            "edge.toml:20: apps.learn.services.web.paths: is empty: write the prefixes that it answers, such as [\"/\"]",
        ],
    ),
    (
        "/api/up",
        "up",
        &["edge.toml:24: apps.learn.services.api.probe.path: `up` is no path: it starts with `/`"],
    ),
    (
        "kind = \"stream\"",
        "kind = \"streem\"",
        &["edge.toml:28: apps.learn.routes[0].kind: `streem` is not one of `pass`, `stream`"],
    ),
    (
        "kind = \"stream\"",
        "kind = \"stream\"\ncompress = true",
        &[
            "edge.toml:29: apps.learn.routes[0].compress: a stream is never compressed: leave this out, or write kind = \"pass\"",
        ],
    ),
    (
        "live = \"blue\"",
        "live = \"green\"",
        &[
            "edge.toml:31: apps.learn.first.live: there is no first green: write [apps.learn.first.green]",
        ],
    ),
    (
        "live = \"blue\"",
        "live = \"blue\"\nweight_bp = { blue = 10000, green = 0 }",
        &[
            "edge.toml:32: apps.learn.first.weight_bp: `live` and `weight_bp` say the same: write one of them",
        ],
    ),
    (
        "live = \"blue\"",
        "weight_bp = { blue = 9000, green = 900 }",
        &[
            "edge.toml:31: apps.learn.first.weight_bp: the weights of blue and green are 9900 basis points in sum, not 10000",
        ],
    ),
    (
        "live = \"blue\"",
        "weight_bp = { blue = 9000, green = 1000 }",
        &[
            "edge.toml:31: apps.learn.first.weight_bp.green: there is no first green that could have weight",
        ],
    ),
    ("live = \"blue\"", "", &[]),
    (
        "[apps.learn.first.blue]",
        "[apps.learn.first.green]\nrelease = \"r2\"\nschema = \"15\"\nmembers = { web = [\"127.0.0.1:3002\"], api = [\"127.0.0.1:3003\"] }\n[apps.learn.first.blue]",
        &[],
    ),
    (
        "release = \"r1\"",
        "release = \"../r1\"",
        &[
            "edge.toml:34: apps.learn.first.blue.release: `../r1` is not a name: 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`",
        ],
    ),
    (
        "12..14",
        "14..12",
        &[
            "edge.toml:35: apps.learn.first.blue.schema: a schema range is `N` or `MIN..MAX` with MIN <= MAX, both included",
        ],
    ),
    (
        "members = { web = [\"127.0.0.1:3000\"],",
        "members = { wep = [\"127.0.0.1:3000\"],",
        &[
            "edge.toml:36: apps.learn.first.blue.members.web: missing: every service needs a member",
            "edge.toml:36: apps.learn.first.blue.members.wep: the app has no such service, did you mean `web`?",
        ],
    ),
    (
        "[\"127.0.0.1:3000\"]",
        "[\"0.0.0.0:3000\", \"127.0.0.1:1\", \"127.0.0.1:1\"]",
        &[
            "edge.toml:36: apps.learn.first.blue.members.web[0]: 0.0.0.0:3000 cannot be connected to",
            "edge.toml:36: apps.learn.first.blue.members.web[2]: 127.0.0.1:1 is listed twice",
        ],
    ),
    (
        "[\"127.0.0.1:3000\"]",
        "[]",
        &[
            "edge.toml:36: apps.learn.first.blue.members.web: is empty: every service needs a member",
        ],
    ),
    (
        "state = \"state\"",
        "state = \"state\"\nrules = \"caching.toml\"",
        &["caching.toml: cannot be read: No such file or directory (os error 2)"],
    ),
    (
        "state = \"state\"",
        "state = ",
        &["edge.toml:1: not TOML: string values must be quoted, expected literal string"],
    ),
];

#[test]
fn each_mistake_in_edge_toml_is_named_with_its_line_and_key() -> Outcome {
    let mut wrong = Vec::new();
    for (from, to, expected) in EDGE_TABLE {
        assert_eq!(EDGE.matches(from).count(), 1, "`{from}` is there once");
        let folder = written(&EDGE.replace(from, to), TENANTS, RULES)?;
        let said = said(folder.path());
        if said != *expected {
            wrong.push(format!("with `{to}`: {said:#?}, not {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn two_colours_in_rotation_agree_on_a_schema() -> Outcome {
    let green = "[apps.learn.first.green]\nrelease = \"r2\"\nschema = \"15\"\nmembers = { web = [\"127.0.0.1:3002\"], api = [\"127.0.0.1:3003\"] }\n";
    let split = EDGE.replace(
        "live = \"blue\"",
        "weight_bp = { blue = 9000, green = 1000 }",
    ) + green;
    let folder = written(&split, TENANTS, RULES)?;
    assert_eq!(
        said(folder.path()),
        [
            "edge.toml:39: apps.learn.first.green.schema: 12..14 and 15..15 do not overlap, so both colours cannot have weight",
        ]
    );
    let folder = written(&split.replace("\"15\"", "\"14..15\""), TENANTS, RULES)?;
    let config = load(&folder.path().join("edge.toml"))?;
    let app = config.apps.values().next().ok_or("there is an app")?;
    assert_eq!(app.first_split.weight_bp(Colour::Green), 1000);

    let folder = written(
        &(EDGE.replace("live = \"blue\"", "") + green),
        TENANTS,
        RULES,
    )?;
    assert_eq!(
        said(folder.path()),
        [
            "edge.toml:30: apps.learn.first.live: missing: write which of the two colours has all traffic",
        ]
    );
    Ok(())
}

#[test]
fn each_mistake_in_tenants_toml_is_named_with_its_line_and_key() -> Outcome {
    for (from, to, expected) in [
        (
            "\"oak.school.test\"",
            "\"Maple.School.test.\"",
            &[
                "tenants.toml:5: tenants.oak.hosts[0]: `maple.school.test` is a host of `maple` already (tenants.toml:2)",
            ][..],
        ),
        (
            "[tenants.oak]",
            "[tenants.\"oak tree\"]",
            &[
                "tenants.toml:4: tenants.\"oak tree\": a tenant id is 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`",
            ],
        ),
        (
            "\"oak.school.test\"",
            "",
            &[
                "tenants.toml:5: tenants.oak.hosts: is empty: a school without a host cannot be reached",
            ],
        ),
        (
            "[tenants.oak]\nhosts",
            "[tenants.oak]\nhost",
            &[
                "tenants.toml:4: tenants.oak.hosts: missing: Its hosts, without a port.",
                "tenants.toml:5: tenants.oak.host: unknown key, did you mean `hosts`?",
            ],
        ),
    ] {
        assert_eq!(TENANTS.matches(from).count(), 1, "`{from}` is there once");
        let folder = written(EDGE, &TENANTS.replace(from, to), RULES)?;
        assert_eq!(said(folder.path()), expected, "with `{to}` for `{from}`");
    }
    let folder = written(EDGE, "[tenants]\n", RULES)?;
    assert_eq!(
        said(folder.path()),
        ["tenants.toml:1: tenants: no tenant: every host would be refused"]
    );
    Ok(())
}

#[test]
fn each_mistake_in_rules_toml_is_named_with_its_line_and_key() -> Outcome {
    for (from, to, expected) in [
        (
            "\"tenant\"",
            "\"tenants\"",
            &["rules.toml:4: rule[0].scope: `tenants` is not one of `public`, `tenant`, `role`"][..],
        ),
        (
            "/api/v1/courses",
            "/api/v1/live/{id}",
            &[
                "rules.toml:3: rule[0].path: is below the stream route `/api/v1/live`, and streams are never stored",
            ],
        ),
        (
            "ttl_s",
            "ttl",
            &[
                "rules.toml:1: rule[0].ttl_s: missing: The longest an answer may be kept, in seconds from when it was made; the origin's lifetime counts if shorter.",
                "rules.toml:5: rule[0].ttl: unknown key, did you mean `ttl_s`?",
            ],
        ),
    ] {
        assert_eq!(RULES.matches(from).count(), 1, "`{from}` is there once");
        let folder = written(EDGE, TENANTS, &RULES.replace(from, to))?;
        assert_eq!(said(folder.path()), expected, "with `{to}` for `{from}`");
    }
    let start = EDGE.find("[identity]").ok_or("there is an [identity]")?;
    let end = EDGE.find("[apps.").ok_or("there is an app")?;
    let folder = written(&[&EDGE[..start], &EDGE[end..]].concat(), TENANTS, RULES)?;
    assert_eq!(
        said(folder.path()),
        ["rules.toml:4: rule[0].scope: needs to know who asks: write [identity] in edge.toml",]
    );
    for (from, to, at) in [
        (
            "scope = \"tenant\"",
            "scope = \"role\"",
            "rules.toml:4: rule[0].scope",
        ),
        (
            "ttl_s",
            "reload_roles = [\"teacher\"]\nttl_s",
            "rules.toml:5: rule[0].reload_roles",
        ),
    ] {
        let folder = written(EDGE, TENANTS, &RULES.replace(from, to))?;
        let expected =
            format!("{at}: needs to know the roles: write `roles` in [identity] of edge.toml");
        assert_eq!(said(folder.path()), [expected]);
    }
    Ok(())
}

#[test]
fn mistakes_of_all_files_are_shown_at_once_by_file_and_line() -> Outcome {
    let edge = EDGE
        .replace("redirect = ", "redirct = ")
        .replace("[store]\nurl", "[store]\npoll_s = \"5\"\nurll")
        .replace("live = \"blue\"", "live = \"red\"")
        .replace("schema = \"12..14\"", "schema = 12");
    let tenants = TENANTS.replace("oak.school.test", "maple.example")
        + "[tenants.elm]\nhosts = [\"a b\", \"maple.example\"]\n";
    let rules = RULES.replace("name = \"courses\"\n", "");
    let folder = written(&edge, &tenants, &rules)?;
    let said = said(folder.path()).join("\n");
    assert_eq!(
        said,
        r#"edge.toml:5: listeners.redirct: unknown key, did you mean `redirect`?
edge.toml:11: store.url: missing: Where releases were published, such as `file:///srv/assets`.
edge.toml:12: store.poll_s: is text, not a number
edge.toml:13: store.urll: unknown key, did you mean `url`?
edge.toml:32: apps.learn.first.live: `red` is not one of `blue`, `green`
edge.toml:36: apps.learn.first.blue.schema: is a number, not text in quotes
rules.toml:1: rule[0].name: missing: Its name in metrics, records and `explain`: 1 to 64 lower-case letters, digits, `-` and `_`.
tenants.toml:5: tenants.oak.hosts[0]: `maple.example` is a host of `maple` already (tenants.toml:2)
tenants.toml:7: tenants.elm.hosts[0]: the host is not a name: labels hold letters, digits and inner hyphens
tenants.toml:7: tenants.elm.hosts[1]: `maple.example` is a host of `maple` already (tenants.toml:2)"#
    );
    Ok(())
}

#[test]
fn the_admin_socket_is_found_in_a_config_with_mistakes() -> Outcome {
    let edge = EDGE.replace("[store]", "[stor]");
    for (edge, expected) in [
        (edge.clone(), Some("state/admin.sock")),
        (
            edge.replace("[tls]", "admin = \"run/edge.sock\"\n[tls]"),
            Some("run/edge.sock"),
        ),
        (edge.replace("state = \"state\"", ""), None),
        ("state = [".to_owned(), None),
    ] {
        let folder = written(&edge, TENANTS, RULES)?;
        let socket = admin_socket(&folder.path().join("edge.toml")).ok();
        assert_eq!(socket, expected.map(|name| folder.path().join(name)));
    }
    Ok(())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// Whatever a hand does to a good file: the outcome is a config, or mistakes that say where.
    #[test]
    fn no_slip_of_a_hand_goes_unsaid(
        at in 0..EDGE.len(),
        cut in 0..12usize,
        put in "[\\[\\]{}=\"',.a-c0-9 \n-]{0,4}",
    ) {
        let text = [&EDGE[..at], &put, &EDGE[(at + cut).min(EDGE.len())..]].concat();
        let source = |name: &str, text: &str| Source { name: name.into(), text: Ok(text.to_owned()) };
        let sources = Sources {
            folder: std::env::temp_dir(),
            edge: source("edge.toml", &text.replace("\"certs\"", "\".\"")),
            tenants: source("tenants.toml", TENANTS),
            rules: source("rules.toml", RULES),
        };
        if let Err(mistakes) = check(&sources) {
            let said = mistakes.to_string();
            proptest::prop_assert!(!said.is_empty());
            proptest::prop_assert!(said.lines().all(|line| line.contains(".toml")), "{said}");
        }
    }
}

#[test]
fn a_path_that_is_no_file_is_not_waited_for() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mistakes = load(folder.path()).err().ok_or("a folder is no config")?;
    assert!(
        mistakes
            .to_string()
            .contains("cannot be read: it is not a file"),
        "{mistakes}"
    );
    Ok(())
}

#[tokio::test]
async fn a_change_of_any_file_is_noticed_and_a_bad_one_is_reported() -> Outcome {
    let folder = written(EDGE, TENANTS, RULES)?;
    let path = folder.path().join("edge.toml");
    let mut watch = watch(&path, Duration::from_millis(5), &load(&path)?);

    fs::write(
        folder.path().join("tenants.toml"),
        TENANTS.replace("oak.school.test", "maple.example"),
    )?;
    let mistakes = next(&mut watch)
        .await?
        .err()
        .ok_or("two schools have one host")?;
    assert_eq!(
        lines(&mistakes, folder.path()),
        [
            "tenants.toml:5: tenants.oak.hosts[0]: `maple.example` is a host of `maple` already (tenants.toml:2)",
        ]
    );

    fs::write(
        folder.path().join("tenants.toml"),
        TENANTS.replace("oak.", "elm."),
    )?;
    let config = next(&mut watch).await??;
    assert!(
        config
            .tenants
            .of_host(&cache_rules::host::HostName::parse("elm.school.test")?)
            .is_some()
    );

    // As a volume of Kubernetes is updated: the file is a link, and the link is swapped.
    fs::rename(&path, folder.path().join("first.toml"))?;
    std::os::unix::fs::symlink("first.toml", &path)?;
    fs::write(
        folder.path().join("second.toml"),
        EDGE.replace("8443", "8444"),
    )?;
    std::os::unix::fs::symlink("second.toml", folder.path().join("swap"))?;
    fs::rename(folder.path().join("swap"), &path)?;
    assert_eq!(next(&mut watch).await??.listeners.public[0].port(), 8444);
    Ok(())
}

async fn next(
    watch: &mut super::Watch,
) -> Result<Result<super::Config, Mistakes>, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await
}

/// The example beside a folder for certificates, after `change`.
fn example(change: impl Fn(&str) -> String) -> Result<tempfile::TempDir, std::io::Error> {
    let read = |name| {
        fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../deploy/config")
                .join(name),
        )
    };
    let edge = read("edge.toml")?.replace("/etc/bellwether/certs", "certs");
    written(&change(&edge), &read("tenants.toml")?, &read("rules.toml")?)
}

#[test]
fn the_example_is_good_and_shows_every_key_with_its_default() -> Outcome {
    let folder = example(str::to_owned)?;
    let shown = load(&folder.path().join("edge.toml"))?;
    assert_eq!(shown.limits, super::checked::Limits::default());

    let typed = |line: &str| match line
        .strip_prefix("# ")
        .and_then(|text| text.split_once(" = "))
    {
        // These two have no default: one says the other of `live`, one names what may be absent.
        Some(("weight_bp" | "roles", _)) => line.to_owned(),
        Some((key, value)) if key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
            format!("{key} = {value}")
        }
        _ => line.to_owned(),
    };
    let folder = example(|text| text.lines().map(typed).collect::<Vec<_>>().join("\n"))?;
    let every_default = load(&folder.path().join("edge.toml"))?;
    assert_eq!(every_default.listeners, shown.listeners);
    assert_eq!(every_default.store, shown.store);
    assert_eq!(every_default.identity, shown.identity);
    assert_eq!(every_default.apps, shown.apps);
    assert_eq!(every_default.access_log, shown.access_log);
    assert_eq!(every_default.hsts, shown.hsts);

    let text = fs::read_to_string(folder.path().join("edge.toml"))?;
    let is_shown = |key: &str| {
        [
            format!("{key} = "),
            format!("{key}]"),
            format!("[{key}."),
            format!(".{key}."),
        ]
        .iter()
        .any(|form| text.contains(form))
    };
    let schema = schema(ConfigFile::Edge);
    let tables = schema["$defs"]
        .as_object()
        .ok_or("the schema has tables")?
        .values()
        .chain([&schema]);
    for key in tables.flat_map(|table| {
        table["properties"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.keys())
    }) {
        assert!(is_shown(key), "`{key}` is not shown");
    }
    Ok(())
}

#[test]
fn every_key_in_a_schema_is_described() {
    fn walk(at: &str, value: &serde_json::Value) {
        for (key, value) in value.as_object().into_iter().flatten() {
            if key == "properties" {
                for (name, property) in value.as_object().into_iter().flatten() {
                    assert!(
                        property["description"].is_string(),
                        "{at}: {name} has no description"
                    );
                }
            }
            walk(&format!("{at}/{key}"), value);
        }
    }
    for file in [ConfigFile::Edge, ConfigFile::Tenants, ConfigFile::Rules] {
        walk("", &schema(file));
    }
}

#[test]
fn the_policy_of_conformance_runs_needs_loopback_hosts() -> Outcome {
    let rules = RULES
        .replace("scope = \"tenant\"", "scope = \"public\"")
        .replace("ttl_s", "policy = \"danger_rfc9111\"\nttl_s");
    let folder = written(EDGE, TENANTS, &rules)?;
    let expected = "`danger_rfc9111` is for conformance runs, where every host of tenants.toml is a loopback address";
    let mistakes = said(folder.path());
    assert!(
        mistakes.len() == 1
            && mistakes[0].starts_with("rules.toml:5: rule[0].policy: ")
            && mistakes[0].contains(expected),
        "{mistakes:?}"
    );
    let loopback = "[tenants.suite]\nhosts = [\"127.0.0.1\", \"[::1]\"]\n";
    let folder = written(EDGE, loopback, &rules)?;
    assert_eq!(said(folder.path()), [""; 0]);
    for host in ["10.0.0.1", "localhost", "127.0.0.1.example"] {
        let tenants = loopback.replace("[::1]", host);
        let folder = written(EDGE, &tenants, &rules)?;
        assert_eq!(said(folder.path()).len(), 1, "{host}");
    }
    Ok(())
}
