use super::*;

#[tokio::test]
async fn many_who_want_the_same_are_one_request() {
    let stage = Stage::saying(PUBLIC, "one").await;
    stage.origin.answers(false);
    let first = stage.fetching("/p/1");
    stage.origin.asked_times(1).await;
    let others: Vec<_> = (0..10).map(|_| stage.fetching("/p/1")).collect();
    // All are aboard before it lands.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stage.origin.answers(true);
    let first = first.await.expect("no panic");
    assert!(matches!(first, Read::Entry { started: true, .. }));
    for other in others {
        let read = other.await.expect("no panic");
        assert!(matches!(read, Read::Entry { started: false, .. }));
    }
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn who_comes_after_a_purge_does_not_join_a_fetch_from_before_it() {
    let stage = Stage::saying(PUBLIC, "one").await;
    stage.origin.answers(false);
    let before = stage.fetching("/p/1");
    stage.origin.asked_times(1).await;
    stage.cache.epochs.purge(&tagged("p:1"));
    let after = stage.fetching("/p/1");
    stage.origin.asked_times(2).await;
    stage.origin.answers(true);
    for task in [before, after] {
        let read = task.await.expect("no panic");
        assert!(matches!(read, Read::Entry { .. }));
    }
    assert!(matches!(stage.find("/p/1"), Found::Fresh(_)));
}

#[tokio::test]
async fn an_answer_with_a_tag_that_was_purged_on_its_way_is_neither_kept_nor_given_to_who_joined() {
    // Nobody knows of the tag before the answer says it: a read that came after the purge had to join.
    let epochs = Arc::new(Epochs::default());
    let (purged, times) = (Arc::clone(&epochs), std::sync::atomic::AtomicU32::new(0));
    let lines = format!("{PUBLIC}surrogate-key: lesson:9\r\n");
    let script = move |_: &str| {
        if times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            purged.purge(&tagged("lesson:9"));
        }
        (answer("200 OK", &lines, "one"), Then::Keep)
    };
    let stage = Stage::with(Limits::default(), epochs, script).await;
    let [first, joined] = stage.two("/p/1").await;
    let first = first.await.expect("no panic");
    assert!(matches!(first, Read::Entry { started: true, .. }));
    // It asked again, for itself.
    let joined = joined.await.expect("no panic");
    assert!(matches!(joined, Read::Entry { started: true, .. }));
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn a_fetch_that_takes_long_holds_those_who_joined_only_so_long() {
    let limits = Limits {
        fill_wait: Duration::from_millis(50),
        fills_max: 1,
        ..Limits::default()
    };
    let script = |_: &str| (answer("200 OK", PUBLIC, "one"), Then::Keep);
    let stage = Stage::with(limits, Arc::default(), script).await;
    stage.origin.answers(false);
    let first = stage.fetching("/p/1");
    stage.origin.asked_times(1).await;
    let joined = stage.fetch("/p/1", None).await;
    assert!(matches!(joined, Read::Alone(Alone::Waited)), "{joined:?}");
    let beyond = stage.fetch("/p/2", None).await;
    assert!(matches!(beyond, Read::Alone(Alone::Full)), "{beyond:?}");
    stage.origin.answers(true);
    let first = first.await.expect("no panic");
    assert!(matches!(first, Read::Entry { started: true, .. }));
}

#[tokio::test]
async fn a_fetch_has_so_long_for_all_of_its_answer() {
    let limits = || Limits {
        fill: Duration::from_millis(50),
        ..Limits::default()
    };
    let whole = answer("200 OK", PUBLIC, "one");
    let all_but_one_byte = whole[..whole.len() - 1].to_vec();
    for sent in [Vec::new(), all_but_one_byte] {
        let script = move |_: &str| (sent.clone(), Then::Hang);
        let stage = Stage::with(limits(), Arc::default(), script).await;
        let read = stage.fetch("/p/1", None).await;
        let timed_out = Refusal::OriginTimedOut;
        assert!(matches!(read, Read::Failed(refusal) if refusal == timed_out));
        assert!(stage.cache.fills.is_empty(), "another may begin");
    }
    // An answer that is long enough to be streamed is not kept either when its end does not come.
    let whole = answer("200 OK", PUBLIC, &"a".repeat(LARGE));
    let script = move |_: &str| (whole[..whole.len() - 1].to_vec(), Then::Hang);
    let stage = Stage::with(limits(), Arc::default(), script).await;
    match stage.fetch("/p/1", None).await {
        Read::Stream(mut stream) => assert!(super::whole(&mut stream).await.is_err()),
        // On a slow machine its head did not come in time.
        other => assert!(matches!(other, Read::Failed(_)), "{other:?}"),
    }
    stage.landed().await;
    assert!(matches!(stage.find("/p/1"), Found::Nothing));
    // And an older one stands in for what never came.
    let stage = Stage::with(limits(), Arc::default(), |_| (Vec::new(), Then::Hang)).await;
    let old = stage.made("/p/1", StatusCode::OK, PUBLIC, "one");
    stage.pass(40);
    let read = stage.fetch("/p/1", Some(&old)).await;
    assert!(matches!(read, Read::Stale(_)), "{read:?}");
}

#[tokio::test]
async fn an_answer_for_one_is_streamed_to_who_asked_and_the_others_ask_alone() {
    let stage = Stage::saying(PRIVATE, "mine").await;
    let [first, joined] = stage.two("/p/1").await;
    let Read::Stream(mut stream) = first.await.expect("no panic") else {
        panic!("it streams");
    };
    let why = stream.alone.expect("it is not stored");
    assert!(matches!(why, Alone::Rule(_)), "{why:?}");
    assert_eq!(whole(&mut stream).await.expect("all of it"), b"mine");
    let joined = joined.await.expect("no panic");
    assert!(matches!(joined, Read::Alone(Alone::Rule(_))), "{joined:?}");
    assert!(matches!(stage.find("/p/1"), Found::Nothing));
}

#[tokio::test]
async fn an_answer_is_kept_up_to_the_longest_length_and_never_without_one() {
    let limits = || Limits {
        object_bytes_max: 1000,
        ..Limits::default()
    };
    let body = |bytes: usize| "a".repeat(bytes);
    let chunked = |bytes: usize| {
        let head = format!("HTTP/1.1 200 OK\r\n{PUBLIC}transfer-encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", bytes / 2, body(bytes / 2));
        format!("{head}{chunk}{chunk}0\r\n\r\n").into_bytes()
    };
    let unending = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\n{PUBLIC}connection: close\r\n\r\n{}",
            body(bytes)
        )
        .into_bytes()
    };
    for (bytes, raw, then, kept) in [
        (
            1000,
            answer("200 OK", PUBLIC, &body(1000)),
            Then::Keep,
            true,
        ),
        (
            1001,
            answer("200 OK", PUBLIC, &body(1001)),
            Then::Keep,
            false,
        ),
        (1000, chunked(1000), Then::Keep, true),
        (1002, chunked(1002), Then::Keep, false),
        (10, unending(10), Then::Close, false),
    ] {
        let script = move |_: &str| (raw.clone(), then);
        let stage = Stage::with(limits(), Arc::default(), script).await;
        let seen = match stage.fetch("/p/1", None).await {
            Read::Entry { entry, .. } => entry.body().to_vec(),
            Read::Stream(mut stream) => whole(&mut stream).await.expect("all of it"),
            other => panic!("an answer came: {other:?}"),
        };
        assert_eq!(seen.len(), bytes);
        stage.landed().await;
        let found = matches!(stage.find("/p/1"), Found::Fresh(_));
        assert_eq!(found, kept, "{bytes}");
    }
}

#[tokio::test]
async fn a_long_answer_streams_to_who_asked_while_it_is_stored() {
    let lines = format!("{PUBLIC}age: 5\r\n");
    let script = move |_: &str| (answer("200 OK", &lines, &"a".repeat(LARGE)), Then::Keep);
    let stage = Stage::with(Limits::default(), Arc::default(), script).await;
    // The second time a large one is let in.
    for round in 1..=2 {
        let Read::Stream(mut stream) = stage.fetch("/p/1", None).await else {
            panic!("it streams");
        };
        assert_eq!(stream.alone, None);
        let head = &stream.head.headers;
        assert_eq!(head["age"], "5");
        assert_eq!(head["content-length"], LARGE.to_string().as_str());
        assert!(
            !head.contains_key("x-edge-cache-scope"),
            "the origin's word"
        );
        assert_eq!(whole(&mut stream).await.expect("all").len(), LARGE);
        stage.landed().await;
        assert_eq!(stage.asked(), round);
        if matches!(stage.find("/p/1"), Found::Fresh(_)) {
            break;
        }
    }
    let Found::Fresh(entry) = stage.find("/p/1") else {
        panic!("it was let in");
    };
    assert_eq!(entry.body().len(), LARGE);
}

#[tokio::test]
async fn who_reads_slowly_or_leaves_delays_nobody_who_joined() {
    let script = |_: &str| (answer("200 OK", PUBLIC, &"a".repeat(LARGE)), Then::Keep);
    // Of such a shelf it is so large a part that it is let in when it is asked for again.
    let limits = Limits {
        tenant_cache_bytes_max: 8 << 20,
        ..Limits::default()
    };
    for stays in [true, false] {
        let stage = Stage::with(limits.clone(), Arc::default(), script).await;
        let [first, joined] = stage.two("/p/1").await;
        let Read::Stream(mut stream) = first.await.expect("no panic") else {
            panic!("it streams");
        };
        if !stays {
            drop(stream);
            let Read::Entry { entry, .. } = joined.await.expect("no panic") else {
                panic!("it is stored");
            };
            assert_eq!(entry.body().len(), LARGE);
            assert_eq!(stage.asked(), 1, "also what is not let in the first time");
            continue;
        }
        // Nothing of the stream is read until here.
        let Read::Entry { entry, .. } = joined.await.expect("no panic") else {
            panic!("it is stored");
        };
        assert_eq!(entry.body().len(), LARGE);
        assert_eq!(whole(&mut stream).await.expect("all").len(), LARGE);
        assert_eq!(stage.asked(), 1);
    }
}

#[tokio::test]
async fn half_an_answer_is_told_to_who_reads_it_and_is_not_kept() {
    for bytes in [10, LARGE] {
        let mut half = answer("200 OK", PUBLIC, &"a".repeat(bytes));
        half.truncate(half.len() - 1);
        let script = move |_: &str| (half.clone(), Then::Close);
        let stage = Stage::with(Limits::default(), Arc::default(), script).await;
        match stage.fetch("/p/1", None).await {
            Read::Stream(mut stream) => {
                assert!(whole(&mut stream).await.is_err(), "{bytes}");
            }
            Read::Failed(refusal) => assert_eq!(refusal, Refusal::OriginBroken),
            other => panic!("half an answer: {other:?}"),
        }
        stage.landed().await;
        assert!(matches!(stage.find("/p/1"), Found::Nothing), "{bytes}");
    }
}

#[tokio::test]
async fn what_nobody_reads_and_nobody_keeps_is_not_fetched_to_its_end() {
    let head = format!("HTTP/1.1 200 OK\r\n{PRIVATE}content-length: 1000000\r\n\r\n");
    let stage = Stage::new(move |_| (head.clone().into_bytes(), Then::Hang)).await;
    let Read::Stream(stream) = stage.fetch("/p/1", None).await else {
        panic!("it streams");
    };
    drop(stream);
    let again = stage.fetch("/p/1", None).await;
    assert!(matches!(again, Read::Alone(_) | Read::Stream(_)));
}

#[tokio::test]
async fn under_the_rules_of_a_conformance_run_what_needs_the_origins_word_is_not_joined() {
    let lines = "content-type: application/json\r\ncache-control: no-cache\r\netag: \"v1\"\r\n";
    let stage = Stage::saying(lines, "one").await;
    let [first, joined] = stage.two("/d/1").await;
    let first = first.await.expect("no panic");
    assert!(
        matches!(first, Read::Entry { started: true, .. }),
        "{first:?}"
    );
    let joined = joined.await.expect("no panic");
    let no_cache = Alone::Rule(PassReason::NoCache);
    assert!(
        matches!(joined, Read::Alone(alone) if alone == no_cache),
        "{joined:?}"
    );
}

#[tokio::test]
async fn an_answer_for_one_arrives_whole_however_long_it_is() {
    let bytes = 3 << 20;
    let script = move |_: &str| (answer("200 OK", PRIVATE, &"a".repeat(bytes)), Then::Keep);
    let stage = Stage::with(Limits::default(), Arc::default(), script).await;
    let Read::Stream(mut stream) = stage.fetch("/p/1", None).await else {
        panic!("it streams");
    };
    // The origin is far ahead before anything is read.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(whole(&mut stream).await.expect("all of it").len(), bytes);
}

#[tokio::test]
async fn who_waited_for_an_answer_that_breaks_off_is_told_so() {
    let mut half = answer("200 OK", PUBLIC, &"a".repeat(LARGE));
    half.truncate(half.len() - 1);
    let script = move |_: &str| (half.clone(), Then::Close);
    let stage = Stage::with(Limits::default(), Arc::default(), script).await;
    let [first, joined] = stage.two("/p/1").await;
    let Read::Stream(mut stream) = first.await.expect("no panic") else {
        panic!("it streams");
    };
    assert!(whole(&mut stream).await.is_err());
    let joined = joined.await.expect("no panic");
    let broken = Refusal::OriginBroken;
    assert!(
        matches!(joined, Read::Failed(refusal) if refusal == broken),
        "{joined:?}"
    );
}
