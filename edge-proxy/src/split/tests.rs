use proptest::prelude::*;

use super::*;

fn tenants() -> Vec<TenantId> {
    (0..1000)
        .map(|n| format!("school-{n}").parse().expect("a valid id"))
        .collect()
}

/// Units of every kind.
fn units(tenants: &[TenantId]) -> Vec<Unit<'_>> {
    let numbered = tenants.iter().zip(0u32..);
    numbered
        .flat_map(|(tenant, n)| {
            let number = n.wrapping_mul(0x9e37_79b9);
            let address = IpAddr::from(number.to_be_bytes());
            [
                Unit::Tenant(tenant),
                Unit::Client(number),
                Unit::Network(tenant, address),
                Unit::Request(u64::from(number)),
            ]
        })
        .collect()
}

fn at(salt: &str, green_bp: u16) -> Splitter {
    let split = Split::with(Colour::Green, green_bp).expect("within the whole");
    Splitter::new(salt, split)
}

#[test]
fn no_weight_and_all_weight_are_exact() {
    let tenants = tenants();
    for unit in units(&tenants) {
        for colour in Colour::BOTH {
            let splitter = Splitter::new("s", Split::all(colour));
            assert_eq!(splitter.choose(&unit).0, colour);
        }
    }
}

#[test]
fn a_weight_is_exactly_the_units_below_it() {
    let tenants = tenants();
    for unit in units(&tenants) {
        let bucket = at("s", 0).bucket(&unit);
        for green_bp in [1, 100, 1_000, 5_000, 9_900, 9_999] {
            let green = at("s", green_bp).choose(&unit).0 == Colour::Green;
            assert_eq!(green, bucket < green_bp, "{unit:?} at {green_bp}");
        }
    }
}

#[test]
fn a_share_of_the_units_of_each_kind_follows_the_weight() {
    let tenants = tenants();
    let units = units(&tenants);
    for kind in 0..4 {
        for (green_bp, least, most) in [(100, 2, 24), (1_000, 70, 130), (9_900, 976, 998)] {
            let splitter = at("s", green_bp);
            let of_kind = units.iter().skip(kind).step_by(4);
            let green = of_kind.filter(|unit| splitter.choose(unit).0 == Colour::Green);
            let green = green.count();
            assert!(
                (least..=most).contains(&green),
                "{green} of 1000 at {green_bp}, kind {kind}"
            );
        }
    }
}

#[test]
fn a_school_keeps_the_bucket_that_it_has_always_had() {
    let oak: TenantId = "oak".parse().expect("an id");
    assert_eq!(at("learn", 0).bucket(&Unit::Tenant(&oak)), 8_824);
}

proptest! {
    #[test]
    fn raising_a_weight_moves_units_one_way(low in 0u16..=10_000, high in 0u16..=10_000, salt: String) {
        let (low, high) = (low.min(high), low.max(high));
        let (low, high) = (at(&salt, low), at(&salt, high));
        let tenants = tenants();
        for unit in units(&tenants[..50]) {
            if low.choose(&unit).0 == Colour::Green {
                prop_assert_eq!(high.choose(&unit).0, Colour::Green);
            }
        }
    }
}
