//! Which bytes are published, and which URLs they answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deposit::{Content, Origin};
use super::input::Layout;
use super::site::Site;
use super::work::{Piece, each};
use super::{Progress, Publish, PublishError, Stage, media, names};
use crate::digest::Digest;
use crate::manifest::{FORMAT, File, Kind, Manifest};

/// What is published of each file, and the manifest, but for the encodings.
pub(super) async fn contents(
    publish: &Publish,
    layout: &Layout,
    site: &Arc<Site>,
    progress: &dyn Progress,
) -> Result<(Manifest, Vec<Content>), PublishError> {
    if layout.plain {
        let bytes = site.sources.iter().map(|source| source.file.bytes()).sum();
        progress.begin_bytes(Stage::Rewrite, site.sources.len() as u64, bytes);
    }
    let pieces = site.sources.iter().enumerate();
    let reader = Arc::clone(site);
    let blobs = each(
        pieces
            .map(|(at, source)| Piece {
                name: source.file.url.clone(),
                bytes: source.file.bytes(),
                of: at,
            })
            .collect(),
        move |at| reader.blob(at),
        |file, bytes| {
            if layout.plain {
                progress.step_bytes(file, bytes);
            }
        },
    )
    .await?;
    let mut files = BTreeMap::new();
    let mut contents: BTreeMap<Digest, Content> = BTreeMap::new();
    for (at, blob) in blobs.into_iter().enumerate() {
        let source = &site.sources[at];
        let url = &source.file.url;
        let media = media::of(url);
        let file = |kind| File {
            kind,
            content_type: media.content_type(source.utf8),
            identity: blob,
            encoded: BTreeMap::new(),
            dictionary_for: None,
            deltas: Vec::new(),
            image: None,
        };
        let kind = match layout.plain && site.is_named_by_its_content(at) {
            true => Kind::Hashed,
            false => layout.kind(url),
        };
        let hashed = |url: &str, file: File| {
            let dictionary = media.compress && file.kind == Kind::Hashed;
            let hash = layout.hash_in(url).filter(|_| dictionary);
            File {
                dictionary_for: hash.map(|hash| names::all_versions(url, hash)),
                ..file
            }
        };
        files.insert(url.clone(), hashed(url, file(kind)));
        if let Some(folder) = url.strip_suffix("index.html").filter(|_| layout.pages)
            && folder.ends_with('/')
        {
            files.insert(folder.to_owned(), file(Kind::Release));
        }
        if let Some(twin) = site.twin_url(at) {
            let file = hashed(&twin, file(Kind::Hashed));
            files.insert(twin, file);
        }
        contents
            .entry(blob.digest)
            .and_modify(|content| content.compress |= media.compress)
            .or_insert_with(|| Content {
                blob,
                bytes: Origin::Site(at),
                compress: media.compress,
                url: url.clone(),
            });
    }
    let manifest = Manifest {
        format: FORMAT,
        app: publish.app.clone(),
        release: publish.release.clone(),
        build_id: layout.build_id.clone(),
        deployment_id: layout.deployment_id.clone(),
        hashed_prefixes: layout.hashed_prefixes.clone(),
        files,
        pages: BTreeMap::new(),
        dictionary: None,
        images: layout.images.clone(),
    };
    Ok((manifest, contents.into_values().collect()))
}
