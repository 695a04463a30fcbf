//! Drawings: what may run in one, or ask another host, is taken out.
//!
//! In a page a drawing is a picture; opened by itself it is a page of the site. The edge sends a policy that
//! lets nothing in it run, and what is not there needs no policy: for whoever saves it and sends it on.

use svg_hush::data_url_filter::allow_standard_images;
use svg_hush::{FError, Filter};

/// Keeps what draws.
pub(super) fn rewrite(text: &str) -> Result<String, String> {
    let mut filter = Filter::new();
    filter.set_data_url_filter(allow_standard_images);
    let mut safe = Vec::with_capacity(text.len());
    filter
        .filter(text.as_bytes(), &mut safe)
        .map_err(|error: FError| format!("it is no drawing that can be read: {error}"))?;
    String::from_utf8(safe).map_err(|error| error.to_string())
}
