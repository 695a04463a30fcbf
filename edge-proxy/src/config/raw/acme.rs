//! What is typed of certificates that manage themselves.

use schemars::JsonSchema;
use serde::Deserialize;

/// Certificates that are issued and renewed by authorities (ACME); a change needs a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Acme {
    /// The key that seals private keys at rest: a file of 64 hexadecimal digits, or `credential:NAME` of systemd.
    pub(in crate::config) seal_key: String,
    /// A PEM bundle of who may vouch for the authorities' servers.
    #[serde(default = "roots")]
    pub(in crate::config) roots: String,
    /// How it is found out whether a host leads to this edge: `dns` (its addresses are asked, at port 80), `IP:PORT`, or `off`.
    #[serde(default = "points_here")]
    pub(in crate::config) points_here: String,
    /// The program that changes TXT records, for wildcards: HOOK present|absent NAME VALUE.
    pub(in crate::config) dns_hook: Option<String>,
    /// Orders for one school in 24 hours.
    #[serde(default = "orders_per_day")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) orders_per_day: u32,
    /// How long one answer of an authority may take.
    #[serde(default = "request_s")]
    #[schemars(range(min = 0.1, max = 300))]
    pub(in crate::config) request_s: f64,
    /// How long a whole order may take.
    #[serde(default = "order_s")]
    #[schemars(range(min = 0.1, max = 3600))]
    pub(in crate::config) order_s: f64,
    /// Who issues, asked in this order.
    pub(in crate::config) authority: Vec<Authority>,
}

/// Where Debian, Ubuntu and Alpine keep it.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What authorities do.
const POINTS_HERE: &str = "dns";
/// A school has a handful of hosts; public authorities allow some fifty a week for all of a domain.
const ORDERS_PER_DAY: u32 = 10;
/// Authorities that are busy answer within seconds.
const REQUEST_S: f64 = 20.0;
/// They look from several places, and DNS takes its time.
const ORDER_S: f64 = 300.0;

fn roots() -> String {
    ROOTS.to_owned()
}

fn points_here() -> String {
    POINTS_HERE.to_owned()
}

fn orders_per_day() -> u32 {
    ORDERS_PER_DAY
}

fn request_s() -> f64 {
    REQUEST_S
}

fn order_s() -> f64 {
    ORDER_S
}

/// A certificate authority.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Authority {
    /// A word, as lists and metrics name it; the account is kept under it.
    pub(in crate::config) name: String,
    /// The URL of its directory.
    pub(in crate::config) directory: String,
    /// Whom it may write to, such as `mailto:operators@school.example`.
    #[serde(default)]
    pub(in crate::config) contact: Vec<String>,
    /// An account elsewhere that the new one belongs to.
    pub(in crate::config) external: Option<External>,
}

/// An account that an authority gave out by another way.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct External {
    /// The id of its key.
    pub(in crate::config) id: String,
    /// The file with its key, in base64url as the authority gives it.
    pub(in crate::config) key_file: String,
}
