//! `[identity]`: who says whose credentials these are.

use std::collections::BTreeMap;

use http::Uri;

use super::{Notes, apps};
use crate::config::checked::{Algorithm, Identity, KeySource, Proof, Token};
use crate::config::mistake::At;
use crate::config::raw;

/// None only when a mistake was noted.
pub(super) fn check(
    typed: &raw::Identity,
    all: &BTreeMap<String, raw::App>,
    notes: &mut Notes<'_>,
) -> Option<Identity> {
    let table = At::top().key("identity");
    for (index, cookie) in typed.cookies.iter().enumerate() {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if cookie.is_empty() || !cookie.bytes().all(token) {
            notes.refuse(
                &table.key("cookies").index(index),
                format!("`{cookie}` is no name of a cookie"),
            );
        }
    }
    let roles = typed.roles.as_deref().map(|roles| ("roles", roles));
    for (key, text) in [("subject", &*typed.subject), ("tenant", &*typed.tenant)]
        .into_iter()
        .chain(roles)
    {
        pointer(&table.key(key), text, notes);
    }
    let proof = match &typed.token {
        None => origin(typed.path.as_deref(), all, notes),
        Some(of) => {
            if typed.path.is_some() {
                notes.refuse(
                    &table.key("path"),
                    "is asked nobody: with [identity.token] the token says who it is",
                );
            }
            if typed.cookies.len() > 1 {
                notes.refuse(
                    &table.key("cookies").index(1),
                    "is one too many: one cookie is the token, or none and it is in `Authorization`",
                );
            }
            token(of, notes).map(|token| Proof::Token(Box::new(token)))
        }
    };
    Some(Identity {
        proof: proof?,
        cookies: typed.cookies.clone(),
        subject: typed.subject.clone(),
        tenant: typed.tenant.clone(),
        roles: typed.roles.clone(),
        keep: raw::seconds(typed.keep_s),
    })
}

fn pointer(at: &At, text: &str, notes: &mut Notes<'_>) {
    if !text.starts_with('/') {
        notes.refuse(
            at,
            format!("`{text}` is no JSON pointer: write one such as `/id`"),
        );
    }
}

fn origin(
    typed: Option<&str>,
    all: &BTreeMap<String, raw::App>,
    notes: &mut Notes<'_>,
) -> Option<Proof> {
    let path = typed.unwrap_or(raw::IDENTITY_PATH);
    let at = At::top().key("identity").key("path");
    if let Err(reason) = apps::target(path) {
        notes.refuse(&at, reason);
        return None;
    }
    if apps::longest(all, path.split('?').next().unwrap_or_default()).is_none() {
        notes.refuse(&at, format!("no service answers `{path}`"));
        return None;
    }
    Some(Proof::Origin {
        path: path.to_owned(),
    })
}

fn token(typed: &raw::Token, notes: &mut Notes<'_>) -> Option<Token> {
    let table = At::top().key("identity").key("token");
    if typed.algorithms.is_empty() {
        notes.refuse(
            &table.key("algorithms"),
            "is empty: write what the issuer signs with, such as \"ES256\"",
        );
    }
    for (key, text) in [("issuer", &typed.issuer), ("audience", &typed.audience)] {
        if text.is_empty() {
            notes.refuse(&table.key(key), "is empty: any token would do");
        }
    }
    if let Some(epoch) = &typed.epoch {
        pointer(&table.key("epoch"), epoch, notes);
    }
    if typed.stale_s < typed.refresh_s {
        notes.refuse(
            &table.key("stale_s"),
            "is less than `refresh_s`, so nobody would be believed for part of the time",
        );
    }
    Some(Token {
        keys: keys(typed, notes)?,
        algorithms: typed.algorithms.iter().map(|one| (*one).into()).collect(),
        issuer: typed.issuer.clone(),
        audience: typed.audience.clone(),
        typ: typed.typ.clone(),
        epoch: typed.epoch.clone(),
        lifetime_max: raw::seconds(typed.lifetime_s_max),
        refresh: raw::seconds(typed.refresh_s),
        stale: raw::seconds(typed.stale_s),
    })
}

fn keys(typed: &raw::Token, notes: &mut Notes<'_>) -> Option<KeySource> {
    let table = At::top().key("identity").key("token");
    let at = table.key("keys");
    let mut file = |at: &At, text: &str| {
        let file = notes.path(at, text)?;
        if !file.is_file() {
            notes.refuse(at, format!("there is no file `{}`", file.display()));
            return None;
        }
        Some(file)
    };
    let authorities = match &typed.authorities {
        Some(text) => Some(file(&table.key("authorities"), text)?),
        None => None,
    };
    if !typed.keys.contains("://") {
        return file(&at, &typed.keys).map(KeySource::File);
    }
    let uri = typed.keys.parse::<Uri>().ok().filter(|uri| {
        let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        plain && uri.host().is_some_and(|host| !host.is_empty())
    });
    match uri.as_ref().and_then(|uri| Some((uri, uri.scheme_str()?))) {
        Some((uri, "https")) => Some(KeySource::Https {
            uri: uri.clone(),
            authorities,
        }),
        Some((uri, "http")) if is_loopback(uri) => Some(KeySource::Http(uri.clone())),
        _ => {
            notes.refuse(
                &at,
                format!(
                    "`{}` is neither a file nor an `https://` URL (`http://` only for an address of this machine): who could change the keys on their way could be anybody",
                    typed.keys
                ),
            );
            None
        }
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: Result<std::net::IpAddr, _> = host.parse();
    address.is_ok_and(|address| address.is_loopback())
}

impl From<raw::Algorithm> for Algorithm {
    fn from(typed: raw::Algorithm) -> Self {
        match typed {
            raw::Algorithm::Es256 => Self::Es256,
            raw::Algorithm::Es384 => Self::Es384,
            raw::Algorithm::EdDsa => Self::EdDsa,
            raw::Algorithm::Ps256 => Self::Ps256,
            raw::Algorithm::Rs256 => Self::Rs256,
        }
    }
}
