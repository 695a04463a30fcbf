//! The files of a folder, what they refer to, and the bytes that are published of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha384};

use super::PublishError;
use super::error::BrokenReference;
use super::fingerprint::{self, Node};
use super::rewrite::reference::{Resolved, renamed, resolve};
use super::rewrite::{Dialect, Links, Reference, Role};
use super::scan::FileOnDisk;
use crate::digest::Digest;
use crate::manifest::Blob;

/// A file that was read once.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: FileOnDisk,
    /// Of the file's bytes.
    digest: Digest,
    pub(super) utf8: bool,
    /// The language whose URLs are exchanged, if any.
    dialect: Option<Dialect>,
    references: Vec<(Role, String, String)>,
    broken: Vec<BrokenReference>,
}

impl Source {
    /// Reads a file. Only in a plain site are its references looked for.
    pub(super) fn read(file: FileOnDisk, plain: bool) -> Result<Self, PublishError> {
        let bytes = file.read()?;
        let text = std::str::from_utf8(&bytes);
        let dialect = Dialect::of(&file.url).filter(|_| plain && text.is_ok());
        let mut source = Self {
            digest: Digest::of(&bytes),
            utf8: text.is_ok(),
            dialect,
            references: Vec::new(),
            broken: Vec::new(),
            file,
        };
        if let (Some(dialect), Ok(text)) = (dialect, text) {
            let mut heard = Heard(&mut source);
            match dialect.rewrite(text, &mut heard) {
                Ok(_) => {}
                // Many things are called that; only a file that is one is taken for one. A drawing that nobody
                // can read is shown by no browser, and the edge's policy holds for it too.
                Err(_)
                    if [".json", ".map", ".svg"]
                        .iter()
                        .any(|end| source.file.url.ends_with(end)) =>
                {
                    source.dialect = None;
                    source.references.clear();
                }
                Err(reason) => return Err(source.wrong(reason)),
            }
        }
        Ok(source)
    }

    fn name(&self) -> &str {
        name(&self.file.url)
    }

    fn is_script(&self) -> bool {
        self.name().ends_with(".js") || self.name().ends_with(".mjs")
    }

    fn wrong(&self, reason: String) -> PublishError {
        PublishError::File {
            file: self.file.path.clone(),
            reason,
        }
    }
}

/// Notes what a file refers to.
struct Heard<'a>(&'a mut Source);

impl Links for Heard<'_> {
    fn reference(&mut self, reference: Reference<'_>) -> Option<String> {
        let source = &mut *self.0;
        let url = reference.url.to_owned();
        match resolve(&source.file.url, reference.base, &url) {
            Resolved::Elsewhere => {}
            Resolved::Local(path) => source.references.push((reference.role, path, url)),
            // Sources have names of all kinds, most of which were never files here.
            Resolved::Nowhere(_) if matches!(reference.role, Role::Map | Role::Source) => {}
            Resolved::Nowhere(reason) => source.broken.push(BrokenReference {
                file: source.file.url.clone(),
                url,
                reason,
            }),
        }
        None
    }

    fn integrity(&mut self, _: Reference<'_>) -> Option<String> {
        None
    }
}

/// All files, and the names that some of them get.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) sources: Vec<Source>,
    by_url: HashMap<String, usize>,
    /// The hashed file names of what is referred to.
    twins: BTreeMap<usize, String>,
    pub(super) broken: Vec<BrokenReference>,
}

impl Site {
    /// Names what is referred to.
    pub(super) fn of(sources: Vec<Source>) -> Result<Self, PublishError> {
        let by_url = sources
            .iter()
            .enumerate()
            .map(|(at, source)| (source.file.url.clone(), at))
            .collect();
        let mut site = Self {
            broken: sources
                .iter()
                .flat_map(|source| source.broken.clone())
                .collect(),
            sources,
            by_url,
            twins: BTreeMap::new(),
        };
        let mut nodes = Vec::with_capacity(site.sources.len());
        let mut wanted = BTreeSet::new();
        let mut modules = BTreeSet::new();
        for source in &site.sources {
            let mut references = Vec::new();
            for (role, path, url) in &source.references {
                let Some(target) = site.lookup(path) else {
                    if matches!(role, Role::Map | Role::Source) {
                        continue;
                    }
                    site.broken.push(BrokenReference {
                        file: source.file.url.clone(),
                        url: url.clone(),
                        reason: "is not in the folder",
                    });
                    continue;
                };
                references.push(target);
                match role {
                    Role::Asset | Role::Map => _ = wanted.insert(target),
                    Role::Module => _ = modules.insert(target),
                    Role::Hint | Role::Source | Role::Fixed => {}
                }
            }
            nodes.push(Node {
                path: source.file.url.clone(),
                digest: source.digest,
                references,
            });
        }
        wanted.extend(site.imported_by_nobody(&modules)?);
        for at in wanted {
            if site.may_have_a_twin(at) {
                let name = fingerprint::twin(site.sources[at].name(), &fingerprint::of(&nodes, at));
                site.twins.insert(at, name);
            }
        }
        site.no_clash()?;
        Ok(site)
    }

    /// The file at a decoded URL path; of a folder its index.
    fn lookup(&self, path: &str) -> Option<usize> {
        let index = path.ends_with('/').then(|| format!("{path}index.html"));
        self.by_url.get(index.as_deref().unwrap_or(path)).copied()
    }

    /// Pages and web manifests are known by their plain names, and a true hash needs no second one.
    fn may_have_a_twin(&self, at: usize) -> bool {
        match self.sources[at].dialect {
            Some(Dialect::Css | Dialect::SourceMap | Dialect::Svg) => true,
            None => !self.is_named_by_its_content(at),
            Some(Dialect::Html | Dialect::WebManifest) => false,
        }
    }

    /// Whether a file that is published as it is carries its own digest in its name.
    pub(super) fn is_named_by_its_content(&self, at: usize) -> bool {
        let source = &self.sources[at];
        source.dialect.is_none() && fingerprint::is_named_by(source.name(), &source.digest)
    }

    /// A module that another script may import would run twice if it had two names. Script text is
    /// not parsed: that its name occurs anywhere is enough to leave it alone.
    fn imported_by_nobody(
        &self,
        modules: &BTreeSet<usize>,
    ) -> Result<BTreeSet<usize>, PublishError> {
        let mut alone = modules.clone();
        for source in self.sources.iter().filter(|source| source.is_script()) {
            if alone.is_empty() {
                break;
            }
            let bytes = source.file.read()?;
            let text = String::from_utf8_lossy(&bytes);
            alone.retain(|at| !text.contains(self.sources[*at].name()));
        }
        Ok(alone)
    }

    fn no_clash(&self) -> Result<(), PublishError> {
        let clash = self.twins.keys().find_map(|at| {
            let url = self.twin_url(*at)?;
            Some((*at, *self.by_url.get(&url)?, url))
        });
        match clash {
            Some((at, other, url)) => Err(PublishError::Clash {
                url,
                first: self.sources[at].file.path.clone(),
                second: self.sources[other].file.path.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The hashed URL path of a file, if it has one besides its own.
    pub(super) fn twin_url(&self, at: usize) -> Option<String> {
        let name = self.twins.get(&at)?;
        let url = &self.sources[at].file.url;
        let folder = &url[..url.len() - self::name(url).len()];
        Some(format!("{folder}{name}"))
    }

    /// The name of the bytes that are published of a file.
    pub(super) fn blob(&self, at: usize) -> Result<Blob, PublishError> {
        let source = &self.sources[at];
        if source.dialect.is_none() {
            return Ok(Blob {
                digest: source.digest,
                bytes: source.file.bytes(),
            });
        }
        let bytes = self.bytes(at)?;
        Ok(Blob {
            digest: Digest::of(&bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// The bytes that are published of a file: its own, with URLs exchanged where it has any.
    pub(super) fn bytes(&self, at: usize) -> Result<Vec<u8>, PublishError> {
        let source = &self.sources[at];
        let bytes = source.file.read()?;
        if Digest::of(&bytes) != source.digest {
            return Err(PublishError::Changed {
                file: source.file.path.clone(),
            });
        }
        let (Some(dialect), Ok(text)) = (source.dialect, std::str::from_utf8(&bytes)) else {
            return Ok(bytes);
        };
        let mut written = Written {
            site: self,
            document: &source.file.url,
            failed: None,
        };
        let text = dialect.rewrite(text, &mut written);
        match (written.failed, text) {
            (Some(error), _) => Err(error),
            (None, Err(reason)) => Err(source.wrong(reason)),
            (None, Ok(text)) => Ok(text.into_bytes()),
        }
    }
}

/// Exchanges references for hashed names.
struct Written<'a> {
    site: &'a Site,
    document: &'a str,
    failed: Option<PublishError>,
}

impl Written<'_> {
    fn target(&self, reference: &Reference<'_>) -> Option<usize> {
        match resolve(self.document, reference.base, reference.url) {
            Resolved::Local(path) => self.site.lookup(&path),
            Resolved::Elsewhere | Resolved::Nowhere(_) => None,
        }
    }
}

impl Links for Written<'_> {
    fn reference(&mut self, reference: Reference<'_>) -> Option<String> {
        if reference.role == Role::Fixed {
            return None;
        }
        let name = self.site.twins.get(&self.target(&reference)?)?;
        Some(renamed(reference.url, name))
    }

    /// Style sheets are the only files with an `integrity` whose bytes change here.
    fn integrity(&mut self, reference: Reference<'_>) -> Option<String> {
        let target = self.target(&reference)?;
        self.site.sources[target]
            .dialect
            .filter(|dialect| *dialect == Dialect::Css)?;
        match self.site.bytes(target) {
            Ok(bytes) => {
                let hash = BASE64_STANDARD.encode(Sha384::digest(&bytes));
                Some(format!("sha384-{hash}"))
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}
