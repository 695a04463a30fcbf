//! What does not work: wrong answers, authorities that are down, slow, busy or forgetful, quotas.

use std::net::TcpListener;
use std::time::Duration;

use certs::acme::{Act, IssueFault, NotNow, PointsHere, Stage};

use crate::authority::{named, pebble};
use crate::front::{Front, Mood};
use crate::place::{HOST, PANICS, Plan, Port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_is_refused_and_not_asked_for_again_at_once() {
    let port = Port {
        lie: Some("something else"),
        ..Port::default()
    };
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let place = Plan::new(vec![pebble.authority()], &roots, port.clone()).start();
    let Stage::Failed(fault, again) = place.act(Act::Add, HOST).await else {
        panic!("it was issued for a lie");
    };
    assert!(
        matches!(&fault, IssueFault::Refused { kind, .. } if kind == "unauthorized"),
        "{fault}"
    );
    assert!(again > std::time::SystemTime::now() + Duration::from_secs(120));
    assert_eq!(port.count(), 0, "no answer is left out");
    assert!(place.certs.list().is_empty());
    // The negative cache: not before its time, unless somebody says so.
    let refused = place.keeper.begin(Act::Add, HOST, "oak");
    assert!(matches!(refused, Err(NotNow::Later { .. })), "{refused:?}");
    place.keeper.tend().await;
    assert_eq!(place.told(), ["pebble refused"]);
    place.later(600);
    place.keeper.tend().await;
    assert_eq!(place.told(), ["pebble refused", "pebble refused"]);
    assert!(matches!(
        place.act(Act::Issue, HOST).await,
        Stage::Failed(..)
    ));
    assert_eq!(
        place.keeper.paused(),
        [("pebble", false)],
        "it is not to blame"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_authority_is_asked_when_one_is_down_slow_or_busy() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let roots = pebble.servers.roots();
    // A port that nobody listens on, as long as the test holds it.
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = held.local_addr().expect("an address");
    drop(held);
    let front = Front::before(&pebble, Mood::Slow).await;
    let both = |address| vec![named("first", address), pebble.authority()];

    let down = Plan::new(both(closed), &roots, port.clone()).start();
    for n in 0..4 {
        assert_eq!(down.issue(&format!("h{n}.school.example")).await, "pebble");
    }
    let told = down.told();
    let failed = told
        .iter()
        .filter(|told| *told == "first authority")
        .count();
    assert_eq!(failed, 3, "after three failures it is left alone: {told:?}");
    assert_eq!(down.keeper.paused(), [("first", true), ("pebble", false)]);
    down.later(400);
    down.issue("h4.school.example").await;
    let failed = down
        .told()
        .iter()
        .filter(|told| *told == "first authority")
        .count();
    assert_eq!(failed, 4, "after its pause it gets one order");

    for (mood, word) in [
        (Mood::Slow, "authority"),
        (Mood::Broken, "authority"),
        (Mood::Endless, "authority"),
        (Mood::Limited, "rate_limited"),
    ] {
        front.be(mood.clone());
        let mut plan = Plan::new(both(front.address), &roots, port.clone());
        // Long enough for the other one, which does answer, on a busy machine.
        plan.request = Duration::from_secs(if mood == Mood::Slow { 10 } else { 60 });
        let place = plan.start();
        assert_eq!(place.issue(HOST).await, "pebble", "{mood:?}");
        assert_eq!(
            place.told(),
            [format!("first {word}"), "pebble issued".to_owned()]
        );
        let paused = place.keeper.paused()[0].1;
        assert_eq!(paused, mood == Mood::Limited, "a rate limit pauses at once");
        place.later(3601);
        assert_eq!(place.keeper.paused()[0], ("first", false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_leads_elsewhere_and_a_spent_quota_are_told_before_anybody_is_asked() {
    let port = Port::default();
    let address = port.listen().await;
    let Some(pebble) = pebble(address).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let elsewhere = Port::default().listen().await;
    let mut plan = Plan::new(vec![pebble.authority()], &roots, port.clone());
    plan.points_here = PointsHere::At(elsewhere);
    let place = plan.start();
    let Stage::Failed(fault, _) = place.act(Act::Add, HOST).await else {
        panic!("it was issued");
    };
    assert!(matches!(fault, IssueFault::Elsewhere(_)), "{fault}");
    assert_eq!(place.told(), ["- elsewhere"]);

    let mut plan = Plan::new(vec![pebble.authority()], &roots, port);
    plan.orders_per_day = 2;
    let place = plan.start();
    place.issue("a.school.example").await;
    place.issue("b.school.example").await;
    let stage = place.act(Act::Add, "c.school.example").await;
    assert!(
        matches!(stage, Stage::Failed(IssueFault::Quota(2), _)),
        "{stage:?}"
    );
    place.later(24 * 60 * 60);
    // A certificate of an hour is over by then: what counts is that it was ordered.
    let stage = place.act(Act::Issue, "c.school.example").await;
    assert!(
        matches!(stage, Stage::Failed(IssueFault::Unusable(_), _)),
        "{stage:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_the_authority_forgot_is_made_anew() {
    let port = Port::default();
    let Some(mut pebble) = pebble(port.listen().await).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let place = Plan::new(vec![pebble.authority()], &roots, port).start();
    place.issue(HOST).await;
    pebble.forget().await;
    let stage = place.act(Act::Renew, HOST).await;
    assert!(matches!(stage, Stage::Issued(..)), "{stage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_panics_keeps_neither_its_host_nor_the_others_busy() {
    let Some(pebble) = pebble(Port::default().listen().await).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let down = named("down", held.local_addr().expect("an address"));
    drop(held);
    let place = Plan::new(vec![down], &roots, Port::default()).start();
    // A third fault of the wire would pause the authority.
    for _ in 0..2 {
        let act = match place.keeper.stage(PANICS) {
            None => Act::Add,
            Some(_) => Act::Issue,
        };
        let ended = place.act(act, PANICS).await;
        assert!(
            matches!(&ended, Stage::Failed(IssueFault::Answer(_), _)),
            "{ended:?}"
        );
    }
    let other = place.act(Act::Add, HOST).await;
    assert!(
        matches!(&other, Stage::Failed(IssueFault::Authority(_), _)),
        "{other:?}"
    );
}
