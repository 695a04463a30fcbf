use http::header::{IF_NONE_MATCH, RANGE};

use super::*;
use crate::cache::entry::Origin;
use crate::response::compress::tests::decode;
use crate::response::represent::Answer;

const DANGER: &str = "content-type: application/json\r\ncache-control: max-age=30\r\n";

impl Stage {
    fn answer(&self, entry: &Entry, field: Option<(HeaderName, &str)>) -> Answer<bytes::Bytes> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = field {
            headers.insert(name, value.parse().expect("a value"));
        }
        entry.answer(&Method::GET, &headers, self.cache.clock.now())
    }
}

async fn silent() -> Arc<Stage> {
    Stage::saying("", "").await
}

#[tokio::test]
async fn the_origins_own_tag_stays_where_it_names_the_very_bytes() {
    let stage = silent().await;
    let tag = |path: &str, line: &str| {
        let entry = stage.made(path, StatusCode::OK, &format!("{PUBLIC}{line}"), "one");
        let header = stage.answer(&entry, None).header;
        header.headers.get("etag").cloned()
    };
    assert_eq!(tag("/p/1", "etag: \"v1\"\r\n").expect("its own"), "\"v1\"");
    let ours = tag("/p/1", "").expect("one of the bytes");
    assert!(ours.as_bytes().starts_with(b"\""), "{ours:?}");
    assert_eq!(tag("/p/1", "etag: W/\"v1\"\r\n"), Some(ours));
    // What is kept as it was sent is sent as it was.
    assert_eq!(
        tag("/d/1", "etag: W/\"v1\"\r\n").expect("its own"),
        "W/\"v1\""
    );
    assert_eq!(tag("/d/1", ""), None);
}

#[tokio::test]
async fn an_answer_is_as_old_as_it_was_and_has_become() {
    let stage = silent().await;
    let lines = format!("{PUBLIC}age: 5\r\n");
    let entry = stage.made("/p/1", StatusCode::OK, &lines, "one");
    let age = || -> u64 {
        let header = stage.answer(&entry, None).header;
        let age = header.headers["age"].to_str().expect("digits");
        age.parse().expect("a number")
    };
    assert!((5..10).contains(&age()));
    stage.pass(10);
    assert!((15..20).contains(&age()));
    let left = entry.fresh_for(stage.cache.clock.now()).expect("some");
    assert!((10..15).contains(&left.as_secs()), "of thirty: {left:?}");
    stage.pass(16);
    assert_eq!(entry.fresh_for(stage.cache.clock.now()), None);
}

#[tokio::test]
async fn codings_are_made_once_for_what_is_long_enough_and_weigh_half_of_it() {
    let stage = silent().await;
    let of =
        |path: &str, bytes: usize| stage.made(path, StatusCode::OK, PUBLIC, &"a".repeat(bytes));
    let (short, long) = (of("/p/1", 1023), of("/p/1", 1024));
    assert_eq!(long.weight() - short.weight(), 512 + 1);
    assert!(short.weight() > 1023 + 1000, "more than its bytes alone");
    assert!(short.is_encoded() && !long.is_encoded());
    assert!(of("/d/1", 1024).is_encoded(), "it stays as it was sent");
    assert!(long.codings().is_empty());
    assert!(long.begin_encoding() && !long.begin_encoding());
    assert!(long.is_encoded(), "somebody makes them");
    long.encode();
    assert_eq!(long.codings().len(), 2);
    for (coding, length, bytes) in long.codings() {
        assert_eq!(length, bytes.len() as u64);
        assert_eq!(decode(coding, &bytes), long.body().to_vec(), "{coding:?}");
    }
}

#[tokio::test]
async fn what_is_renewed_keeps_its_codings() {
    let stage = silent().await;
    let body = "a".repeat(2000);
    let old = stage.made("/p/1", StatusCode::OK, PUBLIC, &body);
    let renew = || {
        let job = stage.job("/p/1");
        let now = stage.cache.clock.wall();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "max-age=30"),
            ("x-edge-cache-scope", "public"),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let judged = job
            .plan
            .answer(&job.grant, StatusCode::OK, &headers, now, now);
        let cache_rules::answer::Answer::Store(storable) = judged else {
            panic!("both agree");
        };
        let origin = Origin {
            tenant: job.grant.tenant_id(),
            path: "/p/1",
            scope: job.grant.scope(),
            born: stage.cache.epochs.now(),
        };
        old.renewed(*storable, origin, &stage.cache.epochs, &stage.cache.clock)
    };
    assert!(!renew().is_encoded(), "there were none");
    old.encode();
    let renewed = renew();
    assert!(renewed.is_encoded());
    assert_eq!(renewed.codings().len(), 2);
}

#[tokio::test]
async fn what_no_purge_and_no_time_has_ended_is_of_use() {
    let stage = silent().await;
    let dead = |entry: &Entry| entry.dead(stage.cache.clock.now(), &stage.cache.epochs);
    let plain = stage.made("/p/1", StatusCode::OK, PUBLIC, "one");
    let tagged_one = format!("{PUBLIC}etag: \"v1\"\r\n");
    let with_tag = stage.made("/p/1", StatusCode::OK, &tagged_one, "one");
    // Half a minute and the longer window, in which it may stand in for an origin that fails.
    stage.pass(125);
    assert!(!dead(&plain) && !dead(&with_tag));
    stage.pass(5);
    assert!(dead(&plain));
    assert!(!dead(&with_tag), "the origin can be asked whether it holds");
    stage.cache.epochs.purge(&tagged("p:1"));
    assert!(dead(&with_tag));
}

#[tokio::test]
async fn a_soft_purge_makes_what_is_for_everybody_stale_and_ends_what_is_for_a_school() {
    let stage = silent().await;
    let epochs = &stage.cache.epochs;
    let public = stage.made("/p/1", StatusCode::OK, PUBLIC, "one");
    let school = PUBLIC.replace("scope: public", "scope: tenant");
    let school = stage.made("/t/1", StatusCode::OK, &school, "one");
    assert!(public.valid(epochs) && school.valid(epochs));
    epochs.soften(&Purge::Tenant(oak()));
    let now = || stage.cache.clock.now();
    assert!(public.valid(epochs) && !public.fresh(now(), epochs));
    assert!(!school.valid(epochs));
    // It bridges from the purge on, for as long as if its time were over.
    assert!(public.may_bridge(now(), epochs));
    stage.pass(5);
    assert!(public.may_bridge(now(), epochs));
    stage.pass(5);
    assert!(!public.may_bridge(now(), epochs) && public.may_stand_in(now(), epochs));
    epochs.purge(&Purge::Tenant(oak()));
    assert!(!public.valid(epochs));
}

#[tokio::test]
async fn under_the_rules_of_a_conformance_run_an_answer_is_kept_as_it_was_sent() {
    let stage = silent().await;
    let tagged_one = format!("{DANGER}etag: \"v1\"\r\n");
    let missing = stage.made("/d/1", StatusCode::NOT_FOUND, &tagged_one, "none");
    for field in [
        None,
        Some((IF_NONE_MATCH, "\"v1\"")),
        Some((RANGE, "bytes=0-0")),
    ] {
        let answer = stage.answer(&missing, field);
        assert_eq!(answer.header.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.header.headers["content-length"], "4");
        assert!(answer.content.is_some());
    }
    let empty = stage.made("/d/1", StatusCode::NO_CONTENT, DANGER, "");
    let answer = stage.answer(&empty, None);
    assert_eq!(answer.header.status, StatusCode::NO_CONTENT);
    assert!(!answer.header.headers.contains_key("content-length"));
    assert!(answer.content.is_none());

    let coded = format!("{tagged_one}content-encoding: br\r\n");
    let coded = stage.made("/d/1", StatusCode::OK, &coded, "coded");
    for (field, status, coding) in [
        (None, 200, Some("br")),
        (Some((IF_NONE_MATCH, "\"v1\"")), 304, None),
        (Some((RANGE, "bytes=0-0")), 206, Some("br")),
        // What frames several parts is not coded.
        (Some((RANGE, "bytes=0-0,2-2")), 200, Some("br")),
    ] {
        let answer = stage.answer(&coded, field.clone());
        assert_eq!(answer.header.status.as_u16(), status, "{field:?}");
        let said = answer.header.headers.get("content-encoding");
        assert_eq!(
            said.and_then(|said| said.to_str().ok()),
            coding,
            "{field:?}"
        );
    }
    let plain = stage.made("/d/1", StatusCode::OK, &tagged_one, "plain");
    let parts = stage.answer(&plain, Some((RANGE, "bytes=0-0,2-2")));
    assert_eq!(parts.header.status, StatusCode::PARTIAL_CONTENT);
    assert!(!parts.header.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn under_the_rules_of_a_conformance_run_answers_are_joined_while_they_need_no_word() {
    let stage = silent().await;
    let made = |path: &str, control: &str| {
        let lines = DANGER.replace("max-age=30", control);
        let lines = format!("{lines}etag: \"v1\"\r\nx-edge-cache-scope: public\r\n");
        stage.made(path, StatusCode::OK, &lines, "one")
    };
    for (control, joined) in [
        ("max-age=30", true),
        ("max-age=0", false),
        ("max-age=30, no-cache", false),
    ] {
        let entry = made("/d/1", control);
        assert_eq!(entry.may_be_joined(), joined, "{control}");
        let fresh = entry.fresh(stage.cache.clock.now(), &stage.cache.epochs);
        assert_eq!(fresh, joined, "{control}");
    }
    assert!(made("/p/1", "max-age=30").may_be_joined());

    let varied = format!("{DANGER}vary: accept-language, x-class\r\n");
    let varied = stage.made("/d/1", StatusCode::OK, &varied, "one");
    assert_eq!(varied.vary(), ["accept-language", "x-class"]);
    assert!(made("/p/1", "max-age=30").vary().is_empty());
}
