use super::*;

/// Answers `first` once, and then what it is asked: whether its condition still holds.
fn then_renewed(first: &'static str, later: Vec<u8>) -> impl Fn(&str) -> (Vec<u8>, Then) {
    move |asked| match asked.contains("if-none-match: \"v1\"") {
        true => (later.clone(), Then::Keep),
        false => (answer("200 OK", first, "one"), Then::Keep),
    }
}

const WITH_TAG: &str = "content-type: application/json\r\ncache-control: max-age=30\r\nx-edge-cache-scope: public\r\netag: \"v1\"\r\n";

#[tokio::test]
async fn what_the_origin_says_still_holds_is_fresh_again_with_the_same_bytes() {
    let unchanged = format!("HTTP/1.1 304 Not Modified\r\n{PUBLIC}etag: \"v1\"\r\n\r\n");
    let stage = Stage::new(then_renewed(WITH_TAG, unchanged.into_bytes())).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    let Read::Entry { entry, .. } = stage.fetch("/p/1", Some(&old)).await else {
        panic!("it still holds");
    };
    assert_eq!(entry.body(), "one");
    assert_eq!(stage.asked(), 2);
    stage.pass(25);
    assert!(matches!(stage.find("/p/1"), Found::Fresh(_)));
}

#[tokio::test]
async fn what_was_purged_while_the_origin_was_asked_whether_it_holds_is_asked_for_anew() {
    let epochs = Arc::new(Epochs::default());
    let purged = Arc::clone(&epochs);
    let unchanged = format!("HTTP/1.1 304 Not Modified\r\n{PUBLIC}etag: \"v1\"\r\n\r\n");
    let renewed = then_renewed(WITH_TAG, unchanged.into_bytes());
    let script = move |asked: &str| {
        if asked.contains("if-none-match") {
            purged.purge(&tagged("p:1"));
        }
        renewed(asked)
    };
    let stage = Stage::with(Limits::default(), epochs, script).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    let read = stage.fetch("/p/1", Some(&old)).await;
    assert!(matches!(read, Read::Entry { .. }), "{read:?}");
    assert_eq!(stage.asked(), 3, "once more, without a condition");
    assert!(!stage.origin.asked()[2].contains("if-none-match"));
}

#[tokio::test]
async fn a_304_about_other_bytes_is_followed_by_a_whole_answer() {
    let other = format!("HTTP/1.1 304 Not Modified\r\n{PUBLIC}etag: \"v2\"\r\n\r\n");
    let stage = Stage::new(then_renewed(WITH_TAG, other.into_bytes())).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    let read = stage.fetch("/p/1", Some(&old)).await;
    assert!(matches!(read, Read::Entry { .. }), "{read:?}");
    assert_eq!(stage.asked(), 3);
}

#[tokio::test]
async fn a_304_that_takes_the_consent_back_is_for_who_asked_and_ends_what_was_stored() {
    let taken_back = "HTTP/1.1 304 Not Modified\r\ncache-control: no-store\r\netag: \"v1\"\r\n\r\n";
    let stage = Stage::new(then_renewed(WITH_TAG, taken_back.as_bytes().to_vec())).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    let Read::Stream(mut stream) = stage.fetch("/p/1", Some(&old)).await else {
        panic!("it is for one");
    };
    assert!(matches!(stream.alone, Some(Alone::Rule(_))));
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.head.headers["content-length"], "3");
    assert_eq!(whole(&mut stream).await.expect("all of it"), b"one");
    stage.landed().await;
    assert!(matches!(stage.find("/p/1"), Found::Nothing));
}

#[tokio::test]
async fn an_answer_that_is_for_one_now_ends_what_was_for_all() {
    let stage = Stage::new(then_renewed(WITH_TAG, answer("200 OK", PRIVATE, "mine"))).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    let Read::Stream(mut stream) = stage.fetch("/p/1", Some(&old)).await else {
        panic!("it is for one");
    };
    assert_eq!(whole(&mut stream).await.expect("all of it"), b"mine");
    stage.landed().await;
    assert!(matches!(stage.find("/p/1"), Found::Nothing));
}

#[tokio::test]
async fn an_older_answer_stands_in_for_an_origin_that_fails_within_its_window() {
    for failure in [
        answer("503 Service Unavailable", "", "down"),
        b"nonsense\r\n\r\n".to_vec(),
    ] {
        let stage = Stage::new(then_renewed(WITH_TAG, failure.clone())).await;
        let old = stage.stored("/p/1").await;
        // Of an origin that answers, nothing old is wanted.
        stage.pass(125);
        assert!(stage.cache.may_stand_in(&old));
        let read = stage.fetch("/p/1", Some(&old)).await;
        assert!(matches!(read, Read::Stale(_)), "{read:?}");
        stage.pass(5);
        assert!(!stage.cache.may_stand_in(&old), "100 s after its time");
        let read = stage.fetch("/p/1", Some(&old)).await;
        assert!(
            matches!(read, Read::Failed(_) | Read::Stream(_)),
            "{read:?}"
        );
    }
    // Never what was purged.
    let failure = answer("503 Service Unavailable", "", "down");
    let stage = Stage::new(then_renewed(WITH_TAG, failure)).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    stage.cache.epochs.purge(&tagged("p:1"));
    let read = stage.fetch("/p/1", Some(&old)).await;
    assert!(matches!(read, Read::Stream(_)), "{read:?}");
}

#[tokio::test]
async fn who_waited_for_an_origin_that_fails_gets_the_older_answer_too_unless_it_was_purged() {
    let failure = answer("503 Service Unavailable", "", "down");
    let stage = Stage::new(then_renewed(WITH_TAG, failure)).await;
    let old = stage.stored("/p/1").await;
    stage.pass(40);
    stage.origin.answers(false);
    let fetching = || {
        let (stage, old) = (Arc::clone(&stage), Arc::clone(&old));
        tokio::spawn(async move { stage.fetch("/p/1", Some(&old)).await })
    };
    let first = fetching();
    stage.origin.asked_times(2).await;
    let joined = fetching();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stage.origin.answers(true);
    for task in [first, joined] {
        let read = task.await.expect("no panic");
        assert!(matches!(read, Read::Stale(_)), "{read:?}");
    }
    assert_eq!(stage.asked(), 2);
}
