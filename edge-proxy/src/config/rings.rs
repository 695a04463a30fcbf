//! Rings of schools, and the times at which no school of a ring gets a new version.

use std::collections::BTreeMap;

use cache_rules::tenant::TenantId;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The ring of all schools that name none.
pub const REST: &str = "rest";

/// Which school is in which ring, and when rings are frozen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rings {
    of: BTreeMap<TenantId, String>,
    freezes: BTreeMap<String, Vec<Freeze>>,
}

/// A time of the week at which schools stay on the version that they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The days on which it begins and ends.
    pub days: Vec<Weekday>,
    /// Its first minute.
    pub from: Time,
    /// The minute after its last one.
    pub to: Time,
    /// Where the clock hangs.
    pub zone: TimeZone,
}

impl Rings {
    /// `freezes` has every ring that there is.
    pub fn new(of: BTreeMap<TenantId, String>, freezes: BTreeMap<String, Vec<Freeze>>) -> Self {
        Self { of, freezes }
    }

    /// The ring of a school.
    pub fn of(&self, tenant: &TenantId) -> &str {
        self.of.get(tenant).map_or(REST, String::as_str)
    }

    /// Whether there is such a ring with schools of its own.
    pub fn has(&self, ring: &str) -> bool {
        self.freezes.contains_key(ring)
    }

    /// The schools that are in one of these rings.
    pub fn members<'a>(&'a self, rings: &'a [&'a str]) -> impl Iterator<Item = &'a TenantId> {
        let members = self.of.iter();
        members.filter_map(|(tenant, ring)| rings.contains(&ring.as_str()).then_some(tenant))
    }

    /// Until when a ring is frozen; none: it is not.
    pub fn frozen(&self, ring: &str, now: Timestamp) -> Option<Timestamp> {
        let freezes = self.freezes.get(ring)?.iter();
        freezes.filter_map(|freeze| freeze.end(now)).max()
    }
}

impl Freeze {
    /// When it ends, if it is now.
    fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let here = now.to_zoned(self.zone.clone());
        let time = here.time();
        if !self.days.contains(&here.weekday()) || time < self.from || time >= self.to {
            return None;
        }
        let end = here.date().to_datetime(self.to).to_zoned(self.zone.clone());
        // A minute that a change of the clock leaves out is a little later.
        let end = end.map_or_else(|_| now.checked_add(1.hour()), |end| Ok(end.timestamp()));
        end.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn school_hours(zone: &str) -> Rings {
        let freeze = Freeze {
            days: vec![Weekday::Monday, Weekday::Friday],
            from: Time::constant(7, 30, 0, 0),
            to: Time::constant(16, 0, 0, 0),
            zone: TimeZone::get(zone).expect("a zone"),
        };
        let of = [("oak", "pilot"), ("elm", "early")];
        let of = of.map(|(tenant, ring)| (tenant.parse().expect("an id"), ring.to_owned()));
        let freezes = [("pilot", vec![]), ("early", vec![freeze])];
        Rings::new(
            of.into(),
            freezes
                .map(|(ring, freezes)| (ring.to_owned(), freezes))
                .into(),
        )
    }

    #[test]
    fn school_hours_are_those_of_the_schools_clock() {
        let rings = school_hours("Europe/Berlin");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        // 2026-11-23 is a Monday. Berlin is an hour ahead in winter, two in summer.
        for (now, until) in [
            ("2026-11-23T06:29:59Z", None),
            ("2026-11-23T06:30:00Z", Some("2026-11-23T15:00:00Z")),
            ("2026-11-23T14:59:59Z", Some("2026-11-23T15:00:00Z")),
            ("2026-11-23T15:00:00Z", None),
            ("2026-11-24T10:00:00Z", None),
            ("2026-07-03T05:30:00Z", Some("2026-07-03T14:00:00Z")),
        ] {
            assert_eq!(rings.frozen("early", at(now)), until.map(at), "{now}");
            assert_eq!(rings.frozen("pilot", at(now)), None, "{now}");
        }
        let there = school_hours("Pacific/Auckland");
        assert!(
            there.frozen("early", at("2026-11-22T20:00:00Z")).is_some(),
            "it is Monday there"
        );
    }

    #[test]
    fn a_school_that_names_no_ring_is_in_the_rest() {
        let rings = school_hours("UTC");
        let tenant = |id: &str| id.parse::<TenantId>().expect("an id");
        assert_eq!(rings.of(&tenant("oak")), "pilot");
        assert_eq!(rings.of(&tenant("ash")), REST);
        let pilots: Vec<_> = rings.members(&["pilot"]).collect();
        assert_eq!(pilots, [&tenant("oak")]);
        assert!(rings.has("early") && !rings.has("late"));
    }
}
