//! The dictionary of a release: what most of its pages share, in one file that browsers fetch while they
//! have nothing else to do (RFC 9842, `Link: rel="compression-dictionary"`).
//!
//! After the next deploy it tells those files that have no predecessor of their own name: new pages, and
//! chunks that the bundler numbered anew. Browsers take the dictionary whose `match` is longest, so a
//! file that has a predecessor is still told by that one. The dictionary is a hashed file like any other,
//! and its own next version is told by what differs from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::PublishError;
use super::deposit::{Content, Origin};
use super::site::Site;
use super::work::blocking;
use crate::digest::Digest;
use crate::manifest::{Blob, File, Kind, Manifest};

/// What a phone on a slow network may fetch on top in its idle time; encoded it is about a third.
const BYTES_MAX: u64 = 256 << 10;
/// Of the digest, in its name.
const HEX_DIGITS: usize = 16;
/// Tells a part of the dictionary from the next one.
const BETWEEN: u8 = b'\n';

/// Adds the dictionary to a release; nothing where its pages share nothing.
pub(super) async fn add(
    manifest: &mut Manifest,
    contents: &mut Vec<Content>,
    site: &Arc<Site>,
) -> Result<(), PublishError> {
    let shared = shared(manifest);
    if shared.is_empty() {
        return Ok(());
    }
    let mut origins = Vec::new();
    for blob in shared {
        let content = contents.iter().find(|content| content.blob == blob);
        if let Some(Origin::Site(at)) = content.map(|content| &content.bytes) {
            origins.push(*at);
        }
    }
    let site = Arc::clone(site);
    let bytes = blocking("the dictionary", move || {
        let mut bytes = Vec::new();
        for at in origins {
            bytes.extend(site.bytes(at)?);
            bytes.push(BETWEEN);
        }
        Ok(Bytes::from(bytes))
    });
    let bytes = bytes.await?;
    let blob = Blob {
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
    };
    let below = manifest.hashed_prefixes.first().map_or("/", String::as_str);
    let url = format!(
        "{below}dictionary-{}.dat",
        &blob.digest.to_string()[..HEX_DIGITS]
    );
    let file = File {
        kind: Kind::Hashed,
        content_type: "application/octet-stream".to_owned(),
        identity: blob,
        encoded: BTreeMap::new(),
        dictionary_for: Some(format!("{below}*")),
        image: None,
        deltas: Vec::new(),
    };
    contents.push(Content {
        blob,
        bytes: Origin::Made(bytes),
        compress: true,
        url: url.clone(),
    });
    manifest.files.insert(url.clone(), file);
    manifest.dictionary = Some(url);
    Ok(())
}

/// The hashed scripts and styles that more than half of the pages load: the most shared first, as many as fit.
fn shared(manifest: &Manifest) -> Vec<Blob> {
    let mut pages: BTreeMap<&String, usize> = BTreeMap::new();
    for url in manifest.pages.values().flatten() {
        *pages.entry(url).or_default() += 1;
    }
    let mut shared: Vec<(usize, &String, Blob)> = pages
        .into_iter()
        .filter(|(_, count)| count * 2 > manifest.pages.len())
        .filter_map(|(url, count)| {
            let file = manifest.files.get(url)?;
            let named = file.kind == Kind::Hashed && file.dictionary_for.is_some();
            named.then_some((count, url, file.identity))
        })
        .collect();
    shared.sort_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)));
    let mut left = BYTES_MAX;
    let mut taken: Vec<Blob> = Vec::new();
    for (_, _, blob) in shared {
        if blob.bytes < left && !taken.contains(&blob) {
            left -= blob.bytes + 1;
            taken.push(blob);
        }
    }
    taken
}
