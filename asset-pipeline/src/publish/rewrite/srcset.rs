//! `srcset`: candidates between commas, each a URL and perhaps a descriptor (HTML 4.8.4.2.1).

use super::{Edits, Links, Reference, Role};

/// Exchanges the URLs of a `srcset`.
pub(super) fn rewrite(text: &str, base: Option<&str>, links: &mut dyn Links) -> String {
    let mut edits = Edits::default();
    let mut at = 0;
    while let Some(found) = text[at..].find(|c: char| !c.is_ascii_whitespace() && c != ',') {
        let start = at + found;
        let word = text[start..]
            .find(|c: char| c.is_ascii_whitespace())
            .map_or(text.len(), |length| start + length);
        let url = text[start..word].trim_end_matches(',');
        let reference = Reference {
            base,
            url,
            role: Role::Asset,
        };
        if let Some(new) = links.reference(reference) {
            edits.put(start..start + url.len(), new);
        }
        // A comma right behind the URL ends the candidate; else its descriptors do.
        at = if start + url.len() < word {
            word
        } else {
            descriptors_end(text, word)
        };
    }
    edits.applied(text)
}

fn descriptors_end(text: &str, from: usize) -> usize {
    let mut depth = 0_u32;
    for (index, c) in text[from..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return from + index,
            _ => {}
        }
    }
    text.len()
}
