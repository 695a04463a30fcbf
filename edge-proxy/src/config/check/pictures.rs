//! `[apps.X.pictures]`: where schools' pictures are, and what their addresses are signed with.

use std::collections::BTreeMap;

use super::{Notes, apps};
use crate::config::checked::{Pictures, covers};
use crate::config::mistake::At;
use crate::config::raw;
use crate::signing::SigningKeys;

/// Of the app `name`, whose table is at `at`. None only when a mistake was noted.
pub(super) fn check(
    at: &At,
    name: &str,
    typed: &raw::Pictures,
    all: &BTreeMap<String, raw::App>,
    notes: &mut Notes<'_>,
) -> Option<Pictures> {
    let at = at.key("pictures");
    let media = typed.media.as_ref().unwrap_or(&typed.path);
    prefix(&at.key("path"), name, all, &typed.path, notes);
    if typed.media.is_some() {
        prefix(&at.key("media"), name, all, media, notes);
    }
    let routes = all.get(name).map_or(&[][..], |app| app.routes.as_slice());
    for route in routes {
        let both = [(&typed.path, "path"), (media, "media")];
        let clash = both
            .into_iter()
            .find(|(own, _)| covers(&route.path, own) || covers(own, &route.path));
        if let Some((own, key)) = clash {
            let path = &route.path;
            notes.refuse(
                &at.key(key),
                format!(
                    "`{own}` and the route `{path}` are one below the other: take one of them away"
                ),
            );
            break;
        }
    }
    let keys_at = at.key("keys");
    let keys = notes.path(&keys_at, &typed.keys)?;
    let keys = notes.value(&keys_at, SigningKeys::read(&keys))?;
    let mut widths = typed.widths.clone();
    widths.sort_unstable();
    widths.dedup();
    let mut qualities = typed.qualities.clone();
    qualities.sort_unstable();
    qualities.dedup();
    Some(Pictures {
        path: typed.path.clone(),
        media: media.clone(),
        keys,
        widths,
        qualities,
        lifetime: raw::seconds(typed.lifetime_s_max),
    })
}

/// A prefix that reads the same encoded and decoded, below a service of this app.
fn prefix(
    at: &At,
    name: &str,
    all: &BTreeMap<String, raw::App>,
    path: &str,
    notes: &mut Notes<'_>,
) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if path == "/" || !path.bytes().all(plain) {
        notes.refuse(
            at,
            format!("`{path}` is no prefix of pictures: letters, digits and `-._~`, and not all of the site"),
        );
        return;
    }
    apps::own_prefix(at, name, all, path, notes);
}
