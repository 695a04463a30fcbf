use std::collections::BTreeMap;

use super::*;
use crate::colour::{PerColour, Split};

fn state(green_bp: u16) -> AppState {
    let colour = |release: &str| {
        Some(ColourState {
            release: release.parse().expect("an id"),
            members: BTreeMap::new(),
            phase: Phase::Live,
            schema: "3..4".parse().expect("a range"),
            leaving: false,
        })
    };
    AppState::new(
        PerColour {
            blue: colour("r1"),
            green: colour("r2"),
        },
        Split::with(Colour::Green, green_bp).expect("within the whole"),
    )
}

fn asked() -> DeployRequest {
    DeployRequest {
        colour: "green".into(),
        release: "r3".into(),
        services: BTreeMap::from([
            ("web".into(), vec!["10.0.0.1:3000".into()]),
            (
                "api".into(),
                vec!["10.0.0.1:3001".into(), "[::1]:3001".into()],
            ),
        ]),
        schema: None,
        wait_s: None,
        drain_s: None,
        dry_run: false,
        reason: None,
    }
}

fn services() -> Vec<String> {
    vec!["api".into(), "web".into()]
}

fn deployment() -> Deployment {
    Deployment::of(&asked(), &services()).expect("it is one")
}

fn busy(in_flight: u64) -> InUse {
    InUse {
        in_flight,
        bound_s: None,
    }
}

#[test]
fn a_colour_that_somebody_is_bound_to_is_refused_until_they_are_let_go() {
    let bound = |seconds| InUse {
        in_flight: 0,
        bound_s: Some(seconds),
    };
    let now = state(5_000).shifted(Split::all(Colour::Blue));
    let refused = decide(&now, &deployment(), bound(3_599));
    let reason = Reason::Bound {
        colour: "green".into(),
        seconds: 3_599,
    };
    assert_eq!(refused, Err(vec![reason]));
    assert!(decide(&now, &deployment(), bound(3_600)).is_ok());
    let left = now.left(Colour::Green);
    assert!(decide(&left, &deployment(), bound(0)).is_ok());
}

#[test]
fn an_idle_colour_becomes_the_new_version_and_gets_no_weight() {
    let next = decide(&state(0), &deployment(), InUse::default()).expect("green is idle");
    let green = next.colours.green.as_ref().expect("deployed");
    assert_eq!(green.release.as_str(), "r3");
    assert_eq!(green.phase, Phase::Idle);
    assert_eq!(green.schema.to_string(), "3..4", "as the other colour");
    assert_eq!(green.members["api"].len(), 2);
    assert_eq!(next.split, state(0).split);
    assert_eq!(next.colours.blue, state(0).colours.blue);
    assert_eq!(
        decide(&next, &deployment(), busy(9)),
        Ok(next),
        "it is so already"
    );
}

#[test]
fn a_colour_in_use_is_refused_with_every_reason() {
    let reasons = decide(&state(1), &deployment(), busy(7)).expect_err("green has weight");
    assert_eq!(
        reasons,
        [
            Reason::HasWeight {
                colour: "green".into(),
                weight_bp: 1
            },
            Reason::InFlight {
                colour: "green".into(),
                requests: 7
            },
        ]
    );
}

#[test]
fn the_first_deploy_of_all_says_its_schema() {
    let none = AppState::new(PerColour::default(), Split::all(Colour::Blue));
    assert_eq!(
        decide(&none, &deployment(), InUse::default()),
        Err(vec![Reason::NoSchema])
    );
    let with = DeployRequest {
        schema: Some("7".into()),
        ..asked()
    };
    let with = Deployment::of(&with, &services()).expect("it is one");
    assert!(decide(&none, &with, InUse::default()).is_ok());
}

#[test]
fn what_was_typed_wrong_is_named() {
    let with = |change: fn(&mut DeployRequest)| {
        let mut asked = asked();
        change(&mut asked);
        Deployment::of(&asked, &services())
            .expect_err("it is none")
            .to_string()
    };
    for (change, text) in [
        (
            (|asked| asked.colour = "red".into()) as fn(&mut DeployRequest),
            "a colour is `blue` or `green`",
        ),
        (
            |asked| drop(asked.services.remove("web")),
            "service web needs at least one member",
        ),
        (
            |asked| drop(asked.services.insert("web".into(), vec![])),
            "service web needs at least one member",
        ),
        (
            |asked| {
                drop(
                    asked
                        .services
                        .insert("ai".into(), vec!["10.0.0.1:1".into()]),
                )
            },
            "the app has no service ai",
        ),
        (
            |asked| {
                drop(
                    asked
                        .services
                        .insert("web".into(), vec!["web.internal:80".into()]),
                )
            },
            "service web: `web.internal:80` is no address such as 10.0.3.2:3000",
        ),
        (
            |asked| {
                let twice = vec!["10.0.0.1:1".into(), "10.0.0.1:1".into()];
                drop(asked.services.insert("web".into(), twice));
            },
            "service web names 10.0.0.1:1 twice",
        ),
        (
            |asked| asked.schema = Some("4..3".into()),
            "the schema: a schema range is `N` or `MIN..MAX` with MIN <= MAX, both included",
        ),
    ] {
        assert_eq!(with(change), text);
    }
}
