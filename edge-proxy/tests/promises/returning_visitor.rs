//! Real input, a real browser: what somebody downloads who comes back after a deploy.

use std::collections::BTreeMap;
use std::path::Path;

use asset_pipeline::manifest::{Coding, Manifest};
use asset_pipeline::store::Store;

use super::next_site::{PAGES, check, published, site_of, url};
use super::support::browser::{Browser, Loaded, Tab};
use super::support::site::{self, APP};
use super::support::stage::{MAPLE, Stage, plan};

/// The scripts and styles of every page, by path.
async fn visit(stage: &Stage, tab: &Tab) -> BTreeMap<String, Loaded> {
    let mut code = BTreeMap::new();
    for page in PAGES {
        let log = tab.load(&url(stage, MAPLE, page)).await;
        check(page, &log);
        for request in log.requests.into_values() {
            let path = request.url.splitn(4, '/').nth(3).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let path = format!("/{}", path.replace("%5B", "[").replace("%5D", "]"));
            // The first time counts: later pages have it from the first one.
            if ["Script", "Stylesheet"].contains(&request.kind.as_str()) {
                code.entry(path).or_insert(request);
            }
        }
    }
    code
}

async fn manifest(store: &Path, release: &str) -> Manifest {
    let store = Store::open(&site::url(store)).expect("a folder can be a store");
    let app = APP.parse().expect("the app's name is one");
    let id = release.parse().expect("the release's id is one");
    store.manifest(&app, &id).await.expect("it is published")
}

/// What a returning visitor got, in bytes.
#[derive(Debug, Default)]
struct Returned {
    /// Of the files that changed, in br.
    encoded: u64,
    /// Of the same files, as they came, with their headers.
    came: u64,
    /// Files that changed, by how they came.
    codings: BTreeMap<String, usize>,
}

/// Loads every page of one release, then every page of the next.
async fn come_back(releases: [&str; 2]) -> Option<Returned> {
    let store = published().await?;
    let (stage, _) = site_of(plan(), releases).await?;
    let browser = Browser::start(&stage.pair.spki_hash()).await?;
    let tab = browser.tab().await;
    let first = visit(&stage, &tab).await;
    assert!(first.len() > 10, "{first:?}");
    stage.shift("green=100%").await;
    let again = visit(&stage, &tab).await;
    let [old, new] = [
        manifest(store, releases[0]).await,
        manifest(store, releases[1]).await,
    ];
    let mut returned = Returned::default();
    for (path, request) in &again {
        let file = &new.files[path];
        let same = old
            .files
            .get(path)
            .is_some_and(|old| old.identity == file.identity);
        if same && first.contains_key(path) {
            // Whatever the deployment's id in the query.
            assert!(
                request.from_cache,
                "{path} is downloaded again: {request:?}"
            );
            continue;
        }
        if same {
            continue;
        }
        let coding = match request.encoding.as_str() {
            "" => "identity",
            coding => coding,
        };
        *returned.codings.entry(coding.to_owned()).or_default() += 1;
        returned.encoded += file
            .encoded
            .get(&Coding::Br)
            .unwrap_or(&file.identity)
            .bytes;
        returned.came += request.bytes;
        // Whoever held the file of the same name gets what differs, if that is much less.
        let of_the_name = first.keys().filter_map(|path| old.files.get(path));
        let mut of_the_name = of_the_name.filter(|old| old.dictionary_for == file.dictionary_for);
        let told =
            of_the_name.any(|old| file.deltas.iter().any(|delta| delta.from == old.identity));
        assert!(!told || coding.starts_with("dc"), "{path} came as {coding}");
    }
    let Returned {
        encoded,
        came,
        codings,
    } = &returned;
    // For people; the tests below hold the shares.
    eprintln!("{releases:?}: {came} bytes came in place of {encoded}: {codings:?}");
    browser.close().await;
    Some(returned)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_edit_a_browser_downloads_a_few_per_cent() {
    let Some(returned) = come_back(["r1", "r2"]).await else {
        return;
    };
    let told: usize = ["dcb", "dcz"]
        .iter()
        .filter_map(|coding| returned.codings.get(*coding))
        .sum();
    assert!(told >= 4, "{returned:?}");
    // With all headers; the content alone is held by the publisher's own tests.
    assert!(returned.came * 100 <= returned.encoded * 10, "{returned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_of_the_framework_a_browser_downloads_less() {
    let Some(returned) = come_back(["r2", "r3"]).await else {
        return;
    };
    assert!(returned.codings.contains_key("dcb"), "{returned:?}");
    assert!(returned.came < returned.encoded, "{returned:?}");
}
