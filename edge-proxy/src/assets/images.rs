//! Which form of a picture a request for `/_next/image` gets, by Next.js' rules.
//!
//! Forms are made when a release is published; here one is chosen: by the width that is asked for, by what
//! the client shows (AVIF, WebP, or the picture as it is), and by whether it asks to save data. Nothing is
//! decoded on a request. A picture that the release does not have, one of another host, and one that no
//! forms were made of are the origin's, as without an edge.

mod asked;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use asset_pipeline::manifest::{Blob, File, Image, ImageFormat, ImageRules, Kind, Manifest, Tier};
use foldhash::fast::RandomState;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::release::Served;
use crate::error::Refusal;
use crate::response::conditional::ETag;
use crate::response::negotiate::Coding;
use crate::response::represent::{Representation, Source};
use asked::{Asked, Client, asked};

/// What is not to run when somebody opens a picture by itself, as Next.js says it. For SVG of releases too.
pub(super) const SANDBOX: HeaderValue =
    HeaderValue::from_static("script-src 'none'; frame-src 'none'; sandbox;");

/// The pictures of all retained releases.
#[derive(Debug, Default)]
pub(super) struct Images {
    releases: BTreeMap<Box<str>, OfRelease>,
    /// Pictures with hashed names, of any release.
    hashed: Pictures,
    built: HashMap<(Blob, Box<str>), Arc<Served>, RandomState>,
}

type Pictures = HashMap<Box<str>, Arc<Picture>, RandomState>;

#[derive(Debug)]
struct OfRelease {
    rules: ImageRules,
    pictures: Pictures,
}

/// One picture in all its forms.
#[derive(Debug)]
struct Picture {
    width: u32,
    /// By width; the smallest first.
    rungs: BTreeMap<u32, Vec<(ImageFormat, Tier, Arc<Served>)>>,
    /// As it was published.
    whole: Arc<Served>,
}

/// What a request for a smaller picture gets.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The form.
    pub form: &'a Arc<Served>,
    /// In which format; none: as it was published.
    pub format: Option<ImageFormat>,
    /// The picture as it was published, where the form cannot be had.
    pub whole: &'a Arc<Served>,
}

impl Images {
    /// Adds the pictures of a release; of two with the same hashed name the later one counts.
    pub(super) fn add(&mut self, manifest: &Manifest) {
        let Some(rules) = &manifest.images else {
            return;
        };
        let mut pictures = Pictures::default();
        for (path, file) in &manifest.files {
            let Some(image) = &file.image else { continue };
            let picture = Arc::new(self.picture(rules, file, image));
            if file.kind == Kind::Hashed {
                self.hashed
                    .insert(path.as_str().into(), Arc::clone(&picture));
            }
            pictures.insert(path.as_str().into(), picture);
        }
        let of_release = OfRelease {
            rules: rules.clone(),
            pictures,
        };
        self.releases
            .insert(manifest.release.as_str().into(), of_release);
    }

    /// All is added: what only adding needs is dropped.
    pub(super) fn done(&mut self) {
        self.built = HashMap::default();
    }

    /// What a request for `path` gets from a release; none: it is not ours to answer.
    ///
    /// # Errors
    /// It asks for what Next.js refuses.
    pub(super) fn choose(
        &self,
        release: &str,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Option<Chosen<'_>>, Refusal> {
        let Some(of_release) = self.releases.get(release) else {
            return Ok(None);
        };
        if path != of_release.rules.path {
            return Ok(None);
        }
        let asked = asked(query, &of_release.rules).map_err(Refusal::Picture)?;
        let Asked::Local { path, width } = asked else {
            return Ok(None);
        };
        let picture = of_release
            .pictures
            .get(path.as_str())
            .or_else(|| self.hashed.get(path.as_str()));
        Ok(picture.map(|picture| picture.choose(width, Client::of(headers))))
    }

    fn picture(&mut self, rules: &ImageRules, file: &File, image: &Image) -> Picture {
        let cache_control = match file.kind {
            Kind::Hashed => "public, max-age=31536000, immutable".to_owned(),
            Kind::Release => format!("public, max-age={}, must-revalidate", rules.max_age_s),
        };
        let rungs = image.rungs.iter().map(|(width, rung)| {
            let forms = rung.iter().map(|made| {
                let content_type = made.format.content_type();
                let served = self.served(made.blob, content_type, &cache_control);
                (made.format, made.tier, served)
            });
            (*width, forms.collect())
        });
        let rungs = rungs.collect();
        Picture {
            width: image.width,
            rungs,
            whole: self.served(file.identity, &file.content_type, &cache_control),
        }
    }

    fn served(&mut self, blob: Blob, content_type: &str, cache_control: &str) -> Arc<Served> {
        let key = (blob, cache_control.into());
        let served = self
            .built
            .entry(key)
            .or_insert_with(|| Arc::new(serve(blob, content_type, cache_control)));
        Arc::clone(served)
    }
}

impl Picture {
    fn choose(&self, width: u32, client: Client) -> Chosen<'_> {
        let rung = self.rungs.get(&width.min(self.width));
        let forms = || rung.into_iter().flatten();
        let shown = |format: &ImageFormat| match format {
            ImageFormat::Avif => client.avif,
            ImageFormat::Webp => client.webp,
        };
        let of =
            |wanted: Tier| forms().find(move |(format, tier, _)| *tier == wanted && shown(format));
        let lean = client.saves.then(|| of(Tier::Lean)).flatten();
        match lean.or_else(|| of(Tier::Full)) {
            Some((format, _, form)) => Chosen {
                form,
                format: Some(*format),
                whole: &self.whole,
            },
            None => Chosen {
                form: &self.whole,
                format: None,
                whole: &self.whole,
            },
        }
    }
}

fn serve(blob: Blob, content_type: &str, cache_control: &str) -> Served {
    let value = |text: &str, otherwise| {
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(otherwise))
    };
    let fields = HeaderMap::from_iter([
        (
            CONTENT_TYPE,
            value(content_type, "application/octet-stream"),
        ),
        (CACHE_CONTROL, value(cache_control, "no-cache")),
        (VARY, HeaderValue::from_static("accept, save-data")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, SANDBOX),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
    ]);
    let source = Source {
        etag: Some(ETag::of_digest(&blob.digest, Coding::Identity)),
        bytes: blob.bytes,
        at: blob,
    };
    Representation::complete(fields, source, Vec::new())
}

#[cfg(test)]
mod tests;
