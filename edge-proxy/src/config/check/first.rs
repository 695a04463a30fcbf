//! `[apps.NAME.first]`: the colours of an app before any command was given.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Notes, listeners};
use crate::colour::{Colour, PerColour, Split};
use crate::config::checked::FirstColour;
use crate::config::mistake::{At, listed, meant};
use crate::config::raw;

/// The colours and their split. None only when a mistake was noted.
pub(super) fn check(
    at: &At,
    app: &raw::App,
    notes: &mut Notes<'_>,
) -> Option<(PerColour<Option<FirstColour>>, Split)> {
    let typed = &app.first;
    let named = |colour: Colour| match colour {
        Colour::Blue => typed.blue.as_ref(),
        Colour::Green => typed.green.as_ref(),
    };
    let colours = PerColour::each(|colour| {
        let at = at.key(colour.as_str());
        named(colour).and_then(|typed| self::colour(&at, typed, app, notes))
    });
    let split = split(at, typed, |colour| named(colour).is_some(), notes)?;
    let in_rotation = Colour::BOTH.map(|colour| {
        let weighs = split.weight_bp(colour) > 0;
        colours.get(colour).as_ref().filter(|_| weighs)
    });
    if let [Some(blue), Some(green)] = in_rotation
        && !blue.schema.overlaps(green.schema)
    {
        let message = format!(
            "{} and {} do not overlap, so both colours cannot have weight",
            blue.schema, green.schema
        );
        notes.refuse(&at.key("green").key("schema"), message);
    }
    Some((colours, split))
}

fn colour(
    at: &At,
    typed: &raw::FirstColour,
    app: &raw::App,
    notes: &mut Notes<'_>,
) -> Option<FirstColour> {
    let release = notes.value(&at.key("release"), typed.release.parse());
    let schema = notes.value(&at.key("schema"), typed.schema.parse());
    let table = at.key("members");
    for service in app
        .services
        .keys()
        .filter(|name| !typed.members.contains_key(*name))
    {
        notes.refuse(&table.key(service), "missing: every service needs a member");
    }
    let mut members = BTreeMap::new();
    for (service, addresses) in &typed.members {
        let at = table.key(service);
        if !app.services.contains_key(service) {
            let known = || app.services.keys().map(String::as_str);
            let hint = match meant(service, known()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("its services are {}", listed(known())),
            };
            notes.refuse(&at, format!("the app has no such service, {hint}"));
        }
        if addresses.is_empty() {
            notes.refuse(&at, "is empty: every service needs a member");
        }
        members.insert(service.clone(), self::members(&at, addresses, notes));
    }
    Some(FirstColour {
        release: release?,
        members,
        schema: schema?,
    })
}

fn members(at: &At, typed: &[String], notes: &mut Notes<'_>) -> Vec<SocketAddr> {
    let mut members = Vec::new();
    for (index, text) in typed.iter().enumerate() {
        let at = at.index(index);
        let Some(address) = listeners::address(&at, text, notes) else {
            continue;
        };
        if address.port() == 0 || address.ip().is_unspecified() {
            notes.refuse(&at, format!("{address} cannot be connected to"));
        } else if members.contains(&address) {
            notes.refuse(&at, format!("{address} is listed twice"));
        } else {
            members.push(address);
        }
    }
    members
}

fn split(
    at: &At,
    typed: &raw::First,
    exists: impl Fn(Colour) -> bool,
    notes: &mut Notes<'_>,
) -> Option<Split> {
    match (typed.live, &typed.weight_bp) {
        (Some(_), Some(_)) => {
            notes.refuse(
                &at.key("weight_bp"),
                "`live` and `weight_bp` say the same: write one of them",
            );
            None
        }
        (Some(live), None) => {
            if !exists(live) {
                notes.refuse(
                    &at.key("live"),
                    format!(
                        "there is no first {live}: write [{}]",
                        at.key(live.as_str())
                    ),
                );
            }
            Some(Split::all(live))
        }
        (None, Some(weights)) => {
            let at = at.key("weight_bp");
            let split = Split::of(*weights)
                .map_err(|error| notes.refuse(&at, error.to_string()))
                .ok()?;
            for colour in Colour::BOTH
                .into_iter()
                .filter(|colour| split.weight_bp(*colour) > 0)
            {
                if !exists(colour) {
                    notes.refuse(
                        &at.key(colour.as_str()),
                        format!("there is no first {colour} that could have weight"),
                    );
                }
            }
            Some(split)
        }
        (None, None) => match Colour::BOTH.map(&exists) {
            [true, false] => Some(Split::all(Colour::Blue)),
            [false, true] => Some(Split::all(Colour::Green)),
            [true, true] => {
                notes.refuse(
                    &at.key("live"),
                    "missing: write which of the two colours has all traffic",
                );
                None
            }
            [false, false] => {
                notes.refuse(at, format!("no colour: write [{}]", at.key("blue")));
                None
            }
        },
    }
}
