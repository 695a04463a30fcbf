//! Pictures of a web app manifest: icons, screenshots, and those of its shortcuts.
//!
//! `start_url` and the like are pages and stay. The JSON is read where the URLs stand, and they
//! are exchanged in place, so that the author's layout and unknown members stay too.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Edits, Links, Reference, Role};

#[derive(Deserialize)]
struct App<'a> {
    #[serde(default, borrow)]
    icons: Vec<Picture<'a>>,
    #[serde(default, borrow)]
    screenshots: Vec<Picture<'a>>,
    #[serde(default, borrow)]
    shortcuts: Vec<Shortcut<'a>>,
}

#[derive(Deserialize)]
struct Shortcut<'a> {
    #[serde(default, borrow)]
    icons: Vec<Picture<'a>>,
}

#[derive(Deserialize)]
struct Picture<'a> {
    #[serde(borrow)]
    src: &'a RawValue,
}

/// Exchanges the URLs of the pictures.
pub(super) fn rewrite(text: &str, links: &mut dyn Links) -> Result<String, String> {
    let app: App<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let shortcuts = app.shortcuts.iter().flat_map(|shortcut| &shortcut.icons);
    let mut pictures: Vec<&RawValue> = app
        .icons
        .iter()
        .chain(&app.screenshots)
        .chain(shortcuts)
        .map(|picture| picture.src)
        .collect();
    let start = |raw: &RawValue| raw.get().as_ptr().addr() - text.as_ptr().addr();
    pictures.sort_by_key(|raw| start(raw));
    let mut edits = Edits::default();
    for raw in pictures {
        let url: String = serde_json::from_str(raw.get())
            .map_err(|_| format!("the `src` {raw} of a picture is no text"))?;
        let reference = Reference {
            base: None,
            url: &url,
            role: Role::Asset,
        };
        if let Some(new) = links.reference(reference) {
            let at = start(raw);
            let written = serde_json::to_string(&new).expect("a text is JSON");
            edits.put(at..at + raw.get().len(), written);
        }
    }
    Ok(edits.applied(text))
}
