//! What is typed in `edge.toml` and `tenants.toml`, before anything is known of what it means.
//!
//! The first line of each description is what a message about the missing key says, and what an
//! editor shows. `rules.toml` is typed as `cache_rules::rules::RawRules`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::colour::PerColour;

mod acme;
mod limits;
mod pictures;
mod tcp;

pub(super) use acme::{Acme, Authority};
pub(super) use limits::{Limits, seconds};
pub(super) use pictures::Pictures;
pub(super) use tcp::Tcp;

/// The edge: sockets, bounds, and the apps behind it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "edge.toml")]
pub(super) struct Edge {
    /// The folder for state that survives a restart, mirrored files and the admin socket.
    pub(super) state: String,
    /// The file that says which host is which school.
    #[serde(default = "tenants")]
    #[expect(
        dead_code,
        reason = "`source` reads it before the schema is held against the file"
    )]
    pub(super) tenants: String,
    /// The file that says what may be cached.
    #[serde(default = "rules")]
    #[expect(
        dead_code,
        reason = "`source` reads it before the schema is held against the file"
    )]
    pub(super) rules: String,
    /// The addresses of every surface.
    pub(super) listeners: Listeners,
    /// Header fields that every answer has unless the origin said otherwise.
    #[serde(default)]
    pub(super) headers: Headers,
    /// How often somebody may ask; without one nobody is counted.
    #[serde(default)]
    pub(super) rate: Vec<Rate>,
    /// Certificates.
    pub(super) tls: Tls,
    /// Certificates that manage themselves; without it those of the folder are all.
    pub(super) acme: Option<Acme>,
    /// Where releases are read from.
    pub(super) store: Store,
    /// Smaller forms of pictures.
    #[serde(default)]
    pub(super) images: Images,
    /// Where access records go.
    #[serde(default)]
    pub(super) log: Log,
    /// Every bound of the request path.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Who says whose credentials these are; without it no rule may have the scope `tenant`.
    pub(super) identity: Option<Identity>,
    /// Where the platform says what it changed; without it nobody listens.
    pub(super) events: Option<Events>,
    /// The file of one or two lines, each a key of 32 bytes or more, that `X-Edge-Override` is signed with; without it nobody is obeyed.
    pub(super) override_keys: Option<String>,
    /// What is deployed as one thing, by name.
    pub(super) apps: BTreeMap<String, App>,
}

/// Events of the platform, each signed with a secret of the school; a change needs a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    /// The address that the platform posts to: plain HTTP, in a network of its own.
    pub(super) listen: String,
    /// The folder with a file `<tenant>.secret` for each school: one or two lines, each a secret of 32 bytes or more.
    pub(super) secrets: String,
}

/// Beside `edge.toml`, because the platform writes it and people write the other.
pub(super) const TENANTS: &str = "tenants.toml";
/// Beside `edge.toml`, because it is reviewed with the API and not with the machine.
pub(super) const RULES: &str = "rules.toml";

fn tenants() -> String {
    TENANTS.to_owned()
}

fn rules() -> String {
    RULES.to_owned()
}

/// The addresses of every surface; a change needs a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listeners {
    /// TLS, HTTP/1.1 and HTTP/2.
    pub(super) public: Vec<String>,
    /// Plain HTTP that only redirects to `https`.
    pub(super) redirect: Vec<String>,
    /// The port that redirects name.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) redirect_port: u16,
    /// Plain HTTP that serves everything, for tests and benchmarks: loopback addresses only.
    pub(super) danger_plain: Vec<String>,
    /// Networks of load balancers that begin each connection with a PROXY header, version 1 or 2; it is demanded of them and believed of nobody else.
    pub(super) proxy_protocol_from: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed; the client is the last address of the chain that is in none of them.
    pub(super) forwarded_from: Vec<String>,
    /// Operators on another machine, by TCP and known by certificates; without it there is the unix socket alone.
    pub(super) admin_tcp: Option<AdminTcp>,
    /// The operator's unix socket; `admin.sock` in the state folder by default.
    pub(super) admin: Option<String>,
    /// `/metrics`, `/healthz`, `/readyz` and nothing else; `off`: nowhere.
    pub(super) observe: String,
    /// TCP options of clients' sockets.
    pub(super) tcp: Tcp,
}

/// The admin listener over TCP: TLS 1.3 with certificates on both sides.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTcp {
    /// The address, in a network of operators.
    pub(super) listen: String,
    /// The edge's own certificate there, as PEM.
    pub(super) certificate: String,
    /// Its key.
    pub(super) key: String,
    /// A PEM bundle of the authorities that issue operators' certificates: who has one may do everything.
    pub(super) clients: String,
}

/// The port that `https` means.
const REDIRECT_PORT: u16 = 443;
/// Loopback, because figures per route say what a school does; the port that collectors know.
const OBSERVE: &str = "127.0.0.1:9464";

/// In the state folder, which one process at a time owns.
pub(super) const ADMIN_SOCKET: &str = "admin.sock";

impl Default for Listeners {
    fn default() -> Self {
        Self {
            public: Vec::new(),
            redirect: Vec::new(),
            redirect_port: REDIRECT_PORT,
            danger_plain: Vec::new(),
            proxy_protocol_from: Vec::new(),
            forwarded_from: Vec::new(),
            admin: None,
            admin_tcp: None,
            observe: OBSERVE.to_owned(),
            tcp: Tcp::default(),
        }
    }
}

/// Certificates and what browsers are told about them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// The folder of PEM pairs, `NAME.crt` and `NAME.key`.
    pub(super) certificates: String,
    /// The file of session ticket keys, shared by a fleet; `ticket-keys` in the state folder by default. `off`: in memory alone.
    pub(super) ticket_keys: Option<String>,
    /// The plaintext of one record at most.
    #[serde(default = "record_bytes")]
    #[schemars(range(min = 512, max = 16_384))]
    pub(super) record_bytes: u16,
    /// The value of `Strict-Transport-Security`; `off`: not sent.
    #[serde(default = "hsts")]
    pub(super) hsts: String,
}

/// A year, as preload lists ask; without `includeSubDomains`, since other hosts of a school may be plain.
const HSTS: &str = "max-age=31536000";

/// The most that TLS allows: each record costs 22 bytes, a MAC and, on a small one, a packet that is not full.
const RECORD_BYTES: u16 = 16_384;

fn record_bytes() -> u16 {
    RECORD_BYTES
}

fn hsts() -> String {
    HSTS.to_owned()
}

/// Header fields that every answer has unless the origin said otherwise. Frame rules are the app's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Headers {
    /// The value of `X-Content-Type-Options`; `off`: not sent.
    pub(super) content_type_options: String,
    /// The value of `Referrer-Policy`; `off`: not sent.
    pub(super) referrer_policy: String,
}

/// No browser guesses that an upload is a page.
const CONTENT_TYPE_OPTIONS: &str = "nosniff";
/// What browsers do by default, said to those that do not: other sites learn the host and no path.
const REFERRER_POLICY: &str = "strict-origin-when-cross-origin";

impl Default for Headers {
    fn default() -> Self {
        Self {
            content_type_options: CONTENT_TYPE_OPTIONS.to_owned(),
            referrer_policy: REFERRER_POLICY.to_owned(),
        }
    }
}

/// How often somebody may ask.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    /// What clients are told that it is called.
    pub(super) name: String,
    /// Who has a bucket of their own: `client` (an address, or the /56 of an IPv6 one), `tenant` or `route` (all together).
    pub(super) per: RatePer,
    /// The path prefix that it covers; everything by default.
    #[serde(default = "root")]
    pub(super) path: String,
    /// Requests at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) burst: u32,
    /// Requests that are earned again each second.
    #[schemars(range(min = 0.0001, max = 1_000_000))]
    pub(super) per_s: f64,
}

fn root() -> String {
    "/".to_owned()
}

/// Who has a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RatePer {
    /// Each network of clients: a school that shares an address is one.
    Client,
    /// Each school.
    Tenant,
    /// All together.
    Route,
}

/// The asset store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    /// Where releases were published, such as `file:///srv/assets`.
    pub(super) url: String,
    /// Releases that none of these keys signed are not served; any are, where there is no key.
    #[serde(default)]
    pub(super) trusted_keys: Vec<String>,
    /// How often it is looked at for new releases.
    #[serde(default = "poll_s")]
    #[schemars(range(min = 0.1, max = 3600))]
    pub(super) poll_s: f64,
    /// How much memory small files may take.
    #[serde(default = "memory_bytes_max")]
    #[schemars(range(min = 1_048_576))]
    pub(super) memory_bytes_max: u64,
    /// How much of the state folder's disk files of older releases may take.
    #[serde(default = "blob_bytes_max")]
    #[schemars(range(min = 1_048_576))]
    pub(super) blob_bytes_max: u64,
}

/// Smaller forms of pictures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Images {
    /// Whether forms that a publish did not make are made here when somebody asks for them.
    pub(super) make: bool,
}

impl Default for Images {
    fn default() -> Self {
        Self { make: true }
    }
}

/// A publish is seen before its deploy is typed, and a listing of a folder costs nothing.
const STORE_POLL_S: f64 = 5.0;
/// The hot files of a dozen releases in three codings.
const STORE_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Releases of a term; what is dropped is read from the store again.
const STORE_BLOB_BYTES_MAX: u64 = 4 << 30;

fn poll_s() -> f64 {
    STORE_POLL_S
}

fn memory_bytes_max() -> u64 {
    STORE_MEMORY_BYTES_MAX
}

fn blob_bytes_max() -> u64 {
    STORE_BLOB_BYTES_MAX
}

/// Access records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// `stdout`, `off`, or a file that is appended to.
    pub(super) access: String,
}

/// What the service manager keeps and rotates.
const ACCESS: &str = "stdout";

impl Default for Log {
    fn default() -> Self {
        Self {
            access: ACCESS.to_owned(),
        }
    }
}

/// A GET with the client's credentials to the origin, which answers 200 and who it is; or a signed token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// The path that is asked, `/api/v1/me` by default; with `token` nobody is.
    pub(super) path: Option<String>,
    /// The cookies that are credentials; `Authorization` always is. With `token` the one cookie that is the token, or none: then it is in `Authorization: Bearer`.
    #[serde(default)]
    pub(super) cookies: Vec<String>,
    /// JSON pointer to the id of the user in the answer, such as `/id`.
    pub(super) subject: String,
    /// JSON pointer to the id of the tenant in the answer, such as `/school/id`.
    pub(super) tenant: String,
    /// JSON pointer to the list of roles in the answer.
    pub(super) roles: Option<String>,
    /// How long a yes is kept, at most 30 s.
    #[serde(default = "keep_s")]
    #[schemars(range(min = 0.1, max = 30))]
    pub(super) keep_s: f64,
    /// The credentials are a token (JWT) that says who somebody is: its claims are the document of the pointers.
    pub(super) token: Option<Token>,
}

/// A token that an issuer signed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    /// Where the issuer's public keys (JWKS) are: a file, or an `https://` URL.
    pub(super) keys: String,
    /// The file of authorities (PEM) that may have signed the certificate of that URL; those of the system by default.
    pub(super) authorities: Option<String>,
    /// What tokens may be signed with.
    pub(super) algorithms: Vec<Algorithm>,
    /// What `iss` must be.
    pub(super) issuer: String,
    /// What `aud` must be, or hold.
    pub(super) audience: String,
    /// What `typ` must be, such as `at+jwt`; `JWT` or nothing by default.
    pub(super) typ: Option<String>,
    /// JSON pointer to a number that is raised when somebody's earlier tokens are to end.
    pub(super) epoch: Option<String>,
    /// The longest time from `iat` to `exp`: longer ones are not believed.
    #[serde(default = "lifetime_s_max")]
    #[schemars(range(min = 1, max = 3600))]
    pub(super) lifetime_s_max: f64,
    /// How often the keys are read again.
    #[serde(default = "refresh_s")]
    #[schemars(range(min = 1, max = 86400))]
    pub(super) refresh_s: f64,
    /// How long the last good keys are used when they cannot be read again; then nobody is believed.
    #[serde(default = "stale_s")]
    #[schemars(range(min = 1, max = 86400))]
    pub(super) stale_s: f64,
}

/// What a token is signed with: by public keys alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Algorithm {
    /// ECDSA, P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA, P-384 and SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PSS and SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PKCS1-v1_5 and SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

/// Somebody whose session ended elsewhere, and whom no event names, reads so long.
const LIFETIME_S_MAX: f64 = 900.0;
/// A new key is published well before it is used.
const REFRESH_S: f64 = 300.0;
/// An issuer that is away for an hour is noticed; one whose keys were stolen must be heard.
const STALE_S: f64 = 3600.0;

fn lifetime_s_max() -> f64 {
    LIFETIME_S_MAX
}

fn refresh_s() -> f64 {
    REFRESH_S
}

fn stale_s() -> f64 {
    STALE_S
}

/// Where the platform's API says who is signed in.
pub(super) const IDENTITY_PATH: &str = "/api/v1/me";
/// The longest that somebody who was signed out elsewhere may still read; asks once per lesson step.
const IDENTITY_KEEP_S: f64 = 30.0;

fn keep_s() -> f64 {
    IDENTITY_KEEP_S
}

/// One app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    /// Seeds the split, so that two apps do not move the same schools first; the app's name by default.
    pub(super) salt: Option<String>,
    /// What moves as one between colours: `tenant`, `client` or `request`.
    #[serde(default)]
    pub(super) unit: Unit,
    /// How long a browser stays on the version that made its page, with `unit = "client"`.
    #[serde(default = "pin_s")]
    #[schemars(range(min = 60, max = 604_800))]
    pub(super) pin_s: f64,
    /// Its parts by name, such as `web` and `api`.
    pub(super) services: BTreeMap<String, Service>,
    /// Path prefixes below a service that are treated apart, such as event streams.
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    /// Path prefixes of which copies are sent to the other colour.
    #[serde(default)]
    pub(super) mirror: Vec<Mirror>,
    /// Pictures of what the people of schools uploaded, by addresses that the app signs; without it none are made.
    pub(super) pictures: Option<Pictures>,
    /// What each colour is before any command was given; later the state wins.
    pub(super) first: First,
}

/// Requests of which copies are sent to the other colour, to compare it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    /// The prefix, such as `/api/v1/courses`; of several the longest.
    pub(super) path: String,
    /// How many of its GETs that pass through, in basis points.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) share_bp: u16,
    /// Whether copies carry the cookies and `Authorization` of whose request it was.
    #[serde(default)]
    pub(super) credentials: bool,
}

/// A school day: who opened a page in the morning can still hand it in at night.
const PIN_S: f64 = 43_200.0;

fn pin_s() -> f64 {
    PIN_S
}

/// What moves as one between colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// A whole school, without a cookie: teachers and pupils see one version.
    #[default]
    Tenant,
    /// Each browser, by a cookie of the edge that says nothing about a person.
    Client,
    /// Each request, for what keeps no state at all.
    Request,
}

/// A part of an app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    /// The path prefixes that it answers; the longest prefix of all apps wins.
    pub(super) paths: Vec<String>,
    /// The active health check of its members.
    #[serde(default)]
    pub(super) probe: Probe,
    /// How its members are spoken to over TLS; without it in the clear.
    pub(super) tls: Option<ServiceTls>,
}

/// TLS to the members of a service, always verified.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTls {
    /// The name that the members' certificates have, sent as SNI.
    pub(super) name: String,
    /// A PEM bundle of the authorities that may have issued them: nobody else is believed.
    pub(super) authorities: String,
    /// The edge's own certificate for members that ask for one, as PEM; with `key`.
    pub(super) certificate: Option<String>,
    /// Its key.
    pub(super) key: Option<String>,
}

/// An active health check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Probe {
    /// Asked with GET; 200 to 299 is healthy.
    pub(super) path: String,
    /// How often.
    #[schemars(range(min = 0.05, max = 3600))]
    pub(super) interval_s: f64,
    /// How long an answer may take.
    #[schemars(range(min = 0.05, max = 60))]
    pub(super) timeout_s: f64,
    /// Failures in a row that make a member unhealthy.
    #[schemars(range(min = 1, max = 100))]
    pub(super) unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    #[schemars(range(min = 1, max = 100))]
    pub(super) healthy_after: u32,
}

/// The health check of a new Rails application.
const PROBE_PATH: &str = "/up";
/// A member that died is out within three seconds.
const PROBE_INTERVAL_S: f64 = 1.0;
/// Longer than a pause of a garbage collector, shorter than a reader waits.
const PROBE_TIMEOUT_S: f64 = 2.0;
/// One lost packet is no outage.
const PROBE_UNHEALTHY_AFTER: u32 = 3;
/// A member that flaps does not come back at its first good answer.
const PROBE_HEALTHY_AFTER: u32 = 2;

impl Default for Probe {
    fn default() -> Self {
        Self {
            path: PROBE_PATH.to_owned(),
            interval_s: PROBE_INTERVAL_S,
            timeout_s: PROBE_TIMEOUT_S,
            unhealthy_after: PROBE_UNHEALTHY_AFTER,
            healthy_after: PROBE_HEALTHY_AFTER,
        }
    }
}

/// A path prefix that is treated apart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// The prefix, such as `/api/v1/live`.
    pub(super) path: String,
    /// What it is: `pass` or `stream`.
    pub(super) kind: RouteKind,
    /// Whether pass-through answers may be compressed; true for `pass`, never for `stream`.
    pub(super) compress: Option<bool>,
    /// The largest request body; the edge's own bound by default.
    #[schemars(range(min = 1))]
    pub(super) body_bytes_max: Option<u64>,
}

/// What a configured route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteKind {
    /// Passed through.
    Pass,
    /// Event streams, WebSockets, long answers: never buffered, stored or compressed.
    Stream,
}

/// What each colour is before any command was given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct First {
    /// The version of one colour.
    pub(super) blue: Option<FirstColour>,
    /// The version of the other colour.
    pub(super) green: Option<FirstColour>,
    /// The colour that has all traffic; the only one by default.
    pub(super) live: Option<crate::colour::Colour>,
    /// How traffic is split instead, in basis points: 10000 in sum.
    pub(super) weight_bp: Option<PerColour<u16>>,
}

/// One version of all services of an app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstColour {
    /// The release with its files, as it was published.
    pub(super) release: String,
    /// The database schemas it works with, such as `12..14`.
    pub(super) schema: String,
    /// `IP:PORT` of every member, by service.
    pub(super) members: BTreeMap<String, Vec<String>>,
}

/// Which host is which school.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tenants.toml")]
pub(super) struct TenantsFile {
    /// The schools by id.
    pub(super) tenants: BTreeMap<String, Tenant>,
    /// The rings that schools are in, by name: a rollout may begin with some of them. `rest` is the ring
    /// of all schools that name none.
    #[serde(default)]
    pub(super) rings: BTreeMap<String, Ring>,
}

/// Schools that go together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ring {
    /// When no rollout moves a school of this ring to a new version. Moving back is always allowed.
    #[serde(default)]
    pub(super) freeze: Vec<Freeze>,
}

/// A time of the week.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Freeze {
    /// `mon` to `sun`.
    pub(super) days: Vec<String>,
    /// The first minute, such as `07:30`.
    pub(super) from: String,
    /// The minute after the last one, such as `16:00`; later than `from`.
    pub(super) to: String,
    /// The IANA time zone, such as `Europe/Berlin`.
    pub(super) zone: String,
}

/// One school.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    /// Its hosts, without a port.
    pub(super) hosts: Vec<String>,
    /// The ring it is in; `rest` if left out.
    #[serde(default)]
    pub(super) ring: Option<String>,
}
