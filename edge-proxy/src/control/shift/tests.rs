use asset_pipeline::id::ReleaseId;
use proptest::prelude::*;

use super::super::state::{ColourState, Phase};
use super::*;

fn deployed(schema: &str) -> ColourState {
    ColourState {
        release: "r1".parse::<ReleaseId>().expect("an id"),
        members: std::collections::BTreeMap::new(),
        phase: Phase::Idle,
        schema: schema.parse().expect("a range"),
        leaving: false,
    }
}

fn app(green_bp: u16, blue: Option<&str>, green: Option<&str>) -> AppState {
    AppState::new(
        PerColour {
            blue: blue.map(deployed),
            green: green.map(deployed),
        },
        super::green(green_bp),
    )
}

fn weight(text: &str) -> Weight {
    text.parse().expect("a weight")
}

#[test]
fn a_weight_is_read_in_percent_and_in_basis_points() {
    for (text, green_bp) in [
        ("green=10%", 1_000),
        ("green=12.5%", 1_250),
        ("green=12.05%", 1_205),
        ("green=0.01%", 1),
        ("green=1250bp", 1_250),
        ("green=0%", 0),
        ("green=100%", 10_000),
        ("green=100.00%", 10_000),
        ("green=10000bp", 10_000),
        ("green=007%", 700),
        ("blue=0%", 10_000),
        ("blue=100%", 0),
        ("blue=1bp", 9_999),
    ] {
        let split = weight(text).split();
        assert_eq!(split.weight_bp(Colour::Green), green_bp, "{text}");
        assert_eq!(split.weight_bp(Colour::Blue), 10_000 - green_bp, "{text}");
    }
}

#[test]
fn what_is_no_weight_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", NotAWeight::Form),
        ("green", NotAWeight::Form),
        ("10%", NotAWeight::Form),
        ("red=10%", NotAWeight::Colour),
        ("Green=10%", NotAWeight::Colour),
        ("green=10", NotAWeight::Unit),
        ("green=", NotAWeight::Unit),
        ("green=%", NotAWeight::Number),
        ("green=bp", NotAWeight::Number),
        ("green=-1%", NotAWeight::Number),
        ("green=+1%", NotAWeight::Number),
        ("green=1e1%", NotAWeight::Number),
        ("green=.5%", NotAWeight::Number),
        ("green=5.%", NotAWeight::Number),
        ("green=1.005%", NotAWeight::Number),
        ("green=1.5bp", NotAWeight::Number),
        ("green=10 %", NotAWeight::Number),
        ("green=10%%", NotAWeight::Number),
        ("green=١٠%", NotAWeight::Number),
        ("green=100.01%", NotAWeight::TooMuch),
        ("green=101%", NotAWeight::TooMuch),
        ("green=10001bp", NotAWeight::TooMuch),
        ("green=99999999999999999999%", NotAWeight::TooMuch),
    ] {
        assert_eq!(text.parse::<Weight>(), Err(reason), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_weight_reads_back_as_it_was_written(weight_bp in 0..=WHOLE_BP, green in any::<bool>()) {
        let colour = if green { Colour::Green } else { Colour::Blue };
        let weight = Weight { colour, weight_bp };
        prop_assert_eq!(weight.to_string().parse(), Ok(weight));
        prop_assert_eq!(format!("{colour}={weight_bp}bp").parse(), Ok(weight));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}") {
        let _any = text.parse::<Weight>();
        let _any = format!("green={text}%").parse::<Weight>();
    }

    /// Whatever is asked: the sum is whole, traffic never reaches a colour that was never deployed
    /// or is refused, and what loses is never in the way.
    #[test]
    fn weight_only_moves_to_a_colour_that_can_take_it(
        from in 0..=WHOLE_BP, to in 0..=WHOLE_BP, blue in any::<bool>(), green in any::<bool>(), ill in any::<bool>(),
    ) {
        let now = app(from, blue.then_some("1"), green.then_some("1"));
        let ask = Weight { colour: Colour::Green, weight_bp: to };
        let reasons = if ill { vec![Reason::NoMember { service: "web".into() }] } else { vec![] };
        let decided = decide(&now, ask, reasons);
        let gains = if to > from { Some((green, Colour::Green)) } else if to < from { Some((blue, Colour::Blue)) } else { None };
        prop_assert_eq!(gaining(&now, ask), gains.map(|(_, colour)| colour));
        match gains {
            None => prop_assert_eq!(decided, Ok(now)),
            Some((is_deployed, _)) if !is_deployed || ill => prop_assert!(decided.is_err()),
            Some(_) => {
                let next = decided.expect("nothing speaks against it");
                prop_assert_eq!(next.split.weight_bp(Colour::Green), to);
            }
        }
    }
}

#[test]
fn a_colour_that_was_never_deployed_gets_nothing() {
    let now = app(0, Some("1"), None);
    let refused = decide(&now, weight("green=1bp"), vec![]);
    let colour = "green".to_owned();
    assert_eq!(refused, Err(vec![Reason::NotDeployed { colour }]));
    let taken = decide(&now, weight("blue=0%"), vec![]);
    assert!(
        taken.is_err(),
        "taking all from blue is giving all to green"
    );
}

#[test]
fn all_reasons_are_given_at_once() {
    let now = app(0, Some("1..2"), Some("3"));
    let ill = Reason::NoMember {
        service: "api".into(),
    };
    let reasons = decide(&now, weight("green=10%"), vec![ill.clone()]).expect_err("it is refused");
    let apart = Reason::SchemasApart {
        blue: "1..2".into(),
        green: "3..3".into(),
    };
    assert_eq!(reasons, [ill, apart]);
}

#[test]
fn schemas_need_to_meet_only_while_both_colours_have_weight() {
    let apart = app(0, Some("1"), Some("2"));
    assert!(decide(&apart, weight("green=50%"), vec![]).is_err());
    assert!(decide(&apart, weight("green=100%"), vec![]).is_ok());
    let together = app(0, Some("1..2"), Some("2..3"));
    assert!(decide(&together, weight("green=50%"), vec![]).is_ok());
}

#[test]
fn phases_follow_the_weights() {
    let now = app(0, Some("1"), Some("1"));
    let half = decide(&now, weight("green=50%"), vec![]).expect("it can");
    let phases = |app: &AppState| {
        let phase = |colour| app.colours.get(colour).as_ref().map(|state| state.phase);
        Colour::BOTH.map(phase)
    };
    assert_eq!(phases(&half), [Some(Phase::Live), Some(Phase::Live)]);
    let done = decide(&half, weight("blue=0%"), vec![]).expect("it can");
    assert_eq!(phases(&done), [Some(Phase::Draining), Some(Phase::Live)]);
}

#[test]
fn basis_points_are_shown_as_people_write_them() {
    for (bp, text) in [
        (0, "0%"),
        (1, "0.01%"),
        (10, "0.1%"),
        (1_250, "12.5%"),
        (1_205, "12.05%"),
        (10_000, "100%"),
    ] {
        assert_eq!(Percent(bp).to_string(), text);
    }
}
