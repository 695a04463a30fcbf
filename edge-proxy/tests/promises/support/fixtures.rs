//! Real builds that lie beside a checkout, and an origin that serves their pages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::origin::{Asked, Origin};
use super::reply::Reply;

/// Where they are, unless the variable `FIXTURES` names another folder.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures");

/// One Next.js build.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) release: String,
    pub(crate) dir: PathBuf,
}

/// One file of a build, and where it is served.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Decoded.
    pub(crate) path: String,
    pub(crate) contents: Vec<u8>,
}

/// Builds of one app; none, and a word about it, where they are missing.
pub(crate) fn builds<const N: usize>(releases: [&str; N]) -> Option<[Build; N]> {
    let folder = std::env::var_os("FIXTURES").map_or_else(|| BESIDE.into(), PathBuf::from);
    let of = |release: &str| Build {
        release: release.to_owned(),
        dir: folder.join("next").join(release),
    };
    let builds = releases.map(of);
    if builds.iter().all(|build| build.dir.is_dir()) {
        return Some(builds);
    }
    skipped(&format!("there are no real builds in {}", folder.display()));
    None
}

/// Says that a test was left out. Not by `println!`: that is swallowed when a test passes.
pub(crate) fn skipped(why: &str) {
    // Nothing to do about a closed terminal.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}\n");
}

impl Build {
    /// Every file that is published: what the build made and what is in `public/`.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        collect(&self.dir.join("_next/static"), "/_next/static", &mut pieces);
        collect(&self.dir.join("public"), "", &mut pieces);
        pieces
    }

    /// The pages, by their paths.
    fn page(&self, folder: &str, path: &str, ending: &str) -> Option<Vec<u8>> {
        let name = match path.trim_matches('/') {
            "" => "index",
            name => name,
        };
        // Names of this build only: a path of a client never leaves the folder.
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        plain
            .then(|| self.dir.join(folder).join(format!("{name}.{ending}")))
            .and_then(|file| fs::read(file).ok())
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let uri: http::Uri = asked.seen.target.parse().expect("hyper has parsed it");
        let query = uri.query().unwrap_or_default();
        match uri.path() {
            "/_next/image" => return self.image(query),
            "/api/v1/courses" => return Reply::json(&json!({ "courses": [] })),
            "/api/v1/courses/1/grades" => {
                let grade = json!({ "student": "Anna", "score": 80, "engagement": 70 });
                return Reply::json(&json!({ "grades": [grade] }));
            }
            _ => {}
        }
        // As Next.js says it: a page and its payload share a URL.
        let vary =
            "RSC, Next-Router-State-Tree, Next-Router-Prefetch, Next-Router-Segment-Prefetch";
        let found = if query.split('&').any(|pair| pair.starts_with("_rsc=")) {
            self.page("rsc", uri.path(), "rsc")
                .map(|body| Reply::of("text/x-component", body))
        } else {
            self.page("html", uri.path(), "html")
                .map(|body| Reply::of("text/html; charset=utf-8", body))
        };
        let reply = found.unwrap_or_else(|| {
            let body = self.page("html", "_not-found", "html").unwrap_or_default();
            Reply::new(404)
                .header("content-type", "text/html; charset=utf-8")
                .body(body)
        });
        reply
            .header("vary", vary)
            .header("x-of-release", &self.release)
            .header("cache-control", "private, no-cache, no-store, max-age=0")
    }

    /// The source as it is: sizes are made elsewhere.
    fn image(&self, query: &str) -> Reply {
        let source = query.split('&').find_map(|pair| pair.strip_prefix("url="));
        let source = source.map(|source| source.replace("%2F", "/").replace("%2f", "/"));
        let name = source.as_deref().and_then(|source| {
            let source = source.split(['?', '%']).next()?;
            source.strip_prefix("/photos/")
        });
        let file = name
            .filter(|name| !name.contains('/'))
            .and_then(|name| fs::read(self.dir.join("public/photos").join(name)).ok());
        match file {
            Some(bytes) => Reply::of("image/jpeg", bytes),
            None => Reply::new(400).header("content-type", "text/plain"),
        }
    }

    /// Serves the build's pages.
    pub(crate) fn serve(&self, origin: &Origin) {
        let build = Arc::new(self.clone());
        origin.otherwise(move |asked| {
            let build = Arc::clone(&build);
            async move { build.answer(&asked) }
        });
    }
}

fn collect(folder: &Path, url: &str, pieces: &mut Vec<Piece>) {
    for entry in fs::read_dir(folder).expect("the builds can be read") {
        let entry = entry.expect("the builds can be read");
        let name = entry.file_name().into_string().expect("names are text");
        let path = format!("{url}/{name}");
        if entry.path().is_dir() {
            collect(&entry.path(), &path, pieces);
        } else {
            let contents = fs::read(entry.path()).expect("the builds can be read");
            pieces.push(Piece { path, contents });
        }
    }
}
