//! A picture comes in the form that the client shows best, from the release of its colour, by Next.js'
//! rules; what the release does not have is the origin's.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asset_pipeline::publish::{Publish, publish};
use asset_pipeline::store::Store;
use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};
use tokio::sync::OnceCell;

use super::support::apart::sum;
use super::support::browser::Browser;
use super::support::client::{Ask, Http};
use super::support::reply::Reply;
use super::support::site::{self, APP};
use super::support::stage::{MAPLE, Stage, plan};
use super::support::wait::within;

static PUBLISHED: OnceCell<PathBuf> = OnceCell::const_new();

const PICTURE: &str = "/_next/image?url=%2Fhill.jpg&w=64&q=75";
const RING: &str = "/_next/image?url=%2Fring.png&w=64&q=75";
/// The encoders are not optimised in tests, and give way to everything else.
const ENCODED: Duration = Duration::from_secs(180);
const SHOWN: &str = "image/avif,image/webp,image/apng,*/*;q=0.8";

/// A hill, lower in the second release.
fn hill(release: &str) -> Vec<u8> {
    let top = if release == "r1" { 20.0 } else { 40.0 };
    let mut noise = 3u32;
    let image = RgbImage::from_fn(96, 72, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let above = f64::from(y) < top + 8.0 * (f64::from(x) / 11.0).sin();
        let shade = if above { 200.0 } else { 70.0 + f64::from(y) };
        let shade = (shade + f64::from(noise >> 29)).min(255.0);
        Rgb([(shade * 0.7) as u8, shade as u8, (shade * 0.8) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .expect("it is encoded");
    bytes.into_inner()
}

/// A red ring around nothing, which fades.
fn ring() -> Vec<u8> {
    let image = RgbaImage::from_fn(64, 64, |x, y| {
        let far = (f64::from(x) - 32.0).hypot(f64::from(y) - 32.0);
        let alpha = match far {
            far if (16.0..24.0).contains(&far) => 255,
            far if (24.0..31.0).contains(&far) => 128,
            _ => 0,
        };
        Rgba([220, (x / 4) as u8, (y / 4) as u8, alpha])
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("it is encoded");
    bytes.into_inner()
}

/// Publishes a release of the site, with a picture and a drawing.
async fn publish_site(release: &str, store: &Path, images: bool) {
    let dir = tempfile::tempdir().expect("there is a place for temporary files");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
    write(
        "page.html",
        b"<img src='/_next/image?url=%2Fhill.jpg&amp;w=64&amp;q=75'>",
    );
    write("hill.jpg", &hill(release));
    write("ring.png", &ring());
    write(
        "half.png",
        b"\x89PNG\r\n\x1a\n and no more".repeat(40).as_slice(),
    );
    write("bell.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    let app = APP.parse().expect("the app's name is one");
    let id = release.parse().expect("the release's id is one");
    let at = Store::open(&site::url(store)).expect("a folder can be a store");
    let mut what = Publish::new(dir.path(), app, id, at);
    what.images = images;
    what.allow_broken = true;
    publish(what, &()).await.expect("it is published");
}

/// A store with both releases, made once for all tests and runs.
async fn store() -> &'static Path {
    let publish = || async {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let format = asset_pipeline::manifest::FORMAT;
        let store = target.join(format!("promises-images-{format}d"));
        for release in ["r1", "r2"] {
            publish_site(release, &store, true).await;
        }
        store
    };
    PUBLISHED.get_or_init(publish).await
}

async fn stage() -> Stage {
    let stage = plan().store(store().await).start().await;
    for origin in [&stage.blue, &stage.green] {
        origin.otherwise(|_| async { Reply::of("text/plain", "from the origin") });
    }
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_comes_in_the_form_that_the_client_shows() {
    let stage = stage().await;
    let whole = hill("r1");
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let mut sizes = Vec::new();
        for (accept, saves, content_type) in [
            ("image/avif,*/*", "off", "image/avif"),
            ("image/avif,*/*", "on", "image/avif"),
            ("image/webp,*/*", "off", "image/webp"),
            ("image/webp,*/*", "on", "image/webp"),
            ("*/*", "off", "image/jpeg"),
        ] {
            let ask = || {
                Ask::get(PICTURE)
                    .header("accept", accept)
                    .header("save-data", saves)
            };
            let answer = client.ask(ask()).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), content_type, "{accept}");
            assert_eq!(answer.header("vary"), "accept, save-data");
            assert_eq!(
                answer.header("cache-control"),
                "public, max-age=14400, must-revalidate"
            );
            assert_eq!(answer.header("content-disposition"), "attachment");
            let etag = answer.header("etag").to_owned();
            let again = client.ask(ask().header("if-none-match", &etag)).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
            if content_type == "image/webp" {
                let shown = image::load_from_memory(&answer.body).expect("it decodes");
                assert_eq!((shown.width(), shown.height()), (64, 48));
            }
            sizes.push(answer.body.len());
        }
        let both = client.ask(Ask::get(PICTURE).header("accept", SHOWN)).await;
        assert_eq!(both.body.len(), sizes[0].min(sizes[2]), "{sizes:?}");
        assert!(sizes[1] < sizes[0] && sizes[3] < sizes[2], "{sizes:?}");
        assert!(sizes.iter().max() == Some(&whole.len()), "{sizes:?}");
    }
    let answer = stage.h2(MAPLE).await.get("/bell.svg").await;
    assert!(answer.header("content-security-policy").contains("sandbox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_next_refuses_is_refused_and_what_is_not_here_is_the_origins() {
    let stage = stage().await;
    let client = stage.h2(MAPLE).await;
    for query in [
        "",
        "?url=%2Fhill.jpg&w=65&q=75",
        "?url=%2Fhill.jpg&w=64&q=74",
        "?url=%2F%2Fevil.example%2Fhill.jpg&w=64&q=75",
        "?url=%2Fhill.jpg&url=%2Fhill.jpg&w=64&q=75",
        "?url=%2F_next%2Fimage%3Furl%3D%2Fhill.jpg&w=64&q=75",
    ] {
        let answer = client.get(&format!("/_next/image{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("cache-control"), "no-store", "{query}");
    }
    for url in [
        "%2Fother.jpg",
        "%2Fbell.svg",
        "https%3A%2F%2Fcdn.example%2Fa.jpg",
    ] {
        let answer = client
            .get(&format!("/_next/image?url={url}&w=64&q=75"))
            .await;
        assert_eq!(answer.text(), "from the origin", "{url}");
    }
    let explained = |url: &str| {
        let url = format!("https://{MAPLE}{url}");
        let stage = &stage;
        async move {
            let output = stage.command(&["explain", &url]).await;
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let text = explained(PICTURE).await;
    assert!(text.contains("a picture of release r1"), "{text}");
    let text = explained("/_next/image?url=%2Fhill.jpg&w=65&q=75").await;
    assert!(text.contains("400: image_width"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_url_is_each_colours_own_picture() {
    let stage = stage().await;
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    let ask = || Ask::get(PICTURE).header("accept", SHOWN);
    let blue = client.ask(ask()).await;
    stage.shift("green=100%").await;
    let green = client.ask(ask()).await;
    assert_eq!((blue.status.as_u16(), green.status.as_u16()), (200, 200));
    assert_ne!(blue.header("etag"), green.header("etag"));
    assert_ne!(blue.body, green.body);
}

fn made(stage: &Stage, outcome: &str) -> u64 {
    let line = format!("edge_images_made_total{{outcome=\"{outcome}\"}}");
    sum(&stage.edge.metrics().text(), &[&line])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_publish_did_not_make_is_made_when_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    for release in ["r1", "r2"] {
        publish_site(release, folder.path(), false).await;
    }
    let mut stage = plan().store(folder.path()).start().await;
    let client = stage.h2(MAPLE).await;
    let ask = |url: &str, accept: &str| {
        let target = format!("/_next/image?url=%2F{url}&w=64&q=75");
        Ask::get(&target).header("accept", accept)
    };
    // Who asks first does not wait, and asks again soon.
    let first = client.ask(ask("hill.jpg", SHOWN)).await;
    assert_eq!(first.header("content-type"), "image/jpeg");
    assert_eq!(first.body, hill("r1"));
    assert_eq!(
        first.header("cache-control"),
        "public, max-age=60, must-revalidate"
    );
    for accept in ["image/avif", "image/webp"] {
        let made = within(ENCODED, async || {
            let answer = client.ask(ask("hill.jpg", accept)).await;
            (answer.header("content-type") == accept).then_some(answer)
        });
        let made = made.await.expect("the form is made");
        assert!(made.body.len() < first.body.len());
        assert_eq!(
            made.header("cache-control"),
            "public, max-age=14400, must-revalidate"
        );
        assert_eq!(made.header("vary"), "accept, save-data");
    }
    // What is no picture costs one try, and is sent as it is.
    let tried = within(ENCODED, async || {
        let answer = client.ask(ask("half.png", "image/webp")).await;
        assert_eq!(answer.header("content-type"), "image/png");
        let kept = answer.header("cache-control").contains("max-age=14400");
        kept.then_some(())
    });
    tried.await.expect("it was tried");
    assert_eq!(made(&stage, "made"), 2);
    assert_eq!(made(&stage, "failed"), 1);
    drop(client);
    // It is there after a restart, and bytes that were damaged meanwhile are not sent.
    stage = stage.restart().await;
    stage.ready().await;
    let client = stage.h2(MAPLE).await;
    let again = client.ask(ask("hill.jpg", "image/avif")).await;
    assert_eq!(again.header("content-type"), "image/avif");
    assert_eq!(made(&stage, "made"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_are_made_the_origin_answers_for_what_the_publish_left() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    for release in ["r1", "r2"] {
        publish_site(release, folder.path(), false).await;
    }
    let stage = plan()
        .store(folder.path())
        .table("[images]\nmake = false")
        .start()
        .await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/plain", "from the origin") });
    let client = stage.h2(MAPLE).await;
    let answer = client.ask(Ask::get(PICTURE).header("accept", SHOWN)).await;
    assert_eq!(answer.body, "from the origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_browser_shows_both_formats() {
    let stage = stage().await;
    let Some(browser) = Browser::start(&stage.pair.spki_hash()).await else {
        return;
    };
    let tab = browser.tab().await;
    let url = format!("https://{MAPLE}:{}/page.html", stage.address().port());
    let log = tab.load(&url).await;
    let picture = log
        .requests
        .values()
        .find(|request| request.url.contains("_next/image"));
    let picture = picture.expect("the page asks for it");
    assert_eq!(picture.kind, "Image");
    // Both formats decode, to the colours that went in: sky above, meadow below.
    for accept in ["image/avif", "image/webp"] {
        let seen = tab.evaluate(&decoded(PICTURE, accept)).await;
        assert_eq!(seen[0], accept);
        assert_eq!((&seen[1], &seen[2]), (&64.into(), &48.into()), "{seen}");
        for (place, expected) in [(3, [140.0, 200.0, 160.0]), (4, [95.0, 136.0, 109.0])] {
            for (channel, value) in expected.into_iter().enumerate() {
                let shown = seen[place][channel].as_f64().expect("a number");
                assert!((shown - value).abs() < 25.0, "{accept} {seen}");
            }
        }
    }
    // What shines through does so in both: nothing in the middle, all of it in the ring, half of it around.
    for accept in ["image/avif", "image/webp"] {
        let seen = tab.evaluate(&decoded(RING, accept)).await;
        assert_eq!(seen[0], accept, "{seen}");
        for (place, opacity) in [(5, 0.0), (6, 255.0), (7, 128.0)] {
            let shown = seen[place][3].as_f64().expect("a number");
            assert!((shown - opacity).abs() < 12.0, "{accept} {place}: {seen}");
        }
        assert!(seen[6][0].as_f64() > Some(190.0), "{accept} {seen}");
    }
    browser.close().await;
}

/// Fetches a picture in one format and says what a browser makes of it.
fn decoded(picture: &str, accept: &str) -> String {
    format!(
        "(async () => {{
            const answer = await fetch('{picture}', {{ headers: {{ accept: '{accept}' }}, cache: 'no-store' }});
            const image = await createImageBitmap(await answer.blob());
            const pen = new OffscreenCanvas(image.width, image.height).getContext('2d');
            pen.drawImage(image, 0, 0);
            const at = (x, y) => [...pen.getImageData(x, y, 1, 1).data];
            return [answer.headers.get('content-type'), image.width, image.height, at(32, 4), at(32, 44),
                at(32, 32), at(32, 12), at(32, 5)];
        }})()"
    )
}
