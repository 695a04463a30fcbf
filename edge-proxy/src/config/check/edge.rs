//! `edge.toml`, part by part.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use asset_pipeline::id::AppId;
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::{Notes, acme, apps, identity, listeners};
use crate::config::checked::{
    AccessLog, Acme, App, Events, Identity, Images, Limits, Listeners, Rate, RatePer, Store,
};
use crate::config::mistake::At;
use crate::config::raw;
use crate::split::order::OrderKeys;

/// In the state folder, which survives a restart.
const TICKET_KEYS: &str = "ticket-keys";
/// In the state folder: what was issued, and the authorities' accounts.
const MANAGED: &str = "certificates";
/// By this name it is the running one, whatever has its path now.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What `edge.toml` gives to a config.
pub(super) struct Edge {
    pub(super) listeners: Listeners,
    pub(super) certificates: PathBuf,
    pub(super) acme: Option<Acme>,
    pub(super) state: PathBuf,
    pub(super) ticket_keys: Option<PathBuf>,
    pub(super) record_bytes: u16,
    pub(super) store: Store,
    pub(super) images: Images,
    pub(super) limits: Limits,
    pub(super) identity: Option<Identity>,
    pub(super) events: Option<Events>,
    pub(super) apps: BTreeMap<AppId, Arc<App>>,
    pub(super) access_log: AccessLog,
    pub(super) hsts: Option<String>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) rates: Vec<Rate>,
    pub(super) orders: OrderKeys,
}

/// None only when a mistake was noted; others may have been noted beside what is returned.
pub(super) fn check(typed: &raw::Edge, notes: &mut Notes<'_>) -> Option<Edge> {
    let top = At::top();
    let state = state(&typed.state, notes);
    let tls = top.key("tls");
    let certificates = certificates(&tls.key("certificates"), &typed.tls.certificates, notes);
    let ticket_keys = match typed.tls.ticket_keys.as_deref() {
        Some("off") => Some(None),
        Some(file) => notes.path(&tls.key("ticket_keys"), file).map(Some),
        None => state.as_ref().map(|state| Some(state.join(TICKET_KEYS))),
    };
    let hsts = hsts(&tls.key("hsts"), &typed.tls.hsts, notes);
    let headers = headers(&typed.headers, notes);
    let rates = rates(&typed.rate, notes);
    let orders = orders(typed.override_keys.as_deref(), notes);
    let listeners = listeners::check(&typed.listeners, state.as_deref(), notes);
    let store = store(&typed.store, notes);
    let access_log = access_log(&typed.log.access, notes);
    limits(&typed.limits, notes);
    let apps = apps::check(&typed.apps, notes);
    let identity = match &typed.identity {
        Some(typed_identity) => identity::check(typed_identity, &typed.apps, notes).map(Some),
        None => Some(None),
    };
    let events = match &typed.events {
        Some(typed) => events(typed, notes).map(Some),
        None => Some(None),
    };
    let acme = match (&typed.acme, &state) {
        (Some(acme), Some(state)) => acme::check(acme, state.join(MANAGED), notes).map(Some),
        _ => Some(None),
    };
    Some(Edge {
        listeners: listeners?,
        certificates: certificates?,
        acme: acme?,
        state: state?,
        ticket_keys: ticket_keys?,
        record_bytes: typed.tls.record_bytes,
        store: store?,
        images: Images {
            program: OWN_PROGRAM.into(),
            make: typed.images.make,
        },
        limits: typed.limits.checked(),
        events: events?,
        identity: identity?,
        apps,
        access_log: access_log?,
        hsts: hsts?,
        headers,
        rates,
        orders: orders?,
    })
}

fn state(typed: &str, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let at = At::top().key("state");
    let state = notes.path(&at, typed)?;
    // It need not be there yet: the first run makes it.
    if state.exists() && !state.is_dir() {
        notes.refuse(&at, format!("`{}` is not a folder", state.display()));
        return None;
    }
    Some(state)
}

fn certificates(at: &At, typed: &str, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let folder = notes.path(at, typed)?;
    if !folder.is_dir() {
        notes.refuse(at, format!("there is no folder `{}`", folder.display()));
        return None;
    }
    Some(folder)
}

fn hsts(at: &At, typed: &str, notes: &mut Notes<'_>) -> Option<Option<String>> {
    if typed == "off" {
        return Some(None);
    }
    let is_max_age = |part: &str| {
        let seconds = part.trim().strip_prefix("max-age=");
        seconds.is_some_and(|text| text.parse::<u32>().is_ok())
    };
    let sendable = typed.bytes().all(|b| matches!(b, b' '..=b'~'));
    if !sendable || typed.split(';').filter(|part| is_max_age(part)).count() != 1 {
        notes.refuse(
            at,
            format!("`{typed}` is neither `off` nor a value such as `max-age=31536000`"),
        );
        return None;
    }
    Some(Some(typed.to_owned()))
}

fn headers(typed: &raw::Headers, notes: &mut Notes<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let table = At::top().key("headers");
    let mut headers = Vec::new();
    for (key, name, text) in [
        (
            "content_type_options",
            X_CONTENT_TYPE_OPTIONS,
            &typed.content_type_options,
        ),
        ("referrer_policy", REFERRER_POLICY, &typed.referrer_policy),
    ] {
        let word = |b: u8| b.is_ascii_lowercase() || b == b'-';
        match HeaderValue::from_str(text) {
            _ if text == "off" => {}
            Ok(value) if !text.is_empty() && text.bytes().all(word) => headers.push((name, value)),
            _ => notes.refuse(
                &table.key(key),
                format!("`{text}` is neither `off` nor a word in lower case"),
            ),
        }
    }
    headers
}

fn rates(typed: &[raw::Rate], notes: &mut Notes<'_>) -> Vec<Rate> {
    let table = At::top().key("rate");
    for (index, rate) in typed.iter().enumerate() {
        let at = table.index(index);
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&rate.name.len()) || !rate.name.bytes().all(word) {
            notes.refuse(
                &at.key("name"),
                format!(
                    "`{}` is no name: 1 to 32 lower case letters, digits or `-`",
                    rate.name
                ),
            );
        }
        if typed[..index].iter().any(|other| other.name == rate.name) {
            notes.refuse(&at.key("name"), format!("`{}` is there already", rate.name));
        }
        if !rate.path.starts_with('/') {
            notes.refuse(
                &at.key("path"),
                format!("`{}` does not begin with `/`", rate.path),
            );
        }
    }
    let checked = typed.iter().map(|rate| Rate {
        name: rate.name.as_str().into(),
        per: match rate.per {
            raw::RatePer::Client => RatePer::Client,
            raw::RatePer::Tenant => RatePer::Tenant,
            raw::RatePer::Route => RatePer::Route,
        },
        path: rate.path.clone(),
        burst: rate.burst,
        per_s: rate.per_s,
    });
    checked.collect()
}

fn orders(typed: Option<&str>, notes: &mut Notes<'_>) -> Option<OrderKeys> {
    let Some(typed) = typed else {
        return Some(OrderKeys::default());
    };
    let at = At::top().key("override_keys");
    let file = notes.path(&at, typed)?;
    notes.value(&at, OrderKeys::read(&file))
}

fn store(typed: &raw::Store, notes: &mut Notes<'_>) -> Option<Store> {
    let at = At::top().key("store").key("url");
    if !["file:///", "s3://"]
        .iter()
        .any(|scheme| typed.url.starts_with(scheme))
    {
        notes.refuse(
            &at,
            format!(
                "`{}` is no store: write `file:///` and the path of a folder, or `s3://` and a bucket",
                typed.url
            ),
        );
        return None;
    }
    if let Err(error) = asset_pipeline::store::Store::open(&typed.url) {
        notes.refuse(&at, error.to_string());
        return None;
    }
    let mut trusted_keys = Vec::new();
    for (number, key) in typed.trusted_keys.iter().enumerate() {
        match key.parse() {
            Ok(key) => trusted_keys.push(key),
            Err(error) => {
                let at = At::top().key("store").key("trusted_keys").index(number);
                notes.refuse(&at, format!("`{key}` is no key: {error}"));
            }
        }
    }
    Some(Store {
        trusted_keys,
        url: typed.url.clone(),
        poll: raw::seconds(typed.poll_s),
        memory_bytes_max: typed.memory_bytes_max,
        blob_bytes_max: typed.blob_bytes_max,
    })
}

fn access_log(typed: &str, notes: &mut Notes<'_>) -> Option<AccessLog> {
    let at = At::top().key("log").key("access");
    match typed {
        "stdout" => Some(AccessLog::Stdout),
        "off" => Some(AccessLog::Off),
        // A slip in one of the two words must not become a file of that name.
        _ if !typed.contains(['/', '.']) => {
            notes.refuse(
                &at,
                format!("`{typed}` is neither `stdout`, `off` nor a path such as `./access.log`"),
            );
            None
        }
        _ => {
            let file = notes.path(&at, typed)?;
            if !file.parent().is_some_and(std::path::Path::is_dir) {
                notes.refuse(&at, format!("there is no folder for `{}`", file.display()));
                return None;
            }
            Some(AccessLog::File(file))
        }
    }
}

fn limits(typed: &raw::Limits, notes: &mut Notes<'_>) {
    let table = At::top().key("limits");
    let mut within = |inner: &str, outer: &str, fits: bool| {
        if !fits {
            notes.refuse(
                &table.key(inner),
                format!("is more than `{outer}`, so it could never be reached"),
            );
        }
    };
    within(
        "target_bytes_max",
        "header_bytes_max",
        typed.target_bytes_max <= typed.header_bytes_max,
    );
    within("fill_wait_s", "fill_s", typed.fill_wait_s <= typed.fill_s);
    within(
        "object_bytes_max",
        "cache_bytes_max",
        typed.object_bytes_max <= typed.cache_bytes_max,
    );
    within(
        "object_bytes_max",
        "tenant_cache_bytes_max",
        typed.object_bytes_max <= typed.tenant_cache_bytes_max,
    );
}

fn events(typed: &raw::Events, notes: &mut Notes<'_>) -> Option<Events> {
    let table = At::top().key("events");
    let listen = listeners::address(&table.key("listen"), &typed.listen, notes);
    let at = table.key("secrets");
    let secrets = notes.path(&at, &typed.secrets)?;
    if !secrets.is_dir() {
        let place = secrets.display();
        notes.refuse(
            &at,
            format!("{place} is no folder: put <tenant>.secret for each school there"),
        );
        return None;
    }
    Some(Events {
        listen: listen?,
        secrets,
    })
}
