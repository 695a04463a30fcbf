//! `[acme]`: who issues certificates, and where their keys are sealed.

use std::path::PathBuf;

use certs::Seal;
use certs::acme::{Authority, External, Options, PointsHere};

use super::Notes;
use crate::config::checked::Acme;
use crate::config::mistake::At;
use crate::config::raw::{self, Acme as Typed};

/// What systemd's `LoadCredential` puts there is for this process alone.
const CREDENTIAL: &str = "credential:";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// `managed` is the folder of what is issued.
pub(super) fn check(typed: &Typed, managed: PathBuf, notes: &mut Notes<'_>) -> Option<Acme> {
    let table = At::top().key("acme");
    let seal_key = seal_key(&table.key("seal_key"), &typed.seal_key, notes);
    let roots = notes.path(&table.key("roots"), &typed.roots);
    let points_here = match typed.points_here.as_str() {
        "dns" => Some(PointsHere::Resolved),
        "off" => Some(PointsHere::Unchecked),
        text => text.parse().ok().map(PointsHere::At).or_else(|| {
            let text = format!("`{text}` is none of `dns`, `off` and an address IP:PORT");
            notes.refuse(&table.key("points_here"), text);
            None
        }),
    };
    let dns_hook = match &typed.dns_hook {
        Some(hook) => hook_file(&table.key("dns_hook"), hook, notes).map(Some),
        None => Some(None),
    };
    if typed.authority.is_empty() {
        notes.refuse(&table.key("authority"), "is empty: nobody would be asked");
    }
    let mut authorities: Vec<Authority> = Vec::new();
    for (index, authority) in typed.authority.iter().enumerate() {
        let at = table.key("authority").index(index);
        if authorities.iter().any(|known| known.name == authority.name) {
            notes.refuse(&at.key("name"), "another authority has this name");
        }
        authorities.extend(self::authority(&at, authority, notes));
    }
    Some(Acme {
        seal_key: seal_key?,
        options: Options {
            dir: managed,
            authorities,
            roots: roots?,
            points_here: points_here?,
            dns_hook: dns_hook?,
            orders_per_day: typed.orders_per_day,
            request: raw::seconds(typed.request_s),
            order: raw::seconds(typed.order_s),
        },
    })
}

fn authority(at: &At, typed: &raw::Authority, notes: &mut Notes<'_>) -> Option<Authority> {
    let before = notes.mistakes.len();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=32).contains(&typed.name.len()) || !typed.name.bytes().all(word) {
        let text = format!(
            "`{}` is no name: 1 to 32 lower case letters, digits or `-`",
            typed.name
        );
        notes.refuse(&at.key("name"), text);
    }
    let is_url = |url: &http::Uri| url.scheme_str() == Some("https") && url.host().is_some();
    if !typed.directory.parse().is_ok_and(|url| is_url(&url)) {
        let text = format!("`{}` is no https URL", typed.directory);
        notes.refuse(&at.key("directory"), text);
    }
    for (index, contact) in typed.contact.iter().enumerate() {
        if !contact.starts_with("mailto:") {
            let text = "is no contact: write one such as `mailto:operators@school.example`";
            notes.refuse(&at.key("contact").index(index), text);
        }
    }
    let external = match &typed.external {
        Some(external) => Some(External {
            id: external.id.clone(),
            key_file: notes.path(&at.key("external").key("key_file"), &external.key_file)?,
        }),
        None => None,
    };
    (notes.mistakes.len() == before).then(|| Authority {
        name: typed.name.clone(),
        directory: typed.directory.clone(),
        contact: typed.contact.clone(),
        external,
    })
}

fn seal_key(at: &At, typed: &str, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let file = match typed.strip_prefix(CREDENTIAL) {
        Some(name) => {
            let Some(folder) = std::env::var_os(CREDENTIALS) else {
                let text = format!(
                    "this process has no credentials (`{CREDENTIALS}` is not set): start it by systemd with LoadCredential={name}:FILE"
                );
                notes.refuse(at, text);
                return None;
            };
            if name.is_empty() || name.contains('/') {
                notes.refuse(at, format!("`{name}` is no name of a credential"));
                return None;
            }
            PathBuf::from(folder).join(name)
        }
        None => notes.path(at, typed)?,
    };
    match Seal::open(&file) {
        Ok(_) => Some(file),
        Err(problem) => {
            notes.refuse(at, problem.to_string());
            None
        }
    }
}

fn hook_file(at: &At, typed: &str, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let hook = notes.path(at, typed)?;
    if !hook.is_file() {
        notes.refuse(at, format!("there is no program `{}`", hook.display()));
        return None;
    }
    Some(hook)
}
