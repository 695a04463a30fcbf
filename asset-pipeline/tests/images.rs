//! Pictures get smaller forms: once, at widths of the ladder, never larger than they are.

mod support;

use std::io::Cursor;

use asset_pipeline::manifest::{ImageFormat, Tier};
use asset_pipeline::publish::{Apart, Publish, publish};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, Rgb, RgbImage, RgbaImage};
use support::Place;

fn photo(width: u32, height: u32) -> RgbImage {
    let mut noise = 11u32;
    RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wave = 60.0 * (f64::from(x) / 13.0).sin() * (f64::from(y) / 11.0).cos();
        let shade = 120.0 + wave + f64::from(noise >> 28);
        Rgb([shade as u8, (shade * 0.8) as u8, (shade * 0.5) as u8])
    })
}

fn encoded(image: RgbImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, format)
        .expect("it is encoded");
    bytes.into_inner()
}

fn wanted(place: &Place, release: &str) -> Publish {
    Publish {
        images: true,
        ..place.publish_of(release)
    }
}

#[tokio::test]
async fn pictures_are_made_smaller_once_and_what_is_none_is_published_as_it_is() {
    let place = Place::empty();
    place.write("index.html", "<img src=map.jpg>");
    place.write("map.jpg", encoded(photo(70, 50), image::ImageFormat::Jpeg));
    let mut moving = Vec::new();
    let mut gif = GifEncoder::new(&mut moving);
    for shade in [0u8, 200] {
        let frame = RgbaImage::from_fn(40, 40, |x, y| {
            [shade, (x * 3) as u8, (y * 5) as u8, 255].into()
        });
        gif.encode_frame(Frame::new(frame)).expect("a frame");
    }
    drop(gif);
    place.write("moving.gif", moving);
    let whole = encoded(photo(60, 60), image::ImageFormat::Png);
    place.write("half.png", &whole[..whole.len() / 2]);

    let report = publish(wanted(&place, "one"), &())
        .await
        .expect("published");
    let pictures = report.pictures.expect("they were wanted");
    assert_eq!(
        (pictures.pictures, report.warnings.len()),
        (1, 1),
        "{:?}",
        report.warnings
    );
    assert!(report.warnings[0].starts_with("/half.png is published without smaller forms"));

    let manifest = place.manifest("one").await;
    assert!(manifest.files["/moving.gif"].image.is_none());
    assert!(manifest.files["/half.png"].image.is_none());
    let file = &manifest.files["/map.jpg"];
    let image = file.image.as_ref().expect("it is a picture");
    assert_eq!((image.width, image.height), (70, 50));
    let widths: Vec<u32> = image.rungs.keys().copied().collect();
    assert_eq!(widths, [16, 32, 48, 64, 70], "none is enlarged");
    for (width, rung) in &image.rungs {
        let sizes: Vec<u64> = rung.iter().map(|made| made.blob.bytes).collect();
        assert!(sizes.is_sorted() && sizes.iter().all(|bytes| *bytes < file.identity.bytes));
        for made in rung {
            let bytes = place.store().blob(&made.blob).await.expect("it is stored");
            if made.format == ImageFormat::Webp {
                let shown = image::load_from_memory(&bytes).expect("it decodes");
                assert_eq!(shown.width(), *width);
            } else {
                assert_eq!(&bytes[4..12], b"ftypavif");
            }
            let target = if made.tier == Tier::Full { 7500 } else { 6000 };
            assert!(made.score >= target, "{made:?}");
        }
    }
    // The twin is the same picture.
    let twin = manifest
        .files
        .iter()
        .find(|(url, _)| url.starts_with("/map-"));
    assert_eq!(twin.expect("it has a hashed name").1.image, file.image);
    assert_eq!(place.verified().await.damaged, []);

    place.write("index.html", "<h1>new</h1><img src=map.jpg>");
    let again = publish(wanted(&place, "two"), &())
        .await
        .expect("published");
    assert_eq!(
        again.pictures.as_ref().expect("they were wanted").forms,
        pictures.forms
    );
    assert!(again.reused >= 16 && again.encoded <= 6, "{again:?}");
    assert_eq!(
        place.manifest("two").await.files["/map.jpg"].image,
        file.image
    );
}

/// A PNG of nothing, 8,000 pixels wide and 5,000 high: what is decoded at most, in some kilobytes.
fn endless() -> Vec<u8> {
    let (width, height) = (8_000u32, 5_000u32);
    let rows = vec![0; (width as usize * 4 + 1) * height as usize];
    let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut packed = vec![0; packer.zlib_compress_bound(rows.len())];
    let bytes = packer.zlib_compress(&rows, &mut packed).expect("room");
    packed.truncate(bytes);
    let mut head = [width.to_be_bytes(), height.to_be_bytes()].concat();
    head.extend([8, 6, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, body) in [(b"IHDR", &head), (b"IDAT", &packed), (b"IEND", &Vec::new())] {
        let named = [&name[..], body].concat();
        png.extend((body.len() as u32).to_be_bytes());
        png.extend(&named);
        png.extend(libdeflater::crc32(&named).to_be_bytes());
    }
    png
}

#[tokio::test]
async fn a_picture_that_breaks_its_decoder_is_published_as_it_is_and_the_others_get_theirs() {
    let place = Place::empty();
    place.write("map.jpg", encoded(photo(40, 30), image::ImageFormat::Jpeg));
    place.write("endless.png", endless());
    let whole = encoded(photo(60, 60), image::ImageFormat::Png);
    place.write("half.png", &whole[..whole.len() / 2]);
    let apart = Apart::Process(env!("CARGO_BIN_EXE_asset-pipeline").into());
    let publish_of = |release| Publish {
        apart: apart.clone(),
        ..wanted(&place, release)
    };
    let report = publish(publish_of("one"), &()).await.expect("published");
    let said = |text: &str| report.warnings.iter().any(|line| line.contains(text));
    assert!(said(
        "/half.png is published without smaller forms: it cannot be decoded"
    ));
    let manifest = place.manifest("one").await;
    match manifest.files["/endless.png"].image {
        None => assert!(said(
            "/endless.png is published without smaller forms: it takes more time"
        )),
        Some(_) => println!("SKIPPED: this machine decodes the most pixels within five seconds"),
    }
    let image = manifest.files["/map.jpg"].image.as_ref();
    let rungs = &image.expect("it has forms").rungs;
    assert_eq!(rungs.keys().copied().collect::<Vec<_>>(), [16, 32, 40]);
    assert!(rungs.values().all(|rung| !rung.is_empty()), "{rungs:?}");
    // The same bytes as on a thread.
    let on_a_thread = Place::empty();
    on_a_thread.write("map.jpg", encoded(photo(40, 30), image::ImageFormat::Jpeg));
    publish(wanted(&on_a_thread, "one"), &())
        .await
        .expect("published");
    let other = on_a_thread.manifest("one").await;
    assert_eq!(other.files["/map.jpg"].image.as_ref(), image);
}

#[tokio::test]
async fn pictures_are_left_alone_where_nobody_wants_less() {
    let place = Place::empty();
    place.write("map.jpg", encoded(photo(70, 50), image::ImageFormat::Jpeg));
    let report = place.publish("one").await.expect("published");
    assert_eq!(report.pictures, None);
    let manifest = place.manifest("one").await;
    assert!(manifest.files["/map.jpg"].image.is_none());
    let rules = manifest.images.expect("it may still be asked for");
    assert_eq!(rules.path, "/_next/image");
}
