//! What kind of content a file's name promises, and whether it is worth encoding.

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Media {
    essence: &'static str,
    text: bool,
    /// Whether br and gzip are tried. False for formats that are compressed already.
    pub(super) compress: bool,
}

const fn text(essence: &'static str) -> Media {
    Media {
        essence,
        text: true,
        compress: true,
    }
}

const fn binary(essence: &'static str) -> Media {
    Media {
        essence,
        text: false,
        compress: true,
    }
}

const fn packed(essence: &'static str) -> Media {
    Media {
        essence,
        text: false,
        compress: false,
    }
}

/// The kind of a file by its extension. Browsers are told not to sniff, so an unknown one is a download.
pub(super) fn of(path: &str) -> Media {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => text("text/html"),
        "css" => text("text/css"),
        "js" | "mjs" | "cjs" => text("text/javascript"),
        "json" | "map" => text("application/json"),
        "webmanifest" => text("application/manifest+json"),
        "txt" => text("text/plain"),
        "md" => text("text/markdown"),
        "csv" => text("text/csv"),
        "ics" => text("text/calendar"),
        "vtt" => text("text/vtt"),
        "xml" => text("application/xml"),
        "rsc" => text("text/x-component"),
        "svg" => text("image/svg+xml"),
        "wasm" => binary("application/wasm"),
        "ttf" => binary("font/ttf"),
        "otf" => binary("font/otf"),
        "eot" => binary("application/vnd.ms-fontobject"),
        "ico" => binary("image/x-icon"),
        "bmp" => binary("image/bmp"),
        "wav" => binary("audio/wav"),
        "woff" => packed("font/woff"),
        "woff2" => packed("font/woff2"),
        "png" | "apng" => packed("image/png"),
        "jpg" | "jpeg" | "jfif" => packed("image/jpeg"),
        "gif" => packed("image/gif"),
        "webp" => packed("image/webp"),
        "avif" => packed("image/avif"),
        "jxl" => packed("image/jxl"),
        "heic" => packed("image/heic"),
        "mp4" | "m4v" => packed("video/mp4"),
        "webm" => packed("video/webm"),
        "mp3" => packed("audio/mpeg"),
        "m4a" => packed("audio/mp4"),
        "ogg" | "oga" | "opus" => packed("audio/ogg"),
        "ogv" => packed("video/ogg"),
        "pdf" => packed("application/pdf"),
        "zip" => packed("application/zip"),
        "gz" | "tgz" => packed("application/gzip"),
        "br" | "zst" | "xz" | "bz2" | "7z" => packed("application/octet-stream"),
        "docx" => packed("application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        "xlsx" => packed("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        "pptx" => {
            packed("application/vnd.openxmlformats-officedocument.presentationml.presentation")
        }
        "odt" => packed("application/vnd.oasis.opendocument.text"),
        "epub" => packed("application/epub+zip"),
        _ => binary("application/octet-stream"),
    }
}

/// Whether a page needs it before it works: scripts and styles.
pub(super) fn is_code(path: &str) -> bool {
    matches!(of(path).essence, "text/css" | "text/javascript")
}

impl Media {
    /// The value of `Content-Type`. Text that is not UTF-8 gets no charset: the file must say it.
    pub(super) fn content_type(self, utf8: bool) -> String {
        if self.text && utf8 {
            format!("{}; charset=utf-8", self.essence)
        } else {
            self.essence.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_type_charset_and_encoding() {
        for (path, content_type, compress) in [
            ("/index.html", "text/html; charset=utf-8", true),
            ("/a.b/APP.JS", "text/javascript; charset=utf-8", true),
            (
                "/manifest.webmanifest",
                "application/manifest+json; charset=utf-8",
                true,
            ),
            ("/map.jpg", "image/jpeg", false),
            ("/font.woff2", "font/woff2", false),
            ("/font.ttf", "font/ttf", true),
            ("/LICENSE", "application/octet-stream", true),
            ("/js.d/x", "application/octet-stream", true),
        ] {
            let media = of(path);
            assert_eq!(media.content_type(true), content_type, "{path}");
            assert_eq!(media.compress, compress, "{path}");
        }
        assert_eq!(of("/latin1.txt").content_type(false), "text/plain");
    }
}
