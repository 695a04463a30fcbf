//! Next.js builds: a project folder (`.next/static`, `public`), or what is copied from one
//! (`_next/static`, `public`). Names and bytes are kept as the build made them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lol_html::{RewriteStrSettings, element, rewrite_str};
use serde::Deserialize;

use super::{Hashes, Layout, wrong};
use crate::manifest::ImageRules;
use crate::publish::PublishError;
use crate::publish::pages::Pages;
use crate::publish::scan::Tree;

/// Pages of which the deployment id is read: they all say the same.
const PAGES_MAX: usize = 20;

/// Where a build's parts lie.
pub(super) struct Build {
    static_files: PathBuf,
    /// The folder of the build's own manifests.
    manifests: PathBuf,
    /// Folders of prerendered pages.
    pages: Vec<PathBuf>,
}

/// The build in a folder, if there is one.
pub(super) fn build(root: &Path) -> Option<Build> {
    let own = root.join(".next");
    if own.join("static").is_dir() {
        return Some(Build {
            static_files: own.join("static"),
            pages: vec![own.join("server/app"), own.join("server/pages")],
            manifests: own,
        });
    }
    let copied = root.join("_next/static");
    copied.is_dir().then(|| Build {
        static_files: copied,
        manifests: root.to_owned(),
        pages: vec![root.join("html")],
    })
}

pub(super) fn layout(root: &Path, build: &Build) -> Result<Layout, PublishError> {
    let base = base_path(build)?;
    let prefix = format!("{base}/_next/static/");
    let mut trees = vec![Tree {
        folder: build.static_files.clone(),
        url: prefix.clone(),
    }];
    let public = root.join("public");
    if public.is_dir() {
        trees.push(Tree {
            folder: public,
            url: format!("{base}/"),
        });
    }
    Ok(Layout {
        root: root.to_owned(),
        trees,
        build_id: Some(build_id(build)?),
        deployment_id: deployment_id(build, &prefix)?,
        hashed_prefixes: vec![prefix],
        images: image_rules(build, &base)?,
        plain: false,
        pages: false,
        build_pages: pages(build, &base)?,
        own: Vec::new(),
        hashes: Hashes::Hex,
    })
}

/// A file that a build may have.
fn text(file: &Path) -> Result<Option<String>, PublishError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(file, format!("it cannot be read: {error}"))),
    }
}

fn base_path(build: &Build) -> Result<String, PublishError> {
    #[derive(Deserialize)]
    struct Routes {
        #[serde(default, rename = "basePath")]
        base_path: String,
    }
    let file = build.manifests.join("routes-manifest.json");
    let Some(text) = text(&file)? else {
        return Ok(String::new());
    };
    let Routes { base_path } = serde_json::from_str(&text).map_err(|error| wrong(&file, error))?;
    if !base_path.is_empty() && (!base_path.starts_with('/') || base_path.ends_with('/')) {
        return Err(wrong(
            &file,
            "its `basePath` is no path without a final `/`",
        ));
    }
    Ok(base_path)
}

/// How `next/image` asks for pictures; none where the build has its own loader, or leaves pictures alone.
/// Which files may be asked for is not limited by `localPatterns`: those of a release are public as they are.
fn image_rules(build: &Build, base: &str) -> Result<Option<ImageRules>, PublishError> {
    #[derive(Deserialize)]
    struct Images {
        images: Settings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        path: String,
        loader: String,
        #[serde(default)]
        unoptimized: bool,
        device_sizes: Vec<u32>,
        image_sizes: Vec<u32>,
        // Before Next.js 16 any quality might be asked for.
        #[serde(default)]
        qualities: Option<Vec<u8>>,
        #[serde(rename = "minimumCacheTTL")]
        max_age_s: u32,
    }
    let file = build.manifests.join("images-manifest.json");
    let Some(text) = text(&file)? else {
        let rules = ImageRules::default();
        return Ok(Some(ImageRules {
            path: format!("{base}{}", rules.path),
            ..rules
        }));
    };
    let Images { images } = serde_json::from_str(&text).map_err(|error| wrong(&file, error))?;
    if images.loader != "default" || images.unoptimized {
        return Ok(None);
    }
    if !images.path.starts_with('/') {
        return Err(wrong(&file, "its `path` is no path"));
    }
    let mut widths = [images.device_sizes, images.image_sizes].concat();
    widths.sort_unstable();
    widths.dedup();
    let mut qualities = images.qualities.unwrap_or_else(|| (1..=100).collect());
    qualities.sort_unstable();
    Ok(Some(ImageRules {
        path: images.path.trim_end_matches('/').to_owned(),
        widths,
        qualities,
        max_age_s: images.max_age_s,
    }))
}

/// What each page loads, by the build's own manifests: those of the App Router and of the Pages Router.
fn pages(build: &Build, base: &str) -> Result<Pages, PublishError> {
    #[derive(Deserialize)]
    struct Routes {
        #[serde(default)]
        pages: BTreeMap<String, Vec<String>>,
    }
    let read = |name: &str| -> Result<BTreeMap<String, Vec<String>>, PublishError> {
        let file = build.manifests.join(name);
        match text(&file)? {
            Some(text) => {
                let routes: Routes =
                    serde_json::from_str(&text).map_err(|error| wrong(&file, error))?;
                Ok(routes.pages)
            }
            None => Ok(BTreeMap::new()),
        }
    };
    let mut pages = Pages::new();
    let mut put = |route: &str, files: &[String]| {
        let urls = files.iter().map(|file| format!("{base}/_next/{file}"));
        let route = match route {
            "" => "/",
            route => route,
        };
        pages
            .entry(format!("{base}{route}"))
            .or_default()
            .extend(urls);
    };
    let app = read("app-build-manifest.json")?;
    for (key, files) in &app {
        let Some(route) = key.strip_suffix("/page") else {
            continue;
        };
        let shown = shown(route);
        put(&shown, files);
        // A page comes in the layouts of all folders around it.
        let ends = route.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([route.len()]) {
            if let Some(layout) = app.get(&format!("{}/layout", &route[..end])) {
                put(&shown, layout);
            }
        }
    }
    let routed = read("build-manifest.json")?;
    let own = ["/_app", "/_error", "/_document"];
    for (route, files) in routed
        .iter()
        .filter(|(route, _)| !own.contains(&route.as_str()))
    {
        put(route, files);
        if let Some(app) = routed.get("/_app") {
            put(route, app);
        }
    }
    Ok(pages)
}

/// A route as people ask for it: groups such as `(school)` are folders only.
fn shown(route: &str) -> String {
    let parts = route.split('/').skip(1);
    let shown = parts.filter(|part| !(part.starts_with('(') && part.ends_with(')')));
    shown.fold(String::new(), |route, part| format!("{route}/{part}"))
}

/// The folder of `_buildManifest.js` is named by the build id.
fn build_id(build: &Build) -> Result<String, PublishError> {
    let file = build.manifests.join("BUILD_ID");
    let said = text(&file)?.map(|text| text.trim().to_owned());
    let mut found = Vec::new();
    let unreadable = |error| wrong(&build.static_files, format!("it cannot be read: {error}"));
    for entry in fs::read_dir(&build.static_files).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().join("_buildManifest.js").is_file() {
            found.extend(entry.file_name().into_string().ok());
        }
    }
    match (said, found.as_slice()) {
        (None, [id]) => Ok(id.clone()),
        (Some(said), found) if found.contains(&said) => Ok(said),
        (Some(said), _) => Err(wrong(
            &file,
            format!("there is no `static/{said}/_buildManifest.js`: the build did not end well"),
        )),
        (None, found) => Err(wrong(
            &build.static_files,
            format!(
                "{} folders hold a `_buildManifest.js`, so the build id is unknown",
                found.len()
            ),
        )),
    }
}

/// From the build's configuration, else from the `?dpl=` of the files that its pages ask for.
fn deployment_id(build: &Build, prefix: &str) -> Result<Option<String>, PublishError> {
    #[derive(Deserialize)]
    struct Server {
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "deploymentId")]
        deployment_id: Option<String>,
    }
    let file = build.manifests.join("required-server-files.json");
    if let Some(text) = text(&file)? {
        let server: Server = serde_json::from_str(&text).map_err(|error| wrong(&file, error))?;
        let id = server.config.deployment_id.filter(|id| !id.is_empty());
        if id.is_some() {
            return Ok(id);
        }
    }
    let mut pages = Vec::new();
    for folder in &build.pages {
        html_files(folder, &mut pages);
    }
    let mut ids = BTreeSet::new();
    for page in &pages {
        if let Some(html) = text(page)? {
            ids.append(&mut asked(&html, prefix).map_err(|error| wrong(page, error))?);
        }
    }
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next(), pages.first()) {
        (Some(one), Some(two), Some(page)) => Err(wrong(
            page,
            format!(
                "the pages ask for `?dpl={one}` and for `?dpl={two}`: build again from nothing"
            ),
        )),
        (id, _, _) => Ok(id),
    }
}

/// The first pages in the order of their names.
fn html_files(folder: &Path, pages: &mut Vec<PathBuf>) {
    // A build without prerendered pages has no such folder, and need not have one.
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if pages.len() == PAGES_MAX {
            return;
        }
        if path.is_dir() && !path.is_symlink() {
            html_files(&path, pages);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            pages.push(path);
        }
    }
}

/// The values of `dpl` in the URLs of the scripts and styles of a page.
fn asked(html: &str, prefix: &str) -> Result<BTreeSet<String>, String> {
    let mut ids = BTreeSet::new();
    let links = element!("script[src], link[href]", |element| {
        let url = element
            .get_attribute("src")
            .or_else(|| element.get_attribute("href"));
        ids.extend(url.and_then(|url| dpl(&url, prefix)));
        Ok(())
    });
    rewrite_str(
        html,
        RewriteStrSettings::new().append_element_content_handler(links),
    )
    .map_err(|error| error.to_string())?;
    Ok(ids)
}

fn dpl(url: &str, prefix: &str) -> Option<String> {
    let (path, query) = url.split_once('?')?;
    if !path.starts_with(prefix) {
        return None;
    }
    let value = query
        .split(['&', ';', '#'])
        .find_map(|pair| pair.strip_prefix("dpl="))?;
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_id_is_what_pages_ask_for() {
        let prefix = "/_next/static/";
        for (url, id) in [
            ("/_next/static/a.js?dpl=r1", Some("r1")),
            ("/_next/static/a.js?v=1&amp;dpl=r1", Some("r1")),
            ("/_next/static/a.js?dpl=", None),
            ("/other/a.js?dpl=r1", None),
            ("/_next/static/a.js", None),
        ] {
            assert_eq!(dpl(url, prefix).as_deref(), id, "{url}");
        }
    }
}
