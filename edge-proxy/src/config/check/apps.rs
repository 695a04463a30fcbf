//! `[apps]`: who answers which path.

use std::collections::BTreeMap;
use std::sync::Arc;

use asset_pipeline::id::AppId;

use super::{Notes, first, pictures};
use crate::config::checked::{App, Mirror, Probe, Route, RouteKind, Service, covers};
use crate::config::mistake::At;
use crate::config::raw;
use crate::split::SplitBy;
use crate::upstream::secure::{NotSecure, Own, Secure};

pub(super) fn check(
    typed: &BTreeMap<String, raw::App>,
    notes: &mut Notes<'_>,
) -> BTreeMap<AppId, Arc<App>> {
    let table = At::top().key("apps");
    if typed.is_empty() {
        notes.refuse(&table, "no app: there is nothing to serve");
    }
    prefixes(typed, notes);
    let mut apps = BTreeMap::new();
    for (name, app) in typed {
        let at = table.key(name);
        routes(&at, name, typed, notes);
        mirrors(&at, name, typed, notes);
        let id = notes.value(&at, name.parse::<AppId>());
        let services = services(&at, app, notes);
        let first = first::check(&at.key("first"), app, notes);
        let pictures = match &app.pictures {
            Some(typed_pictures) => {
                pictures::check(&at, name, typed_pictures, typed, notes).map(Some)
            }
            None => Some(None),
        };
        if let (Some(id), Some((first, first_split)), Some(pictures)) = (id, first, pictures) {
            let mut app = App {
                id: id.clone(),
                salt: app.salt.clone().unwrap_or_else(|| name.clone()),
                split_by: match app.unit {
                    raw::Unit::Tenant => SplitBy::Tenant,
                    raw::Unit::Client => SplitBy::Client,
                    raw::Unit::Request => SplitBy::Request,
                },
                pin: raw::seconds(app.pin_s),
                services,
                routes: app.routes.iter().map(route).collect(),
                mirrors: app.mirror.iter().map(mirror).collect(),
                pictures,
                first,
                first_split,
            };
            app.mirrors
                .sort_by_key(|mirror| std::cmp::Reverse(mirror.path.len()));
            apps.insert(id, Arc::new(app));
        }
    }
    apps
}

fn services(at: &At, app: &raw::App, notes: &mut Notes<'_>) -> BTreeMap<String, Service> {
    let table = at.key("services");
    if app.services.is_empty() {
        notes.refuse(&table, "no service: the app answers no path");
    }
    let mut services = BTreeMap::new();
    for (name, service) in &app.services {
        let at = table.key(name);
        // Services and apps are named alike: both are words of commands and labels of metrics.
        notes.value(&at, name.parse::<AppId>());
        if service.paths.is_empty() {
            notes.refuse(
                &at.key("paths"),
                "is empty: write the prefixes that it answers, such as [\"/\"]",
            );
        }
        let probe = &service.probe;
        if let Err(reason) = target(&probe.path) {
            notes.refuse(&at.key("probe").key("path"), reason);
        }
        let secure = match &service.tls {
            Some(tls) => secure(&at.key("tls"), tls, notes),
            None => None,
        };
        services.insert(
            name.clone(),
            Service {
                paths: service.paths.clone(),
                probe: Probe {
                    path: probe.path.clone(),
                    interval: raw::seconds(probe.interval_s),
                    timeout: raw::seconds(probe.timeout_s),
                    unhealthy_after: probe.unhealthy_after,
                    healthy_after: probe.healthy_after,
                },
                secure,
            },
        );
    }
    services
}

/// None only when a mistake was noted.
fn secure(at: &At, typed: &raw::ServiceTls, notes: &mut Notes<'_>) -> Option<Arc<Secure>> {
    let authorities = notes.path(&at.key("authorities"), &typed.authorities)?;
    let own = match (&typed.certificate, &typed.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((
            notes.path(&at.key("certificate"), certificate)?,
            notes.path(&at.key("key"), key)?,
        )),
        _ => {
            notes.refuse(at, "has only one of `certificate` and `key`");
            return None;
        }
    };
    let own = own
        .as_ref()
        .map(|(certificate, key)| Own { certificate, key });
    match Secure::read(&typed.name, &authorities, own) {
        Ok(secure) => Some(Arc::new(secure)),
        Err(problem) => {
            let (key, shown, why) = match problem {
                NotSecure::Name(why) => ("name", Some(&typed.name), why),
                NotSecure::Authorities(why) => ("authorities", Some(&typed.authorities), why),
                NotSecure::Certificate(why) => ("certificate", typed.certificate.as_ref(), why),
                NotSecure::Key(why) => ("key", typed.key.as_ref(), why),
            };
            let shown = shown.map_or("", String::as_str);
            notes.refuse(&at.key(key), format!("`{shown}` {why}"));
            None
        }
    }
}

/// Every prefix of every service is well formed and is there once.
fn prefixes(typed: &BTreeMap<String, raw::App>, notes: &mut Notes<'_>) {
    let mut seen: BTreeMap<&str, At> = BTreeMap::new();
    let table = At::top().key("apps");
    for (app, app_typed) in notes.in_order(&table, typed) {
        let table = table.key(app).key("services");
        for (service, service_typed) in notes.in_order(&table, &app_typed.services) {
            let paths = table.key(service).key("paths");
            for (index, path) in service_typed.paths.iter().enumerate() {
                let at = paths.index(index);
                if let Err(reason) = prefix(path) {
                    notes.refuse(&at, reason);
                } else if let Some(taken) = seen.get(path.as_str()) {
                    let place = notes.document.place(taken);
                    notes.refuse(
                        &at,
                        format!("`{path}` is answered by {taken} already ({place})"),
                    );
                } else {
                    seen.insert(path, at);
                }
            }
        }
    }
}

fn routes(at: &At, name: &str, all: &BTreeMap<String, raw::App>, notes: &mut Notes<'_>) {
    let Some(app) = all.get(name) else { return };
    let table = at.key("routes");
    for (index, route) in app.routes.iter().enumerate() {
        let at = table.index(index);
        let path = &route.path;
        own_prefix(&at.key("path"), name, all, path, notes);
        if let Some(earlier) = app.routes[..index]
            .iter()
            .position(|other| other.path == *path)
        {
            let place = notes.document.place(&table.index(earlier));
            notes.refuse(
                &at.key("path"),
                format!("`{path}` has a route already ({place})"),
            );
        }
        if route.kind == raw::RouteKind::Stream && route.compress == Some(true) {
            notes.refuse(
                &at.key("compress"),
                "a stream is never compressed: leave this out, or write kind = \"pass\"",
            );
        }
    }
}

/// A prefix is below a service of this app.
pub(super) fn own_prefix(
    at: &At,
    name: &str,
    all: &BTreeMap<String, raw::App>,
    path: &str,
    notes: &mut Notes<'_>,
) {
    if let Err(reason) = prefix(path) {
        notes.refuse(at, reason);
        return;
    }
    match longest(all, path) {
        Some(owner) if owner == name => {}
        Some(owner) => notes.refuse(
            at,
            format!("`{path}` is below a service of the app `{owner}`: write it there"),
        ),
        None => notes.refuse(at, format!("`{path}` is below no service")),
    }
}

fn mirrors(at: &At, name: &str, all: &BTreeMap<String, raw::App>, notes: &mut Notes<'_>) {
    let Some(app) = all.get(name) else { return };
    let table = at.key("mirror");
    for (index, mirror) in app.mirror.iter().enumerate() {
        let at = table.index(index).key("path");
        own_prefix(&at, name, all, &mirror.path, notes);
        let mut earlier = app.mirror[..index].iter();
        if let Some(earlier) = earlier.position(|other| other.path == mirror.path) {
            let place = notes.document.place(&table.index(earlier));
            let path = &mirror.path;
            notes.refuse(&at, format!("`{path}` is mirrored already ({place})"));
        }
    }
}

fn mirror(typed: &raw::Mirror) -> Mirror {
    Mirror {
        path: typed.path.clone(),
        share_bp: typed.share_bp,
        credentials: typed.credentials,
    }
}

fn route(typed: &raw::Route) -> Route {
    let kind = match typed.kind {
        raw::RouteKind::Pass => RouteKind::Pass,
        raw::RouteKind::Stream => RouteKind::Stream,
    };
    Route {
        path: typed.path.clone(),
        kind,
        compress: typed.compress.unwrap_or(kind == RouteKind::Pass),
        body_bytes_max: typed.body_bytes_max,
    }
}

/// The app whose service answers a path: that of the longest prefix.
pub(super) fn longest<'a>(all: &'a BTreeMap<String, raw::App>, path: &str) -> Option<&'a str> {
    let prefixes = all.iter().flat_map(|(name, app)| {
        let paths = app.services.values().flat_map(|service| &service.paths);
        paths.map(move |prefix| (prefix, name))
    });
    prefixes
        .filter(|(prefix, _)| covers(prefix, path))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, name)| name.as_str())
}

/// A prefix is compared with decoded paths, segment by segment.
fn prefix(text: &str) -> Result<(), String> {
    let Some(below) = text.strip_prefix('/') else {
        return Err(format!("`{text}` is no path: it starts with `/`"));
    };
    if text.contains(['?', '#', '%', '\\']) || text.contains(char::is_control) {
        return Err(format!(
            "`{text}` is no prefix: write the decoded path, without a query"
        ));
    }
    if let Some(short) = text.strip_suffix('/').filter(|short| !short.is_empty()) {
        return Err(format!(
            "write `{short}`: it covers `{text}` and everything below"
        ));
    }
    if !below.is_empty()
        && below
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(format!("`{text}` has an empty segment or one of dots"));
    }
    Ok(())
}

/// A path, maybe with a query, that the edge itself asks a member for.
pub(super) fn target(text: &str) -> Result<(), String> {
    let sendable = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    if !text.starts_with('/') {
        Err(format!("`{text}` is no path: it starts with `/`"))
    } else if !sendable {
        Err(format!(
            "`{text}` cannot be asked for: encode what is not ASCII"
        ))
    } else {
        Ok(())
    }
}
