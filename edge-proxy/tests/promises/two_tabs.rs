//! Two tabs of one browser, opened before and after a shift: each stays with the version that made its page,
//! and the service worker of the old one still gets what it asks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::next_site::{check, old_tab, site_of, url};
use super::support::browser::{Browser, Tab};
use super::support::stage::{MAPLE, plan};

/// Registers the worker of the page's release, and returns when it is active.
const REGISTER: &str = "navigator.serviceWorker.register('/sw.js')
    .then(() => navigator.serviceWorker.ready).then(() => true)";

/// The release that answers what a page asks while somebody goes on in it: the id is the page's own.
async fn release(tab: &Tab, id: &str) -> Value {
    let ask = format!(
        "fetch('/gradebook?_rsc=1', {{ headers: {{ RSC: '1', 'x-deployment-id': '{id}' }} }})
            .then(answer => answer.headers.get('x-of-release'))"
    );
    tab.evaluate(&ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_of_two_releases_and_a_service_worker_of_the_old_one() {
    let Some((stage, builds)) = site_of(plan(), ["r1", "r2"]).await else {
        return;
    };
    let Some(browser) = Browser::start(&stage.pair.spki_hash()).await else {
        return;
    };
    let old = browser.tab().await;
    check("/", &old.load(&url(&stage, MAPLE, "/")).await);
    assert_eq!(old.evaluate(REGISTER).await, true);
    // From its second load on the worker is between the page and the network.
    check("/", &old.load(&url(&stage, MAPLE, "/")).await);
    let controlled = "navigator.serviceWorker.controller !== null";
    assert_eq!(old.evaluate(controlled).await, true);

    stage.shift("green=100%").await;
    let new = browser.tab().await;
    check("/editor", &new.load(&url(&stage, MAPLE, "/editor")).await);
    assert_eq!(release(&old, "r1").await, "r1");
    assert_eq!(release(&new, "r2").await, "r2");
    // Chunks that neither the page nor its worker has loaded yet.
    old_tab(&stage, &old, &builds[0]).await;
    old_tab(&stage, &new, &builds[1]).await;

    // Somebody who goes on by a click, as the framework does it.
    let before = stage.blue.seen().len();
    let click = "document.querySelector('a[href=\"/planner\"]').click(), true";
    assert_eq!(old.evaluate(click).await, true);
    let log = old.rest().await;
    assert_eq!(log.mistakes(), Vec::<String>::new());
    let after = stage.blue.seen().split_off(before);
    let ids: BTreeSet<&str> = after
        .iter()
        .map(|seen| seen.header("x-deployment-id"))
        .collect();
    assert!(ids.is_subset(&BTreeSet::from(["r1"])), "{ids:?}");
    let wrong = stage
        .green
        .seen()
        .into_iter()
        .filter(|seen| seen.header("x-deployment-id") == "r1");
    assert_eq!(
        wrong.count(),
        0,
        "the old tab's requests stay with its version"
    );
    browser.close().await;
}
