//! The names of things in a store, and of a store.

use std::path::{Path as FilePath, PathBuf};

use object_store::path::Path;
use percent_encoding::percent_decode_str;

use super::bucket::Bucket;
use super::{Place, StoreError};
use crate::digest::Digest;
use crate::id::{AppId, EdgeId, ReleaseId};
use crate::signature::PublicKey;

#[cfg(feature = "publish")]
use super::sweep::Thing;

pub(super) const MARKER: &str = "store.json";

pub(super) fn marker() -> Path {
    Path::from(MARKER)
}

pub(super) fn blob(digest: &Digest) -> Path {
    let hex = digest.to_string();
    let (shard, rest) = hex.split_at(2);
    Path::from(format!("blobs/sha256/{shard}/{rest}"))
}

pub(super) fn manifest(digest: &Digest) -> Path {
    Path::from(format!("manifests/{digest}.json"))
}

pub(super) fn signature(digest: &Digest, key: &PublicKey) -> Path {
    Path::from(format!("signatures/{digest}/{}", key.hex()))
}

pub(super) fn apps() -> Path {
    Path::from("releases")
}

pub(super) fn releases(app: &AppId) -> Path {
    Path::from(format!("releases/{app}"))
}

pub(super) fn release(app: &AppId, id: &ReleaseId) -> Path {
    Path::from(format!("releases/{app}/{id}"))
}

#[cfg(feature = "publish")]
pub(super) fn derived(key: &Digest) -> Path {
    Path::from(format!("derived/{key}"))
}

pub(super) fn in_use(app: &AppId, edge: &EdgeId) -> Path {
    Path::from(format!("in-use/{app}/{edge}"))
}

#[cfg(feature = "publish")]
pub(super) fn in_use_apps() -> Path {
    Path::from("in-use")
}

#[cfg(feature = "publish")]
pub(super) fn in_use_of(app: &AppId) -> Path {
    Path::from(format!("in-use/{app}"))
}

#[cfg(feature = "publish")]
pub(super) fn marks() -> Path {
    Path::from("gc/marks.json")
}

/// What lies at a place, if it is what one of the functions here would name.
#[cfg(feature = "publish")]
pub(super) fn thing(path: &str) -> Option<Thing> {
    let (folder, name) = path.split_once('/')?;
    match folder {
        "blobs" => {
            let hex = name.strip_prefix("sha256/")?.replacen('/', "", 1);
            let digest = hex.parse().ok()?;
            (blob(&digest).as_ref() == path).then_some(Thing::Blob(digest))
        }
        "manifests" => {
            let digest = name.strip_suffix(".json")?.parse().ok()?;
            Some(Thing::Manifest(digest))
        }
        "signatures" => {
            let (digest, key) = name.split_once('/')?;
            let key_like = !key.contains('/');
            Some(Thing::Signature(digest.parse().ok()?)).filter(|_| key_like)
        }
        "derived" => Some(Thing::Derived(name.parse().ok()?)),
        _ => None,
    }
}

/// What a store's URL means.
pub(super) fn place(url: &str) -> Result<Place, StoreError> {
    match url.strip_prefix("s3://") {
        Some(rest) => Bucket::of(rest)
            .map(Place::Bucket)
            .map_err(|reason| StoreError::Url {
                // Somebody may have written a secret where a name should be.
                url: "s3://...".to_owned(),
                reason,
            }),
        None => folder(url).map(Place::Folder),
    }
}

fn folder(url: &str) -> Result<PathBuf, StoreError> {
    let wrong = |reason| StoreError::Url {
        url: url.to_owned(),
        reason,
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        if url.is_empty() {
            return Err(wrong("it is empty"));
        }
        return std::path::absolute(url).map_err(|_| wrong("it is not a path"));
    };
    if scheme != "file" {
        return Err(wrong("its scheme is neither `file` nor `s3`"));
    }
    if !rest.starts_with('/') {
        return Err(wrong(
            "its path is not absolute: write `file:///srv/assets`",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong("it has a query or a fragment"));
    }
    let path = percent_decode_str(rest)
        .decode_utf8()
        .map_err(|_| wrong("its path is not UTF-8"))?;
    if path.contains('\0') {
        return Err(wrong("its path holds a NUL"));
    }
    Ok(FilePath::new(path.as_ref()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_path_mean_a_folder() {
        for (url, folder_of_it) in [
            ("file:///srv/assets", "/srv/assets"),
            ("file:///srv/our%20assets", "/srv/our assets"),
            ("/srv/assets", "/srv/assets"),
        ] {
            let found = folder(url).expect("a good URL");
            assert_eq!(found, FilePath::new(folder_of_it), "{url}");
        }
        assert!(folder("assets").expect("a path").is_absolute());
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "s3://b",
            "http://localhost/x",
            "file://relative/x",
            "file:///x?y",
            "file:///%00",
            "file:///%ff",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_blob_lies_below_the_first_two_digits_of_its_digest() {
        let path = blob(&Digest::of(b"")).to_string();
        assert_eq!(
            path,
            "blobs/sha256/e3/b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
