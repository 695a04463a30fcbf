//! Certificates as operators see them: what is left of each, who brings it, what happens next.

use std::collections::BTreeMap;
use std::time::SystemTime;

use certs::acme::{Keeper, Managed};
use certs::{CertInfo, CertStore, Source, Urgency};
use jiff::Timestamp;

use crate::control::api;

/// Every certificate that is served.
pub(super) fn certificates(store: &CertStore, keeper: Option<&Keeper>) -> Vec<api::Certificate> {
    let managed = managed(keeper);
    let certificate = |info: CertInfo| {
        let of = managed
            .get(&info.name)
            .filter(|_| info.source == Source::Managed);
        api::Certificate {
            source: of
                .and_then(|of| of.authority.clone())
                .unwrap_or_else(|| info.source.as_str().to_owned()),
            urgency: info.urgency.as_str().to_owned(),
            next: of.map_or_else(|| by_hand(info.urgency).to_owned(), by_itself),
            file: info
                .file
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            names: info.names,
            not_after: text(info.not_after),
            days_left: info.days_left,
        }
    };
    store.list().into_iter().map(certificate).collect()
}

/// Files that could not be used, and hosts that are looked after and have no certificate yet.
pub(super) fn problems(store: &CertStore, keeper: Option<&Keeper>) -> Vec<String> {
    let live = store.list();
    let is_live = |of: &Managed| {
        let mut live = live.iter();
        live.any(|info| info.source == Source::Managed && info.name == of.stem)
    };
    let managed = managed(keeper);
    let without = managed.values().filter(|of| !is_live(of));
    let without = without.map(|of| format!("{}: no certificate yet: {}", of.name, by_itself(of)));
    let files = store.problems();
    files
        .iter()
        .map(ToString::to_string)
        .chain(without)
        .collect()
}

fn managed(keeper: Option<&Keeper>) -> BTreeMap<String, Managed> {
    let list = keeper.map(Keeper::list).unwrap_or_default();
    list.into_iter().map(|of| (of.stem.clone(), of)).collect()
}

fn by_hand(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Good => "nothing: it is read again when its files change",
        Urgency::Soon => "renew it: a quarter of its life is left",
        Urgency::Now => "renew it NOW: a tenth of its life is left",
        Urgency::Expired => "put a new pair in its place: clients refuse it",
    }
}

fn by_itself(of: &Managed) -> String {
    match of {
        Managed { busy: true, .. } => "an order is under way".to_owned(),
        Managed { wanted: false, .. } => "not renewed: no school has this host any more".to_owned(),
        Managed {
            failed: Some((why, again)),
            ..
        } => format!("tried again at {}, it failed: {why}", text(*again)),
        Managed {
            renew_at: Some(at), ..
        } => format!("renewed by itself at {}", text(*at)),
        Managed { renew_at: None, .. } => "ordered within a minute".to_owned(),
    }
}

fn text(at: SystemTime) -> String {
    let second = Timestamp::try_from(at).ok();
    let second = second.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    second.map_or_else(String::new, |at| at.to_string())
}
