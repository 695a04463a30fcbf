//! Source maps (ECMA-426): the file that they are of, and the sources that it was made from.
//!
//! Both are for developers' tools. They take the names that the files have elsewhere; that one is not in
//! the folder, as most sources are not, is no matter. The JSON is read where the URLs stand, and they
//! are exchanged in place.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Edits, Links, Reference, Role};

/// Maps of maps: a real one has none, a bundle has one step.
const DEPTH_MAX: usize = 3;

#[derive(Deserialize)]
struct Map<'a> {
    version: u32,
    #[serde(default, borrow)]
    file: Option<&'a RawValue>,
    #[serde(default, rename = "sourceRoot")]
    root: Option<String>,
    #[serde(default, borrow)]
    sources: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    sections: Vec<Section<'a>>,
}

#[derive(Deserialize)]
struct Section<'a> {
    #[serde(borrow)]
    map: &'a RawValue,
}

/// A URL where it stands, and what it is relative to.
type Found = (std::ops::Range<usize>, Option<String>, String);

/// Exchanges the names of files that are published.
pub(super) fn rewrite(text: &str, links: &mut dyn Links) -> Result<String, String> {
    let mut found = Vec::new();
    look(text, text, 0, &mut found)?;
    found.sort_by_key(|(range, ..)| range.start);
    let mut edits = Edits::default();
    for (range, root, url) in found {
        let reference = Reference {
            base: root.as_deref(),
            url: &url,
            role: Role::Source,
        };
        if let Some(new) = links.reference(reference) {
            let written = serde_json::to_string(&new).expect("a text is JSON");
            edits.put(range, written);
        }
    }
    Ok(edits.applied(text))
}

fn look(text: &str, part: &str, depth: usize, found: &mut Vec<Found>) -> Result<(), String> {
    let map: Map<'_> = serde_json::from_str(part).map_err(|error| error.to_string())?;
    if map.version != 3 || depth > DEPTH_MAX || !part.trim_start().starts_with('{') {
        return Err("it is no source map of version 3".to_owned());
    }
    let root = map.root.filter(|root| !root.is_empty()).map(|mut root| {
        if !root.ends_with('/') {
            root.push('/');
        }
        root
    });
    let mut put = |raw: &RawValue, root: Option<String>| {
        // `null` where a source has no name.
        if let Ok(url) = serde_json::from_str::<String>(raw.get()) {
            let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
            found.push((start..start + raw.get().len(), root, url));
        }
    };
    if let Some(file) = map.file {
        put(file, None);
    }
    for source in map.sources {
        put(source, root.clone());
    }
    for section in map.sections {
        look(text, section.map.get(), depth + 1, found)?;
    }
    Ok(())
}
