//! Only a rule makes a plan, and what it covers is not changed afterwards.

use cache_rules::plan::Plan;

fn elsewhere(plan: Plan, target: &str) -> Plan {
    Plan { target: target.into(), ..plan }
}

fn main() {}
