use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::control::state::{ColourState, Phase};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn texts(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|&step| step.to_owned()).collect()
}

fn begun(list: &[&str]) -> Rollout {
    Rollout {
        to: Colour::Green,
        release: "r2".parse().expect("an id"),
        steps: steps(&texts(list)).expect("steps"),
        hold_s: 60,
        requests_min: 100,
        step: 0,
        began: at(0),
        since: at(0),
        despite_freeze: false,
        status: Status::Running,
    }
}

fn state() -> AppState {
    let colour = |release: &str, phase| {
        Some(ColourState {
            release: release.parse().expect("an id"),
            members: BTreeMap::new(),
            phase,
            schema: "1".parse().expect("a range"),
            leaving: false,
        })
    };
    let colours = PerColour {
        blue: colour("r1", Phase::Live),
        green: colour("r2", Phase::Idle),
    };
    AppState::new(colours, Split::all(Colour::Blue))
}

fn started(list: &[&str]) -> AppState {
    start(&state(), begun(list), false, Vec::new()).expect("it may start")
}

fn units() -> Vec<Unit> {
    let unit = |(tenant, bucket, ring): (&str, u16, &str)| Unit {
        tenant: tenant.into(),
        bucket,
        ring: ring.to_owned(),
    };
    [
        ("oak", 50, "rest"),
        ("elm", 300, "rest"),
        ("ash", 2_000, "rest"),
        ("fir", 9_000, "pilot"),
    ]
    .map(unit)
    .into()
}

fn traffic(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
    of.iter()
        .map(|&(tenant, requests)| (tenant.to_owned(), requests))
        .collect()
}

fn known(requests: u64) -> Known {
    Known {
        requests,
        evidence: 1.0,
        doubt: 10.0,
        reasons: Vec::new(),
    }
}

#[test]
fn steps_are_rings_and_then_rising_weights_up_to_everything() {
    for good in [
        &["1%", "5%", "25%", "50%", "100%"][..],
        &["100%"],
        &["ring:pilot", "ring:early", "12.5%", "10000bp"],
    ] {
        assert!(steps(&texts(good)).is_ok(), "{good:?}");
    }
    for (bad, why) in [
        (&["5%", "1%", "100%"][..], NotSteps::Order),
        (&["1%", "5%"], NotSteps::Order),
        (&["1%", "ring:pilot", "100%"], NotSteps::Order),
        (&[], NotSteps::Order),
        (&["0%", "100%"], NotSteps::Form("0%".into())),
        (&["ring:", "100%"], NotSteps::Form("ring:".into())),
        (&["half", "100%"], NotSteps::Form("half".into())),
        (&["1%"; 51], NotSteps::TooMany),
    ] {
        assert_eq!(steps(&texts(bad)), Err(why), "{bad:?}");
    }
}

#[test]
fn a_rollout_takes_its_first_step_at_once_and_nobody_else_moves_weight() {
    let state = started(&["5%", "100%"]);
    assert_eq!(state.split.weight_bp(Colour::Green), 500);
    assert_eq!(
        state.colours.green.as_ref().map(|of| of.phase),
        Some(Phase::Live)
    );
    assert!(refuse_while_under_way(&state).is_err());
    let again = start(&state, begun(&["10%", "100%"]), true, Vec::new());
    assert!(matches!(
        &again.expect_err("one is under way")[..],
        [Reason::RolloutUnderWay { .. }]
    ));
}

#[test]
fn a_ring_goes_first_and_has_its_colour_live() {
    let state = started(&["ring:pilot", "5%", "100%"]);
    assert_eq!(state.split.weight_bp(Colour::Green), 0);
    assert_eq!(
        state.colours.green.as_ref().map(|of| of.phase),
        Some(Phase::Live)
    );
    let rollout = state.rollout.clone().expect("it is there");
    assert_eq!(rollout.rings().collect::<Vec<_>>(), ["pilot"]);
    let ended = obeyed(&state, &Command::Abort, at(9)).expect("one is under way");
    assert_eq!(
        ended
            .rollout
            .as_ref()
            .map(|rollout| rollout.rings().count()),
        Some(0)
    );
    assert_eq!(
        ended.colours.green.as_ref().map(|of| of.phase),
        Some(Phase::Draining)
    );
}

#[test]
fn whoever_ends_it_badly_marks_the_release_until_somebody_says_why() {
    let state = started(&["5%", "100%"]);
    for command in [Command::Abort, Command::RollBack("it failed".into())] {
        let ended = obeyed(&state, &command, at(9)).expect("one is under way");
        assert_eq!(ended.split, Split::all(Colour::Blue));
        let marked: BTreeSet<ReleaseId> = ["r2".parse().expect("an id")].into();
        assert_eq!(ended.unsafe_releases, marked);
        assert_eq!(
            obeyed(&ended, &Command::Promote, at(10)),
            None,
            "it has ended"
        );
        let refused = start(&ended, begun(&["5%", "100%"]), false, Vec::new());
        assert!(matches!(
            &refused.expect_err("it is unsafe")[..],
            [Reason::Unsafe { .. }]
        ));
        let again = start(&ended, begun(&["5%", "100%"]), true, Vec::new());
        assert!(again.expect("somebody said why").unsafe_releases.is_empty());
        assert!(
            ended
                .shifted(Split::all(Colour::Green))
                .unsafe_releases
                .is_empty()
        );
    }
    let promoted = obeyed(&state, &Command::Promote, at(9)).expect("one is under way");
    assert_eq!(promoted.split, Split::all(Colour::Green));
    assert!(promoted.unsafe_releases.is_empty());
}

#[test]
fn a_step_ends_by_time_and_data_and_never_by_silence() {
    let rollout = begun(&["5%", "100%"]);
    let next = |known: &Known, second| super::next(&rollout, &[], known, at(second));
    assert_eq!(next(&known(500), 20), Err(Hold::Time { left_s: 40 }));
    assert_eq!(
        next(&known(99), 60),
        Err(Hold::Data {
            requests: 99,
            of: 100
        })
    );
    assert_eq!(
        next(&known(0), 1_000_000),
        Err(Hold::Data {
            requests: 0,
            of: 100
        })
    );
    assert_eq!(next(&known(100), 60), Ok(Some(1)));
    let doubtful = Known {
        evidence: 12.0,
        ..known(100)
    };
    assert_eq!(next(&doubtful, 60), Err(Hold::Doubt { evidence: 12.0 }));
    let ill = vec![Reason::NoMember {
        service: "web".into(),
    }];
    let unready = Known {
        reasons: ill.clone(),
        ..known(100)
    };
    assert_eq!(next(&unready, 60), Err(Hold::Unready(ill)));
    let last = Rollout {
        step: 1,
        ..rollout.clone()
    };
    assert_eq!(super::next(&last, &[], &known(100), at(60)), Ok(None));
    assert!(
        super::next(&last, &[], &known(9), at(60)).is_err(),
        "not at the end either"
    );
    let paused = Rollout {
        status: Status::Paused,
        ..rollout.clone()
    };
    assert_eq!(
        super::next(&paused, &[], &known(100), at(99)),
        Err(Hold::Paused)
    );
}

#[test]
fn a_step_that_moves_nobody_with_traffic_is_passed_over() {
    let steps = begun(&["ring:pilot", "1%", "5%", "25%", "50%", "100%"]).steps;
    let plan = |of: &[(&str, f64)]| super::plan(Colour::Green, &steps, &units(), &traffic(of));
    let all = plan(&[("oak", 10.0), ("elm", 30.0), ("ash", 20.0), ("fir", 40.0)]);
    let adds: Vec<_> = all.iter().map(|step| step.adds.join(" ")).collect();
    assert_eq!(adds, ["fir", "oak", "elm", "ash", "", ""]);
    let shares: Vec<_> = all
        .iter()
        .map(|step| step.share.map(|share| (share * 100.0).round()))
        .collect();
    assert_eq!(shares, [40.0, 50.0, 80.0, 100.0, 100.0, 100.0].map(Some));
    assert_eq!((worth(&all, 0), worth(&all, 4)), (0, 5));
    let some = plan(&[("ash", 20.0)]);
    assert_eq!(worth(&some, 0), 3, "the first that tells something");
    let nobody = plan(&[]);
    assert_eq!((worth(&nobody, 0), nobody[5].share), (0, None));
    // A step that began while nobody asked is left when others ask.
    let waiting = Rollout {
        steps: steps.clone(),
        ..begun(&["100%"])
    };
    assert_eq!(super::next(&waiting, &some, &known(0), at(60)), Ok(Some(3)));
    assert!(super::next(&waiting, &nobody, &known(0), at(60)).is_err());
}

#[test]
fn weight_goes_the_same_way_to_blue() {
    let steps = steps(&texts(&["25%", "100%"])).expect("steps");
    let plan = plan(Colour::Blue, &steps, &units(), &traffic(&[("fir", 1.0)]));
    assert_eq!(plan[0].adds, ["fir"]);
    assert_eq!(plan[0].share, Some(1.0));
}

#[test]
fn it_is_kept_as_it_is() {
    let state = started(&["ring:pilot", "5%", "100%"]);
    let text = serde_json::to_string(&state).expect("it can be written");
    assert!(
        text.contains(r#""steps":["ring:pilot","5%","100%"]"#),
        "{text}"
    );
    assert_eq!(
        serde_json::from_str::<AppState>(&text).expect("and read"),
        state
    );
}

proptest! {
    #[test]
    fn whatever_is_said_a_rollout_never_takes_weight_back_but_at_its_end(
        commands in prop::collection::vec(0usize..6, 0..20),
    ) {
        let mut state = started(&["1%", "5%", "25%", "50%", "100%"]);
        for (second, command) in commands.into_iter().enumerate() {
            let step = state.rollout.as_ref().map_or(0, |rollout| rollout.step);
            let command = match command {
                0 | 1 => Command::Step(step + 1),
                2 => Command::Pause,
                3 => Command::Resume,
                4 => Command::Promote,
                _ => Command::Abort,
            };
            let Some(next) = obeyed(&state, &command, at(second as i64)) else {
                break;
            };
            let (before, after) = [&state, &next].map(|state| state.split.weight_bp(Colour::Green)).into();
            prop_assert!(after >= before || command == Command::Abort);
            state = next;
        }
    }
}
