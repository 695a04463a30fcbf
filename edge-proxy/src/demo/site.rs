//! The sample site, embedded: release one, and what release two changes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rust_embed::{Embed, EmbeddedFile};

use crate::colour::Colour;

#[derive(Embed)]
#[folder = "demo/site"]
struct One;

#[derive(Embed)]
#[folder = "demo/site-green"]
struct Two;

/// The site could not be written out.
#[derive(Debug, thiserror::Error)]
#[error("{path} of the sample site could not be written: {source}", path = path.display())]
pub struct SiteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the site of one colour into an empty folder: green is blue with some files replaced.
pub(super) fn write(colour: Colour, folder: &Path) -> Result<(), SiteError> {
    lay::<One>(folder)?;
    match colour {
        Colour::Blue => Ok(()),
        Colour::Green => lay::<Two>(folder),
    }
}

fn lay<Site: Embed>(folder: &Path) -> Result<(), SiteError> {
    for name in Site::iter() {
        let path = folder.join(name.as_ref());
        let Some(EmbeddedFile { data, .. }) = Site::get(&name) else {
            continue; // only a name that iter() did not give is unknown
        };
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        parent
            .and_then(|()| fs::write(&path, data))
            .map_err(|source| SiteError { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn green_only_replaces_files_that_blue_has() {
        let blue: Vec<_> = One::iter().collect();
        for name in Two::iter() {
            assert!(blue.contains(&name), "{name} is not in demo/site");
            let same =
                One::get(&name).map(|file| file.data) == Two::get(&name).map(|file| file.data);
            assert!(!same, "{name} is the same in both folders");
        }
    }

    #[test]
    fn every_file_is_written_where_its_url_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(Colour::Green, folder.path()).expect("written");
        for name in One::iter() {
            assert!(folder.path().join(name.as_ref()).is_file(), "{name}");
        }
    }
}
