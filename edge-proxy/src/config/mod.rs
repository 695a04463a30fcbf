//! The files: as typed, then as checked.
//!
//! `edge.toml` names two others: `tenants.toml` and `rules.toml`. Each is read as TOML with its lines
//! (`document`), held against a schema that is generated from what may be typed (`raw`, `schema`),
//! and checked for its meaning (`check`); only then there is a [`checked::Config`]. All mistakes of
//! all files are reported at once, each with its file, line and key.

use std::path::{Path, PathBuf};

mod check;
pub mod checked;
mod document;
mod mistake;
mod raw;
pub mod rings;
mod schema;
mod source;
mod watch;

pub use checked::Config;
pub use mistake::{Mistake, Mistakes};
pub use watch::{Watch, watch};

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConfigFile {
    /// Sockets, bounds and apps.
    Edge,
    /// Which host is which school.
    Tenants,
    /// What may be cached.
    Rules,
}

/// Reads and checks `edge.toml` at `path`, and the files that it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    check::check(&source::Sources::read(path))
}

/// The admin socket that `edge.toml` names, whatever else is wrong with the files: an edge that runs
/// on its last good config must still take commands.
///
/// # Errors
/// When the file cannot be read, is not TOML, or names neither the socket nor the state folder.
pub fn admin_socket(path: &Path) -> Result<PathBuf, Mistakes> {
    source::Source::read(path).admin_socket(&source::folder_of(path))
}

/// The JSON schema of a file, for editors.
pub fn schema(of: ConfigFile) -> serde_json::Value {
    match of {
        ConfigFile::Edge => schema::of::<raw::Edge>(),
        ConfigFile::Tenants => schema::of::<raw::TenantsFile>(),
        ConfigFile::Rules => schema::of::<cache_rules::rules::RawRules>(),
    }
}

#[cfg(test)]
mod tests;
