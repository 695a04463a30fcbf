//! What the files mean. Nothing outside [`super`] makes one, so a `Config` has passed every check.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::digest::Digest;
use asset_pipeline::id::{AppId, ReleaseId};
use asset_pipeline::signature::PublicKey;
use cache_rules::rules::RuleSet;
use cache_rules::tenant::Tenants;
use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;

use super::rings::Rings;
use crate::colour::{PerColour, SchemaRange, Split};
use crate::signing::SigningKeys;
use crate::split::SplitBy;
use crate::split::order::OrderKeys;
use crate::surface::AdminTcp;
use crate::upstream::secure::Secure;

/// `edge.toml`, `tenants.toml` and `rules.toml` together.
#[derive(Debug)]
pub struct Config {
    /// Where sockets are opened. Changing them needs a restart.
    pub listeners: Listeners,
    /// The folder of PEM pairs.
    pub certificates: PathBuf,
    /// Who issues certificates; none: those of the folder are all.
    pub acme: Option<Acme>,
    /// The plaintext of one TLS record at most.
    pub record_bytes: u16,
    /// The file of session ticket keys; none: they are in memory alone.
    pub ticket_keys: Option<PathBuf>,
    /// Where state, mirrored blobs and the admin socket's default live.
    pub state: PathBuf,
    /// Where releases are read from.
    pub store: Store,
    /// Smaller forms of pictures.
    pub images: Images,
    /// Every bound of the request path.
    pub limits: Limits,
    /// Who asks the origin whose credentials these are; none: tenant rules cannot be used.
    pub identity: Option<Identity>,
    /// Where the platform says what it changed; none: nobody listens.
    pub events: Option<Events>,
    /// What is deployed, by name.
    pub apps: BTreeMap<AppId, Arc<App>>,
    /// Which host is which school.
    pub tenants: Arc<Tenants>,
    /// Which school goes with which, and when none of them gets a new version.
    pub rings: Arc<Rings>,
    /// What may be cached.
    pub rules: Arc<RuleSet>,
    /// Where access records go.
    pub access_log: AccessLog,
    /// Fields that every answer has unless the origin said otherwise.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How often somebody may ask.
    pub rates: Vec<Rate>,
    /// The value of `Strict-Transport-Security`; none: not sent.
    pub hsts: Option<String>,
    /// What operators' orders are signed with.
    pub orders: OrderKeys,
    /// Names the contents of the files: another fingerprint is another config.
    pub fingerprint: Digest,
}

/// Certificates that manage themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The file of the key that seals private keys at rest.
    pub seal_key: PathBuf,
    /// Authorities and bounds.
    pub options: certs::acme::Options,
}

/// The addresses of every surface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// TLS, HTTP/1.1 and HTTP/2.
    pub public: Vec<SocketAddr>,
    /// Plain HTTP that only redirects to `https`.
    pub redirect: Vec<SocketAddr>,
    /// The port that redirects name; 443 is left out of the URL.
    pub redirect_port: u16,
    /// Plain HTTP that serves everything: loopback only.
    pub danger_plain: Vec<SocketAddr>,
    /// Load balancers that say with a PROXY header whose connection it is.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub forwarded_from: Vec<IpNet>,
    /// The operator's unix socket.
    pub admin: PathBuf,
    /// Where operators on another machine come in; none: nowhere.
    pub admin_tcp: Option<AdminTcp>,
    /// `/metrics`, `/healthz`, `/readyz` and nothing else.
    pub observe: Option<SocketAddr>,
    /// Options of clients' sockets.
    pub tcp: Tcp,
}

/// TCP options of clients' sockets; each has a named default with its reason in `config::raw::tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is documented where it is typed: config::raw::Tcp"
)]
pub struct Tcp {
    pub nodelay: bool,
    pub notsent_lowat_bytes: u32,
    pub congestion: Option<String>,
    pub backlog: i32,
    pub keepalive_idle: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_retries: u32,
}

impl Default for Tcp {
    fn default() -> Self {
        super::raw::Tcp::default().checked()
    }
}

/// How often somebody may ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// As clients are told.
    pub name: Arc<str>,
    /// Who has a bucket of their own.
    pub per: RatePer,
    /// The path prefix that it covers.
    pub path: String,
    /// Requests at once.
    pub burst: u32,
    /// Requests that are earned again each second.
    pub per_s: f64,
}

/// Who has a bucket of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePer {
    /// Each network of clients.
    Client,
    /// Each school.
    Tenant,
    /// All together.
    Route,
}

/// Smaller forms of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// What makes them: this program, as `edge-proxy picture`.
    pub program: PathBuf,
    /// Whether those that a publish did not make are made here.
    pub make: bool,
}

/// The asset store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Such as `file:///srv/assets`.
    pub url: String,
    /// How often it is listed for new releases.
    pub poll: Duration,
    /// How much memory small blobs may take.
    pub memory_bytes_max: u64,
    /// How much disk blobs of older releases may take in the state folder.
    pub blob_bytes_max: u64,
    /// Whose releases are served; anybody's, where there is no key.
    pub trusted_keys: Vec<PublicKey>,
}

/// Bounds of the request path; each has a named default with its reason in `config::raw::limits`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "each field is documented where it is typed: config::raw::Limits"
)]
pub struct Limits {
    pub handshake: Duration,
    pub handshakes_max: usize,
    pub incomplete_burst: u32,
    pub incomplete_per_s: f64,
    pub header: Duration,
    pub header_bytes_max: usize,
    pub header_count_max: usize,
    pub target_bytes_max: usize,
    pub keep_alive: Duration,
    pub h2_idle: Duration,
    pub body_bytes_max: u64,
    pub body_idle: Duration,
    pub body_bytes_per_s_min: u32,
    pub h2_streams_max: u32,
    pub h2_resets_max: u32,
    pub h2_control_max: u32,
    pub write: Duration,
    pub connections_max: usize,
    pub connect: Duration,
    pub upstream_read: Duration,
    pub upstream_write: Duration,
    pub upstream_idle: Duration,
    pub stream_read: Duration,
    pub fill: Duration,
    pub fill_wait: Duration,
    pub fills_max: usize,
    pub object_bytes_max: u64,
    pub cache_bytes_max: u64,
    pub tenant_cache_bytes_max: u64,
    pub pictures_bytes_max: u64,
    pub tenant_pictures_bytes_max: u64,
    pub held: Duration,
    pub held_max: usize,
    pub held_bytes_max: u64,
    pub drain: Duration,
    pub handover: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        super::raw::Limits::default().checked()
    }
}

/// How the edge learns who a set of credentials is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What proves it, and gives the document of the pointers.
    pub proof: Proof,
    /// The cookies that are credentials; `Authorization` always is.
    pub cookies: Vec<String>,
    /// JSON pointer to the subject's id.
    pub subject: String,
    /// JSON pointer to the tenant's id.
    pub tenant: String,
    /// JSON pointer to the list of roles.
    pub roles: Option<String>,
    /// How long a yes is kept: at most 30 s.
    pub keep: Duration,
}

/// What proves who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The origin's answer to a GET with the credentials.
    Origin {
        /// The path asked, such as `/api/v1/me`; routed like any other path.
        path: String,
    },
    /// The credentials are a signed token.
    Token(Box<Token>),
}

/// Which tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Where the issuer's public keys are.
    pub keys: KeySource,
    /// What it may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// What `typ` must be; none: `JWT`, or not there.
    pub typ: Option<String>,
    /// JSON pointer to the epoch.
    pub epoch: Option<String>,
    /// The longest time from `iat` to `exp`.
    pub lifetime_max: Duration,
    /// How often the keys are read again.
    pub refresh: Duration,
    /// How long the last good keys are used.
    pub stale: Duration,
}

/// Where public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At a URL of this machine, without TLS.
    Http(Uri),
    /// At a URL.
    Https {
        /// The URL.
        uri: Uri,
        /// The file of authorities that are trusted; none: those of the system.
        authorities: Option<PathBuf>,
    },
}

/// How a token may be signed (RFC 7518, 8037). None of them has a key that could also sign for the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA, P-256 and SHA-256.
    Es256,
    /// ECDSA, P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PSS and SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 and SHA-256.
    Rs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Ps256,
        Self::Rs256,
    ];

    /// As tokens and keys call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The one of that name; the case counts.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the platform says what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// The address that it posts to.
    pub listen: SocketAddr,
    /// The folder of the schools' secrets.
    pub secrets: PathBuf,
}

/// What is deployed as one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub id: AppId,
    /// Seeds the split, so that two apps do not move the same schools first.
    pub salt: String,
    /// What moves as one between colours.
    pub split_by: SplitBy,
    /// How long a browser is bound to the version of its page, where it is.
    pub pin: Duration,
    /// Its parts by name.
    pub services: BTreeMap<String, Service>,
    /// Exceptions below a service's paths, such as event streams.
    pub routes: Vec<Route>,
    /// Requests of which copies are sent to the other colour, the longest prefix first.
    pub mirrors: Vec<Mirror>,
    /// Pictures of schools; none: none are made.
    pub pictures: Option<Pictures>,
    /// What each colour is before any command was given.
    pub first: PerColour<Option<FirstColour>>,
    /// How traffic is split before any command was given; a colour with weight is in `first`.
    pub first_split: Split,
}

/// A part of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The path prefixes it answers; the longest of all apps wins.
    pub paths: Vec<String>,
    /// The active health check.
    pub probe: Probe,
    /// How its members are spoken to over TLS; none: in the clear.
    pub secure: Option<Arc<Secure>>,
}

/// An active health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Asked with GET; 200 to 299 is healthy.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row that make a member unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
}

/// A path prefix that is treated apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub path: String,
    /// What it is.
    pub kind: RouteKind,
    /// Whether pass-through answers may be compressed.
    pub compress: bool,
    /// The largest request body; none: the limit of the edge.
    pub body_bytes_max: Option<u64>,
}

/// Requests of which copies are sent to the other colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The prefix.
    pub path: String,
    /// How many, in basis points.
    pub share_bp: u16,
    /// Whether cookies and `Authorization` go along.
    pub credentials: bool,
}

/// Pictures of what the people of schools uploaded, by addresses that the app signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// The prefix of the addresses: nothing else is answered below it.
    pub path: String,
    /// The prefix below which the origin has the files.
    pub media: String,
    /// What addresses are signed with.
    pub keys: SigningKeys,
    /// The widths that may be asked for, sorted.
    pub widths: Vec<u32>,
    /// The qualities that may be asked for, sorted.
    pub qualities: Vec<u8>,
    /// The longest that an address may be good.
    pub lifetime: Duration,
}

/// Whether `path` is `prefix` or below it: `/api` covers `/api` and `/api/x`, but not `/apis`.
pub fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// What a configured route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// Passed through.
    Pass,
    /// Event streams, WebSockets, long answers: never buffered, stored or compressed.
    Stream,
}

/// The colour that a config file names, used while the state knows none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstColour {
    /// Its files.
    pub release: ReleaseId,
    /// Members by service.
    pub members: BTreeMap<String, Vec<SocketAddr>>,
    /// Database schemas it works with.
    pub schema: SchemaRange,
}

/// Where access records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line per request on standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
    /// Not written.
    Off,
}
