//! Two processes and one folder: one of them looks after it, and who takes over goes on where that one was stopped.

use std::sync::Arc;

use certs::acme::{Act, Stage};

use crate::authority::{named, pebble};
use crate::front::{Front, Mood};
use crate::place::{HOST, Plan, Port, until};

const ELM: &str = "elm.school.example";
const FIR: &str = "fir.school.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_goes_on_with_what_was_under_way_and_not_before() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let front = Front::before(&pebble, Mood::Good).await;
    let authorities = || vec![named("pebble", front.address)];
    let roots = pebble.servers.roots();
    let first = Plan::new(authorities(), &roots, port.clone()).start();
    until("the first one is in charge", async || {
        first
            .folder
            .path()
            .join("managed/keeper.lock")
            .exists()
            .then_some(())
    })
    .await;
    let second = Plan::new(authorities(), &roots, port.clone());
    let second = second.start_in(Arc::clone(&first.folder));
    second
        .keeper
        .begin(Act::Add, ELM, "elm")
        .expect("it is new");
    assert_eq!(first.issue(FIR).await, "pebble");
    assert_eq!(second.keeper.stage(ELM), Some(Stage::Waiting));
    assert_eq!(second.told(), [""; 0]);

    front.be(Mood::Slow);
    first
        .keeper
        .begin(Act::Add, HOST, "oak")
        .expect("it is new");
    until("the order is under way", async || {
        let stage = first.keeper.stage(HOST);
        matches!(stage, Some(Stage::Ordering(_))).then_some(())
    })
    .await;
    drop(first.end().await);
    front.be(Mood::Good);
    for name in [ELM, HOST] {
        until(&format!("{name} is issued"), async || {
            matches!(second.keeper.stage(name), Some(Stage::Issued(..))).then_some(())
        })
        .await;
    }
    assert_eq!(port.count(), 0, "no answer is left out");
    assert_eq!(
        second.told(),
        ["pebble issued", "pebble issued"],
        "FIR has its certificate"
    );
    let known: Vec<String> = second.keeper.list().into_iter().map(|of| of.name).collect();
    assert_eq!(known, [ELM, FIR, HOST]);
    let renewed = second.act(Act::Renew, FIR).await;
    assert!(matches!(renewed, Stage::Issued(..)), "{renewed:?}");
}
