//! Real input: two builds of a Next.js app behind a real edge, read by a real browser.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge_proxy::colour::Colour;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::OnceCell;

use super::assets::decode;
use super::support::browser::{Browser, Log, Tab};
use super::support::client::{Ask, Client, Http};
use super::support::fixtures::{Build, Piece, builds};
use super::support::site::kept;
use super::support::stage::{MAPLE, Plan, Stage, plan};
use super::support::wait::until;

pub(crate) const PAGES: [&str; 4] = ["/", "/gradebook", "/editor", "/resources"];
const SCHOOLS: usize = 200;

static PUBLISHED: OnceCell<PathBuf> = OnceCell::const_new();

/// The first two builds.
async fn site(plan: Plan) -> Option<(Stage, [Build; 2])> {
    site_of(plan, ["r1", "r2"]).await
}

/// The store that all builds are published to; none where there are no builds.
pub(crate) async fn published() -> Option<&'static PathBuf> {
    let builds = builds(["r1", "r2", "r3"])?;
    let publish = || async {
        let dirs = builds
            .each_ref()
            .map(|build| (build.release.clone(), build.dir.clone()));
        kept("next", &dirs).await
    };
    Some(PUBLISHED.get_or_init(publish).await)
}

/// Builds on blue and green, and the origins that serve their pages.
pub(crate) async fn site_of(plan: Plan, releases: [&str; 2]) -> Option<(Stage, [Build; 2])> {
    let builds = builds(releases)?;
    let [blue, green] = releases;
    let stage = plan
        .blue_release(blue)
        .green_release(green)
        .store(published().await?)
        .start()
        .await;
    for (build, colour) in builds.iter().zip(Colour::BOTH) {
        build.serve(stage.origin(colour));
    }
    stage.colour_ready(Colour::Green).await;
    Some((stage, builds))
}

fn encoded(path: &str) -> String {
    path.replace('[', "%5B").replace(']', "%5D")
}

/// Fetches a file in every coding and compares it; what was wrong.
async fn compare(client: &Client, piece: &Piece) -> Vec<String> {
    let mut wrong = Vec::new();
    for accept in ["br", "gzip", "identity", "gzip, deflate, br, zstd"] {
        for path in [piece.path.clone(), encoded(&piece.path)] {
            let answer = client
                .ask(Ask::get(&path).header("accept-encoding", accept))
                .await;
            let coding = answer.header("content-encoding");
            let allowed = coding.is_empty() || accept.contains(coding);
            if answer.status != 200 || !allowed || decode(coding, &answer.body) != piece.contents {
                wrong.push(format!("{path} as {accept}: {} {coding}", answer.status));
            }
            if path == encoded(&path) {
                break;
            }
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_both_releases_arrives_as_it_was_built() {
    let Some((stage, builds)) = site(plan()).await else {
        return;
    };
    for (build, weight) in builds.iter().zip(["green=0%", "green=100%"]) {
        stage.shift(weight).await;
        let pieces = build.pieces();
        assert!(pieces.len() > 100, "{} files", pieces.len());
        for http in Http::BOTH {
            let client = stage.client(MAPLE, http).await;
            let wrong: Vec<Vec<String>> = stream::iter(&pieces)
                .map(|piece| compare(&client, piece))
                .buffer_unordered(16)
                .collect()
                .await;
            let wrong = wrong.concat();
            assert!(
                wrong.is_empty(),
                "{} over {http:?}: {wrong:#?}",
                build.release
            );
        }
    }
    // Chunks of both builds are there whatever the weights are.
    let client = stage.h2(MAPLE).await;
    for build in &builds {
        for piece in build
            .pieces()
            .iter()
            .filter(|piece| piece.path.contains("/chunks/"))
        {
            let answer = client
                .get(&format!("{}?dpl={}", encoded(&piece.path), build.release))
                .await;
            assert_eq!(answer.body, piece.contents, "{}", piece.path);
            assert!(
                answer.header("cache-control").contains("immutable"),
                "{}",
                piece.path
            );
        }
    }
    assert!(stage.blue.seen().is_empty() && stage.green.seen().is_empty());
}

/// What a page load must look like to somebody at the screen.
pub(crate) fn check(page: &str, log: &Log) {
    assert_eq!(log.mistakes(), Vec::<String>::new(), "{page}");
    assert!(log.requests.len() > 3, "{page}: {:?}", log.requests);
    for request in log
        .requests
        .values()
        .filter(|request| !request.from_cache && request.status == 200)
    {
        assert_eq!(request.protocol, "h2", "{page}: {}", request.url);
        if request.kind == "Script" {
            let small = ["br", "dcb", "dcz"].contains(&request.encoding.as_str());
            assert!(small, "{page}: {} {}", request.url, request.encoding);
        }
    }
}

pub(crate) fn url(stage: &Stage, host: &str, path: &str) -> String {
    format!("https://{host}:{}{path}", stage.address().port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_every_page_without_a_mistake() {
    let Some((stage, _)) = site(plan()).await else {
        return;
    };
    let Some(browser) = Browser::start(&stage.pair.spki_hash()).await else {
        return;
    };
    for weight in ["green=0%", "green=100%"] {
        stage.shift(weight).await;
        let tab = browser.tab().await;
        for page in PAGES {
            let log = tab.load(&url(&stage, MAPLE, page)).await;
            check(page, &log);
            assert!(
                log.requests
                    .values()
                    .any(|request| request.kind == "Script"),
                "{page}"
            );
        }
    }
    browser.close().await;
}

/// The release whose pages and files a school gets: all of one, unless a shift came between.
async fn release(client: &Client, host: &str, workers: &BTreeMap<String, Vec<u8>>) -> String {
    let get = async |path| {
        let answer = client.ask(Ask::get(path).host(host)).await;
        assert_eq!(answer.status, 200, "{host}{path}");
        answer
    };
    let page = get("/gradebook").await;
    let payload = get("/gradebook?_rsc=abc").await;
    let worker = get("/sw.js").await;
    let again = get("/gradebook").await;
    let release = again.header("x-of-release").to_owned();
    assert_eq!(payload.header("content-type"), "text/x-component");
    if page.header("x-of-release") == release {
        assert_eq!(payload.header("x-of-release"), release, "{host}");
        assert!(
            worker.body == workers[&release],
            "{host}: sw.js is not of {release}"
        );
    }
    release
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_under_load_costs_nobody_a_request() {
    let host = |n: usize| format!("t{n}.school.test");
    let plan = (0..SCHOOLS).fold(plan(), |plan, n| plan.tenant(&format!("t{n}"), &[&host(n)]));
    let Some((stage, builds)) = site(plan).await else {
        return;
    };
    let stage = Arc::new(stage);
    let workers: BTreeMap<String, Vec<u8>> = builds
        .iter()
        .map(|build| {
            let worker =
                std::fs::read(build.dir.join("public/sw.js")).expect("the builds can be read");
            (build.release.clone(), worker)
        })
        .collect();
    assert_ne!(workers["r1"], workers["r2"]);

    // Two hundred schools keep loading pages, and note each change of their release.
    let stop = Arc::new(AtomicBool::new(false));
    let classes: Vec<_> = (0..4)
        .map(|class| {
            let (stage, stop, workers) = (Arc::clone(&stage), Arc::clone(&stop), workers.clone());
            tokio::spawn(async move {
                let http = if class % 2 == 0 { Http::Two } else { Http::One };
                let client = stage.client(MAPLE, http).await;
                let mut changes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    for n in (class..SCHOOLS).step_by(4) {
                        let now = release(&client, &host(n), &workers).await;
                        let past = changes.entry(n).or_default();
                        if past.last() != Some(&now) {
                            past.push(now);
                        }
                    }
                    rounds += 1;
                }
                (changes, rounds)
            })
        })
        .collect();

    let browser = Browser::start(&stage.pair.spki_hash()).await;
    let tabs = match &browser {
        None => Vec::new(),
        Some(browser) => {
            let mut tabs = Vec::new();
            for page in PAGES {
                let tab = browser.tab().await;
                check(page, &tab.load(&url(&stage, MAPLE, page)).await);
                tabs.push((page, tab));
            }
            tabs
        }
    };

    for weight in ["green=10%", "green=100%"] {
        stage.shift(weight).await;
        let seen = stage.green.seen().len();
        until("schools have seen it", async || {
            (stage.green.seen().len() > seen + 100).then_some(())
        })
        .await;
        for (page, tab) in &tabs {
            old_tab(&stage, tab, &builds[0]).await;
            if weight == "green=10%" {
                check(page, &tab.load(&url(&stage, MAPLE, page)).await);
            }
        }
    }
    for (page, tab) in &tabs {
        check(page, &tab.load(&url(&stage, MAPLE, page)).await);
    }
    stop_and_check(classes, &stop).await;
    stage.shift("green=0%").await;
    for (page, tab) in &tabs {
        old_tab(&stage, tab, &builds[1]).await;
        check(page, &tab.load(&url(&stage, MAPLE, page)).await);
    }
    drop(tabs);
    if let Some(browser) = browser {
        browser.close().await;
    }
}

/// A tab that was opened before the shift asks for chunks that it has not loaded yet.
pub(crate) async fn old_tab(stage: &Stage, tab: &Tab, build: &Build) {
    let chunks = build.pieces().into_iter();
    let paths: Vec<String> = chunks
        .map(|piece| format!("{}?dpl={}", encoded(&piece.path), build.release))
        .filter(|path| path.contains("/chunks/app/"))
        .collect();
    assert!(!paths.is_empty());
    let list = serde_json::to_string(&paths).expect("texts are JSON");
    let loaded = tab
        .evaluate(&format!(
            "Promise.all({list}.map(path => fetch(path, {{ cache: 'reload' }}).then(answer => answer.status)))"
        ))
        .await;
    let statuses: BTreeSet<u64> = loaded
        .as_array()
        .expect("a list of statuses")
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    assert_eq!(
        statuses,
        BTreeSet::from([200]),
        "{}: {loaded}",
        stage.address()
    );
}

type Class = tokio::task::JoinHandle<(BTreeMap<usize, Vec<String>>, usize)>;

/// While the weight only rose, every school went one way, and all have arrived.
async fn stop_and_check(classes: Vec<Class>, stop: &AtomicBool) {
    stop.store(true, Ordering::Relaxed);
    let mut moved = 0;
    for class in classes {
        let (changes, rounds) = class.await.expect("no request failed");
        assert!(rounds > 0);
        for (n, past) in changes {
            let one_way = matches!(
                past.iter().map(String::as_str).collect::<Vec<_>>()[..],
                ["r1", "r2"] | ["r2"] | ["r1"]
            );
            assert!(one_way, "t{n} went {past:?}");
            moved += usize::from(past.len() == 2);
        }
    }
    assert!(
        moved > SCHOOLS / 2,
        "only {moved} schools were seen to move"
    );
}
