use super::*;

#[tokio::test]
async fn what_was_fetched_is_found_until_its_time_is_over() {
    let stage = Stage::saying(PUBLIC, "one").await;
    assert!(matches!(stage.find("/p/1"), Found::Nothing));
    let Read::Entry { entry, started } = stage.fetch("/p/1", None).await else {
        panic!("it may be stored");
    };
    assert!(started && entry.body() == "one");
    let Found::Fresh(found) = stage.find("/p/1") else {
        panic!("it is fresh");
    };
    assert!(Arc::ptr_eq(&entry, &found));
    assert!(matches!(stage.find("/p/2"), Found::Nothing));
    stage.pass(25);
    assert!(matches!(stage.find("/p/1"), Found::Fresh(_)));
    stage.pass(5);
    assert!(matches!(stage.find("/p/1"), Found::Bridge(_)), "stale");
    stage.pass(5);
    assert!(matches!(stage.find("/p/1"), Found::Bridge(_)));
    stage.pass(5);
    assert!(matches!(stage.find("/p/1"), Found::Old(_)), "too stale");
    stage.cache.epochs.purge(&tagged("p:1"));
    assert!(matches!(stage.find("/p/1"), Found::Nothing), "purged");
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn who_wants_it_younger_gets_none_that_is_older() {
    let stage = Stage::saying(PUBLIC, "one").await;
    stage.stored("/p/1").await;
    stage.pass(10);
    let of_age = |max: u64| Wishes {
        max_age_s: Some(max),
        ..Wishes::default()
    };
    let still = |min: u64| Wishes {
        min_fresh_s: Some(min),
        ..Wishes::default()
    };
    for (wishes, fresh) in [
        (of_age(15), true),
        (of_age(9), false),
        (still(15), true),
        (still(20), false),
    ] {
        let found = stage.find_as("/p/1", &wishes);
        assert_eq!(matches!(found, Found::Fresh(_)), fresh, "{wishes:?}");
        assert_eq!(matches!(found, Found::Old(_)), !fresh, "{wishes:?}");
        // A fetch that was about to begin takes what came meanwhile only if it suits.
        let used = stage.cache.usable(&stage.job("/p/1"), &wishes);
        assert_eq!(used.is_some(), fresh, "{wishes:?}");
    }
    stage.pass(20);
    let used = stage.cache.usable(&stage.job("/p/1"), &Wishes::default());
    assert!(used.is_none(), "its time is over");
}

#[tokio::test]
async fn what_came_between_look_and_fetch_is_not_fetched_again() {
    let stage = Stage::saying(PUBLIC, "one").await;
    stage.stored("/p/1").await;
    let Read::Entry { started, .. } = stage.fetch("/p/1", None).await else {
        panic!("it is there");
    };
    assert!(!started);
    assert_eq!(stage.asked(), 1);
    assert!(stage.cache.fills.is_empty());
    stage.cache.epochs.purge(&tagged("p:1"));
    stage.stored("/p/1").await;
    assert_eq!(stage.asked(), 2, "purged");
}

#[tokio::test]
async fn why_answers_of_a_rule_were_not_kept_is_counted_the_most_frequent_first() {
    let stage = Stage::new(|asked| {
        let lines = match asked.contains("/p/1 ") {
            true => PRIVATE,
            false => "content-type: text/plain\r\ncache-control: max-age=30\r\nx-edge-cache-scope: public\r\n",
        };
        (answer("200 OK", lines, "mine"), Then::Keep)
    })
    .await;
    for path in ["/p/2", "/p/1", "/p/1"] {
        let Read::Stream(mut stream) = stage.fetch(path, None).await else {
            panic!("it is not stored");
        };
        whole(&mut stream).await.expect("all of it");
        stage.landed().await;
    }
    let refused = stage.cache.refused("public");
    let times: Vec<u64> = refused.iter().map(|(_, times)| *times).collect();
    assert_eq!(times, [2, 1], "{refused:?}");
    assert!(refused.iter().all(|(why, _)| !why.is_empty()));
    assert_ne!(refused[0].0, refused[1].0);
    assert!(stage.cache.refused("school").is_empty());
}

#[tokio::test]
async fn what_bridges_is_fetched_anew_in_the_background_once() {
    let stage = Stage::saying(PUBLIC, "one").await;
    stage.stored("/p/1").await;
    stage.pass(31);
    assert!(matches!(stage.find("/p/1"), Found::Bridge(_)));
    stage.origin.answers(false);
    for _ in 0..3 {
        stage.cache.refresh(stage.job("/p/1"));
    }
    stage.origin.asked_times(2).await;
    stage.origin.answers(true);
    stage.landed().await;
    assert_eq!(stage.asked(), 2);
    assert!(matches!(stage.find("/p/1"), Found::Fresh(_)));
}

#[tokio::test]
async fn a_write_ends_what_it_names_and_nothing_else() {
    let lines = format!("{PUBLIC}surrogate-key: lesson:9\r\n");
    let script = move |_: &str| (answer("200 OK", &lines, "one"), Then::Keep);
    let stage = Stage::with(Limits::default(), Arc::default(), script).await;
    for (ended, ends) in [
        (Ended::default(), false),
        (
            Ended {
                paths: vec!["/p/2".into()],
                ..Ended::default()
            },
            false,
        ),
        (
            Ended {
                paths: vec!["/p/1".into()],
                ..Ended::default()
            },
            true,
        ),
        (
            Ended {
                tags: vec![Tag::parse("lesson:9").expect("a tag")],
                ..Ended::default()
            },
            true,
        ),
    ] {
        stage.stored("/p/1").await;
        stage.cache.end(&oak(), &ended);
        let gone = matches!(stage.find("/p/1"), Found::Nothing);
        assert_eq!(gone, ends, "{ended:?}");
    }
}

#[tokio::test]
async fn how_a_stored_answer_is_can_be_seen_without_reading_it() {
    let stage = Stage::saying(PUBLIC, "one").await;
    let standing = || {
        let job = stage.job("/p/1");
        stage.cache.standing(&job.plan, &job.grant, &job.key)
    };
    assert!(standing().is_none());
    stage.stored("/p/1").await;
    stage.pass(10);
    let seen = standing().expect("it is there");
    let about =
        |duration: Duration, seconds: u64| (seconds..seconds + 5).contains(&duration.as_secs());
    assert!(about(seen.age, 10) && !seen.purged);
    assert!(about(seen.fresh_for.expect("some"), 15));
    let (born, ended) = seen.moments;
    assert!(born >= ended);
    stage.cache.epochs.soften(&tagged("p:1"));
    let seen = standing().expect("it is there");
    assert_eq!((seen.fresh_for, seen.purged), (None, false), "soft");
    stage.cache.epochs.purge(&tagged("p:1"));
    let seen = standing().expect("it is there");
    assert_eq!((seen.fresh_for, seen.purged), (None, true));
    assert!(seen.moments.1 > seen.moments.0);
}

#[tokio::test]
async fn what_a_purge_would_end_is_counted() {
    let stage = Stage::saying(PUBLIC, "one").await;
    for path in ["/p/1", "/p/2", "/p/3"] {
        stage.stored(path).await;
    }
    let covered = |purge: &Purge| stage.cache.covered(purge);
    for (purge, objects) in [
        (tagged("p:1"), 1),
        (tagged("p:9"), 0),
        (Purge::Tenant(oak()), 3),
        (Purge::Tenant("elm".parse().expect("a tenant id")), 0),
        (Purge::Everything, 3),
    ] {
        let estimate = covered(&purge);
        assert_eq!((estimate.objects, estimate.exact), (objects, true));
    }
    stage.cache.epochs.purge(&tagged("p:1"));
    assert_eq!(covered(&tagged("p:1")).objects, 0, "it is ended already");
    let (entries, bytes) = stage.cache.size();
    assert_eq!(entries, 3);
    assert!(bytes > 3 * 2048, "{bytes}");
    let mut bodies: Vec<_> = stage.cache.dump();
    bodies.retain(|stored| stored.tenant == oak() && stored.bytes.ends_with(b"one"));
    assert_eq!(bodies.len(), 3);
}

#[tokio::test]
async fn each_reason_has_a_name_of_its_own() {
    let all = [
        Alone::Rule(PassReason::NoCache),
        Alone::TooLong,
        Alone::NoLength,
        Alone::Full,
        Alone::Waited,
        Alone::Purged,
        Alone::Acting,
    ];
    let names: std::collections::HashSet<_> = all.iter().map(|alone| alone.as_str()).collect();
    assert_eq!(names.len(), all.len());
    assert!(names.iter().all(|name| name.len() > 3));
}

#[tokio::test]
async fn reasons_are_counted_up_to_a_bound_and_those_that_are_there_go_on() {
    let stage = Stage::saying(PUBLIC, "one").await;
    for rule in 0..=REFUSED_MAX {
        stage
            .cache
            .note_refused(&format!("rule-{rule}"), Alone::TooLong);
    }
    let last = format!("rule-{}", REFUSED_MAX - 1);
    assert_eq!(stage.cache.refused(&last), [("too_long", 1)]);
    let beyond = format!("rule-{REFUSED_MAX}");
    assert_eq!(stage.cache.refused(&beyond), []);
    stage.cache.note_refused(&last, Alone::TooLong);
    assert_eq!(stage.cache.refused(&last), [("too_long", 2)]);
}

#[tokio::test]
async fn codings_of_what_is_kept_are_made_beside() {
    let script = |_: &str| (answer("200 OK", PUBLIC, &"a".repeat(2000)), Then::Keep);
    let stage = Stage::with(Limits::default(), Arc::default(), script).await;
    let entry = stage.stored("/p/1").await;
    let made = async {
        while entry.codings().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(60), made).await;
    outcome.expect("they are made");
}
