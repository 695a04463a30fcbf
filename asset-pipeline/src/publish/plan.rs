//! What a publish would do, without writing anything.

use std::fmt;

use serde::Serialize;

use super::history::History;
use super::known::Known;
use super::report::Size;
use super::{Prepared, Progress, Publish, PublishError, prepare};
use crate::id::{AppId, ReleaseId};
use crate::manifest::Kind;

/// What a publish would do. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What the release is of.
    pub app: AppId,
    /// Its id.
    pub release: ReleaseId,
    /// The same release is there, whole: nothing would be done.
    pub repeated: bool,
    /// URL paths that carry a hash.
    pub hashed_files: usize,
    /// URL paths that do not.
    pub release_files: usize,
    /// Contents that the store does not hold.
    pub new_contents: usize,
    /// Their bytes, before encoding.
    pub new_bytes: u64,
    /// The URL paths of these, sorted.
    pub new_files: Vec<String>,
    /// Things to look at that would not stop the publish.
    pub warnings: Vec<String>,
}

/// Looks at the folder and at the store as [`super::publish`] would.
///
/// # Errors
///
/// Whatever would refuse the publish before files are encoded: broken references, a taken id, a
/// hashed URL with two contents.
pub async fn plan(publish: Publish, progress: &dyn Progress) -> Result<Plan, PublishError> {
    let store = &publish.store;
    let Prepared {
        manifest,
        contents,
        mut warnings,
        ..
    } = prepare(&publish, progress).await?;
    let mut repeated = false;
    match store.release_ids(&publish.app).await {
        Ok(_) => {
            repeated = Known::find(store, &manifest)
                .await?
                .is_some_and(|known| known.whole);
            let mut history = History::default();
            history.check(store, &manifest).await?;
            warnings.append(&mut history.warnings);
        }
        // The first publish makes the store.
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    let mut new = Vec::new();
    for content in contents {
        match store.confirm(&content.blob).await {
            Ok(()) => {}
            Err(error) if error.is_missing() || error.is_damaged() => new.push(content),
            Err(error) => return Err(error.into()),
        }
    }
    let hashed = manifest.files.values();
    let hashed = hashed.filter(|file| file.kind == Kind::Hashed).count();
    let mut new_files: Vec<String> = new.iter().map(|content| content.url.clone()).collect();
    new_files.sort();
    Ok(Plan {
        repeated,
        hashed_files: hashed,
        release_files: manifest.files.len() - hashed,
        new_contents: new.len(),
        new_bytes: new.iter().map(|content| content.blob.bytes).sum(),
        new_files,
        warnings,
        app: manifest.app,
        release: manifest.release,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for file in &self.new_files {
            writeln!(f, "new: {file}")?;
        }
        let (app, release) = (&self.app, &self.release);
        if self.repeated {
            return write!(f, "{app} {release} is published already: nothing to do");
        }
        write!(
            f,
            "{app} {release}: {} hashed and {} release files; {} contents to encode and store, {}",
            self.hashed_files,
            self.release_files,
            self.new_contents,
            Size(self.new_bytes)
        )
    }
}
