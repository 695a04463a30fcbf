use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder as _, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

/// A photo of a hill: soft shapes, and a little noise.
fn photo(width: u32, height: u32) -> RgbImage {
    let mut noise = 7u32;
    RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hill = 40.0 + 10.0 * (f64::from(x) / 9.0).sin();
        let light = if f64::from(y) < hill { 190.0 } else { 80.0 };
        let shade = light + 30.0 * (f64::from(x + y) / 17.0).cos() + f64::from(noise >> 29);
        Rgb([shade as u8, (shade * 0.9) as u8, (shade * 0.6) as u8])
    })
}

/// Rows of letters, in a manner of speaking.
fn page(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let ink = y % 12 < 7 && x % 5 < 2 && (x / 5 + y / 12) % 7 != 0;
        Rgb(if ink { [20, 20, 60] } else { [255, 255, 250] })
    })
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image
        .into()
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("it is encoded");
    bytes.into_inner()
}

fn jpeg(image: &RgbImage, exif: Option<&[u8]>, icc: Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    if let Some(exif) = exif {
        encoder
            .set_exif_metadata(exif.to_vec())
            .expect("it takes it");
    }
    if let Some(icc) = icc {
        encoder.set_icc_profile(icc).expect("it takes it");
    }
    let (width, height) = image.dimensions();
    encoder
        .write_image(image, width, height, image::ExtendedColorType::Rgb8)
        .expect("it is encoded");
    bytes
}

/// A TIFF directory with one entry: the orientation. What follows is where a camera was.
fn turned(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif.extend(b"52.5200 13.4050 secret place");
    exif
}

fn recipe(width: u32, format: ImageFormat, tier: Tier) -> Recipe {
    Recipe {
        width,
        format,
        tier,
    }
}

fn rendered(picture: &Picture, format: ImageFormat, tier: Tier) -> Rendered {
    let recipe = recipe(picture.width, format, tier);
    let found = picture.render(&recipe, Hint::default());
    found.expect("it is encoded").expect("there is one")
}

#[test]
fn every_format_reaches_the_target_and_the_lean_tier_is_smaller() {
    let picture = Picture::decode(&png(photo(72, 60))).expect("it is a picture");
    assert!(!picture.has_text());
    for format in [ImageFormat::Avif, ImageFormat::Webp] {
        let full = rendered(&picture, format, Tier::Full);
        let lean = rendered(&picture, format, Tier::Lean);
        assert!(full.score >= TARGET, "{format:?} {}", full.score);
        assert!(lean.score >= TARGET_LEAN, "{format:?} {}", lean.score);
        assert!(lean.bytes.len() < full.bytes.len(), "{format:?}");
        let again = rendered(&picture, format, Tier::Full);
        assert_eq!(full, again, "{format:?} is made the same way each time");
    }
}

#[test]
fn text_is_found_and_keeps_more() {
    let scan = Picture::decode(&jpeg(&page(64, 64), None, None)).expect("it is a picture");
    assert!(scan.has_text());
    for format in [ImageFormat::Avif, ImageFormat::Webp] {
        let score = rendered(&scan, format, Tier::Full).score;
        assert!(score >= TARGET_TEXT, "{format:?} {score}");
    }
    let drawn = Picture::decode(&png(page(64, 64))).expect("it is a picture");
    let webp = rendered(&drawn, ImageFormat::Webp, Tier::Lean);
    assert_eq!(webp.quality, 100, "without loss it is smaller still");
}

#[test]
fn a_few_letters_that_smear_are_not_taken_for_a_good_page() {
    // Mostly empty, so that a score of the whole says little of the one line.
    let sheet = RgbImage::from_fn(96, 96, |x, y| {
        let letter = (40..48).contains(&y) && (x / 2 + y) % 3 == 0;
        if letter {
            Rgb([200, 0, 0])
        } else {
            Rgb([255, 255, 255])
        }
    });
    let picture = Picture::decode(&png(sheet)).expect("it decodes");
    assert!(picture.has_text());
    for format in ImageFormat::ALL {
        let Some(kept) = picture
            .render(&recipe(96, format, Tier::Full), Hint::default())
            .expect("it is encoded")
        else {
            continue;
        };
        let taken = picture.searched(format, 82.0, Hint::default());
        let taken = taken.expect("it is encoded").expect("it is made");
        assert!(kept.quality >= taken.quality, "{format:?}");
        assert!(kept.score >= 82.0);
    }
}

#[test]
fn a_picture_is_turned_upright_and_says_nothing_of_where_it_was_taken() {
    let mut image = photo(64, 40);
    for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
        image.put_pixel(x, y, Rgb([255, 0, 0]));
    }
    let bytes = jpeg(&image, Some(&turned(6)), None);
    let head = look(&bytes).expect("it is a picture");
    assert_eq!((head.width, head.height, head.animated), (40, 64, false));
    let picture = Picture::decode(&bytes).expect("it is a picture");
    assert_eq!((picture.width(), picture.height()), (40, 64));
    // What was at the top left is at the top right after a quarter turn to the right.
    let at = (3 * 40 + 36) * 3;
    assert!(picture.pixels[at] > 200 && picture.pixels[at + 1] < 60);
    for format in [ImageFormat::Avif, ImageFormat::Webp] {
        let made = rendered(&picture, format, Tier::Lean).bytes;
        let told = |word: &[u8]| made.windows(word.len()).any(|part| part == word);
        assert!(!told(b"secret") && !told(b"Exif") && !told(b"EXIF"));
    }
}

#[test]
fn colours_of_a_wide_gamut_are_converted() {
    let red = RgbImage::from_pixel(16, 16, Rgb([200, 80, 60]));
    let p3 = moxcms::ColorProfile::new_display_p3()
        .encode()
        .expect("a profile");
    let plain = Picture::decode(&jpeg(&red, None, None)).expect("it is a picture");
    let wide = Picture::decode(&jpeg(&red, None, Some(p3))).expect("it is a picture");
    assert!(
        wide.pixels[0] > plain.pixels[0] + 5,
        "the same numbers are a stronger red in P3: {} and {}",
        wide.pixels[0],
        plain.pixels[0]
    );
    let junk = Picture::decode(&jpeg(&red, None, Some(b"no profile".to_vec())));
    assert!(matches!(junk, Err(Unfit::Colours(_))));
}

/// A ring that fades, around nothing.
fn ring(side: u32) -> RgbaImage {
    let middle = f64::from(side) / 2.0;
    RgbaImage::from_fn(side, side, |x, y| {
        let far = (f64::from(x) - middle).hypot(f64::from(y) - middle);
        let alpha = match far / middle {
            far if (0.5..0.7).contains(&far) => 255,
            far if (0.7..0.9).contains(&far) => 120,
            _ => 0,
        };
        Rgba([30, 120, (x * 3) as u8, alpha])
    })
}

#[test]
fn what_shines_through_still_does() {
    let picture = Picture::decode(&png(ring(64))).expect("it is a picture");
    let webp = rendered(&picture, ImageFormat::Webp, Tier::Full).bytes;
    let shown = image::load_from_memory(&webp).expect("it is a picture");
    let shown = shown.to_rgba8();
    let alpha = |x, y| shown.get_pixel(x, y)[3];
    assert_eq!([alpha(32, 32), alpha(32, 12), alpha(32, 6)], [0, 255, 120]);

    let avif = rendered(&picture, ImageFormat::Avif, Tier::Full);
    assert!(avif.score >= TARGET, "{}", avif.score);
    let lean = rendered(&picture, ImageFormat::Avif, Tier::Lean);
    assert!(lean.bytes.len() <= avif.bytes.len());
    let tells = |file: &[u8]| file.windows(4).filter(|part| part == b"auxC").count();
    assert_eq!(
        tells(&avif.bytes),
        1,
        "a second picture says what shines through"
    );
    let opaque = Picture::decode(&png(photo(64, 64))).expect("it is a picture");
    assert_eq!(
        tells(&rendered(&opaque, ImageFormat::Avif, Tier::Full).bytes),
        0
    );
}

#[test]
fn what_nobody_sees_costs_nothing() {
    // The same ring, where the colours of what is not seen are noise.
    let mut noisy = ring(64);
    let mut noise = 7u32;
    for pixel in noisy.pixels_mut().filter(|pixel| pixel[3] == 0) {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        pixel.0[..3].copy_from_slice(&noise.to_be_bytes()[..3]);
    }
    let of = |image| {
        let picture = Picture::decode(&png(image)).expect("it is a picture");
        rendered(&picture, ImageFormat::Avif, Tier::Full).bytes
    };
    assert_eq!(of(ring(64)), of(noisy));
}

#[test]
fn what_somebody_waits_for_is_made_of_pixels_alone() {
    let bytes = jpeg(&photo(64, 40), Some(&turned(6)), None);
    assert!(is_any(&bytes) && !is_any(b"<html>") && !is_any(b"\xff\xd8"));
    let picture = Picture::decode(&bytes).expect("it is a picture");
    for format in OnceFormat::ALL {
        let fine = picture.once(format, 90).expect("it is encoded");
        let coarse = picture.once(format, 40).expect("it is encoded");
        assert!(coarse.len() < fine.len(), "{format:?}");
        let shown = image::load_from_memory(&fine).expect("it is a picture");
        assert_eq!((shown.width(), shown.height()), (40, 64));
        let told = |word: &[u8]| fine.windows(word.len()).any(|part| part == word);
        assert!(!told(b"secret") && !told(b"Exif") && !told(b"EXIF"));
        assert_eq!(OnceFormat::named(format.as_str()), Some(format));
    }
    // Where nothing can shine through, the page is white.
    let clear = RgbaImage::from_pixel(16, 16, Rgba([0, 0, 0, 0]));
    let clear = Picture::decode(&png(clear)).expect("it is a picture");
    let flat = clear.once(OnceFormat::Jpeg, 75).expect("it is encoded");
    let flat = image::load_from_memory(&flat).expect("it is a picture");
    assert_eq!(flat.to_rgb8().get_pixel(8, 8).0, [255, 255, 255]);
    let webp = clear.once(OnceFormat::Webp, 75).expect("it is encoded");
    let webp = image::load_from_memory(&webp).expect("it is a picture");
    assert_eq!(webp.to_rgba8().get_pixel(8, 8)[3], 0);
}

#[test]
fn a_narrower_picture_keeps_its_shape_and_nothing_is_enlarged() {
    let picture = Picture::decode(&png(photo(120, 90))).expect("it is a picture");
    let small = picture.resized(40).expect("it is resized");
    assert_eq!((small.width(), small.height()), (40, 30));
    let large = picture.resized(4000).expect("it is left");
    assert_eq!((large.width(), large.height()), (120, 90));
    assert_eq!(rungs(&[640, 32, 64, 16], 120), [16, 32, 64, 120]);
    assert_eq!(rungs(&[32, 64], 120), [32, 64]);
    assert_eq!(rungs(&[32, 64], 20), [20]);
}

#[test]
fn bombs_are_refused_by_their_heads() {
    // A PNG that says it is 30,000 pixels wide: sixty bytes.
    let mut bomb = png(RgbImage::new(1, 1));
    bomb[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(look(&bomb).is_err());
    // Each side is allowed, the area is not.
    for (at, side) in [(16, 11_000u32), (20, 11_000)] {
        bomb[at..at + 4].copy_from_slice(&side.to_be_bytes());
    }
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(matches!(Picture::decode(&bomb), Err(Unfit::Large(_))));
    let large = vec![0; SOURCE_BYTES_MAX as usize + 1];
    assert!(matches!(look(&large), Err(Unfit::Large(_))));
    for other in [
        &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..],
        b"",
        b"\x89PNG",
    ] {
        assert!(look(other).is_err());
    }
}

#[test]
fn half_a_picture_is_an_error() {
    let whole = png(photo(64, 64));
    assert!(Picture::decode(&whole[..whole.len() / 2]).is_err());
}

#[test]
fn a_recipe_names_the_versions_that_are_built_in() {
    let lock = include_str!("../../../Cargo.lock");
    for format in [ImageFormat::Avif, ImageFormat::Webp] {
        let text = recipe(64, format, Tier::Full).text();
        let (name, version) = text
            .rsplit_once(' ')
            .and_then(|(_, encoder)| encoder.split_once('='))
            .expect("a recipe ends with its encoder");
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "{name} {version} is not locked");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
