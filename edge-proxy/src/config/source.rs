//! The three files as they are on disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asset_pipeline::digest::Digest;

use super::document::Document;
use super::mistake::{At, Mistake, Mistakes};
use super::raw::{self, ADMIN_SOCKET};

/// Ten thousand schools are a megabyte; more than this is not a config but an accident.
const BYTES_MAX: u64 = 16 << 20;

/// `edge.toml` and the two files it names, read one after the other.
#[derive(Debug)]
pub(super) struct Sources {
    /// What relative paths are relative to.
    pub(super) folder: PathBuf,
    pub(super) edge: Source,
    pub(super) tenants: Source,
    pub(super) rules: Source,
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// As messages name it.
    pub(super) name: Arc<str>,
    /// Its text, or why it could not be read.
    pub(super) text: Result<String, String>,
}

impl Sources {
    pub(super) fn read(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let edge = Source::read(path);
        let named = edge
            .text
            .as_deref()
            .map_or_else(|_| None, |text| toml_edit::Document::parse(text).ok());
        let beside = |key: &str, default: &str| {
            let name = named.as_ref().and_then(|file| file.get(key)?.as_str());
            Source::read(&folder.join(name.unwrap_or(default)))
        };
        Self {
            folder: folder_of(path),
            tenants: beside("tenants", raw::TENANTS),
            rules: beside("rules", raw::RULES),
            edge,
        }
    }

    /// Names these contents: another fingerprint is another config.
    pub(super) fn fingerprint(&self) -> Digest {
        let mut framed = Vec::new();
        for Source { name, text } in [&self.edge, &self.tenants, &self.rules] {
            let (kind, text) = match text {
                Ok(text) => (b'+', text),
                Err(reason) => (b'-', reason),
            };
            for part in [name.as_bytes(), &[kind], text.as_bytes()] {
                framed.extend_from_slice(&(part.len() as u64).to_be_bytes());
                framed.extend_from_slice(part);
            }
        }
        Digest::of(&framed)
    }
}

/// What relative paths in a config are relative to, wherever the edge was started.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let named = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    std::path::absolute(named).unwrap_or_else(|_| named.to_owned())
}

impl Source {
    /// Its values, or the only mistake that can be told without them.
    pub(super) fn document(&self, mistakes: &mut Vec<Mistake>) -> Option<Document> {
        match &self.text {
            Ok(text) => Document::parse(&self.name, text, mistakes),
            Err(reason) => {
                mistakes.push(Mistake::new(&self.name, None, &At::top(), reason));
                None
            }
        }
    }

    /// The admin socket that this `edge.toml` names.
    pub(super) fn admin_socket(&self, folder: &Path) -> Result<PathBuf, Mistakes> {
        let mut mistakes = Vec::new();
        let Some(document) = self.document(&mut mistakes) else {
            return Err(Mistakes::sorted(mistakes));
        };
        let text = |pointer| {
            document
                .json()
                .pointer(pointer)
                .and_then(|value| value.as_str())
        };
        let typed = text("/listeners/admin").map(PathBuf::from);
        let beside_state = || Some(Path::new(text("/state")?).join(ADMIN_SOCKET));
        typed
            .or_else(beside_state)
            .map(|socket| folder.join(socket))
            .ok_or_else(|| {
                let message = "missing: the admin socket is in this folder";
                Mistakes::sorted(vec![document.mistake(&At::top().key("state"), message)])
            })
    }

    pub(super) fn read(path: &Path) -> Self {
        Self {
            name: path.display().to_string().into(),
            text: text(path).map_err(|error| format!("cannot be read: {error}")),
        }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    // Asked before it is opened: to open a named pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it is larger than {BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}
