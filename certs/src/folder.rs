//! The folder as it is at one moment: which files form a pair, and their bytes.
//!
//! `NAME.crt` or `NAME.pem` holds the chain, `NAME.key` the key; `NAME.pem` may hold both. Names that begin with a dot
//! (Kubernetes keeps `..data` there) and other endings are left alone. Links are followed.
//!
//! In a managed folder the key is `NAME.sealed`, which is opened as it is read; what comes out is never on a disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;

use crate::error::Fault;
use crate::seal::Seal;

/// A chain of ten RSA certificates is below 32 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Two files for each of 20,000 hosts.
const FILES_MAX: usize = 40_000;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// A folder that certificates come from.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    /// What opens its keys; none: they lie there as PEM.
    pub(crate) seal: Option<Arc<Seal>>,
}

/// What a file system says of the files without their contents: equal means that they need not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    digest: Digest,
    /// Some file changed so lately that its times could hide one more change.
    fresh: bool,
}

/// File systems count time in steps; two changes within one look the same from outside.
const STEP: Duration = Duration::from_secs(2);

impl Outside {
    /// Looks at names, times, sizes and numbers of the files that [`Folder::read`] would read.
    pub(crate) fn look(dir: &Path) -> Result<Self, Fault> {
        let unreadable = |error: io::Error| Fault::Unreadable(error.kind());
        let now = SystemTime::now();
        let mut files = Vec::new();
        let mut fresh = false;
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let file_name = entry.map_err(unreadable)?.file_name();
            if file_name.to_str().and_then(split_name).is_none() {
                continue;
            }
            // Links are followed: what they point to is what is read.
            let seen = fs::metadata(dir.join(&file_name)).ok().map(|seen| {
                let changed = UNIX_EPOCH + Duration::from_secs(seen.ctime().unsigned_abs());
                fresh |= now.duration_since(changed).is_ok_and(|age| age < STEP) || changed > now;
                [
                    seen.dev(),
                    seen.ino(),
                    seen.size(),
                    seen.mtime().cast_unsigned(),
                    seen.mtime_nsec().cast_unsigned(),
                    seen.ctime().cast_unsigned(),
                    seen.ctime_nsec().cast_unsigned(),
                ]
            });
            files.push((file_name, seen));
            if files.len() > FILES_MAX {
                return Err(Fault::TooMany(FILES_MAX));
            }
        }
        files.sort();
        let mut all = digest::Context::new(&digest::SHA256);
        for (name, seen) in &files {
            all.update(name.as_encoded_bytes());
            for number in seen.iter().flatten() {
                all.update(&number.to_be_bytes());
            }
            all.update(&[0, u8::from(seen.is_some())]);
        }
        Ok(Self {
            digest: finish(all),
            fresh,
        })
    }

    /// Whether files that look like this need not be read, after they looked like `before` when they were.
    pub(crate) fn is_settled(&self, before: &Self) -> bool {
        !before.fresh && self.digest == before.digest
    }
}

type Content = Result<Vec<u8>, Fault>;

/// What the folder held when it was read.
pub(crate) struct Folder {
    pub(crate) pairs: Vec<Pair>,
    /// Over names and bytes: equal means that nothing changed.
    pub(crate) digest: Digest,
}

/// The files of one name.
pub(crate) struct Pair {
    pub(crate) name: String,
    /// Over the bytes of all files of this name.
    pub(crate) digest: Digest,
    stem: PathBuf,
    files: BTreeMap<&'static str, Content>,
}

/// A folder that could not be read, or a pair of it.
pub(crate) type Blame = (PathBuf, Fault);

impl Folder {
    pub(crate) fn read(place: &Place) -> Result<Self, Fault> {
        let dir = &place.dir;
        let unreadable = |error: io::Error| Fault::Unreadable(error.kind());
        let mut found: BTreeMap<String, BTreeMap<&'static str, Content>> = BTreeMap::new();
        let mut count = 0;
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let file_name = entry.map_err(unreadable)?.file_name();
            let Some((name, ending)) = file_name.to_str().and_then(split_name) else {
                continue;
            };
            count += 1;
            if count > FILES_MAX {
                return Err(Fault::TooMany(FILES_MAX));
            }
            if (ending == SEALED) != (place.seal.is_some() && ending != "crt") {
                continue;
            }
            let mut content = read_file(&dir.join(&file_name));
            if let (SEALED, Some(seal)) = (ending, &place.seal) {
                content = content.and_then(|bytes| seal.unclose(name, &bytes).ok_or(Fault::Sealed));
            }
            found
                .entry(name.to_owned())
                .or_default()
                .insert(ending, content);
        }

        let mut all = digest::Context::new(&digest::SHA256);
        let pairs: Vec<Pair> = found
            .into_iter()
            .map(|(name, files)| Pair {
                stem: dir.join(&name),
                digest: digest_of(&files),
                name,
                files,
            })
            .collect();
        for pair in &pairs {
            all.update(&(pair.name.len() as u64).to_be_bytes());
            all.update(pair.name.as_bytes());
            all.update(&pair.digest);
        }
        Ok(Self {
            pairs,
            digest: finish(all),
        })
    }
}

impl Pair {
    /// The file with the chain and its bytes.
    pub(crate) fn chain(&self) -> Result<(PathBuf, &[u8]), Blame> {
        let (ending, content) = match (self.files.get("crt"), self.files.get("pem")) {
            (Some(_), Some(_)) => return Err((self.file("pem"), Fault::TwoChains)),
            (Some(content), None) => ("crt", content),
            (None, Some(content)) => ("pem", content),
            (None, None) => return Err((self.key_file(), Fault::KeyWithoutCertificate)),
        };
        match content {
            Ok(bytes) => Ok((self.file(ending), bytes)),
            Err(fault) => Err((self.file(ending), fault.clone())),
        }
    }

    /// The file with the key, when the key has one of its own.
    pub(crate) fn key(&self) -> Option<(PathBuf, Result<&[u8], Fault>)> {
        let (ending, content) = [SEALED, "key"]
            .into_iter()
            .find_map(|ending| Some((ending, self.files.get(ending)?)))?;
        Some((self.file(ending), content.as_deref().map_err(Fault::clone)))
    }

    /// Where the key of this pair belongs.
    pub(crate) fn key_file(&self) -> PathBuf {
        let sealed = self.files.contains_key(SEALED);
        self.file(if sealed { SEALED } else { "key" })
    }

    /// A pair that lies in no folder yet.
    pub(crate) fn loose(name: &str, chain: &[u8], key: &[u8]) -> Self {
        let files = BTreeMap::from([("crt", Ok(chain.to_vec())), ("key", Ok(key.to_vec()))]);
        Self {
            name: name.to_owned(),
            digest: digest_of(&files),
            stem: name.into(),
            files,
        }
    }

    fn file(&self, ending: &str) -> PathBuf {
        // Not `with_extension`: a name such as `a.example` holds dots of its own.
        let mut file = self.stem.clone().into_os_string();
        file.push(".");
        file.push(ending);
        file.into()
    }
}

/// The ending of a sealed key.
pub(crate) const SEALED: &str = "sealed";

fn split_name(file_name: &str) -> Option<(&str, &'static str)> {
    let (name, ending) = file_name.rsplit_once('.')?;
    let ending = ["crt", "key", "pem", SEALED]
        .into_iter()
        .find(|known| *known == ending)?;
    (!name.is_empty() && !name.starts_with('.')).then_some((name, ending))
}

fn read_file(path: &Path) -> Content {
    let unreadable = |error: io::Error| Fault::Unreadable(error.kind());
    // Asked before opening: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Fault::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        Err(Fault::TooLarge(FILE_BYTES_MAX))
    } else {
        Ok(bytes)
    }
}

fn digest_of(files: &BTreeMap<&'static str, Content>) -> Digest {
    let mut all = digest::Context::new(&digest::SHA256);
    for (ending, content) in files {
        all.update(ending.as_bytes());
        match content {
            Ok(bytes) => {
                all.update(&(bytes.len() as u64).to_be_bytes());
                all.update(bytes);
            }
            Err(fault) => all.update(fault.to_string().as_bytes()),
        }
    }
    finish(all)
}

fn finish(context: digest::Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}
