//! The files of the last releases that a returning visitor may hold.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::similar::Sample;
use super::{Pair, encode};
use crate::digest::Digest;
use crate::manifest::{Blob, Coding, File, Kind, Manifest};
use crate::publish::PublishError;
use crate::publish::deposit::whole;
use crate::publish::work::{blocking, cores, room};
use crate::store::{ReleaseRef, Store, StoreError};

/// Old files of one name that a new one is told by: style sheets have no other name than their hash.
const OF_ONE_NAME_MAX: usize = 3;
/// The share of a file, in thousandths, that must occur in another one to try it.
const SHARE_MIN: usize = 250;
/// Files of which samples are taken. A site with more is compared by names only.
const SAMPLED_MAX: usize = 4000;
/// Their bytes: the samples take about as much memory.
const SAMPLED_BYTES_MAX: u64 = 128 << 20;

/// The last releases of an app, the youngest first.
#[derive(Debug, Default)]
pub(in crate::publish) struct Past {
    pub(in crate::publish) manifests: Vec<Manifest>,
}

/// An old file that clients hold as a dictionary, if they hold it.
#[derive(Debug, Clone, Copy)]
struct Old<'a> {
    url: &'a str,
    name: &'a str,
    blob: Blob,
}

impl Old<'_> {
    /// Whether it stands for all files below a folder: the dictionary of its release.
    fn is_of_the_release(&self) -> bool {
        self.name.ends_with("/*")
    }
}

impl Past {
    /// Reads the `count` youngest releases, or those before one that is published already. One that
    /// cannot be read is left out.
    pub(in crate::publish) async fn read(
        store: &Store,
        manifest: &Manifest,
        known: Option<&ReleaseRef>,
        count: usize,
    ) -> Result<Self, StoreError> {
        let readable = |error: &StoreError| error.is_damaged() || error.is_missing();
        let mut releases = Vec::new();
        for id in store.release_ids(&manifest.app).await? {
            match store.release(&manifest.app, &id).await {
                Ok(release) => releases.push((release.published_s, release.id)),
                Err(error) if readable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        releases.retain(|(published_s, id)| match known {
            Some(known) => (*published_s, id) < (known.published_s, &known.id),
            None => *id != manifest.release,
        });
        releases.sort_unstable();
        let mut manifests = Vec::new();
        for (_, id) in releases.into_iter().rev().take(count) {
            match store.manifest(&manifest.app, &id).await {
                Ok(manifest) => manifests.push(manifest),
                Err(error) if readable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { manifests })
    }

    /// Which files of `manifest` are told by which old ones.
    pub(in crate::publish) async fn pairs(
        &self,
        store: &Store,
        manifest: &Manifest,
    ) -> Result<BTreeSet<Pair>, PublishError> {
        let olds: Vec<Vec<Old<'_>>> = self.manifests.iter().map(dictionaries).collect();
        let changed: Vec<(Old<'_>, &File, usize)> = changed(manifest, &self.manifests);
        let mut sampled: BTreeSet<Blob> = olds.iter().flatten().map(|old| old.blob).collect();
        sampled.extend(changed.iter().map(|(new, _, _)| new.blob));
        let bytes: u64 = sampled.iter().map(|blob| blob.bytes).sum();
        if changed.is_empty() || sampled.len() > SAMPLED_MAX || bytes > SAMPLED_BYTES_MAX {
            sampled.clear();
        }
        let samples = samples(store, sampled).await?;
        let mut pairs = BTreeSet::new();
        for (new, file, release) in changed {
            let from = candidates(&new, &olds[release], &samples);
            pairs.extend(from.into_iter().filter_map(|from| Pair::of(file, from)));
        }
        Ok(pairs)
    }
}

/// The hashed files of a release that clients are told to keep as dictionaries.
fn dictionaries(manifest: &Manifest) -> Vec<Old<'_>> {
    let files = manifest.files.iter();
    files.filter_map(|(url, file)| old(url, file)).collect()
}

fn old<'a>(url: &'a str, file: &'a File) -> Option<Old<'a>> {
    let name = file.dictionary_for.as_deref()?;
    // What does not compress has nothing in common with another version either.
    let text = file.kind == Kind::Hashed && file.encoded.contains_key(&Coding::Br);
    (text && file.identity.bytes < encode::BYTES_MAX).then_some(Old {
        url,
        name,
        blob: file.identity,
    })
}

/// The files that a visitor of each old release does not hold yet.
fn changed<'a>(manifest: &'a Manifest, past: &[Manifest]) -> Vec<(Old<'a>, &'a File, usize)> {
    let files = manifest.files.iter();
    let new = files.filter_map(|(url, file)| Some((old(url, file)?, file)));
    new.flat_map(|(new, file)| {
        let unheld = past.iter().enumerate().filter(move |(_, past)| {
            let same = past.files.get(new.url);
            same.is_none_or(|same| same.identity != new.blob)
        });
        unheld.map(move |(release, _)| (new, file, release))
    })
    .collect()
}

/// The old files to tell a new one by, of one release.
fn candidates(
    new: &Old<'_>,
    olds: &[Old<'_>],
    samples: &BTreeMap<Digest, Sample>,
) -> BTreeSet<Blob> {
    let share = |old: &Old<'_>| {
        let (new, old) = (samples.get(&new.blob.digest), samples.get(&old.blob.digest));
        new.zip(old).map_or(0, |(new, old)| new.share_in(old))
    };
    let mut ranked: Vec<_> = olds.iter().map(|old| (share(old), old)).collect();
    // The URL decides between equals, so that the same releases always give the same pairs.
    ranked.sort_by(|(a, x), (b, y)| b.cmp(a).then(x.url.cmp(y.url)));
    let of_one_name = ranked.iter().filter(|(_, old)| old.name == new.name);
    let most_alike = ranked
        .iter()
        .take(1)
        .filter(|(share, _)| *share >= SHARE_MIN);
    // What a browser offers for a URL that nothing of its name was held for.
    let of_the_release = ranked
        .iter()
        .filter(|(_, old)| old.is_of_the_release() && new.name != old.name)
        .filter(|(_, old)| new.url.starts_with(old.name.trim_end_matches('*')));
    of_one_name
        .take(OF_ONE_NAME_MAX)
        .chain(most_alike)
        .chain(of_the_release.take(1))
        .map(|(_, old)| old.blob)
        .collect()
}

/// Samples of blobs; of one that cannot be read, none.
async fn samples(
    store: &Store,
    blobs: BTreeSet<Blob>,
) -> Result<BTreeMap<Digest, Sample>, PublishError> {
    let tasks = blobs.into_iter().map(|blob| async move {
        let _room = room(blob.bytes).await;
        let Some(bytes) = whole(store.blob(&blob).await)? else {
            return Ok((blob.digest, Sample::default()));
        };
        let sample = blocking("a sample", move || Ok(Sample::of(&bytes))).await?;
        Ok::<_, PublishError>((blob.digest, sample))
    });
    stream::iter(tasks)
        .buffer_unordered(cores() * 2)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old<'a>(url: &'a str, name: &'a str, text: &str) -> (Old<'a>, Sample) {
        let blob = Blob {
            digest: Digest::of(text.as_bytes()),
            bytes: text.len() as u64,
        };
        (Old { url, name, blob }, Sample::of(text.as_bytes()))
    }

    fn words(seed: u64) -> String {
        (0..900_u64)
            .map(|at| {
                format!(
                    "{:x};",
                    (at + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                )
            })
            .collect()
    }

    #[test]
    fn names_come_first_and_then_whatever_is_alike() {
        let (a, b, c) = (words(1), words(2), words(3));
        let olds = [
            old("/63-1.js", "/63-*.js", &a),
            old("/70-1.js", "/70-*.js", &b),
            old("/x-1.css", "/*.css", &c[..400]),
            old("/x-2.css", "/*.css", &c[400..900]),
            old("/x-3.css", "/*.css", &c[900..1800]),
            old("/x-4.css", "/*.css", &c[1800..]),
        ];
        let mut samples: BTreeMap<_, _> = BTreeMap::new();
        let mut files = Vec::new();
        for (old, sample) in olds {
            samples.insert(old.blob.digest, sample);
            files.push(old);
        }
        let mut found = |url, name, text: &str| {
            let (new, sample) = old(url, name, text);
            samples.insert(new.blob.digest, sample);
            let found = candidates(&new, &files, &samples);
            let urls = files.iter().filter(|old| found.contains(&old.blob));
            urls.map(|old| old.url).collect::<Vec<_>>()
        };
        let edited = a.replace('7', "seven");
        assert_eq!(found("/63-2.js", "/63-*.js", &edited), ["/63-1.js"]);
        // Numbered anew: what it was before is found by what is in it.
        let moved = format!("moved;{b}");
        assert_eq!(
            found("/63-2.js", "/63-*.js", &moved),
            ["/63-1.js", "/70-1.js"]
        );
        assert_eq!(found("/99-2.js", "/99-*.js", &moved), ["/70-1.js"]);
        assert_eq!(
            found("/99-2.js", "/99-*.js", &words(9)),
            <[&str; 0]>::default()
        );
        // Many of one name: the three that have most in common.
        let alike = found("/x-5.css", "/*.css", &c[800..]);
        assert_eq!(alike, ["/x-2.css", "/x-3.css", "/x-4.css"]);
    }
}
