use asset_pipeline::digest::Digest;
use asset_pipeline::manifest::Image;
use http::Method;
use http::header::ACCEPT;

use super::*;

fn blob(name: &str, bytes: u64) -> Blob {
    Blob {
        digest: Digest::of(name.as_bytes()),
        bytes,
    }
}

fn made(name: &str, format: ImageFormat, tier: Tier, bytes: u64) -> Rendition {
    Rendition {
        format,
        tier,
        blob: blob(name, bytes),
        quality: 60,
        score: 7500,
    }
}

/// A picture of 700 pixels that is seldom worth an AVIF.
fn images() -> Images {
    use ImageFormat::{Avif, Webp};
    use Tier::{Full, Lean};
    let image = Image {
        width: 700,
        height: 400,
        rungs: BTreeMap::from([
            (
                32,
                vec![made("32w", Webp, Full, 90), made("32a", Avif, Full, 200)],
            ),
            (
                640,
                vec![
                    made("640l", Avif, Lean, 500),
                    made("640a", Avif, Full, 800),
                    made("640w", Webp, Full, 900),
                ],
            ),
            (700, vec![]),
        ]),
    };
    let file = |kind, image| File {
        kind,
        content_type: "image/jpeg".to_owned(),
        identity: blob("whole", 1000),
        encoded: BTreeMap::new(),
        dictionary_for: None,
        deltas: Vec::new(),
        image,
    };
    let mut images = Images::default();
    for (release, hashed) in [("r1", "/map-0123abcd.jpg"), ("r2", "/map-4567ef01.jpg")] {
        let files = [
            ("/map.jpg", file(Kind::Release, Some(image.clone()))),
            (hashed, file(Kind::Hashed, Some(image.clone()))),
            ("/plain.jpg", file(Kind::Release, None)),
        ];
        images.add(&Manifest {
            format: asset_pipeline::manifest::FORMAT,
            app: "learn".parse().expect("an app id"),
            release: release.parse().expect("a release id"),
            build_id: None,
            deployment_id: None,
            hashed_prefixes: Vec::new(),
            files: files.map(|(path, file)| (path.to_owned(), file)).into(),
            pages: BTreeMap::new(),
            images: Some(ImageRules::default()),
            dictionary: None,
        });
    }
    images.done();
    images
}

fn headers(accept: &'static str, saves: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    if saves {
        headers.insert("save-data", HeaderValue::from_static("on"));
    }
    headers
}

fn chosen(images: &Images, release: &str, query: &str, headers: &HeaderMap) -> Chosen {
    let wanted = images.find(release, "/_next/image", Some(query));
    let wanted = wanted.expect("it is asked for well").expect("it is there");
    wanted.choose(headers, None).expect("it is ours")
}

const ALL: &str = "image/avif,image/webp,*/*";

#[test]
fn the_smallest_form_that_is_shown_at_the_width_is_sent() {
    let images = images();
    for (width, accept, saves, expected) in [
        (32, ALL, false, "32w"),
        (32, "image/avif", false, "32a"),
        (640, ALL, false, "640a"),
        (640, "image/webp", false, "640w"),
        (640, ALL, true, "640l"),
        // No lean WebP was worth it.
        (640, "image/webp", true, "640w"),
        (640, "*/*", true, "whole"),
        // Nothing is enlarged, and at its own width nothing was smaller.
        (1080, ALL, false, "whole"),
        // A width that was not made is not taken for another one.
        (48, ALL, false, "whole"),
    ] {
        let query = format!("url=%2Fmap.jpg&w={width}&q=75");
        let chosen = chosen(&images, "r1", &query, &headers(accept, saves));
        let digest = Digest::of(expected.as_bytes());
        assert_eq!(
            chosen.form.identity().digest,
            digest,
            "{width} {accept} {saves}"
        );
        assert_eq!(chosen.format.is_none(), expected == "whole");
    }
}

#[test]
fn an_answer_says_what_it_depends_on_and_for_how_long() {
    let images = images();
    for (url, cache_control) in [
        ("/map.jpg", "public, max-age=14400, must-revalidate"),
        ("/map-0123abcd.jpg", "public, max-age=31536000, immutable"),
    ] {
        let query = format!("url={url}&w=640&q=75");
        let headers = headers(ALL, false);
        // The hashed one of another release than the colour's.
        let chosen = chosen(&images, "r2", &query, &headers);
        let answer = chosen.form.answer(&Method::GET, &headers);
        let field = |name| answer.header.headers.get(name).map(HeaderValue::as_bytes);
        assert_eq!(field("cache-control"), Some(cache_control.as_bytes()));
        assert_eq!(field("vary"), Some(&b"accept, save-data"[..]));
        assert_eq!(field("content-type"), Some(&b"image/avif"[..]));
        assert_eq!(field("x-content-type-options"), Some(&b"nosniff"[..]));
        let etag = field("etag").expect("it has a tag");
        assert!(etag.starts_with(b"\""), "it is a strong one");
        assert!(field("content-security-policy").is_some());
    }
}

#[test]
fn what_is_not_ours_is_left_to_the_origin() {
    let images = images();
    for (release, path, query) in [
        ("r1", "/_next/image", "url=/other.jpg&w=640&q=75"),
        (
            "r1",
            "/_next/image",
            "url=https://cdn.example/a.jpg&w=640&q=75",
        ),
        ("r1", "/_next/images", "w=1"),
        ("r0", "/_next/image", "w=1"),
    ] {
        let wanted = images.find(release, path, Some(query));
        assert!(wanted.expect("it is no error").is_none(), "{path} {query}");
    }
    let query = "url=/plain.jpg&w=640&q=75";
    let wanted = images.find("r1", "/_next/image", Some(query));
    let wanted = wanted.expect("it is asked for well").expect("it is there");
    assert!(wanted.is_ours(true) && !wanted.is_ours(false));
    let chosen = wanted.choose(&HeaderMap::new(), None);
    assert!(
        chosen.is_none(),
        "no form was made of it, and none is made here"
    );
    let refused = images.find("r1", "/_next/image", Some("w=1"));
    assert_eq!(
        refused.expect_err("it is refused"),
        Refusal::Picture("image_url")
    );
}
