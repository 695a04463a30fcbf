//! From bytes to pixels: sRGB, upright, eight bits, with limits that are checked before anything is decoded.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder as _, DynamicImage, ImageDecoder, ImageFormat, Limits};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::{DECODER_BYTES_MAX, PIXELS_MAX, SIDE_PX_MAX, SOURCE_BYTES_MAX, Unfit, text};

/// What can be known of a picture without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// In pixels, upright.
    pub width: u32,
    /// In pixels, upright.
    pub height: u32,
    /// It moves: it is sent as it is.
    pub animated: bool,
}

/// A picture in memory.
#[derive(Debug, Clone)]
pub struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Rows of RGB, or of RGBA where something shines through.
    pub(super) pixels: Vec<u8>,
    pub(super) alpha: bool,
    /// Letters or lines are in it: [`text`] says how that is found out.
    pub(super) text: bool,
    /// It came without loss, so that keeping it so may pay.
    pub(super) lossless: bool,
}

/// Reads the head of a picture.
///
/// # Errors
/// It is none that is decoded.
pub fn look(bytes: &[u8]) -> Result<Head, Unfit> {
    let mut opened = Opened::of(bytes)?;
    let (width, height) = opened.decoder.dimensions();
    let turned = matches!(
        opened.decoder.orientation()?,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (width, height) = if turned {
        (height, width)
    } else {
        (width, height)
    };
    Ok(Head {
        width,
        height,
        animated: opened.animated,
    })
}

struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    format: ImageFormat,
    animated: bool,
}

impl<'a> Opened<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Unfit> {
        if bytes.len() as u64 > SOURCE_BYTES_MAX {
            let reason = format!("{} bytes, at most {SOURCE_BYTES_MAX}", bytes.len());
            return Err(Unfit::Large(reason));
        }
        // What the bytes are, not what the name says.
        let format = image::guess_format(bytes).map_err(|_| Unfit::Format)?;
        let at = || Cursor::new(bytes);
        let (mut decoder, animated): (Box<dyn ImageDecoder + 'a>, bool) = match format {
            ImageFormat::Png => {
                let decoder = PngDecoder::with_limits(at(), limits())?;
                let animated = decoder.is_apng()?;
                (Box::new(decoder), animated)
            }
            ImageFormat::Jpeg => (Box::new(JpegDecoder::new(at())?), false),
            ImageFormat::WebP => {
                let decoder = WebPDecoder::new(at())?;
                let animated = decoder.has_animation();
                (Box::new(decoder), animated)
            }
            ImageFormat::Gif => {
                let decoder = GifDecoder::new(at())?;
                check(decoder.dimensions())?;
                let frames = GifDecoder::new(at())?.into_frames().take(2);
                let animated = frames.filter(Result::is_ok).count() > 1;
                (Box::new(decoder), animated)
            }
            _ => return Err(Unfit::Format),
        };
        check(decoder.dimensions())?;
        decoder.set_limits(limits())?;
        Ok(Self {
            decoder,
            format,
            animated,
        })
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PX_MAX);
    limits.max_image_height = Some(SIDE_PX_MAX);
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    limits
}

fn check((width, height): (u32, u32)) -> Result<(), Unfit> {
    let pixels = u64::from(width) * u64::from(height);
    if width > SIDE_PX_MAX || height > SIDE_PX_MAX || pixels > PIXELS_MAX {
        return Err(Unfit::Large(format!(
            "{width} x {height} pixels, at most {PIXELS_MAX}, and {SIDE_PX_MAX} a side"
        )));
    }
    if pixels == 0 {
        return Err(Unfit::Format);
    }
    Ok(())
}

impl Picture {
    /// Decodes a picture: upright, in sRGB. Of its metadata nothing is left.
    ///
    /// # Errors
    /// It is beyond the limits, damaged, or its colours are no screen's.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unfit> {
        let Opened {
            mut decoder,
            format,
            ..
        } = Opened::of(bytes)?;
        let profile = decoder.icc_profile()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        let mut alpha = image.color().has_alpha();
        // Eight bits: no format that is made here shows more of a photo.
        image = match alpha {
            true => image.into_rgba8().into(),
            false => image.into_rgb8().into(),
        };
        image.apply_orientation(orientation);
        let (width, height) = (image.width(), image.height());
        let mut pixels = image.into_bytes();
        if let Some(profile) = profile {
            pixels = in_srgb(pixels, alpha, &profile)?;
        }
        if alpha && pixels.chunks_exact(4).all(|pixel| pixel[3] == 255) {
            pixels = pixels
                .chunks_exact(4)
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect();
            alpha = false;
        }
        let mut picture = Self {
            width,
            height,
            pixels,
            alpha,
            text: false,
            lossless: format != ImageFormat::Jpeg,
        };
        picture.text = text::is_in(&picture);
        Ok(picture)
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether letters or lines were found in it.
    pub fn has_text(&self) -> bool {
        self.text
    }

    pub(super) fn channels(&self) -> usize {
        if self.alpha { 4 } else { 3 }
    }

    /// What is seen of it on a grey page.
    pub(super) fn flat(&self) -> Vec<u8> {
        self.flat_on(128)
    }

    /// What is seen of it on a page as light as this, of 255.
    pub(super) fn flat_on(&self, page: u8) -> Vec<u8> {
        flat(&self.pixels, self.alpha, page)
    }

    /// The same of other pixels of this size.
    pub(super) fn flat_of(&self, pixels: &[u8], page: u8) -> Vec<u8> {
        flat(pixels, self.alpha, page)
    }
}

fn flat(pixels: &[u8], alpha: bool, page: u8) -> Vec<u8> {
    if !alpha {
        return pixels.to_vec();
    }
    let on_page = |value: u8, alpha: u8| {
        let [value, alpha, page] = [value, alpha, page].map(u32::from);
        ((value * alpha + page * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = pixels.chunks_exact(4);
    pixels
        .flat_map(|pixel| [0, 1, 2].map(|at| on_page(pixel[at], pixel[3])))
        .collect()
}

/// Without this a photo of a wide-gamut camera looks washed out once its profile is gone.
fn in_srgb(pixels: Vec<u8>, alpha: bool, profile: &[u8]) -> Result<Vec<u8>, Unfit> {
    let wrong = |error: moxcms::CmsError| Unfit::Colours(error.to_string());
    let profile = ColorProfile::new_from_slice(profile).map_err(wrong)?;
    match profile.color_space {
        DataColorSpace::Rgb => {}
        // The decoder has made three equal channels of one; its curve is near enough that of sRGB.
        DataColorSpace::Gray => return Ok(pixels),
        _ => return Err(Unfit::Colours("its profile is no screen's".to_owned())),
    }
    let layout = if alpha { Layout::Rgba } else { Layout::Rgb };
    let srgb = ColorProfile::new_srgb();
    let transform = profile
        .create_transform_8bit(layout, &srgb, layout, TransformOptions::default())
        .map_err(wrong)?;
    let mut converted = vec![0; pixels.len()];
    transform
        .transform(&pixels, &mut converted)
        .map_err(wrong)?;
    Ok(converted)
}
