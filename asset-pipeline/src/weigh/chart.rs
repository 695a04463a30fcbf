//! The weights as a page of its own, to be kept with a build: no script, nothing to load.

use std::fmt::Write as _;

use super::Weights;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b2430;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .5rem;text-align:right;vertical-align:top}\
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}thead th{border-bottom:2px solid #1b2430}\
tbody tr+tr>*{border-top:1px solid #dde3ea}.bar{height:.6rem;border-radius:.15rem;margin-top:.25rem;margin-left:auto}\
.first{background:#2f6f9f}.again{background:#c8803a}\
@media(prefers-color-scheme:dark){body{background:#12181f;color:#e6ebf0}thead th{border-color:#e6ebf0}tbody tr+tr>*{border-color:#2b3642}}";

/// Writes the weights as HTML with a bar for each number.
pub fn chart(weights: &Weights) -> String {
    let most = weights.pages.iter().map(|page| page.first_visit_bytes);
    let most = most.max().unwrap_or(0).max(1);
    let title = format!(
        "{} {}",
        text(weights.app.as_str()),
        text(weights.release.as_str())
    );
    let since = match &weights.since {
        Some(since) => format!(", returning from {}", text(since.as_str())),
        None => String::new(),
    };
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1><p>Bytes of documents, scripts and styles{since}. A class is 30 devices on 10 Mbit/s.</p>\
         <table><thead><tr><th>Page<th>As it is<th>First visit<th>Returning<th>Class, first<th>Class, returning</thead><tbody>"
    );
    for page in &weights.pages {
        let bar = |bytes: u64, kind: &str| {
            let width = 100.0 * bytes as f64 / most as f64;
            format!("{bytes}<div class=\"bar {kind}\" style=\"width:{width:.1}%\"></div>")
        };
        let first = bar(page.first_visit_bytes, "first");
        let again = page.returning_bytes.map(|bytes| bar(bytes, "again"));
        let again_s = page.returning_class_s.map(|s| format!("{s:.1} s"));
        // Writing to memory does not fail.
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{first}<td>{}<td>{:.1} s<td>{}",
            text(&page.page),
            page.identity_bytes,
            again.unwrap_or_default(),
            page.first_visit_class_s,
            again_s.unwrap_or_default(),
        );
    }
    html.push_str("</tbody></table></html>\n");
    html
}

/// A text as it stands in HTML: paths of pages come from a build.
fn text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
