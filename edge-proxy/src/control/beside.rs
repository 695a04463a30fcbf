//! What processes of one edge tell each other while two of them serve: one that retires still answers what it
//! accepted, and writes through it end what the other one has stored.
//!
//! Nothing of it is kept: it is of requests under way, and of what is in memory.

use std::collections::BTreeMap;

use asset_pipeline::id::AppId;
use serde::{Deserialize, Serialize};

use super::api::InFlight;
use super::edge::ColourFacts;
use super::store::Sequence;
use crate::colour::{Colour, PerColour};

/// Who is with the versions of one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Changes up to this one were seen at the report before: who is counted has come by them since.
    pub settled: Sequence,
    /// By app.
    pub apps: BTreeMap<AppId, PerColour<There>>,
}

/// Who is with one colour there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct There {
    /// Requests under way, by what they are.
    pub lines: Vec<InFlight>,
    /// Seconds since an id or a pin last led somebody to it.
    pub bound_s: Option<u64>,
    /// Streams and WebSockets that were asked to end, and did.
    pub parted: u64,
}

/// Stored answers that a write ended. Names go as their marks: some are of persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All: what was ended is not known exactly.
    Everything,
    /// What carries a name with one of these marks.
    Marks {
        /// The school.
        tenant: String,
        /// As [`crate::cache::epochs`] makes them.
        marks: Vec<u64>,
    },
}

/// Who hears what other processes ended.
pub type Hear = Box<dyn Fn(&Ended) + Send + Sync>;

impl There {
    /// What another process tells of a colour.
    pub fn of(facts: &ColourFacts) -> Self {
        Self {
            lines: facts.still_there(),
            bound_s: facts.bound_s,
            parted: facts.parted,
        }
    }
}

impl ColourFacts {
    /// The same, with those who are with the colour in other processes.
    #[must_use]
    pub fn and(mut self, app: &AppId, colour: Colour, beside: &[Presence]) -> Self {
        let there = |presence: &'_ Presence| Some(presence.apps.get(app)?.get(colour).clone());
        for there in beside.iter().filter_map(there) {
            self.bound_s = self.bound_s.into_iter().chain(there.bound_s).min();
            self.parted += there.parted;
            for line in there.lines {
                self.in_flight += line.count;
                match self.lines.iter_mut().find(|own| own.class == line.class) {
                    Some(own) => {
                        own.count += line.count;
                        own.oldest_s = own.oldest_s.max(line.oldest_s);
                    }
                    None => self.lines.push(line),
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(class: &str, count: u64, oldest_s: u64) -> InFlight {
        InFlight {
            class: class.to_owned(),
            count,
            oldest_s,
        }
    }

    #[test]
    fn who_is_with_a_colour_in_another_process_is_with_it() {
        let app: AppId = "learn".parse().expect("an app");
        let there = There {
            lines: vec![line("page", 1, 2), line("stream", 2, 90)],
            bound_s: Some(30),
            parted: 1,
        };
        let presence = Presence {
            settled: Sequence(3),
            apps: BTreeMap::from([(
                app.clone(),
                PerColour {
                    blue: there,
                    green: There::default(),
                },
            )]),
        };
        let here = ColourFacts {
            in_flight: 4,
            lines: vec![line("page", 3, 1)],
            bound_s: Some(40),
            ..ColourFacts::default()
        };
        let beside = [presence];
        let both = here.clone().and(&app, Colour::Blue, &beside);
        let all = [line("page", 4, 2), line("stream", 2, 90)];
        assert_eq!(both.lines, all);
        assert_eq!(both.still_there().len(), 3, "one is the edge's own fetch");
        assert_eq!((both.bound_s, both.parted), (Some(30), 1));
        assert_eq!(here.clone().and(&app, Colour::Green, &beside), here);
    }
}
