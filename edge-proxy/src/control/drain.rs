//! Leaving a colour: the decision, without I/O.
//!
//! Nobody new comes to a colour that is left: it has no weight, and no id or pin leads to it. Who is
//! there may finish; long answers are asked to end later, so that most have ended by themselves.

use super::api::Reason;
use super::rollout::refuse_while_under_way;
use super::state::AppState;
use crate::colour::Colour;

/// The state in which nobody new comes to `colour`, or why it must not be.
///
/// `reasons_of_other`: why the other colour cannot take all traffic; it matters only when it would
/// get more than it has.
///
/// # Errors
/// Every reason at once.
pub fn decide(
    now: &AppState,
    colour: Colour,
    reasons_of_other: Vec<Reason>,
) -> Result<AppState, Vec<Reason>> {
    let deployed = |colour: Colour| match now.colours.get(colour) {
        Some(_) => Ok(()),
        None => Err(vec![Reason::NotDeployed {
            colour: colour.to_string(),
        }]),
    };
    deployed(colour)?;
    if now.split.weight_bp(colour) > 0 {
        refuse_while_under_way(now)?;
        deployed(colour.other())?;
        if !reasons_of_other.is_empty() {
            return Err(reasons_of_other);
        }
    }
    Ok(now.left(colour))
}

/// The state in which the streams and WebSockets of a colour that is left are asked to end too; the
/// same, when it was given weight or another version meanwhile.
pub fn hasten(now: &AppState, colour: Colour) -> AppState {
    let mut next = now.clone();
    let weight_bp = next.split.weight_bp(colour);
    if let Some(deployed) = next.colours.get_mut(colour)
        && weight_bp == 0
    {
        deployed.leaving = true;
    }
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::state::{ColourState, Phase};
    use super::*;
    use crate::colour::{PerColour, Split};

    fn state(green_bp: u16, green: bool) -> AppState {
        let deployed = |release: &str| ColourState {
            release: release.parse().expect("an id"),
            members: BTreeMap::new(),
            phase: Phase::Idle,
            schema: "1".parse().expect("a range"),
            leaving: false,
        };
        let split = Split::with(Colour::Green, green_bp).expect("within the whole");
        let colours = PerColour {
            blue: Some(deployed("r1")),
            green: green.then(|| deployed("r2")),
        };
        AppState::new(colours, split).shifted(split)
    }

    #[test]
    fn nobody_new_comes_to_a_colour_that_is_left() {
        let half = state(5_000, true);
        assert!(half.is_open(Colour::Blue) && half.is_open(Colour::Green));
        let next = decide(&half, Colour::Blue, vec![]).expect("green can take it");
        assert_eq!(next.split, Split::all(Colour::Green));
        assert!(!next.is_open(Colour::Blue) && next.is_open(Colour::Green));
        assert_eq!(decide(&next, Colour::Blue, vec![]), Ok(next.clone()));

        // A plain shift leaves those who are bound where they are.
        let shifted = half.shifted(Split::all(Colour::Green));
        assert!(shifted.is_open(Colour::Blue));

        let hastened = hasten(&next, Colour::Blue);
        assert!(
            hastened
                .colours
                .blue
                .as_ref()
                .is_some_and(|blue| blue.leaving)
        );
        let back = hastened.shifted(half.split);
        assert!(back.is_open(Colour::Blue), "weight opens it again");
        assert!(back.colours.blue.as_ref().is_some_and(|blue| !blue.leaving));
        assert_eq!(hasten(&back, Colour::Blue), back, "it is not left any more");
    }

    #[test]
    fn a_colour_with_weight_is_left_only_for_one_that_can_take_it() {
        let ill = || {
            vec![Reason::NoMember {
                service: "web".into(),
            }]
        };
        assert_eq!(decide(&state(0, true), Colour::Blue, ill()), Err(ill()));
        assert!(decide(&state(0, true), Colour::Green, ill()).is_ok());
        for colour in Colour::BOTH {
            let refused = decide(&state(0, false), colour, vec![]);
            let none = Reason::NotDeployed {
                colour: "green".into(),
            };
            assert_eq!(refused, Err(vec![none]), "{colour}");
        }
    }
}
