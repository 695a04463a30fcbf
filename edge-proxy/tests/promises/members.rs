//! A member that answers badly costs few requests, and one that is gone costs none.

use edge_proxy::colour::Colour;
use serde_json::Value;

use super::support::origin::Origin;
use super::support::reply::Reply;
use super::support::school;
use super::support::site::APP;
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::until;

/// Green with two members, and all traffic.
async fn stage() -> (Stage, [Origin; 2]) {
    let stage = plan().start().await;
    let members = [Origin::start("third").await, Origin::start("fourth").await];
    for origin in [&stage.blue, &stage.green, &members[0], &members[1]] {
        school::serve(origin, |reply| reply);
    }
    stage.colour_ready(Colour::Green).await;
    let both = format!("{},{}", members[0].address, members[1].address);
    let deploy = ["deploy", APP, "--colour", "green", "--release", "r2"];
    let deployed = stage
        .command(&[&deploy[..], &["--web", &both, "--api", &both]].concat())
        .await;
    assert!(deployed.status.success(), "{deployed:?}");
    stage.shift("green=100%").await;
    (stage, members)
}

async fn member(stage: &Stage, origin: &Origin) -> Value {
    let (_, status) = stage.admin("GET", "/v1/status", None).await;
    let members = status["apps"][APP]["colours"][1]["members"].clone();
    let members = members.as_array().expect("a list").iter();
    let address = origin.address.to_string();
    let mut of_web =
        members.filter(|member| member["service"] == "web" && member["address"] == address);
    of_web.next().expect("it is a member").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_badly_is_set_aside_whatever_its_probes_say() {
    let (stage, [bad, good]) = stage().await;
    bad.on("/page", |_| async { Reply::new(502) });
    let client = stage.h2(MAPLE).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(client.get("/page").await.status != 200);
    }
    // Five in a row, and the few that the other member's answers came between.
    assert_eq!(failed, 5, "each time both are asked evenly, one by one");
    let aside = member(&stage, &bad).await;
    assert_eq!(aside["healthy"], false, "{aside}");
    assert_eq!(aside["why"], "it was set aside for failing");
    assert_eq!(member(&stage, &good).await["healthy"], true);
    // The same trouble everywhere is not one member's fault: the other one stays.
    good.on("/page", |_| async { Reply::new(502) });
    let seen = good.hits("/page");
    for _ in 0..20 {
        assert_eq!(client.get("/page").await.status, 502);
    }
    assert_eq!(good.hits("/page"), seen + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_costs_nobody_a_request() {
    let (stage, [gone, left]) = stage().await;
    let client = stage.h2(MAPLE).await;
    let mut asked = 0;
    gone.stop();
    until("its probes have failed", async || {
        let answer = client.get("/page").await;
        assert_eq!(answer.status, 200);
        asked += 1;
        (member(&stage, &gone).await["healthy"] == false).then_some(())
    })
    .await;
    assert!(asked > 0 && left.hits("/page") > 0);
}
