//! Why a release was not published. Whatever the reason, nothing that was live has changed.

use std::fmt;
use std::path::PathBuf;

use crate::id::{AppId, ReleaseId};
use crate::store::StoreError;
use crate::weigh::Exceeded;

/// Why a release was not published. Whatever the reason, nothing that was live has changed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The folder is not what it should be.
    #[error("{}: {reason}", .folder.display())]
    Folder {
        /// The folder that was to be published.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read, or is not what can be published.
    #[error("{}: {reason}", .file.display())]
    File {
        /// The file on disk.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder is still being written.
    #[error("{} changed while it was read: wait until the build has ended, then publish again", .file.display())]
    Changed {
        /// The file that changed, came or went.
        file: PathBuf,
    },
    /// Two files want one URL.
    #[error("{} and {} both are `{url}`: rename one", .first.display(), .second.display())]
    Clash {
        /// The URL path.
        url: String,
        /// One file on disk.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// References to files that are not there.
    #[error("{}", listed(.0))]
    Broken(Vec<BrokenReference>),
    /// Pages weigh more than their budget.
    #[error("{}", over_budget(.0))]
    OverBudget(Vec<Exceeded>),
    /// The release's id is taken by another content.
    #[error(
        "{app} {release} is published already with other content: `{path}` {difference}; publish under a new id"
    )]
    Taken {
        /// What the release is of.
        app: AppId,
        /// The id.
        release: ReleaseId,
        /// The first URL path, or the first setting, that differs.
        path: String,
        /// How it differs.
        difference: &'static str,
    },
    /// A URL that carries a hash has another content in another release: one of the two is wrong.
    #[error(
        "`{url}` carries a hash, but its content in {release} is not that in {other}: the build reuses names; fix it, or publish with names that follow the content"
    )]
    TwoContents {
        /// The URL path.
        url: String,
        /// The release that was to be published.
        release: ReleaseId,
        /// The release that is published already.
        other: ReleaseId,
    },
    /// The same release is there and damaged, and this version encodes differently than the one that wrote it.
    #[error(
        "{app} {release} is published but damaged, and cannot be mended because it was encoded by another version: publish under a new id"
    )]
    BeyondRepair {
        /// What the release is of.
        app: AppId,
        /// The id.
        release: ReleaseId,
    },
    /// A collection did not end.
    #[error(
        "a collection (`asset-pipeline gc`) is under way in the store and does not end: publish again later"
    )]
    Collection,
    /// It could not say that it still runs, so a collection may have deleted what it found.
    #[error(
        "the publish slept or could not reach the store for too long, and was given up: publish again"
    )]
    Expired,
    /// A part of the publisher failed in a way that it should not.
    #[error("{what}: {reason}; this is a defect of the publisher")]
    Defect {
        /// What was worked on.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A reference of a file to one that is not in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenReference {
    /// The file that holds the reference, by URL path.
    pub file: String,
    /// The URL as it stands there.
    pub url: String,
    /// Why it leads nowhere.
    pub reason: &'static str,
}

impl fmt::Display for BrokenReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}", self.file, self.url, self.reason)
    }
}

impl PublishError {
    /// Whether a rule of the publisher refused (exit code 3), and not a fault stopped it (exit code 1).
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Broken(_)
            | Self::OverBudget(_)
            | Self::Taken { .. }
            | Self::TwoContents { .. } => true,
            Self::Folder { .. }
            | Self::File { .. }
            | Self::Changed { .. }
            | Self::Clash { .. }
            | Self::BeyondRepair { .. }
            | Self::Collection
            | Self::Expired
            | Self::Defect { .. }
            | Self::Store(_) => false,
        }
    }
}

/// The references that an error text names; more are counted.
const LISTED_MAX: usize = 20;

fn listed(broken: &[BrokenReference]) -> String {
    let mut text = format!("{} broken references:", broken.len());
    for reference in broken.iter().take(LISTED_MAX) {
        text.push_str(&format!("\n  {reference}"));
    }
    if broken.len() > LISTED_MAX {
        text.push_str(&format!("\n  and {} more", broken.len() - LISTED_MAX));
    }
    text.push_str("\nmend them, or allow them with --allow-broken");
    text
}

fn over_budget(over: &[Exceeded]) -> String {
    let mut text = format!("{} pages are over budget:", over.len());
    for exceeded in over.iter().take(LISTED_MAX) {
        text.push_str(&format!("\n  {exceeded}"));
    }
    if over.len() > LISTED_MAX {
        text.push_str(&format!("\n  and {} more", over.len() - LISTED_MAX));
    }
    text
}
