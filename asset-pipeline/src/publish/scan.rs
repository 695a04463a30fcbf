//! What lies in the folder: files, their URLs, and a stamp that shows whether one changes later.
//!
//! Links are followed only to what lies in the folder too, so that no publish picks up a stranger's
//! file. Names that start with a dot are left out (`.git`, `.env`), but for `.well-known`.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PublishError;

/// More would be a mistake in the folder's name.
const FILES_MAX: usize = 100_000;
/// A file is held in memory while it is encoded.
const FILE_BYTES_MAX: u64 = 256 << 20;
const DEPTH_MAX: usize = 64;

/// A folder and the URL it is seen under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) folder: PathBuf,
    /// Starts and ends with `/`.
    pub(super) url: String,
}

/// All files of the trees, sorted by URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) files: Vec<FileOnDisk>,
    /// What starts with a dot.
    pub(super) skipped: Vec<PathBuf>,
}

/// A file as it was when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileOnDisk {
    pub(super) path: PathBuf,
    /// Its decoded URL path.
    pub(super) url: String,
    stamp: Stamp,
}

/// Differs when a file was written to or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// Lists the trees, all of which lie in `root`.
pub(super) fn scan(root: &Path, trees: &[Tree]) -> Result<Listing, PublishError> {
    let root = real(root)?;
    let mut listing = Listing {
        files: Vec::new(),
        skipped: Vec::new(),
    };
    for tree in trees {
        let folder = real(&tree.folder)?;
        if !folder.starts_with(&root) {
            return Err(refused(&tree.folder, "it is a link out of the folder"));
        }
        walk(
            &root,
            &tree.folder,
            &tree.url,
            &mut vec![folder],
            &mut listing,
        )?;
    }
    listing.files.sort_by(|a, b| a.url.cmp(&b.url));
    match listing
        .files
        .windows(2)
        .find(|two| two[0].url == two[1].url)
    {
        Some(two) => Err(PublishError::Clash {
            url: two[0].url.clone(),
            first: two[0].path.clone(),
            second: two[1].path.clone(),
        }),
        None => Ok(listing),
    }
}

fn walk(
    root: &Path,
    folder: &Path,
    url: &str,
    around: &mut Vec<PathBuf>,
    listing: &mut Listing,
) -> Result<(), PublishError> {
    if around.len() > DEPTH_MAX {
        return Err(refused(folder, "the folders are nested too deep"));
    }
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(refused(
                &path,
                "its name is not UTF-8, so no URL can name it",
            ));
        };
        if name.contains(|c: char| c.is_control() || c == '\\') {
            return Err(refused(
                &path,
                "its name holds a control character or a backslash, so no request can name it",
            ));
        }
        if name.starts_with('.') && name != ".well-known" {
            listing.skipped.push(path);
            continue;
        }
        let listed = entry
            .file_type()
            .map_err(|error| unreadable(&path, &error))?;
        let mut target = None;
        if listed.is_symlink() {
            let real = real(&path)?;
            if !real.starts_with(root) {
                return Err(refused(&path, "it is a link out of the folder"));
            }
            target = Some(real);
        }
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        if metadata.is_dir() {
            let real = match target {
                Some(real) => real,
                None => around
                    .last()
                    .map(|around| around.join(name))
                    .unwrap_or(path.clone()),
            };
            if around.contains(&real) {
                return Err(refused(&path, "it is a link to a folder around it"));
            }
            around.push(real);
            walk(root, &path, &format!("{url}{name}/"), around, listing)?;
            around.pop();
        } else if metadata.is_file() {
            if metadata.len() > FILE_BYTES_MAX {
                let reason = format!(
                    "it has {} bytes, at most {FILE_BYTES_MAX} can be published",
                    metadata.len()
                );
                return Err(refused(&path, &reason));
            }
            if listing.files.len() == FILES_MAX {
                let reason = format!("it holds more than {FILES_MAX} files");
                return Err(PublishError::Folder {
                    folder: root.to_owned(),
                    reason,
                });
            }
            listing.files.push(FileOnDisk {
                url: format!("{url}{name}"),
                stamp: Stamp::of(&metadata),
                path,
            });
        } else {
            return Err(refused(&path, "it is neither a file nor a folder"));
        }
    }
    Ok(())
}

impl Listing {
    /// Fails when the trees are not as they were when this was made.
    pub(super) fn unchanged(&self, root: &Path, trees: &[Tree]) -> Result<(), PublishError> {
        let now = scan(root, trees)?;
        let differs = |file: &FileOnDisk| PublishError::Changed {
            file: file.path.clone(),
        };
        for pair in self.files.iter().zip(&now.files) {
            match pair {
                (before, after) if before == after => {}
                // What is first in the order is what came, went or changed.
                (before, after) if after.url < before.url => return Err(differs(after)),
                (before, _) => return Err(differs(before)),
            }
        }
        let count = self.files.len().min(now.files.len());
        match self.files[count..].iter().chain(&now.files[count..]).next() {
            Some(file) => Err(differs(file)),
            None => Ok(()),
        }
    }
}

impl FileOnDisk {
    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// Its bytes, if they are still those that were found.
    pub(super) fn read(&self) -> Result<Vec<u8>, PublishError> {
        let changed = || PublishError::Changed {
            file: self.path.clone(),
        };
        let wrong = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => changed(),
            _ => unreadable(&self.path, &error),
        };
        let file = File::open(&self.path).map_err(wrong)?;
        let unchanged = |file: &File| -> Result<(), PublishError> {
            let stamp = Stamp::of(&file.metadata().map_err(wrong)?);
            if stamp == self.stamp {
                Ok(())
            } else {
                Err(changed())
            }
        };
        unchanged(&file)?;
        let mut bytes = Vec::with_capacity(self.stamp.bytes as usize);
        (&file)
            .take(self.stamp.bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(wrong)?;
        unchanged(&file)?;
        if bytes.len() as u64 != self.stamp.bytes {
            return Err(changed());
        }
        Ok(bytes)
    }
}

fn real(path: &Path) -> Result<PathBuf, PublishError> {
    fs::canonicalize(path).map_err(|error| unreadable(path, &error))
}

fn refused(file: &Path, reason: &str) -> PublishError {
    PublishError::File {
        file: file.to_owned(),
        reason: reason.to_owned(),
    }
}

fn unreadable(file: &Path, error: &io::Error) -> PublishError {
    refused(file, &format!("it cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
