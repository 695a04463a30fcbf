//! A small site in two releases, published once for all tests of a run.

use std::fs;
use std::path::{Path, PathBuf};

use asset_pipeline::manifest::FORMAT;
use asset_pipeline::publish::{Publish, PublishError, publish};
use asset_pipeline::store::Store;
use tokio::sync::OnceCell;

/// The app of every test.
pub(crate) const APP: &str = "learn";

/// A hashed file of both releases, long enough for every coding.
pub(crate) const SHARED: &str = "/_next/static/chunks/shared-0f1e2d3c4b5a6978.js";
/// A hashed file of `r1` only.
pub(crate) const OF_R1: &str = "/_next/static/chunks/page-1111aaaa2222bbbb.js";
/// A hashed file of `r2` only.
pub(crate) const OF_R2: &str = "/_next/static/chunks/page-3333cccc4444dddd.js";
/// A hashed file of `r1` that `r2` has with one word changed.
pub(crate) const EDITED_R1: &str = "/_next/static/chunks/edited-7777aaaa8888bbbb.js";
/// That file in `r2`.
pub(crate) const EDITED_R2: &str = "/_next/static/chunks/edited-9999cccc0000dddd.js";
/// A hashed file in the folder of a dynamic route.
pub(crate) const DYNAMIC: &str = "/_next/static/chunks/app/courses/[id]/page-5555eeee6666ffff.js";
/// A release file that differs.
pub(crate) const NOTES: &str = "/notes.txt";
/// A release file above the size that is kept in memory.
pub(crate) const LONG: &str = "/long.bin";

static PUBLISHED: OnceCell<PathBuf> = OnceCell::const_new();

/// The store that holds `r1` and `r2`.
pub(crate) async fn published() -> &'static Path {
    let publish = || async {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let dirs = ["r1", "r2"].map(|release| {
            let dir = folder.path().join(release);
            write(&dir, release);
            (release.to_owned(), dir)
        });
        kept("site", &dirs).await
    };
    PUBLISHED.get_or_init(publish).await
}

/// A store below the target folder that holds these releases: it is kept for the next run, which
/// then has nothing to encode.
pub(crate) async fn kept(name: &str, releases: &[(String, PathBuf)]) -> PathBuf {
    // Of a format of its own: an older one's releases are left as they are.
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("promises-{name}-{FORMAT}"));
    for (release, dir) in releases {
        if try_publish(&store, dir, release).await.is_err() {
            // Of a run of other tests: what it held is not what these publish.
            std::fs::remove_dir_all(&store).expect("the target folder can be written");
            for (release, dir) in releases {
                publish_into(&store, dir, release).await;
            }
            break;
        }
    }
    store
}

/// What pages of a release say that they are of.
pub(crate) fn deployment(release: &str) -> String {
    format!("dpl_{release}")
}

/// Publishes a folder as a release of the app.
pub(crate) async fn publish_into(store: &Path, dir: &Path, release: &str) {
    try_publish(store, dir, release)
        .await
        .unwrap_or_else(|error| panic!("{release} is not published: {error}"));
}

async fn try_publish(store: &Path, dir: &Path, release: &str) -> Result<(), PublishError> {
    let store = Store::open(&url(store)).expect("a folder can be a store");
    let app = APP.parse().expect("the app's name is one");
    let id = release.parse().expect("the release's id is one");
    let published = publish(Publish::new(dir, app, id, store), &()).await;
    published.map(drop)
}

/// A folder as the URL of a store.
pub(crate) fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Text that compresses, of about `bytes`.
pub(crate) fn text(word: &str, bytes: usize) -> String {
    (0..)
        .map(|line| format!("/* {word}, line {line} */\n"))
        .scan(0, |length, line| {
            *length += line.len();
            (*length <= bytes + line.len()).then_some(line)
        })
        .collect()
}

/// What the edited file holds: text that compresses badly, and the release's name.
pub(crate) fn edited(release: &str) -> String {
    let noise = noise(4_000);
    let words: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("self.words = '{words}';\nself.release = '{release}';\n{words}")
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

/// The folder of one release, as a build of Next.js leaves it.
pub(crate) fn write(dir: &Path, release: &str) {
    let put = |path: &str, contents: &[u8]| {
        let path = dir.join(path.trim_start_matches('/'));
        let parent = path.parent().expect("the path is below the folder");
        fs::create_dir_all(parent).expect("the test's folder can be written");
        fs::write(path, contents).expect("the test's folder can be written");
    };
    put(SHARED, text("shared", 20_000).as_bytes());
    let own = if release == "r1" { OF_R1 } else { OF_R2 };
    put(own, text(release, 8_000).as_bytes());
    let changed = if release == "r1" {
        EDITED_R1
    } else {
        EDITED_R2
    };
    put(changed, edited(release).as_bytes());
    put(DYNAMIC, text("course", 4_000).as_bytes());
    for name in ["_buildManifest.js", "_ssgManifest.js"] {
        put(
            &format!("/_next/static/{release}/{name}"),
            format!("self.{name}={{}}").as_bytes(),
        );
    }
    put(
        &format!("/public{NOTES}"),
        text(&format!("notes of {release}"), 2_000).as_bytes(),
    );
    put(&format!("/public{LONG}"), &noise(2_500_000));
    let config = format!(
        r#"{{"config":{{"deploymentId":"{}"}}}}"#,
        deployment(release)
    );
    put("/required-server-files.json", config.as_bytes());
}
