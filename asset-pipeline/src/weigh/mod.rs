//! What pages weigh: for a first visit, and for somebody who comes back after a deploy.
//!
//! Reads manifests and nothing else. Bytes are those of bodies: headers are not counted.

mod budget;
mod chart;
mod diff;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::id::{AppId, ReleaseId};
use crate::manifest::{Coding, File, Kind, Manifest};

pub use budget::{Budget, Exceeded, NotABudget};
pub use chart::chart;
pub use diff::{Change, Diff, diff};

/// A class on a school's line.
const DEVICES: f64 = 30.0;
/// Of that line, in bits per second.
const LINE_BITS_S: f64 = 10_000_000.0;

/// What the pages of a release weigh.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weights {
    /// What the release is of.
    pub app: AppId,
    /// The release.
    pub release: ReleaseId,
    /// The release that a returning visitor has visited before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<ReleaseId>,
    /// By path.
    pub pages: Vec<PageWeight>,
}

/// What one page weighs: its document, where that is published, scripts and styles. In bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageWeight {
    /// The page's path.
    pub page: String,
    /// Files that it loads.
    pub files: usize,
    /// On a first visit, as they are.
    pub identity_bytes: u64,
    /// On a first visit, in gzip where that is smaller.
    pub gzip_bytes: u64,
    /// On a first visit, in the smallest coding.
    pub first_visit_bytes: u64,
    /// For who visited the same page of the release before, and whose browser knows dictionaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returning_bytes: Option<u64>,
    /// First visits of a class of 30 on a line of 10 Mbit/s, in seconds.
    pub first_visit_class_s: f64,
    /// The same class, coming back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returning_class_s: Option<f64>,
}

/// Weighs every page of a release; `since` is what returning visitors have seen.
pub fn weigh(manifest: &Manifest, since: Option<&Manifest>) -> Weights {
    let pages = manifest.pages.iter().map(|(page, urls)| {
        let files: Vec<(&String, &File)> = urls
            .iter()
            .filter_map(|url| manifest.files.get_key_value(url))
            .collect();
        let sum = |bytes: &dyn Fn(&File) -> u64| files.iter().map(|(_, file)| bytes(file)).sum();
        let first_visit_bytes = sum(&smallest);
        let returning_bytes = since.map(|since| returning(page, &files, since));
        PageWeight {
            page: page.clone(),
            files: files.len(),
            identity_bytes: sum(&|file| file.identity.bytes),
            gzip_bytes: sum(&|file| {
                let gzip = file.encoded.get(&Coding::Gzip);
                gzip.unwrap_or(&file.identity).bytes
            }),
            first_visit_bytes,
            returning_bytes,
            first_visit_class_s: class_s(first_visit_bytes),
            returning_class_s: returning_bytes.map(class_s),
        }
    });
    Weights {
        app: manifest.app.clone(),
        release: manifest.release.clone(),
        since: since.map(|since| since.release.clone()),
        pages: pages.collect(),
    }
}

/// What a page costs who holds the same page of an earlier release. A release file that did not
/// change is asked for and not sent.
fn returning(page: &str, files: &[(&String, &File)], since: &Manifest) -> u64 {
    let seen = since.pages.get(page).cloned().unwrap_or_default();
    let held: Vec<(&String, &File)> = seen
        .iter()
        .filter_map(|url| since.files.get_key_value(url))
        .collect();
    let bytes = files.iter().map(|(url, file)| {
        let same = held
            .iter()
            .any(|(old, held)| old == url && held.identity == file.identity);
        if same { 0 } else { told(file, &held) }
    });
    bytes.sum()
}

/// A file's bytes for who holds the file of the same name, as the browser offers it.
fn told(file: &File, held: &[(&String, &File)]) -> u64 {
    let named = file.kind == Kind::Hashed && file.dictionary_for.is_some();
    let of_the_name: BTreeSet<_> = held
        .iter()
        .filter(|(_, held)| named && held.dictionary_for == file.dictionary_for)
        .map(|(_, held)| held.identity)
        .collect();
    let deltas = file.deltas.iter();
    deltas
        .filter(|delta| of_the_name.contains(&delta.from))
        .map(|delta| delta.blob.bytes)
        .chain([smallest(file)])
        .min()
        .unwrap_or(file.identity.bytes)
}

pub(crate) fn smallest(file: &File) -> u64 {
    let encoded = file.encoded.values().map(|blob| blob.bytes).min();
    encoded.unwrap_or(file.identity.bytes)
}

fn class_s(bytes: u64) -> f64 {
    bytes as f64 * 8.0 * DEVICES / LINE_BITS_S
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.pages.iter().map(|page| page.page.len());
        let width = pages.max().unwrap_or(0).max(4);
        let since = match &self.since {
            Some(since) => format!("since {since}"),
            None => String::new(),
        };
        writeln!(f, "{} {} {since}", self.app, self.release)?;
        writeln!(
            f,
            "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>8}  {:>8}",
            "page", "as it is", "gzip", "first", "returning", "class s", "again s"
        )?;
        for page in &self.pages {
            let returning = page.returning_bytes.map(|bytes| bytes.to_string());
            let again = page.returning_class_s.map(|s| format!("{s:.1}"));
            writeln!(
                f,
                "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>8.1}  {:>8}",
                page.page,
                page.identity_bytes,
                page.gzip_bytes,
                page.first_visit_bytes,
                returning.unwrap_or_default(),
                page.first_visit_class_s,
                again.unwrap_or_default()
            )?;
        }
        write!(
            f,
            "bytes of documents, scripts and styles; class: 30 devices on 10 Mbit/s"
        )
    }
}

#[cfg(test)]
mod tests;
