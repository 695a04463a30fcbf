//! What each page loads: from the manifests of a Next.js build, else from the published HTML.
//!
//! Scripts, styles and documents only: which pictures are loaded depends on the screen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input::Layout;
use super::rewrite::reference::{Resolved, resolve};
use super::rewrite::{Dialect, Links, Reference, Role};
use super::site::Site;
use super::work::blocking;
use super::{PublishError, media};
use crate::manifest::Manifest;

pub(super) type Pages = BTreeMap<String, BTreeSet<String>>;

/// The pages of a release, by path, with the URL paths that each loads.
pub(super) async fn of(
    layout: &Layout,
    site: &Arc<Site>,
    manifest: &Manifest,
) -> Result<Pages, PublishError> {
    let mut pages = layout.build_pages.clone();
    if layout.pages {
        let (site, known) = (Arc::clone(site), manifest.files.keys().cloned().collect());
        pages = blocking("the pages", move || crawled(&site, &known)).await?;
    }
    for loaded in pages.values_mut() {
        loaded.retain(|url| manifest.files.contains_key(url));
    }
    Ok(pages)
}

fn crawled(site: &Site, known: &BTreeSet<String>) -> Result<Pages, PublishError> {
    let mut loads: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut twins: BTreeMap<String, &str> = BTreeMap::new();
    for (at, source) in site.sources.iter().enumerate() {
        let url = source.file.url.as_str();
        let Some(dialect @ (Dialect::Html | Dialect::Css)) =
            Dialect::of(url).filter(|_| source.utf8)
        else {
            continue;
        };
        twins.extend(site.twin_url(at).map(|twin| (twin, url)));
        let bytes = site.bytes(at)?;
        let mut code = Code {
            document: url,
            loads: BTreeSet::new(),
        };
        // What cannot be read loads nothing: the rewrite has refused what must be readable.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = dialect.rewrite(text, &mut code);
        }
        code.loads.retain(|url| known.contains(url));
        loads.insert(url, code.loads);
    }
    let documents = loads
        .keys()
        .filter(|url| Dialect::of(url) == Some(Dialect::Html));
    let pages = documents.map(|document| {
        let mut reached = BTreeSet::from([(*document).to_owned()]);
        let mut open = vec![(*document).to_owned()];
        while let Some(url) = open.pop() {
            let plain = twins.get(&url).copied().unwrap_or(url.as_str());
            let next = loads.get(plain).into_iter().flatten();
            open.extend(next.filter(|url| reached.insert((*url).clone())).cloned());
        }
        let page = document.strip_suffix("index.html").unwrap_or(document);
        (page.to_owned(), reached)
    });
    Ok(pages.collect())
}

/// Notes the scripts and styles that a document loads.
struct Code<'a> {
    document: &'a str,
    loads: BTreeSet<String>,
}

impl Links for Code<'_> {
    fn reference(&mut self, reference: Reference<'_>) -> Option<String> {
        if reference.role != Role::Fixed
            && let Resolved::Local(path) = resolve(self.document, reference.base, reference.url)
            && media::is_code(&path)
        {
            self.loads.insert(path);
        }
        None
    }

    fn integrity(&mut self, _: Reference<'_>) -> Option<String> {
        None
    }
}
