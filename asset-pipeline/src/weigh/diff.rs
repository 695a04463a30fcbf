//! What differs between two releases, file by file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{smallest, told};
use crate::id::{AppId, ReleaseId};
use crate::manifest::{File, Kind, Manifest};

/// What differs between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What the releases are of.
    pub app: AppId,
    /// The one.
    pub from: ReleaseId,
    /// The other.
    pub to: ReleaseId,
    /// URL paths that are the same.
    pub same: usize,
    /// What is not, sorted by path.
    pub changes: Vec<Change>,
}

/// One file that differs. Sizes are in bytes, in the smallest coding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A file without a counterpart.
    Added {
        /// Its URL path.
        path: String,
        /// What it weighs.
        bytes: u64,
    },
    /// A file whose counterpart is gone.
    Removed {
        /// Its URL path.
        path: String,
        /// What it weighed.
        bytes: u64,
    },
    /// Another content under the same URL, or under the same name with another hash.
    Changed {
        /// The URL path now.
        path: String,
        /// The URL path before, where it was another one.
        #[serde(skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// What it weighed.
        bytes_before: u64,
        /// What it weighs.
        bytes: u64,
        /// What it weighs for a browser that holds the one before.
        returning_bytes: u64,
    },
}

/// Compares two releases.
pub fn diff(from: &Manifest, to: &Manifest) -> Diff {
    let mut before: BTreeMap<&String, &File> = from.files.iter().collect();
    let mut same = 0;
    let mut new = Vec::new();
    for (url, file) in &to.files {
        match before.remove(url) {
            Some(old) if old.identity == file.identity => same += 1,
            Some(old) => new.push((url, file, Some((url, old)))),
            None => new.push((url, file, None)),
        }
    }
    let mut changes = Vec::new();
    for (url, file, old) in new {
        // The file of the same name, if it went; where there are several, the first by path.
        let of_the_name = || {
            let name = file.dictionary_for.as_ref()?;
            let mut gone = before.iter().filter(|(_, old)| old.kind == Kind::Hashed);
            let found = gone.find(|(_, old)| old.dictionary_for.as_ref() == Some(name));
            found.map(|(url, old)| (*url, *old))
        };
        let change = match old.or_else(of_the_name) {
            None => Change::Added {
                path: url.clone(),
                bytes: smallest(file),
            },
            Some((was, old)) => {
                before.remove(was);
                Change::Changed {
                    path: url.clone(),
                    was: (was != url).then(|| was.clone()),
                    bytes_before: smallest(old),
                    bytes: smallest(file),
                    returning_bytes: told(file, &[(was, old)]),
                }
            }
        };
        changes.push(change);
    }
    changes.extend(before.into_iter().map(|(url, file)| Change::Removed {
        path: url.clone(),
        bytes: smallest(file),
    }));
    changes.sort_by(|a, b| a.path().cmp(b.path()));
    Diff {
        app: to.app.clone(),
        from: from.release.clone(),
        to: to.release.clone(),
        same,
        changes,
    }
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Self::Added { path, .. } | Self::Removed { path, .. } | Self::Changed { path, .. } => {
                path
            }
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        let (app, from, to) = (&self.app, &self.from, &self.to);
        let (changes, same) = (self.changes.len(), self.same);
        write!(
            f,
            "{app} {from} to {to}: {changes} files differ, {same} are the same"
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { path, bytes } => write!(f, "+ {path} {bytes}"),
            Self::Removed { path, bytes } => write!(f, "- {path} {bytes}"),
            Self::Changed {
                path,
                was,
                bytes_before,
                bytes,
                returning_bytes,
            } => {
                write!(
                    f,
                    "~ {path} {bytes_before} -> {bytes}, {returning_bytes} returning"
                )?;
                match was {
                    Some(was) => write!(f, " (was {was})"),
                    None => Ok(()),
                }
            }
        }
    }
}
