//! What made the folder, and what its folders mean.

mod next;

use std::path::{Path, PathBuf};

use super::PublishError;
use super::scan::Tree;
use crate::manifest::Kind;

/// What made the folder that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// Found out: Next.js where there is `.next/static` or `_next/static`, else plain.
    #[default]
    Auto,
    /// A Next.js project after `next build`, or a tree with `_next/static` and `public`.
    Next,
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
    /// Whether files are rewritten and get hashed twins; a build's own files never are.
    pub(super) plain: bool,
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
        match (input, next::build(root)) {
            (Input::Auto | Input::Next, Some(build)) => next::layout(root, &build),
            (Input::Next, None) => Err(wrong(
                "it holds neither `.next/static` nor `_next/static`: run `next build` first",
            )),
            (Input::Auto | Input::Plain, _) => Ok(Self {
                root: root.to_owned(),
                trees: vec![Tree {
                    folder: root.to_owned(),
                    url: "/".to_owned(),
                }],
                build_id: None,
                deployment_id: None,
                hashed_prefixes: Vec::new(),
                plain: true,
            }),
        }
    }

    /// How a file of a build may be cached, by its URL path.
    pub(super) fn kind(&self, url: &str) -> Kind {
        let below = |prefix: &String| url.starts_with(prefix.as_str());
        if self.hashed_prefixes.iter().any(below) && next::is_hashed(url) {
            Kind::Hashed
        } else {
            Kind::Release
        }
    }
}
