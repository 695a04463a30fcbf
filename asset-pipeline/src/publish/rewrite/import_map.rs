//! Import maps (HTML, section 8.1.6.2): the URLs that modules get when scripts import them by name.
//!
//! This is where a module may get a hashed name although scripts import it: they say the name, and the
//! map says the URL. A mapping of a whole folder (`"lib/": "/js/"`) stays as it is. The JSON is read
//! where the URLs stand, and they are exchanged in place.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Edits, Links, Reference, Role};

#[derive(Deserialize)]
struct Map<'a> {
    #[serde(default, borrow)]
    imports: BTreeMap<String, &'a RawValue>,
    #[serde(default, borrow)]
    scopes: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
    /// By URL. A key that holds escapes is refused: it could not be exchanged in its place, and a
    /// module under another name would go unchecked.
    #[serde(default, borrow)]
    integrity: BTreeMap<&'a str, &'a RawValue>,
}

/// Exchanges the URLs of modules.
pub(super) fn rewrite(
    text: &str,
    base: Option<&str>,
    links: &mut dyn Links,
) -> Result<String, String> {
    let map: Map<'_> =
        serde_json::from_str(text).map_err(|error| format!("its import map: {error}"))?;
    // A list would be read as the members in their order.
    if !text.trim_start().starts_with('{') {
        return Err("its import map is no object".to_owned());
    }
    let at = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
    let mut urls: Vec<(usize, usize, String, Role)> = Vec::new();
    let scoped = map.scopes.values().flat_map(BTreeMap::values);
    for raw in map.imports.values().chain(scoped) {
        // `null` keeps a name from being imported.
        if let Ok(url) = serde_json::from_str::<String>(raw.get()) {
            let start = at(raw.get());
            urls.push((start, start + raw.get().len(), url, Role::Module));
        }
    }
    for url in map.integrity.keys() {
        // With the quotes around it.
        let start = at(url) - 1;
        urls.push((start, start + url.len() + 2, (*url).to_owned(), Role::Hint));
    }
    urls.sort_by_key(|(start, ..)| *start);
    let mut edits = Edits::default();
    for (start, end, url, role) in urls {
        let path = ["/", "./", "../"].iter().any(|way| url.starts_with(way));
        if !path || url.ends_with('/') {
            continue;
        }
        let reference = Reference {
            base,
            url: &url,
            role,
        };
        if let Some(new) = links.reference(reference) {
            let written = serde_json::to_string(&new).expect("a text is JSON");
            edits.put(start..end, written);
        }
    }
    Ok(edits.applied(text))
}
