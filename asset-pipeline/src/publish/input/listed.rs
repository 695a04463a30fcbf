//! Builds that say themselves which of their files are named by their content: Vite
//! (`.vite/manifest.json`) and Rails' Propshaft (`public/assets/.manifest.json`). Names and bytes are
//! kept as the build made them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lol_html::{RewriteStrSettings, element, rewrite_str};
use serde::Deserialize;

use super::{Hashes, Layout, wrong};
use crate::manifest::ImageRules;
use crate::publish::PublishError;
use crate::publish::pages::Pages;
use crate::publish::scan::Tree;

/// Vite's hashes: six bytes in base64 with `-` and `_`.
const VITE_HASH: usize = 8;

/// The output folder of a Vite build, in a project or given itself.
pub(super) fn vite(root: &Path) -> Option<PathBuf> {
    let folders = [root.to_owned(), root.join("dist")];
    folders
        .into_iter()
        .find(|folder| folder.join(".vite/manifest.json").is_file())
}

#[derive(Deserialize)]
struct Chunk {
    file: String,
    #[serde(default)]
    css: Vec<String>,
    #[serde(default)]
    assets: Vec<String>,
}

/// What a Vite build's parts mean.
pub(super) fn vite_layout(root: &Path, out: &Path) -> Result<Layout, PublishError> {
    let said = out.join(".vite/manifest.json");
    let chunks: BTreeMap<String, Chunk> = read(&said)?;
    let mut files = BTreeSet::new();
    for chunk in chunks.into_values() {
        files.insert(chunk.file);
        files.extend(chunk.css);
        files.extend(chunk.assets);
    }
    let base = base(out, &files)?;
    let mut hashes = BTreeMap::new();
    for file in &files {
        present(&said, out, file)?;
        if let Some(hash) = vite_hash(file) {
            let before = base.len();
            hashes.insert(
                format!("{base}{file}"),
                before + hash.start..before + hash.end,
            );
        }
    }
    Ok(Layout {
        root: root.to_owned(),
        trees: vec![Tree {
            folder: out.to_owned(),
            url: base,
        }],
        build_id: None,
        deployment_id: None,
        hashed_prefixes: folders_of(hashes.keys()),
        images: Some(ImageRules::default()),
        plain: false,
        pages: true,
        build_pages: Pages::new(),
        own: vec![out.join(".vite")],
        hashes: Hashes::Listed(hashes),
    })
}

/// `assets/index-BgrtGj__.js`: the eight letters before the extension, unless they could be a word.
fn vite_hash(file: &str) -> Option<Range<usize>> {
    let name = file.rfind('/').map_or(0, |slash| slash + 1);
    let end = name + file[name..].find('.').unwrap_or(file.len() - name);
    let start = end.checked_sub(VITE_HASH).filter(|start| *start > name)?;
    let hash = file.get(start..end)?;
    let letters = hash
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let word = hash.bytes().all(|b| b.is_ascii_lowercase());
    (letters && !word && file.as_bytes()[start - 1] == b'-').then_some(start..end)
}

/// The URL that the build is made for, as its pages ask for its files: `base` of Vite's config.
fn base(out: &Path, files: &BTreeSet<String>) -> Result<String, PublishError> {
    let mut pages: Vec<PathBuf> = fs::read_dir(out)
        .map_err(|error| wrong(out, format!("it cannot be read: {error}")))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "html")
        })
        .collect();
    pages.sort();
    let mut bases = BTreeSet::new();
    for page in &pages {
        let html = fs::read_to_string(page)
            .map_err(|error| wrong(page, format!("it cannot be read: {error}")))?;
        let links = element!("script[src], link[href]", |element| {
            let url = element
                .get_attribute("src")
                .or_else(|| element.get_attribute("href"));
            bases.extend(url.and_then(|url| {
                let mut names = files.iter();
                names.find_map(|file| Some(url.strip_suffix(file.as_str())?.to_owned()))
            }));
            Ok(())
        });
        let settings = RewriteStrSettings::new().append_element_content_handler(links);
        rewrite_str(&html, settings).map_err(|error| wrong(page, error))?;
    }
    // Relative URLs suit every place.
    bases.retain(|base| !matches!(base.as_str(), "" | "./"));
    let mut bases = bases.into_iter();
    match (bases.next(), bases.next()) {
        (None, _) => Ok("/".to_owned()),
        (Some(base), None) if base.starts_with('/') && !base.starts_with("//") => Ok(base),
        (Some(base), None) => Err(wrong(
            out,
            format!(
                "its pages ask for their files at `{base}`: build with a `base` that is a path"
            ),
        )),
        (Some(one), Some(two)) => Err(wrong(
            out,
            format!(
                "its pages ask for their files at `{one}` and at `{two}`: build again from nothing"
            ),
        )),
    }
}

/// The `public` folder of a Rails project and the manifest in it.
pub(super) fn propshaft(root: &Path) -> Option<(PathBuf, PathBuf)> {
    [root.join("public"), root.to_owned()]
        .into_iter()
        .find_map(|public| {
            let manifest = public.join("assets/.manifest.json");
            manifest.is_file().then_some((public, manifest))
        })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Digested {
    Path(String),
    /// With the digests of subresource integrity.
    Entry {
        digested_path: String,
    },
}

/// What the parts of a Rails project mean.
pub(super) fn propshaft_layout(
    root: &Path,
    public: PathBuf,
    said: &Path,
) -> Result<Layout, PublishError> {
    const PREFIX: &str = "/assets/";
    let files: BTreeMap<String, Digested> = read(said)?;
    let mut hashes = BTreeMap::new();
    for (logical, digested) in files {
        let (Digested::Path(digested)
        | Digested::Entry {
            digested_path: digested,
        }) = digested;
        present(said, &public.join("assets"), &digested)?;
        if let Some(hash) = propshaft_hash(&logical, &digested) {
            let hash = PREFIX.len() + hash.start..PREFIX.len() + hash.end;
            hashes.insert(format!("{PREFIX}{digested}"), hash);
        }
    }
    Ok(Layout {
        root: root.to_owned(),
        trees: vec![Tree {
            folder: public.clone(),
            url: "/".to_owned(),
        }],
        build_id: None,
        deployment_id: None,
        hashed_prefixes: vec![PREFIX.to_owned()],
        images: Some(ImageRules::default()),
        plain: false,
        pages: false,
        build_pages: Pages::new(),
        own: vec![public.join("assets/.manifest.json")],
        hashes: Hashes::Listed(hashes),
    })
}

/// `app.js` is published as `app-1a2b3c4d.js`, `app.js.map` as `app-1a2b3c4d.js.map`; a file whose own
/// name ends with `-1a2b3c4d.digested.js` keeps it.
fn propshaft_hash(logical: &str, digested: &str) -> Option<Range<usize>> {
    if logical == digested {
        let end = digested.find(".digested.")?;
        let start = digested[..end].rfind('-')? + 1;
        return Some(start..end);
    }
    let longer = digested.len().checked_sub(logical.len() + 1)?;
    let start = 1 + logical
        .bytes()
        .zip(digested.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let end = start + longer;
    let same = digested.get(end..)? == logical.get(start - 1..)?;
    let hash = digested.get(start..end)?;
    let letters = hash
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let dash = digested.as_bytes()[start - 1] == b'-';
    (same && dash && letters && hash.len() >= 7).then_some(start..end)
}

fn read<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T, PublishError> {
    let bytes =
        fs::read(file).map_err(|error| wrong(file, format!("it cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(file, error))
}

/// A file that a manifest names lies in its folder.
fn present(said: &Path, folder: &Path, file: &str) -> Result<(), PublishError> {
    let inside = !file.starts_with('/') && !file.split('/').any(|part| part == "..");
    match inside && folder.join(file).is_file() {
        true => Ok(()),
        false => Err(wrong(
            said,
            format!("it names `{file}`, which is not there: the build did not end well"),
        )),
    }
}

/// Below these folders every name is hashed or listed. The root is none of them.
fn folders_of<'a>(urls: impl Iterator<Item = &'a String>) -> Vec<String> {
    let folders: BTreeSet<&str> = urls
        .filter_map(|url| url.rfind('/').map(|slash| &url[..=slash]))
        .filter(|folder| *folder != "/")
        .collect();
    folders.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_vite_name_is_eight_letters_that_are_no_word() {
        for (file, hash) in [
            ("assets/index-BgrtGj__.js", Some("BgrtGj__")),
            ("assets/lessons-i-KJ5ySU.js", Some("i-KJ5ySU")),
            ("assets/index-CtT_u35P.css", Some("CtT_u35P")),
            ("index-12345678.js.map", Some("12345678")),
            ("assets/my-calendar.css", None),
            ("assets/BgrtGj__.js", None),
            ("assets/index.js", None),
            ("assets/x-é2345678.js", None),
            ("", None),
        ] {
            let found = vite_hash(file).map(|hash| &file[hash]);
            assert_eq!(found, hash, "{file}");
        }
    }

    #[test]
    fn the_hash_of_a_propshaft_name_is_what_was_put_in() {
        for (logical, digested, hash) in [
            ("app.css", "app-1a2b3c4d.css", Some("1a2b3c4d")),
            ("a/app.js.map", "a/app-1a2b3c4d.js.map", Some("1a2b3c4d")),
            ("app-1.css", "app-1-1a2b3c4d.css", Some("1a2b3c4d")),
            (
                "x-9e107d9.digested.js",
                "x-9e107d9.digested.js",
                Some("9e107d9"),
            ),
            ("robots.txt", "robots.txt", None),
            ("app.css", "other-1a2b3c4d.css", None),
            ("app.css", "app-1a2b.css", None),
            ("app.css", "app_1a2b3c4d.css", None),
            ("app.css", "a.css", None),
        ] {
            let found = propshaft_hash(logical, digested).map(|hash| &digested[hash]);
            assert_eq!(found, hash, "{digested}");
        }
    }
}
