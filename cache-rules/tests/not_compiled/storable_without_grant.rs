//! What is kept is kept for somebody: without a grant no answer is judged, not even one that is renewed.

use std::time::SystemTime;

use cache_rules::answer::{Answer, Memory};
use cache_rules::plan::Plan;
use http::{HeaderMap, StatusCode};

fn fetched(plan: &Plan, headers: &HeaderMap, now: SystemTime) -> Answer {
    plan.answer(StatusCode::OK, headers, now, now)
}

fn renewed(plan: &Plan, sent: &HeaderMap, memory: &Memory, now: SystemTime) {
    plan.revalidated((sent, memory), sent, now, now);
}

fn main() {}
