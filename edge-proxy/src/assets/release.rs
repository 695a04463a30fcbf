//! Which file a path means.
//!
//! Hashed files are one table over all retained releases, whatever the split says; release files are
//! looked up in the release of the request's colour. Paths are decoded once before they come here,
//! so `[id]` and `%5Bid%5D` are the same file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use asset_pipeline::id::ReleaseId;
use asset_pipeline::manifest::{self, Blob, Delta, File, Image, Kind, Manifest};
use foldhash::fast::RandomState;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::images::{Images, SANDBOX, Wanted};
use crate::error::Refusal;
use crate::response::conditional::ETag;
use crate::response::dictionary::USE_AS_DICTIONARY;
use crate::response::negotiate::Coding;
use crate::response::represent::{Representation, Source};

/// A file with its headers built, per coding; the bytes are opened by [`super::blobs`].
pub type Served = Representation<Blob>;

type Files = HashMap<Box<str>, Arc<Served>, RandomState>;

/// The retained releases of one app.
#[derive(Debug, Default)]
pub struct ReleaseTable {
    hashed: Files,
    hashed_prefixes: Vec<Box<str>>,
    releases: BTreeMap<ReleaseId, Files>,
    /// What pages of a release say that they are of, where its build says so.
    deployments: BTreeMap<ReleaseId, String>,
    /// Release files below a hashed prefix, of any release: such as `_buildManifest.js`, whose path
    /// names a build. A page of the other colour asks for them after a shift.
    below: Files,
    /// What pages of a release say of its dictionary.
    dictionaries: BTreeMap<ReleaseId, HeaderValue>,
    images: Images,
    conflicts: Vec<Conflict>,
}

/// What a path is, before the colour is known.
#[derive(Debug)]
pub enum Hashed<'a> {
    /// A hashed file of some retained release.
    Found(&'a Arc<Served>),
    /// Below a hashed prefix, but no hashed file: a release file, or a 404 that the origin is not
    /// asked about and nobody stores.
    Below,
    /// None of ours.
    Elsewhere,
}

/// One hashed path with two contents: a build did not put everything into its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path.
    pub path: String,
    /// The release whose content is served: the older one, whose clients hold it as immutable.
    pub kept: ReleaseId,
    /// The release whose content is not.
    pub ignored: ReleaseId,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            kept,
            ignored,
        } = self;
        write!(
            f,
            "{path} has one content in release {kept} and another in {ignored}; {kept}'s is served: \
             build {ignored} again so that the name follows the content"
        )
    }
}

impl ReleaseTable {
    /// Joins releases, oldest first. Where two have the same hashed file in different encodings,
    /// those of a release that a colour names are taken: they are the ones that are mirrored.
    pub fn build(oldest_first: &[Arc<Manifest>], named: &BTreeSet<ReleaseId>) -> Self {
        let mut builder = Builder::default();
        let (first, then): (Vec<_>, Vec<_>) = oldest_first
            .iter()
            .partition(|manifest| named.contains(&manifest.release));
        let mut hashed: HashMap<&str, (&ReleaseId, &File)> = HashMap::new();
        for manifest in oldest_first {
            for (path, file) in of_kind(manifest, Kind::Hashed) {
                let (kept, held) = hashed.entry(path).or_insert((&manifest.release, file));
                if held.identity.digest != file.identity.digest {
                    builder.table.conflicts.push(Conflict {
                        path: path.clone(),
                        kept: kept.clone(),
                        ignored: manifest.release.clone(),
                    });
                } else if named.contains(&manifest.release) && !named.contains(*kept) {
                    (*kept, *held) = (&manifest.release, file);
                }
            }
        }
        for (path, (_, file)) in hashed {
            let served = builder.served(file);
            builder.table.hashed.insert(path.into(), served);
        }
        builder.prefixes(oldest_first);
        for manifest in oldest_first {
            builder.table.images.add(manifest);
        }
        builder.table.images.done();
        // The youngest release wins below the prefixes, and a named one before all others.
        for manifest in then.into_iter().chain(first) {
            builder.release(manifest);
        }
        builder.table
    }

    /// Looks a decoded path up among the hashed files.
    pub fn hashed(&self, path: &str) -> Hashed<'_> {
        match self.hashed.get(path) {
            Some(file) => Hashed::Found(file),
            None if self.is_below(path) => Hashed::Below,
            None => Hashed::Elsewhere,
        }
    }

    /// Looks a decoded path up among the release files of one release. Below a hashed prefix any
    /// release's will do, after that one's: its path names the build, not a colour.
    pub fn release_file(&self, release: &ReleaseId, path: &str) -> Option<&Arc<Served>> {
        self.releases
            .get(release)
            .and_then(|files| files.get(path))
            .or_else(|| self.below.get(path))
    }

    /// The deployment id that pages of a release send along with what they fetch.
    pub fn deployment(&self, release: &ReleaseId) -> Option<&str> {
        self.deployments.get(release).map(String::as_str)
    }

    /// The value of `Link` by which pages of a release offer its dictionary.
    pub fn dictionary(&self, release: &ReleaseId) -> Option<&HeaderValue> {
        self.dictionaries.get(release)
    }

    /// The picture of a release that a request wants smaller; none: it wants none, or one that the release
    /// does not have.
    ///
    /// # Errors
    /// It asks for what no picture is made in.
    pub fn picture(
        &self,
        release: &ReleaseId,
        path: &str,
        query: Option<&str>,
    ) -> Result<Option<Wanted<'_>>, Refusal> {
        self.images.find(release.as_str(), path, query)
    }

    /// The releases in the table, by id.
    pub fn releases(&self) -> impl Iterator<Item = &ReleaseId> {
        self.releases.keys()
    }

    /// Some file of a release, a hashed one if there is any.
    pub fn a_file(&self, release: &ReleaseId) -> Option<&str> {
        let of_release = self.releases.get(release)?;
        let path = self.hashed.keys().min().or_else(|| of_release.keys().min());
        path.map(|path| &**path)
    }

    /// Whether this release is retained.
    pub fn holds(&self, release: &ReleaseId) -> bool {
        self.releases.contains_key(release)
    }

    /// Paths with two contents.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// What must be there for every path of a release to be answered: the blobs that this table
    /// serves for it.
    pub fn blobs_of(&self, manifest: &Manifest) -> HashMap<Blob, String> {
        let mut blobs = HashMap::new();
        for (path, file) in &manifest.files {
            let served = match file.kind {
                Kind::Hashed => self.hashed.get(path.as_str()),
                Kind::Release => self.release_file(&manifest.release, path),
            };
            for form in served.into_iter().flat_map(|served| served.forms()) {
                blobs.entry(*form.source()).or_insert_with(|| path.clone());
            }
            for blob in file.image.iter().flat_map(Image::blobs) {
                blobs.entry(*blob).or_insert_with(|| path.clone());
            }
        }
        blobs
    }

    fn is_below(&self, path: &str) -> bool {
        self.hashed_prefixes
            .iter()
            .any(|prefix| path.starts_with(prefix.as_ref()))
    }
}

/// Files that are the same in many releases are built once.
#[derive(Default)]
struct Builder<'a> {
    table: ReleaseTable,
    built: HashMap<SameFile<'a>, Arc<Served>>,
}

/// Everything that decides what is sent.
#[derive(PartialEq, Eq, Hash)]
struct SameFile<'a> {
    hashed: bool,
    content_type: &'a str,
    identity: Blob,
    encoded: &'a BTreeMap<manifest::Coding, Blob>,
    dictionary_for: Option<&'a str>,
    deltas: &'a [Delta],
}

impl<'a> Builder<'a> {
    fn prefixes(&mut self, manifests: &[Arc<Manifest>]) {
        let all: BTreeSet<&str> = manifests
            .iter()
            .flat_map(|manifest| &manifest.hashed_prefixes)
            .map(String::as_str)
            .collect();
        self.table.hashed_prefixes = all.into_iter().map(Box::from).collect();
    }

    fn release(&mut self, manifest: &'a Manifest) {
        let mut files = Files::default();
        for (path, file) in of_kind(manifest, Kind::Release) {
            let served = self.served(file);
            if self.table.is_below(path) {
                let below = Arc::clone(&served);
                self.table.below.insert(path.as_str().into(), below);
            }
            files.insert(path.as_str().into(), served);
        }
        if let Some(id) = &manifest.deployment_id {
            let release = manifest.release.clone();
            self.table.deployments.insert(release, id.clone());
        }
        // Only where it is the file that is served: an older release's may have that name.
        let dictionary = manifest.dictionary.as_ref().filter(|path| {
            let file = manifest.files.get(path.as_str());
            let digest = file.map(|file| file.identity.digest);
            let served = self.table.hashed.get(path.as_str());
            digest.is_some() && served.map(|served| served.identity().digest) == digest
        });
        if let Some(link) = dictionary.and_then(|path| offer(path)) {
            self.table
                .dictionaries
                .insert(manifest.release.clone(), link);
        }
        self.table.releases.insert(manifest.release.clone(), files);
    }

    fn served(&mut self, file: &'a File) -> Arc<Served> {
        let same = SameFile {
            hashed: file.kind == Kind::Hashed,
            content_type: &file.content_type,
            identity: file.identity,
            encoded: &file.encoded,
            dictionary_for: file.dictionary_for.as_deref(),
            deltas: &file.deltas,
        };
        let served = self
            .built
            .entry(same)
            .or_insert_with(|| Arc::new(serve(file)));
        Arc::clone(served)
    }
}

fn of_kind(manifest: &Manifest, kind: Kind) -> impl Iterator<Item = (&String, &File)> {
    manifest
        .files
        .iter()
        .filter(move |(_, file)| file.kind == kind)
}

/// Builds the headers of a file. Its tags come from the digests of the very bytes that are sent, so
/// that a file encoded anew by a later publish has another one.
fn serve(file: &File) -> Served {
    let content_type = HeaderValue::from_str(&file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let cache_control = HeaderValue::from_static(match file.kind {
        Kind::Hashed => "public, max-age=31536000, immutable",
        Kind::Release => "no-cache",
    });
    let mut fields = HeaderMap::from_iter([
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, cache_control),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]);
    // A drawing may hold scripts. In a page they never run; opened by itself it would be a page of this site.
    if file.content_type.starts_with("image/svg+xml") {
        fields.insert(CONTENT_SECURITY_POLICY, SANDBOX);
    }
    let mut deltas = Vec::new();
    if file.kind == Kind::Hashed {
        // The name says all of the content: a deployment's id in the query changes nothing.
        fields.insert(
            NO_VARY_SEARCH,
            HeaderValue::from_static(r#"params=("dpl")"#),
        );
        // Dictionaries and what they tell are for files that are named by their content, and for
        // no others, whatever a manifest says.
        if let Some(field) = file.dictionary_for.as_deref().and_then(use_as_dictionary) {
            fields.insert(USE_AS_DICTIONARY, field);
            fields.insert(VARY, HeaderValue::from_static(VARY_BY_DICTIONARY));
            deltas.extend(file.deltas.iter().map(|delta| {
                let coding = Coding::from(delta.coding);
                (delta.from.digest, coding, source(&delta.blob, coding))
            }));
        }
    }
    let encoded = file.encoded.iter().map(|(coding, blob)| {
        let coding = Coding::from(*coding);
        (coding, source(blob, coding))
    });
    let identity = source(&file.identity, Coding::Identity);
    Representation::with_deltas(fields, identity, encoded.collect(), deltas)
}

/// The URLs for which a file may serve as a dictionary, as a structured field; none for a pattern
/// that is not of plain letters, which no publisher of ours writes.
fn use_as_dictionary(pattern: &str) -> Option<HeaderValue> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._~*-".contains(&b);
    let good = pattern.starts_with('/') && pattern.bytes().all(plain);
    let field = good.then(|| format!("match=\"{pattern}\""))?;
    HeaderValue::try_from(field).ok()
}

/// The header by which a page offers a dictionary; none for a path that is not of plain letters.
fn offer(path: &str) -> Option<HeaderValue> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._~-".contains(&b);
    let good = path.starts_with('/') && path.bytes().all(plain);
    let field = good.then(|| format!("<{path}>; rel=\"compression-dictionary\""))?;
    HeaderValue::try_from(field).ok()
}

fn source(blob: &Blob, coding: Coding) -> Source<Blob> {
    Source {
        etag: Some(ETag::of_digest(&blob.digest, coding)),
        bytes: blob.bytes,
        at: *blob,
    }
}

/// What the choice of a form depends on where dictionaries count (RFC 9842, section 6.2).
const VARY_BY_DICTIONARY: &str = "accept-encoding, available-dictionary";
const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

#[cfg(test)]
mod tests;
