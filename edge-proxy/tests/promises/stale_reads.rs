//! What happens to a stored read when its time is over: the origin is asked whether it still holds, an
//! older answer bridges the time or stands in where a rule says so, and a purge or a write ends it.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::support::client::{Ask, Client};
use super::support::origin::{Asked, Origin};
use super::support::reply::{Gate, Reply};
use super::support::school::{self, ALEX, ANNA, TEACHER};
use super::support::stage::{MAPLE, OAK, Stage, plan};
use super::support::wait::until;

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 600
tags = ["news:{id}"]
invalidates = ["all-news"]

[[rule]]
name = "menu"
path = "/api/v1/menu/{id}"
scope = "public"
ttl_s = 600
tags = ["menu:{id}", "all-news"]
stale_while_revalidate_s = 30
stale_if_error_s = 600

[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 600
stale_while_revalidate_s = 5
stale_if_error_s = 60
reload_roles = ["teacher"]

[[rule]]
name = "desk"
path = "/api/v1/desk"
scope = "role"
ttl_s = 600
"#;

const NEWS: &str = "/api/v1/news/1";
const MENU: &str = "/api/v1/menu/1";
const COURSE: &str = "/api/v1/courses/1";

async fn stage() -> Stage {
    let stage = plan().rules(RULES).start().await;
    school::serve(&stage.blue, |reply| reply);
    stage
}

/// Answers a path with what the origin says about keeping it.
fn serve(origin: &Origin, path: &str, agree: fn(Reply) -> Reply) {
    origin.on(path, move |asked| async move { agree(marked(&asked)) });
}

fn marked(asked: &Asked) -> Reply {
    Reply::json(&json!({ "nonce": asked.nonce, "pad": "x".repeat(2000) }))
}

/// For ten seconds, under a tag that the origin knows again.
fn ten(reply: Reply) -> Reply {
    reply
        .header("x-edge-cache-scope", "public")
        .header("cache-control", "max-age=10")
}

fn ten_for_the_school(reply: Reply) -> Reply {
    reply
        .header("x-edge-cache-scope", "tenant")
        .header("cache-control", "max-age=10")
}

fn later(stage: &Stage, seconds: u64) {
    stage.edge.clock().advance(Duration::from_secs(seconds));
}

async fn asked(origin: &Origin, path: &str, hits: usize) {
    until("the origin is asked", async || {
        (origin.hits(path) >= hits).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_says_still_holds_is_not_sent_again() {
    let stage = stage().await;
    stage.blue.on(NEWS, |asked| async move {
        if asked.seen.header("if-none-match") == "W/\"v1\"" {
            return Reply::new(304)
                .header("etag", "W/\"v1\"")
                .header("cache-control", "max-age=20")
                .header("x-word", "new");
        }
        ten(marked(&asked))
            .header("etag", "W/\"v1\"")
            .header("x-word", "old")
    });
    let client = stage.h2(MAPLE).await;
    let first = client.get(NEWS).await;
    assert_eq!(first.header("x-word"), "old");
    later(&stage, 11);
    let renewed = client.get(NEWS).await;
    assert_eq!((renewed.status.as_u16(), &renewed.body), (200, &first.body));
    assert_eq!(
        (renewed.header("age"), renewed.header("x-word")),
        ("0", "new")
    );
    assert_eq!(renewed.header("cache-control"), "max-age=20");
    assert_eq!(stage.blue.hits(NEWS), 2);
    // A client that holds it is told so, too; and the new lifetime counts.
    later(&stage, 15);
    let ask = Ask::get(NEWS).header("if-none-match", first.header("etag"));
    assert_eq!(client.ask(ask).await.status, 304);
    assert_eq!(stage.blue.hits(NEWS), 2);
    // A tag ends the renewed answer like the first, and then the whole is asked for.
    stage.purge("maple", "news:1").await;
    assert_ne!(client.get(NEWS).await.nonce(), first.nonce());
    assert!(
        stage.blue.seen_at(NEWS)[2]
            .header("if-none-match")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_that_takes_the_consent_back_ends_what_was_stored() {
    let stage = stage().await;
    for (n, line) in [
        ("cache-control", "private"),
        ("set-cookie", "a=b"),
        ("x-edge-cache-scope", "tenant"),
        ("vary", "cookie"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/api/v1/news/{n}");
        stage.blue.on(&path, move |asked| async move {
            if asked.seen.header("if-none-match").is_empty() {
                return ten(marked(&asked)).header("etag", "\"v1\"");
            }
            Reply::new(304)
                .header("etag", "\"v1\"")
                .header(line.0, line.1)
        });
        let client = stage.h2(MAPLE).await;
        let first = client.get(&path).await;
        later(&stage, 11);
        let other = client.get(&path).await;
        assert_eq!(
            (other.status.as_u16(), &other.body),
            (200, &first.body),
            "{line:?}"
        );
        let said = line.0 == "x-edge-cache-scope" || other.header(line.0).contains(line.1);
        assert!(said, "{line:?}: {:?}", other.headers);
        let third = client.get(&path).await;
        assert_ne!(third.nonce(), first.nonce(), "{line:?}");
        assert!(
            stage.blue.seen_at(&path)[2]
                .header("if-none-match")
                .is_empty(),
            "{line:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_about_other_bytes_is_not_believed() {
    let stage = stage().await;
    stage.blue.on(NEWS, |asked| async move {
        if asked.seen.header("if-none-match").is_empty() {
            return ten(marked(&asked)).header("etag", "\"v1\"");
        }
        Reply::new(304).header("etag", "\"v2\"")
    });
    let client = stage.h2(MAPLE).await;
    let first = client.get(NEWS).await.nonce();
    later(&stage, 11);
    assert_ne!(client.get(NEWS).await.nonce(), first);
    assert_eq!(stage.blue.hits(NEWS), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_bridges_the_fetch_of_a_fresh_one() {
    let stage = stage().await;
    serve(&stage.blue, MENU, ten);
    let clients = [stage.h2(MAPLE).await, stage.h1(MAPLE).await];
    let first = clients[0].get(MENU).await.nonce();
    later(&stage, 12);
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(MENU, move |asked| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            ten(marked(&asked))
        }
    });
    // Nobody waits while the origin thinks, and it is asked once.
    for client in clients.iter().cycle().take(20) {
        let answer = client.get(MENU).await;
        assert_eq!(answer.nonce(), first);
        assert_eq!(answer.header("server-timing"), "cache;desc=stale");
        assert_eq!(answer.header("age"), "12");
    }
    asked(&stage.blue, MENU, 2).await;
    gate.open();
    let fresh = until("the fresh answer is there", async || {
        let nonce = clients[0].get(MENU).await.nonce();
        (nonce != first).then_some(nonce)
    })
    .await;
    assert_eq!(clients[1].get(MENU).await.nonce(), fresh);
    assert_eq!(stage.blue.hits(MENU), 2);

    // Not beyond the window, and not after a purge.
    serve(&stage.blue, MENU, ten);
    later(&stage, 41);
    let third = clients[0].get(MENU).await.nonce();
    assert_ne!(third, fresh);
    later(&stage, 12);
    stage.purge("maple", "menu:1").await;
    assert_ne!(clients[0].get(MENU).await.nonce(), third);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_forbids_stale_answers_is_obeyed() {
    let stage = stage().await;
    let cases: [fn(Reply) -> Reply; 4] = [
        |r| r.header("cache-control", "max-age=10, must-revalidate"),
        |r| r.header("cache-control", "max-age=10, proxy-revalidate"),
        |r| r.header("cache-control", "s-maxage=10"),
        |r| {
            r.header(
                "cache-control",
                "max-age=10, stale-while-revalidate=0, stale-if-error=0",
            )
        },
    ];
    let client = stage.h2(MAPLE).await;
    for (n, say) in cases.into_iter().enumerate() {
        let path = format!("/api/v1/menu/{n}");
        stage.blue.on(&path, move |asked| async move {
            say(marked(&asked)).header("x-edge-cache-scope", "public")
        });
        let first = client.get(&path).await.nonce();
        later(&stage, 11);
        assert_ne!(client.get(&path).await.nonce(), first, "{n}");
        later(&stage, 11);
        stage.blue.on(&path, |_| async { Reply::new(503) });
        assert_eq!(client.get(&path).await.status, 503, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_stands_in_while_the_origin_fails() {
    let stage = stage().await;
    let client = stage.h2(MAPLE).await;
    serve(&stage.blue, MENU, ten);
    serve(&stage.blue, NEWS, ten);
    let (menu, news) = (
        client.get(MENU).await.nonce(),
        client.get(NEWS).await.nonce(),
    );
    for path in [MENU, NEWS] {
        stage.blue.on(path, |_| async { Reply::new(503) });
    }
    later(&stage, 100);
    for hits in 2..4 {
        let answer = client.get(MENU).await;
        assert_eq!(
            (answer.nonce(), answer.header("age")),
            (menu.clone(), "100")
        );
        assert_eq!(stage.blue.hits(MENU), hits, "the origin is asked each time");
    }
    // Its rule says nothing of failures.
    assert_eq!(client.get(NEWS).await.status, 503);
    // What the origin does answer ends what stood in.
    stage.blue.on(MENU, |_| async { Reply::new(404) });
    assert_eq!(client.get(MENU).await.status, 404);
    stage.blue.on(MENU, |_| async { Reply::new(503) });
    assert_eq!(client.get(MENU).await.status, 503);

    serve(&stage.blue, NEWS, ten);
    assert_ne!(client.get(NEWS).await.nonce(), news);
    serve(&stage.blue, MENU, ten);
    let menu = client.get(MENU).await.nonce();
    stage.blue.on(MENU, |_| async { Reply::new(500) });
    later(&stage, 20);
    assert_eq!(client.get(MENU).await.nonce(), menu);
    stage.purge("maple", "menu:1").await;
    assert_eq!(
        client.get(MENU).await.status,
        500,
        "a purged answer stands in for nothing"
    );
    serve(&stage.blue, MENU, ten);
    client.get(MENU).await.nonce();
    stage.blue.on(MENU, |_| async { Reply::new(500) });
    later(&stage, 10 + 600);
    assert_eq!(client.get(MENU).await.status, 500, "the window is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schools_answer_stands_in_only_with_a_live_identity_and_the_origins_word() {
    let stage = stage().await;
    let client = stage.h2(MAPLE).await;
    serve(&stage.blue, COURSE, |reply| {
        ten_for_the_school(reply).header("cache-control", "stale-if-error=60")
    });
    let other = "/api/v1/courses/2";
    serve(&stage.blue, other, ten_for_the_school);
    let kept = client.ask(ANNA.ask(COURSE)).await.nonce();
    client.ask(ANNA.ask(other)).await.nonce();
    later(&stage, 20);
    for path in [COURSE, other] {
        stage.blue.on(path, |_| async { Reply::new(503) });
    }
    assert_eq!(client.ask(ALEX.ask(COURSE)).await.nonce(), kept);
    assert_eq!(client.ask(ALEX.ask(other)).await.status, 503);
    assert_eq!(client.get(COURSE).await.status, 401);
    // Nobody can say any more who this is.
    later(&stage, 31);
    stage.blue.on("/api/v1/me", |_| async { Reply::new(503) });
    assert_eq!(client.ask(ANNA.ask(COURSE)).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_answer_or_none_is_an_answer_too_and_needs_the_same_proof() {
    let stage = stage().await;
    serve(&stage.blue, NEWS, ten);
    serve(&stage.blue, COURSE, ten_for_the_school);
    let client = stage.h2(MAPLE).await;
    let only = |ask: Ask| ask.header("cache-control", "only-if-cached");
    assert_eq!(client.ask(only(Ask::get(NEWS))).await.status, 504);
    assert_eq!(client.ask(only(Ask::get(COURSE))).await.status, 401);
    assert_eq!(client.ask(only(ANNA.ask(COURSE))).await.status, 504);
    assert_eq!((stage.blue.hits(NEWS), stage.blue.hits(COURSE)), (0, 0));
    client.get(NEWS).await.nonce();
    client.ask(ANNA.ask(COURSE)).await.nonce();
    assert_eq!(client.ask(only(Ask::get(NEWS))).await.status, 200);
    assert_eq!(client.ask(only(ALEX.ask(COURSE))).await.status, 200);
    assert_eq!(client.ask(only(Ask::get(COURSE))).await.status, 401);
    later(&stage, 11);
    assert_eq!(client.ask(only(Ask::get(NEWS))).await.status, 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_reaches_the_origin_for_those_who_may_only() {
    let stage = stage().await;
    serve(&stage.blue, COURSE, ten_for_the_school);
    serve(&stage.blue, NEWS, ten);
    let client = stage.h2(MAPLE).await;
    let reload = |ask: Ask| ask.header("cache-control", "no-cache");
    let first = client.ask(ANNA.ask(COURSE)).await.nonce();
    assert_eq!(client.ask(reload(ALEX.ask(COURSE))).await.nonce(), first);
    let second = client.ask(reload(TEACHER.ask(COURSE))).await.nonce();
    assert_ne!(second, first);
    assert_eq!(client.ask(ANNA.ask(COURSE)).await.nonce(), second);
    let news = client.get(NEWS).await.nonce();
    assert_eq!(client.ask(reload(Ask::get(NEWS))).await.nonce(), news);
    // Nor does a stale answer bridge a reload.
    later(&stage, 12);
    let new = TEACHER.ask(COURSE).header("cache-control", "max-age=0");
    assert_ne!(client.ask(new).await.nonce(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_the_edge_ends_what_it_changes_at_once() {
    let stage = stage().await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let paths = ["/api/v1/news/1", "/api/v1/news/2", "/api/v1/news/3", MENU];
    stage.blue.otherwise(|asked| async move {
        if asked.seen.method == Method::GET {
            return ten(marked(&asked)).header("cache-groups", "\"front page\"");
        }
        let reply = Reply::new(if asked.seen.path().ends_with('9') {
            422
        } else {
            200
        });
        match asked.seen.path() {
            "/api/v1/votes" => reply.header("cache-group-invalidation", "\"front page\""),
            "/api/v1/drafts" => reply.header("location", "/api/v1/news/3"),
            _ => reply,
        }
    });
    let all = async |client: &Client| {
        let mut nonces = Vec::new();
        for path in paths {
            nonces.push(client.get(path).await.nonce());
        }
        nonces
    };
    let elsewhere = all(&oak).await;
    let changed = async |method: Method, path: &str| {
        let before = all(&maple).await;
        let status = maple.ask(Ask::new(method, path)).await.status;
        let after = all(&maple).await;
        let ended = before
            .iter()
            .zip(&after)
            .map(|(a, b)| if a == b { '-' } else { 'x' });
        (status.as_u16(), ended.collect::<String>())
    };
    // Its own path, and what its rule lists: the tag that the menu has.
    assert_eq!(
        changed(Method::PUT, "/api/v1/news/1").await,
        (200, "x--x".to_owned())
    );
    assert_eq!(
        changed(Method::DELETE, "/api/v1/news/2").await,
        (200, "-x-x".to_owned())
    );
    // Where its answer says that the new thing is.
    assert_eq!(
        changed(Method::POST, "/api/v1/drafts").await,
        (200, "--x-".to_owned())
    );
    // The group that the origin names.
    assert_eq!(
        changed(Method::POST, "/api/v1/votes").await,
        (200, "xxxx".to_owned())
    );
    // Nothing was done, so nothing ends.
    assert_eq!(
        changed(Method::PUT, "/api/v1/news/9").await,
        (422, "----".to_owned())
    );
    assert_eq!(
        changed(Method::OPTIONS, "/api/v1/news/1").await,
        (200, "----".to_owned())
    );
    assert_eq!(all(&oak).await, elsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_with_the_same_roles_share_and_others_do_not() {
    let stage = stage().await;
    let desk = "/api/v1/desk";
    serve(&stage.blue, desk, |reply| {
        reply
            .header("x-edge-cache-scope", "role")
            .header("cache-control", "max-age=60")
    });
    let client = stage.h2(MAPLE).await;
    let pupils = client.ask(ANNA.ask(desk)).await;
    assert_eq!(pupils.header("cache-control"), "private, max-age=60");
    assert_eq!(client.ask(ALEX.ask(desk)).await.nonce(), pupils.nonce());
    assert_ne!(client.ask(TEACHER.ask(desk)).await.nonce(), pupils.nonce());
    assert_eq!(client.get(desk).await.status, 401);
    // Consent to the school is not consent to a role, nor the other way round.
    serve(&stage.blue, desk, ten_for_the_school);
    stage.purge("maple", "u:anna").await;
    let (status, _) = stage
        .admin(
            "POST",
            "/v1/purge",
            Some(json!({ "tenant": "maple", "all": true })),
        )
        .await;
    assert_eq!(status, 200);
    let first = client.ask(ANNA.ask(desk)).await.nonce();
    assert_ne!(client.ask(ANNA.ask(desk)).await.nonce(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_joined_after_a_purge_of_something_else() {
    let stage = stage().await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(NEWS, move |asked| {
        let gate = held.clone();
        async move {
            gate.pass().await;
            ten(marked(&asked))
        }
    });
    let client = stage.h2(MAPLE).await;
    let first = async { client.get(NEWS).await.nonce() };
    let second = async {
        asked(&stage.blue, NEWS, 1).await;
        stage.purge("maple", "something-else").await;
        let other = stage.h2(MAPLE).await;
        let joined = async { other.get(NEWS).await.nonce() };
        let opened = async {
            // It has looked and found nothing.
            let seen = || stage.edge.metrics().cache_totals().1 >= 2;
            until("both are waiting", async || seen().then_some(())).await;
            gate.open();
        };
        tokio::join!(joined, opened).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, second);
    assert_eq!(stage.blue.hits(NEWS), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_purge_makes_public_answers_stale_and_ends_those_of_a_school() {
    let stage = stage().await;
    serve(&stage.blue, MENU, ten);
    serve(&stage.blue, NEWS, ten);
    serve(&stage.blue, COURSE, ten_for_the_school);
    let client = stage.h2(MAPLE).await;
    let menu = client.get(MENU).await.nonce();
    let news = client.get(NEWS).await.nonce();
    let course = client.ask(ANNA.ask(COURSE)).await.nonce();
    let soft = json!({ "tenant": "maple", "all": true, "soft": true });
    let (status, report) = stage.admin("POST", "/v1/purge", Some(soft)).await;
    assert_eq!((status, &report["objects"]), (200, &json!(3)), "{report}");
    // The menu's rule lets the old one bridge; the news' does not.
    let bridged = client.get(MENU).await;
    assert_eq!(
        (bridged.nonce(), bridged.header("server-timing")),
        (menu.clone(), "cache;desc=stale")
    );
    assert_ne!(client.get(NEWS).await.nonce(), news);
    assert_ne!(client.ask(ANNA.ask(COURSE)).await.nonce(), course);
    until("the menu is fetched anew", async || {
        (client.get(MENU).await.nonce() != menu).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_says_what_it_ended_and_that_a_tag_is_unknown() {
    let stage = stage().await;
    serve(&stage.blue, NEWS, ten);
    serve(&stage.blue, MENU, ten);
    let client = stage.h2(MAPLE).await;
    client.get(NEWS).await.nonce();
    client.get(MENU).await.nonce();
    let purge = async |body| stage.admin("POST", "/v1/purge", Some(body)).await.1;
    let known = purge(json!({ "tenant": "maple", "tag": "news:1" })).await;
    assert_eq!(
        (&known["objects"], &known["exact"]),
        (&json!(1), &json!(true)),
        "{known}"
    );
    assert!(known["sequence"].as_u64() > Some(0), "{known}");
    let unknown = purge(json!({ "tenant": "maple", "tag": "nothing-has-this" })).await;
    assert_eq!(unknown["objects"], 0, "{unknown}");
    let output = stage
        .command(&["purge", "--tenant", "maple", "--tag", "nothing-has-this"])
        .await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("nothing that is stored carries it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_stops_reads_and_identity_checks_at_once_and_survives_a_restart() {
    let stage = stage().await;
    serve(&stage.blue, NEWS, ten);
    serve(&stage.blue, COURSE, ten_for_the_school);
    let client = stage.h2(MAPLE).await;
    let news = client.get(NEWS).await.nonce();
    client.ask(ANNA.ask(COURSE)).await.nonce();
    let me = stage.blue.hits("/api/v1/me");
    let began = std::time::Instant::now();
    let output = stage
        .command(&["cache", "off", "--reason", "an incident"])
        .await;
    assert!(output.status.success(), "{output:?}");
    assert_ne!(client.get(NEWS).await.nonce(), news);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let said: serde_json::Value = {
        let again = json!({ "off": true });
        stage.admin("POST", "/v1/cache", Some(again)).await.1
    };
    assert_eq!(said["changed"], false, "{said}");
    // Nothing is looked up, stored, or asked about; files go on.
    let nonces = [
        client.get(NEWS).await.nonce(),
        client.get(NEWS).await.nonce(),
    ];
    assert_ne!(nonces[0], nonces[1]);
    later(&stage, 31);
    assert_eq!(client.get(COURSE).await.status, 200, "the origin decides");
    assert_eq!(stage.blue.hits("/api/v1/me"), me);
    assert_eq!(client.get("/").await.status, 200);

    let stage = stage.restart().await;
    serve(&stage.blue, NEWS, ten);
    let client = stage.h2(MAPLE).await;
    assert_ne!(
        client.get(NEWS).await.nonce(),
        client.get(NEWS).await.nonce()
    );
    let on = json!({ "off": false });
    let (status, report) = stage.admin("POST", "/v1/cache", Some(on)).await;
    assert_eq!(
        (status, &report["off"], &report["changed"]),
        (200, &json!(false), &json!(true))
    );
    assert!(
        report["micros"]
            .as_u64()
            .is_some_and(|micros| micros < 1_000_000),
        "{report}"
    );
    assert_eq!(
        client.get(NEWS).await.nonce(),
        client.get(NEWS).await.nonce()
    );
}
