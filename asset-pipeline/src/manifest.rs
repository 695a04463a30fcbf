//! What a release is: a list of URL paths and the blobs that answer them.
//!
//! A manifest is stored as `manifests/<sha256 of its bytes>.json` and lists only blobs that are
//! stored already. It is not the place that says which release is live: a colour names a release.
//!
//! Every URL path that a release answers is listed, so a reader looks one path up and never guesses:
//! of a plain site `/index.html` is listed as `/` too, and `/help/index.html` as `/help/`, with the
//! same blobs.

mod images;

use std::collections::{BTreeMap, BTreeSet};

pub use images::{Image, ImageFormat, ImageRules, Rendition, Tier, is_picture};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{AppId, ReleaseId};

/// One immutable set of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of this document; a reader refuses numbers that it does not know.
    pub format: u32,
    /// What is deployed as one thing.
    pub app: AppId,
    /// The id a colour names.
    pub release: ReleaseId,
    /// Next.js' build id, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Next.js' deployment id: `?dpl=` and `x-deployment-id` are looked up through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// Decoded URL prefixes below which every name is hashed or listed here, such as
    /// `/_next/static/`: an unknown name below them is a 404 and the origin is not asked.
    pub hashed_prefixes: Vec<String>,
    /// By decoded URL path, such as `/_next/static/chunks/app/courses/[id]/page-1c6b.js`.
    pub files: BTreeMap<String, File>,
    /// The scripts, styles and, where it is published, the document of each page, by the page's path:
    /// URL paths of `files`. For reports; nothing is served by it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pages: BTreeMap<String, BTreeSet<String>>,
    /// The file that holds what most pages share, if there is one: a hashed one of `files`, which pages offer
    /// to browsers as a dictionary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
    /// How smaller pictures are asked for; none where the build leaves that to somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageRules>,
}

/// The layout that this version writes. 2 added dictionaries and deltas, 3 added pictures.
pub const FORMAT: u32 = 3;
/// The oldest layout that is still read.
const FORMAT_MIN: u32 = 1;

/// One URL path of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Whether the path carries its content's hash.
    pub kind: Kind,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The bytes as they are.
    pub identity: Blob,
    /// The same bytes encoded, only where that is smaller; sorted by coding, each at most once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encoded: BTreeMap<Coding, Blob>,
    /// The URLs for which the identity form may serve as a dictionary (RFC 9842): its own path with
    /// the hash left open, such as `/_next/static/chunks/main-*.js`. Only of hashed files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary_for: Option<String>,
    /// The identity form told by what differs from files of earlier releases; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Delta>,
    /// Smaller pictures made of it; none where that was not tried, or it is no picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// A file told by what differs from another one that a client may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The bytes that a client must hold: it names them by their digest.
    pub from: Blob,
    /// How the difference is written.
    pub coding: DeltaCoding,
    /// The difference.
    pub blob: Blob,
}

/// A content coding with a dictionary (RFC 9842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeltaCoding {
    /// `dcb`: Brotli with a dictionary.
    Dcb,
    /// `dcz`: Zstandard with a dictionary.
    Dcz,
}

/// How a file may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The URL names the content: `immutable`, the same for every release.
    Hashed,
    /// The URL stays while the content changes: looked up in the release of the request's colour.
    Release,
}

/// A content coding that is made at publish time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// `br`, quality 11 (RFC 7932).
    Br,
    /// `gzip`, libdeflate 12 (RFC 1952).
    Gzip,
}

/// Bytes named by their digest: `blobs/sha256/ab/cdef...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub bytes: u64,
}

/// Bytes that are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum NotAManifest {
    /// It is not the JSON that a manifest is.
    #[error("it is no manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// A newer version wrote it.
    #[error("its format is {0}, and this version reads {FORMAT_MIN} to {FORMAT}")]
    Format(u32),
    /// A path that no request can have.
    #[error("`{0}` is not a URL path: it does not start with `/`")]
    Path(String),
}

impl Manifest {
    /// Reads a manifest. The caller has compared the bytes with the digest that names them.
    ///
    /// # Errors
    ///
    /// Bytes that are not a manifest that this version understands.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAManifest> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        // First, so that a newer format is called that and not an unknown field.
        let Format { format } = serde_json::from_slice(bytes)?;
        if !(FORMAT_MIN..=FORMAT).contains(&format) {
            return Err(NotAManifest::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        let mut paths = manifest.files.keys().chain(&manifest.hashed_prefixes);
        match paths.find(|path| !path.starts_with('/')) {
            Some(path) => Err(NotAManifest::Path(path.clone())),
            None => Ok(manifest),
        }
    }

    /// The bytes that are stored: the same manifest gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("a manifest has text keys and writes to memory");
        bytes.push(b'\n');
        bytes
    }

    /// Every blob that the release names, each once, in the order of their digests.
    pub fn blobs(&self) -> Vec<Blob> {
        let mut blobs: Vec<Blob> = self
            .files
            .values()
            .flat_map(|file| {
                std::iter::once(&file.identity)
                    .chain(file.encoded.values())
                    .chain(file.deltas.iter().map(|delta| &delta.blob))
                    .chain(file.image.iter().flat_map(Image::blobs))
            })
            .copied()
            .collect();
        blobs.sort_unstable_by_key(|blob| blob.digest);
        blobs.dedup();
        blobs
    }
}

impl Coding {
    /// The token of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl DeltaCoding {
    /// The token of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dcb => "dcb",
            Self::Dcz => "dcz",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_the_first_format_is_read() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"format":1,"app":"learn","release":"r1","hashed_prefixes":["/static/"],"files":{{
                "/static/a-0123456789abcdef.js":{{"kind":"hashed","content_type":"text/javascript",
                "identity":{{"digest":"{digest}","bytes":1}},"encoded":{{"br":{{"digest":"{digest}","bytes":1}}}}}}}}}}"#
        );
        let manifest = Manifest::from_bytes(text.as_bytes()).expect("it is read");
        let file = &manifest.files["/static/a-0123456789abcdef.js"];
        assert_eq!((&file.dictionary_for, &file.deltas), (&None, &Vec::new()));
        assert_eq!((&file.image, &manifest.images), (&None, &None));
        let newer = text.replace("\"format\":1", "\"format\":4");
        let error = Manifest::from_bytes(newer.as_bytes()).expect_err("it is refused");
        assert_eq!(
            error.to_string(),
            "its format is 4, and this version reads 1 to 3"
        );
    }
}
