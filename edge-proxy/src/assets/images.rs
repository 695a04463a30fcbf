//! Which form of a picture a request for `/_next/image` gets, by Next.js' rules.
//!
//! Forms are made when a release is published; here one is chosen: by the width that is asked for, by what
//! the client shows (AVIF, WebP, or the picture as it is), and by whether it asks to save data. One that was
//! not made then is made here, behind everybody's back ([`making`]). Nothing is decoded on a request. A
//! picture that the release does not have, and one of another host, are the origin's, as without an edge.

mod asked;
pub mod child;
pub mod making;
pub mod workshop;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use asset_pipeline::image::{BYTES_MIN, Recipe};
use asset_pipeline::manifest::{
    Blob, File, ImageFormat, ImageRules, Kind, Manifest, Rendition, Tier, is_picture,
};
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
pub(crate) use asked::Client;
use asked::{Asked, asked};
use making::{Found, Making};

/// What is not to run when somebody opens a picture by itself, as Next.js says it. For SVG of releases too.
pub(crate) const SANDBOX: HeaderValue =
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
    /// None: no form was made of it yet.
    width: Option<u32>,
    /// By width; the smallest first.
    rungs: BTreeMap<u32, Vec<(ImageFormat, Tier, Arc<Served>)>>,
    /// As it was published.
    whole: Arc<Served>,
    content_type: Box<str>,
    cache_control: Box<str>,
}

/// A request for a smaller picture that the release has.
#[derive(Debug)]
pub struct Wanted<'a> {
    picture: &'a Picture,
    width: u32,
}

/// What a request for a smaller picture gets.
#[derive(Debug)]
pub struct Chosen {
    /// The form.
    pub form: Arc<Served>,
    /// In which format; none: as it was published.
    pub format: Option<ImageFormat>,
    /// The picture as it was published, where the form cannot be had.
    pub whole: Arc<Served>,
}

/// How long a client keeps what is not yet the best.
const MEANWHILE: &str = "public, max-age=60, must-revalidate";

impl Images {
    /// Adds the pictures of a release; of two with the same hashed name the later one counts.
    pub(super) fn add(&mut self, manifest: &Manifest) {
        let Some(rules) = &manifest.images else {
            return;
        };
        let mut pictures = Pictures::default();
        for (path, file) in &manifest.files {
            let may_be_made = is_picture(&file.content_type) && file.identity.bytes >= BYTES_MIN;
            if file.image.is_none() && !may_be_made {
                continue;
            }
            let picture = Arc::new(self.picture(rules, file));
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

    /// The picture of a release that a request for `path` wants smaller; none: it is not ours to answer.
    ///
    /// # Errors
    /// It asks for what Next.js refuses.
    pub(super) fn find(
        &self,
        release: &str,
        path: &str,
        query: Option<&str>,
    ) -> Result<Option<Wanted<'_>>, Refusal> {
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
        Ok(picture.map(|picture| Wanted { picture, width }))
    }

    fn picture(&mut self, rules: &ImageRules, file: &File) -> Picture {
        let cache_control = match file.kind {
            Kind::Hashed => "public, max-age=31536000, immutable".to_owned(),
            Kind::Release => format!("public, max-age={}, must-revalidate", rules.max_age_s),
        };
        let mut forms = |rung: &[Rendition]| {
            let forms = rung.iter().map(|made| {
                let content_type = made.format.content_type();
                let served = self.served(made.blob, content_type, &cache_control);
                (made.format, made.tier, served)
            });
            forms.collect()
        };
        let made = file.image.iter().flat_map(|image| &image.rungs);
        let rungs = made.map(|(width, rung)| (*width, forms(rung))).collect();
        Picture {
            width: file.image.as_ref().map(|image| image.width),
            rungs,
            whole: self.served(file.identity, &file.content_type, &cache_control),
            content_type: file.content_type.as_str().into(),
            cache_control: cache_control.into(),
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

impl Wanted<'_> {
    /// Whether the edge answers: forms were made of it, or are made here.
    pub fn is_ours(&self, made_here: bool) -> bool {
        made_here || self.picture.width.is_some()
    }

    /// What a client gets; none: the origin has to answer.
    pub fn choose(&self, headers: &HeaderMap, making: Option<&Arc<Making>>) -> Option<Chosen> {
        let (picture, client) = (self.picture, Client::of(headers));
        if !self.is_ours(making.is_some()) {
            return None;
        }
        let width = picture.width.map_or(self.width, |own| own.min(self.width));
        Some(match (picture.rungs.get(&width), making) {
            (Some(rung), _) => picture.chosen(of_rung(rung, client)),
            (None, Some(making)) => picture.made(width, client, making),
            (None, None) => picture.chosen(None),
        })
    }
}

impl Picture {
    /// A form that the publish did not try.
    fn made(&self, width: u32, client: Client, making: &Arc<Making>) -> Chosen {
        let tier = if client.saves { Tier::Lean } else { Tier::Full };
        for format in ImageFormat::ALL
            .into_iter()
            .filter(|format| client.shows(*format))
        {
            let recipe = Recipe {
                width,
                format,
                tier,
            };
            match making.find(self.whole.identity(), &recipe) {
                Found::Made(blob) => {
                    let form = serve(blob, format.content_type(), &self.cache_control);
                    return self.chosen(Some((format, Arc::new(form))));
                }
                Found::Nothing => {}
                Found::Later => return self.meanwhile(width, client),
            }
        }
        self.chosen(None)
    }

    /// The best there is while a form is made: the next wider one, else the picture itself.
    fn meanwhile(&self, width: u32, client: Client) -> Chosen {
        let mut wider = self.rungs.range(width..);
        let form = wider.find_map(|(_, rung)| of_rung(rung, client));
        let whole = *self.whole.identity();
        let whole = Arc::new(serve(whole, &self.content_type, MEANWHILE));
        let (form, format) = match form {
            Some((format, form)) => {
                let form = serve(*form.identity(), format.content_type(), MEANWHILE);
                (Arc::new(form), Some(format))
            }
            None => (Arc::clone(&whole), None),
        };
        Chosen {
            form,
            format,
            whole,
        }
    }

    fn chosen(&self, form: Option<(ImageFormat, Arc<Served>)>) -> Chosen {
        let whole = Arc::clone(&self.whole);
        match form {
            Some((format, form)) => Chosen {
                form,
                format: Some(format),
                whole,
            },
            None => Chosen {
                form: Arc::clone(&whole),
                format: None,
                whole,
            },
        }
    }
}

/// The smallest form of one width that a client shows; a lean one where it asks for fewer bytes.
fn of_rung(
    rung: &[(ImageFormat, Tier, Arc<Served>)],
    client: Client,
) -> Option<(ImageFormat, Arc<Served>)> {
    let of = |wanted: Tier| {
        rung.iter()
            .find(|(format, tier, _)| *tier == wanted && client.shows(*format))
    };
    let lean = client.saves.then(|| of(Tier::Lean)).flatten();
    let (format, _, form) = lean.or_else(|| of(Tier::Full))?;
    Some((*format, Arc::clone(form)))
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
