//! What made the folder, and what its folders mean.

mod listed;
mod next;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::pages::Pages;
use super::scan::{Listing, Tree};
use super::{PublishError, names};
use crate::manifest::{ImageRules, Kind};

/// What made the folder that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// Found out: Next.js where there is `.next/static` or `_next/static`, Vite where there is
    /// `.vite/manifest.json`, Propshaft where there is `public/assets/.manifest.json`, else plain.
    #[default]
    Auto,
    /// A Next.js project after `next build`, or a tree with `_next/static` and `public`.
    Next,
    /// The output of `vite build` with `build.manifest`, or the project that has it in `dist`.
    Vite,
    /// A Rails project after `assets:precompile` with Propshaft, or its `public` folder.
    Propshaft,
    /// Files that are their own source: URLs in them are rewritten.
    Plain,
}

/// What the folder's parts mean.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) trees: Vec<Tree>,
    pub(super) build_id: Option<String>,
    pub(super) deployment_id: Option<String>,
    /// Decoded, with `/` at both ends.
    pub(super) hashed_prefixes: Vec<String>,
    /// How smaller pictures are asked for; none where the build leaves that to somebody else.
    pub(super) images: Option<ImageRules>,
    /// Whether files are rewritten and get hashed twins; a build's own files never are.
    pub(super) plain: bool,
    /// Whether `index.html` answers its folder's URL too.
    pub(super) pages: bool,
    /// What each page loads, where the build says it.
    pub(super) build_pages: Pages,
    /// What the build keeps for itself: not published, and nothing to warn about.
    own: Vec<PathBuf>,
    hashes: Hashes,
}

/// Which names carry a hash.
#[derive(Debug)]
enum Hashes {
    /// Those that hold eight hex digits or more.
    Hex,
    /// Those that the build lists, and where in the URL path the hash is.
    Listed(BTreeMap<String, Range<usize>>),
}

fn wrong(file: &Path, reason: impl ToString) -> PublishError {
    PublishError::File {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

impl Layout {
    /// Looks at a folder.
    pub(super) fn of(root: &Path, input: Input) -> Result<Self, PublishError> {
        let wrong = |reason: &str| PublishError::Folder {
            folder: root.to_owned(),
            reason: reason.to_owned(),
        };
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(wrong("it is not a folder")),
            Err(error) => return Err(wrong(&format!("it cannot be read: {error}"))),
        }
        let asked = |one| input == one || input == Input::Auto;
        if asked(Input::Next)
            && let Some(build) = next::build(root)
        {
            return next::layout(root, &build);
        }
        if asked(Input::Vite)
            && let Some(out) = listed::vite(root)
        {
            return listed::vite_layout(root, &out);
        }
        if asked(Input::Propshaft)
            && let Some((public, said)) = listed::propshaft(root)
        {
            return listed::propshaft_layout(root, public, &said);
        }
        match input {
            Input::Next => Err(wrong(
                "it holds neither `.next/static` nor `_next/static`: run `next build` first",
            )),
            Input::Vite => Err(wrong(
                "it holds no `.vite/manifest.json`, nor does `dist`: set `build.manifest` to true and run `vite build`",
            )),
            Input::Propshaft => Err(wrong(
                "it holds no `public/assets/.manifest.json`: run `rails assets:precompile` first",
            )),
            Input::Auto | Input::Plain => Ok(Self {
                root: root.to_owned(),
                trees: vec![Tree {
                    folder: root.to_owned(),
                    url: "/".to_owned(),
                }],
                build_id: None,
                deployment_id: None,
                hashed_prefixes: Vec::new(),
                images: Some(ImageRules::default()),
                plain: true,
                pages: true,
                build_pages: Pages::new(),
                own: Vec::new(),
                hashes: Hashes::Hex,
            }),
        }
    }

    /// How a file of a build may be cached, by its URL path.
    pub(super) fn kind(&self, url: &str) -> Kind {
        let below = |prefix: &String| url.starts_with(prefix.as_str());
        let hashed = match &self.hashes {
            Hashes::Hex => self.hashed_prefixes.iter().any(below) && names::hex_hash(url).is_some(),
            Hashes::Listed(listed) => listed.contains_key(url),
        };
        match hashed {
            true => Kind::Hashed,
            false => Kind::Release,
        }
    }

    /// Where the hash of a hashed file's URL path is.
    pub(super) fn hash_in(&self, url: &str) -> Option<Range<usize>> {
        match &self.hashes {
            Hashes::Hex => names::hex_hash(url),
            Hashes::Listed(listed) => listed.get(url).cloned(),
        }
    }

    /// What was found in the folder and is not published, but for what the build keeps for itself.
    pub(super) fn left_out<'a>(&self, listing: &'a Listing) -> impl Iterator<Item = &'a PathBuf> {
        let skipped = listing.skipped.iter();
        skipped.filter(|path| !self.own.contains(path))
    }
}
