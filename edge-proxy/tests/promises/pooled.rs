//! Connections to the origin are shared: nothing of one client's exchange reaches the next one's.

use edge_proxy::colour::Colour;

use super::support::bytes;
use super::support::client::Http;
use super::support::reply::Reply;
use super::support::school::{self, ALEX, ANNA};
use super::support::stage::{MAPLE, plan};
use super::support::wait::{soon, until};

const RULES: &str = r#"
[[rule]]
name = "news"
path = "/api/v1/news/{id}"
scope = "public"
ttl_s = 60

[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60
"#;

/// Answers each request with its own target, and sends an answer behind it that nobody has asked for.
fn talk_too_much(target: &str) -> bytes::Sent {
    let answer = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=60\r\n\
             x-edge-cache-scope: public\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match target {
        "/up" => (answer(target), true),
        _ => (answer(target) + &answer("poison"), true),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_an_answer_is_nobodys_answer() {
    let stage = plan()
        .rules(RULES)
        .member(Colour::Blue, bytes::origin(talk_too_much).await)
        .start()
        .await;
    let mut good = 0;
    for number in 0..20 {
        for http in Http::BOTH {
            let client = stage.client(MAPLE, http).await;
            for path in [
                format!("/page/{number}/{http:?}"),
                format!("/api/v1/news/{number}{http:?}"),
            ] {
                let answer = client.get(&path).await;
                assert!(!answer.text().contains("poison"), "{path}");
                // Such an origin may as well not be believed at all.
                if answer.status == 200 {
                    assert_eq!(answer.text(), path);
                    good += 1;
                }
            }
        }
    }
    assert!(good > 40, "only {good} of 80 were answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_off_leaves_nothing_for_others() {
    let stage = plan().rules(RULES).start().await;
    school::serve(&stage.blue, |reply: Reply| {
        reply
            .header("x-edge-cache-scope", "tenant")
            .header("cache-control", "max-age=60")
    });
    for http in Http::BOTH {
        let alex = stage.client(MAPLE, http).await;
        for number in 0..100 {
            // One that no rule covers, and one that a school shares.
            let path = match number % 2 {
                0 => format!("/api/v1/own/{number}{http:?}"),
                _ => format!("/api/v1/courses/{number}{http:?}"),
            };
            let anna = stage.client(MAPLE, http).await;
            match number % 3 {
                0 => {
                    let mut asking = Box::pin(anna.try_ask(ANNA.ask(&path)));
                    tokio::select! {
                        biased;
                        _ = &mut asking => {}
                        () = tokio::task::yield_now() => {}
                    }
                }
                1 => {
                    let asking = anna.try_ask(ANNA.ask(&path));
                    let asked = until("the origin is asked", async || {
                        (stage.blue.hits(&path) > 0).then_some(())
                    });
                    tokio::select! {
                        _ = asking => {}
                        () = asked => {}
                    }
                }
                _ => drop(soon("an answer begins", anna.begin(ANNA.ask(&path))).await),
            }
            drop(anna);
            let answer = alex.ask(ALEX.ask(&path)).await;
            assert_eq!(answer.status, 200, "{path}");
            let said = answer.json();
            assert_eq!(said["target"], path.as_str());
            if number % 2 == 0 {
                assert_eq!(said["who"], "canary-answer-for-alex", "{path}");
            }
        }
    }
}
