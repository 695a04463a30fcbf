//! What a request for a smaller picture asks for, and what its client shows.

use asset_pipeline::manifest::{ImageFormat, ImageRules};
use http::header::{ACCEPT, HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

/// As in Next.js.
const URL_CHARS_MAX: usize = 3_072;

const SAVE_DATA: HeaderName = HeaderName::from_static("save-data");

/// A request that is by the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A picture of this site.
    Local {
        /// Its decoded path.
        path: String,
        /// One of the ladder.
        width: u32,
    },
    /// A picture of another host: the origin knows which it fetches from.
    Remote,
}

/// Reads the query of a request; the error is the name of what is wrong with it.
pub(super) fn asked(query: Option<&str>, rules: &ImageRules) -> Result<Asked, &'static str> {
    let (mut url, mut width, mut quality) = (None, None, None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match form_decoded(name).as_deref() {
            Some("url") => &mut url,
            Some("w") => &mut width,
            Some("q") => &mut quality,
            _ => continue,
        };
        // Two could be understood in two ways.
        if place.replace(value).is_some() {
            return Err("image_twice");
        }
    }
    let url = url.and_then(form_decoded).ok_or("image_url")?;
    let number = |text: Option<&str>| {
        let text = text.filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse::<u32>().ok()
    };
    let width = number(width)
        .filter(|width| rules.widths.binary_search(width).is_ok())
        .ok_or("image_width")?;
    number(quality)
        .and_then(|quality| u8::try_from(quality).ok())
        .filter(|quality| rules.qualities.binary_search(quality).is_ok())
        .ok_or("image_quality")?;
    if url.is_empty() || url.chars().count() > URL_CHARS_MAX {
        return Err("image_url");
    }
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(Asked::Remote);
    }
    // A browser takes `/\host` for `//host`.
    if !url.starts_with('/') || url.starts_with("//") || url.starts_with("/\\") {
        return Err("image_url");
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| "image_url")?;
    let own = |rest: &str| rest.is_empty() || rest.starts_with('/');
    if path.strip_prefix(rules.path.as_str()).is_some_and(own) {
        return Err("image_recursive");
    }
    Ok(Asked::Local {
        path: path.into_owned(),
        width,
    })
}

fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// What decides between a picture's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Client {
    pub(crate) avif: bool,
    pub(crate) webp: bool,
    /// It asks for fewer bytes.
    pub(crate) saves: bool,
}

impl Client {
    pub(super) fn shows(self, format: ImageFormat) -> bool {
        match format {
            ImageFormat::Avif => self.avif,
            ImageFormat::Webp => self.webp,
        }
    }

    /// Formats count only where they are named: `*/*` is said by what shows neither.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut client = Self::default();
        let lines = headers.get_all(ACCEPT).iter();
        for item in lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')) {
            let mut parts = item.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if parts.any(is_nothing) {
                continue;
            }
            client.avif |= name.eq_ignore_ascii_case(b"image/avif");
            client.webp |= name.eq_ignore_ascii_case(b"image/webp");
        }
        let saves = headers.get(SAVE_DATA).map(|value| value.as_bytes());
        client.saves = saves.is_some_and(|value| {
            let value = value.split(|b| *b == b';').next().unwrap_or_default();
            value.trim_ascii().eq_ignore_ascii_case(b"on")
        });
        client
    }
}

/// Whether a parameter is a weight of zero.
fn is_nothing(parameter: &[u8]) -> bool {
    let Some((name, value)) = parameter.split_at_checked(2) else {
        return false;
    };
    name.eq_ignore_ascii_case(b"q=")
        && value.starts_with(b"0")
        && value.iter().all(|b| matches!(b, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str) -> Result<Asked, &'static str> {
        asked(Some(query), &ImageRules::default())
    }

    #[test]
    fn what_next_refuses_is_refused() {
        for (query, reason) in [
            ("", "image_url"),
            ("w=640&q=75", "image_url"),
            ("url=&w=640&q=75", "image_url"),
            ("url=/a.jpg&q=75", "image_width"),
            ("url=/a.jpg&w=641&q=75", "image_width"),
            ("url=/a.jpg&w=0640x&q=75", "image_width"),
            ("url=/a.jpg&w=-640&q=75", "image_width"),
            ("url=/a.jpg&w=99999999999&q=75", "image_width"),
            ("url=/a.jpg&w=640", "image_quality"),
            ("url=/a.jpg&w=640&q=74", "image_quality"),
            ("url=/a.jpg&w=640&q=331", "image_quality"),
            ("url=/a.jpg&url=/b.jpg&w=640&q=75", "image_twice"),
            ("url=/a.jpg&w=640&w=750&q=75", "image_twice"),
            ("url=//evil.example/a.jpg&w=640&q=75", "image_url"),
            ("url=%2F%2Fevil.example%2Fa.jpg&w=640&q=75", "image_url"),
            ("url=/%5Cevil.example/a.jpg&w=640&q=75", "image_url"),
            ("url=a.jpg&w=640&q=75", "image_url"),
            ("url=ftp://oak.example/a.jpg&w=640&q=75", "image_url"),
            ("url=/%25ff&w=640&q=75", "image_url"),
            (
                "url=%2F_next%2Fimage%3Furl%3D%2Fa&w=640&q=75",
                "image_recursive",
            ),
            ("url=/_next/%2569mage&w=640&q=75", "image_recursive"),
        ] {
            assert_eq!(read(query), Err(reason), "{query}");
        }
        let long = format!("url=/{}&w=640&q=75", "a".repeat(URL_CHARS_MAX));
        assert_eq!(read(&long), Err("image_url"));
    }

    #[test]
    fn a_local_picture_is_found_by_its_decoded_path() {
        for (query, path) in [
            ("url=%2Fphotos%2Fmap.jpg&w=640&q=75", "/photos/map.jpg"),
            ("q=75&w=640&url=/photos/map.jpg", "/photos/map.jpg"),
            ("url=%2Fa.jpg%3Fdpl%3Dr1&w=640&q=75&dpl=r1", "/a.jpg"),
            ("url=%2Four%2520map.jpg&w=640&q=75", "/our map.jpg"),
            ("url=/_next/images.jpg&w=640&q=75", "/_next/images.jpg"),
        ] {
            let (path, width) = (path.to_owned(), 640);
            assert_eq!(read(query), Ok(Asked::Local { path, width }), "{query}");
        }
        let remote = read("url=https%3A%2F%2Fcdn.example%2Fa.jpg&w=640&q=75");
        assert_eq!(remote, Ok(Asked::Remote));
    }

    #[test]
    fn a_client_shows_what_it_names() {
        let client = |accept: &str, saves: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(ACCEPT, accept), (SAVE_DATA, saves)] {
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            let Client { avif, webp, saves } = Client::of(&headers);
            (avif, webp, saves)
        };
        let all = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        assert_eq!(client(all, "on"), (true, true, true));
        assert_eq!(client("Image/WebP;q=0.1, */*", "off"), (false, true, false));
        assert_eq!(
            client("image/avif;q=0, image/webp;q=0.000", "ON"),
            (false, false, true)
        );
        assert_eq!(client("image/*, */*", "on;x=1"), (false, false, true));
        assert_eq!(client("image/avif ; q=0.05", "only"), (true, false, false));
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Asked::Local { path, width }) = read(&query) {
                prop_assert!(path.starts_with('/') && width == 640);
            }
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(ACCEPT, value.clone());
                headers.insert(SAVE_DATA, value);
                Client::of(&headers);
            }
        }
    }
}
