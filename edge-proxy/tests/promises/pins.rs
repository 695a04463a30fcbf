//! Who is bound to a version stays on it, whole; what is forged, over or unsafe binds nobody.

use std::time::Duration;

use edge_proxy::colour::Colour;
use http::Method;

use super::support::client::{Answer, Ask, Client};
use super::support::reply::Reply;
use super::support::school;
use super::support::site::{APP, NOTES, OF_R1, OF_R2, deployment, text};
use super::support::stage::{MAPLE, OAK, Plan, Stage, plan};

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 600
"#;

/// Every browser is a unit of its own.
fn by_client() -> Plan {
    plan().app("unit = \"client\"").rules(RULES)
}

/// Blue is live, green is draining: both have had weight.
async fn both(plan: Plan) -> Stage {
    let stage = plan.start().await;
    for origin in [&stage.blue, &stage.green] {
        school::serve(origin, |reply| reply.shared("public"));
        let name = origin.name;
        origin.on("/home", move |_| async move {
            Reply::of("text/html; charset=utf-8", name).header("cache-control", "private, no-cache")
        });
    }
    stage.colour_ready(Colour::Green).await;
    stage.shift("green=100%").await;
    stage.shift("blue=100%").await;
    stage
}

/// A page, as a browser goes to it.
fn page() -> Ask {
    Ask::get("/home")
        .header("sec-fetch-mode", "navigate")
        .header("accept", "text/html")
}

/// The cookie that an answer sets: what a browser sends back.
fn set(answer: &Answer) -> Option<String> {
    let fields = answer.headers.get_all("set-cookie").iter();
    let texts = fields.map(|value| value.to_str().expect("cookies are text"));
    let ours: Vec<&str> = texts
        .filter(|text| text.starts_with("__Host-edge="))
        .collect();
    assert!(ours.len() <= 1, "{ours:?}");
    let (pair, rest) = ours.first()?.split_once("; ")?;
    assert!(rest.contains("Secure") && rest.contains("HttpOnly") && rest.contains("Path=/"));
    Some(pair.to_owned())
}

/// A browser that opened a page while this colour had all weight.
async fn bound(stage: &Stage, client: &Client, colour: Colour) -> String {
    stage.shift(&format!("{colour}=100%")).await;
    let answer = client.ask(page()).await;
    assert_eq!(answer.text(), colour.as_str());
    set(&answer).expect("a page binds")
}

fn colour_of(release: &str) -> &'static str {
    match release {
        "r1" => "blue",
        _ => "green",
    }
}

async fn order(stage: &Stage, colour: &str, hold: &str) -> String {
    let output = stage
        .command(&["override", APP, colour, "--for", hold])
        .await;
    assert!(output.status.success(), "{output:?}");
    let line = String::from_utf8(output.stdout).expect("a header is text");
    let (name, value) = line.trim().split_once(": ").expect("a field");
    assert_eq!(name, "X-Edge-Override");
    value.to_owned()
}

/// With a key that orders are signed with.
fn with_orders(plan: Plan) -> (Plan, tempfile::NamedTempFile) {
    let key = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
    std::fs::write(key.path(), "k".repeat(40)).expect("it can be written");
    let line = format!("override_keys = \"{}\"", key.path().display());
    (plan.top(&line), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn order_then_deployment_then_pin_then_weight_in_every_combination() {
    let (plan, _key) = with_orders(by_client());
    let stage = both(plan).await;
    let client = stage.h2(MAPLE).await;
    let pin_r2 = bound(&stage, &client, Colour::Green).await;
    let pin_r1 = bound(&stage, &client, Colour::Blue).await;
    let forged_pin = pin_r2.replace("r2", "r1");
    let (to_blue, to_green) = (
        order(&stage, "blue", "1h").await,
        order(&stage, "green", "1h").await,
    );
    let forged_order = to_green.replace("green", "blue");
    let (d1, d2) = (deployment("r1"), deployment("r2"));

    for weight in ["blue", "green"] {
        stage.shift(&format!("{weight}=100%")).await;
        for (order, ordered) in [
            (None, None),
            (Some(&to_blue), Some("blue")),
            (Some(&to_green), Some("green")),
            (Some(&forged_order), None),
        ] {
            for (id, made_by) in [
                (None, None),
                (Some(&d1), Some("blue")),
                (Some(&d2), Some("green")),
                (Some(&"dpl_unknown".to_owned()), None),
            ] {
                for (pin, pinned) in [
                    (None, None),
                    (Some(&pin_r1), Some("blue")),
                    (Some(&pin_r2), Some("green")),
                    (Some(&forged_pin), None),
                ] {
                    let expected = ordered.or(made_by).or(pinned).unwrap_or(weight);
                    for (target, in_header) in [("/x", true), ("/api/v1/x?a=1", false)] {
                        let with_id = match id {
                            Some(id) if !in_header => format!("{target}&dpl={id}"),
                            _ => target.to_owned(),
                        };
                        let mut ask = Ask::get(&with_id);
                        if let Some(id) = id.filter(|_| in_header) {
                            ask = ask.header("x-deployment-id", id);
                        }
                        if let Some(order) = order {
                            ask = ask.header("x-edge-override", order);
                        }
                        if let Some(pin) = pin {
                            ask = ask.header("cookie", &format!("a=1; {pin}; b=2"));
                        }
                        let answer = client.ask(ask).await;
                        assert_eq!(
                            answer.json()["colour"],
                            expected,
                            "weight {weight}, order {ordered:?}, id {made_by:?}, pin {pinned:?}, {target}"
                        );
                    }
                }
            }
        }
    }
    for origin in [&stage.blue, &stage.green] {
        for seen in origin.seen() {
            assert!(!seen.header("cookie").contains("__Host-edge"), "{seen:?}");
            assert_eq!(seen.header("x-edge-override"), "", "{seen:?}");
            assert!(matches!(seen.header("cookie"), "" | "a=1; b=2"), "{seen:?}");
        }
    }
    assert!(!stage.blue.was_sent("__Host-edge") && !stage.green.was_sent("x-edge-override"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_do_not_lead_to_a_version_that_nobody_was_given_but_an_order_does() {
    let (plan, _key) = with_orders(by_client());
    let stage = plan.start().await;
    for origin in [&stage.blue, &stage.green] {
        school::serve(origin, |reply| reply);
    }
    stage.colour_ready(Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    let with_id = Ask::get("/x").header("x-deployment-id", &deployment("r2"));
    assert_eq!(client.ask(with_id).await.json()["colour"], "blue");
    let value = order(&stage, "green", "10m").await;
    let ordered = |target| Ask::get(target).header("x-edge-override", &value);
    assert_eq!(client.ask(ordered("/x")).await.json()["colour"], "green");
    assert_eq!(
        client.ask(ordered(NOTES)).await.text(),
        text("notes of r2", 2_000),
        "its files too"
    );
    stage.edge.clock().advance(Duration::from_secs(601));
    assert_eq!(client.ask(ordered("/x")).await.json()["colour"], "blue");

    let url = format!("https://{MAPLE}/x?dpl={}", deployment("r2"));
    let output = stage.command(&["explain", &url]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("of no release that is live or draining"),
        "{said}"
    );
    stage.shift("green=100%").await;
    stage.shift("blue=100%").await;
    let output = stage.command(&["explain", &url]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("green, release r2") && said.contains("deployment id"),
        "{said}"
    );
    let output = stage
        .command(&["override", APP, "green", "--for", "25h"])
        .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_of_two_releases_each_stay_whole() {
    let stage = both(by_client().stream("/live")).await;
    let tabs = [stage.h2(MAPLE).await, stage.h1(MAPLE).await];
    let mut cookies = Vec::new();
    for (tab, colour) in tabs.iter().zip(Colour::BOTH) {
        cookies.push(bound(&stage, tab, colour).await);
    }
    // Both ways: neither the weight nor what the other stored changes what a tab sees.
    for weight in ["blue=100%", "green=100%", "green=50%"] {
        stage.shift(weight).await;
        for ((tab, cookie), release) in tabs.iter().zip(&cookies).zip(["r1", "r2"]) {
            let colour = colour_of(release);
            let with = |ask: Ask| tab.ask(ask.header("cookie", cookie));
            let again = with(page()).await;
            assert_eq!((again.text(), set(&again)), (colour, None));
            for target in ["/home?_rsc=1", "/api/v1/x"] {
                let seen = stage.origin(Colour::Blue).seen().len();
                with(Ask::get(target).header("rsc", "1")).await;
                let of_blue = stage.origin(Colour::Blue).seen().len() > seen;
                assert_eq!(of_blue, colour == "blue", "{target} at {weight}");
            }
            // Stored once per release; a stored answer never binds.
            for _ in 0..2 {
                let news = with(Ask::get("/api/v1/news/1")).await;
                assert_eq!(news.json()["colour"], colour, "{weight}");
                assert_eq!(set(&news), None);
            }
            let notes = with(Ask::get(NOTES)).await;
            assert_eq!(notes.text(), text(&format!("notes of {release}"), 2_000));
            assert_eq!(set(&notes), None);
            let post = Ask::new(Method::POST, "/api/v1/x").body("x");
            assert_eq!(with(post).await.json()["colour"], colour);
            assert_eq!(with(Ask::get("/live/x")).await.json()["colour"], colour);
            for chunk in [OF_R1, OF_R2] {
                let chunk = with(Ask::get(chunk)).await;
                assert_eq!((chunk.status.as_u16(), set(&chunk)), (200, None));
            }
        }
    }
    assert_eq!(stage.blue.hits("/api/v1/news/1"), 1);
    assert_eq!(stage.green.hits("/api/v1/news/1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_outlives_a_restart_and_ends_by_its_time() {
    let stage = both(by_client()).await;
    let client = stage.h2(MAPLE).await;
    let cookie = bound(&stage, &client, Colour::Green).await;
    stage.shift("blue=100%").await;
    let stage = stage.restart().await;
    let client = stage.h2(MAPLE).await;
    let ask = || page().header("cookie", &cookie);
    assert_eq!(client.ask(ask()).await.text(), "green");
    // Used or not: a version is left by everybody in the end.
    stage.edge.clock().advance(Duration::from_secs(6 * 3600));
    let answer = client.ask(ask()).await;
    assert_eq!((answer.text(), set(&answer)), ("green", None));
    stage.edge.clock().advance(Duration::from_secs(6 * 3600));
    let answer = client.ask(ask()).await;
    assert_eq!(answer.text(), "blue");
    let renewed = set(&answer).expect("it is bound anew");
    // The unit stays, so that it is on the same side of every weight.
    let unit = |cookie: &str| cookie.split('~').next().map(str::to_owned);
    assert_eq!(unit(&renewed), unit(&cookie));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_move_one_way_and_the_cookie_of_a_school_is_its_own() {
    let stage = both(by_client().app("pin_s = 60")).await;
    let client = stage.h2(MAPLE).await;
    let mut browsers = Vec::new();
    for _ in 0..40 {
        browsers.push(set(&client.ask(page()).await).expect("a page binds"));
    }
    let mut before = 0;
    let mut moved: Vec<bool> = vec![false; browsers.len()];
    for weight in [
        "green=0%",
        "green=1%",
        "green=30%",
        "green=70%",
        "green=99%",
        "green=100%",
    ] {
        stage.shift(weight).await;
        // The pins are over, the units are not.
        stage.edge.clock().advance(Duration::from_secs(61));
        for (cookie, was_green) in browsers.iter_mut().zip(&mut moved) {
            let answer = client.ask(page().header("cookie", cookie)).await;
            let green = answer.text() == "green";
            assert!(green || !*was_green, "somebody went back at {weight}");
            (*was_green, *cookie) = (green, set(&answer).expect("it is bound anew"));
        }
        let now = moved.iter().filter(|green| **green).count();
        assert!(now >= before);
        before = now;
    }
    assert_eq!(before, browsers.len());

    // Another school does not know it.
    let other = stage.h2(OAK).await;
    let answer = other.ask(page().header("cookie", &browsers[0])).await;
    assert!(set(&answer).is_some_and(|cookie| cookie != browsers[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_unit_client_nobody_gets_a_cookie() {
    for (plan, colours) in [(plan(), 1), (plan().app("unit = \"request\""), 2)] {
        let stage = both(plan.rules(RULES)).await;
        let client = stage.h2(MAPLE).await;
        stage.shift("green=50%").await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let answer = client.ask(page()).await;
            assert_eq!(set(&answer), None);
            seen.insert(answer.text().to_owned());
        }
        assert_eq!(seen.len(), colours);
    }
}
