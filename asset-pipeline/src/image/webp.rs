//! WebP by libwebp, the only encoder of its lossy form.
//!
//! The one room that calls C. What is encoded is our own pixels; what others made is decoded elsewhere, in
//! Rust.

use std::ffi::c_int;

use image::ImageFormat;
use libwebp_sys::{
    WebPConfig, WebPConfigLosslessPreset, WebPEncode, WebPMemoryWrite, WebPMemoryWriter,
    WebPMemoryWriterClear, WebPMemoryWriterInit, WebPPicture, WebPPictureFree,
    WebPPictureImportRGB, WebPPictureImportRGBA,
};

use super::search::Encoded;
use super::{Picture, Unfit};

/// What makes the bytes. A test holds the version to that of `Cargo.lock`.
pub(super) const ENCODER: &str = "method=6 sharp_yuv lossless=6 libwebp-sys=0.14.4";

/// How long to look for fewer bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort {
    /// What is made once and sent often.
    Most,
    /// What others make on request.
    Usual,
    /// What is made while somebody waits: as others, but letters stay letters.
    Once,
}

const LOSSLESS_LEVEL: c_int = 6;

/// Encodes with loss, and says what is seen of it; opacity is kept as it is.
pub(super) fn encode(picture: &Picture, quality: u8, effort: Effort) -> Result<Encoded, Unfit> {
    let bytes = bytes(picture, quality, effort)?;
    let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::WebP)?;
    let pixels = match picture.alpha {
        true => decoded.into_rgba8().into_raw(),
        false => decoded.into_rgb8().into_raw(),
    };
    Ok(Encoded {
        seen: pixels,
        bytes,
    })
}

/// Encodes with loss.
pub(super) fn bytes(picture: &Picture, quality: u8, effort: Effort) -> Result<Vec<u8>, Unfit> {
    let mut config = config()?;
    config.quality = f32::from(quality);
    match effort {
        Effort::Most => {
            config.method = 6;
            // Red letters on white are a smear without it.
            config.use_sharp_yuv = 1;
        }
        Effort::Usual => {}
        Effort::Once => config.use_sharp_yuv = picture.text.into(),
    }
    run(picture, &config)
}

/// Encodes without loss.
pub(super) fn encode_lossless(picture: &Picture) -> Result<Vec<u8>, Unfit> {
    let mut config = config()?;
    #[expect(
        unsafe_code,
        reason = "the library is C; it writes to the config that it is given"
    )]
    let done = unsafe { WebPConfigLosslessPreset(&mut config, LOSSLESS_LEVEL) };
    match done {
        0 => Err(refused("the settings")),
        _ => run(picture, &config),
    }
}

fn config() -> Result<WebPConfig, Unfit> {
    WebPConfig::new().map_err(|()| refused("the library's version"))
}

fn refused(what: &str) -> Unfit {
    Unfit::Encoder(format!("libwebp refuses {what}"))
}

/// Both are given back however the encoding ends.
struct Held {
    picture: WebPPicture,
    writer: Box<WebPMemoryWriter>,
}

impl Drop for Held {
    #[expect(unsafe_code, reason = "what C allocated is freed by C, once")]
    fn drop(&mut self) {
        unsafe {
            WebPPictureFree(&mut self.picture);
            WebPMemoryWriterClear(self.writer.as_mut());
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the library is C: the pixels outlive the import, which copies them, and are as many as width, \
              height and stride say; the writer outlives the encoding"
)]
fn run(picture: &Picture, config: &WebPConfig) -> Result<Vec<u8>, Unfit> {
    let (Ok(width), Ok(height)) = (
        c_int::try_from(picture.width),
        c_int::try_from(picture.height),
    ) else {
        return Err(refused("the size"));
    };
    let stride = width * picture.channels() as c_int;
    assert_eq!(
        picture.pixels.len(),
        picture.width as usize * picture.height as usize * picture.channels(),
        "a picture has the pixels that it says"
    );
    let mut held = Held {
        picture: WebPPicture::new().map_err(|()| refused("the library's version"))?,
        writer: Box::new(WebPMemoryWriter {
            mem: std::ptr::null_mut(),
            size: 0,
            max_size: 0,
            pad: [0],
        }),
    };
    held.picture.width = width;
    held.picture.height = height;
    held.picture.use_argb = 1;
    unsafe {
        WebPMemoryWriterInit(held.writer.as_mut());
        held.picture.writer = Some(WebPMemoryWrite);
        held.picture.custom_ptr = std::ptr::from_mut(held.writer.as_mut()).cast();
        let pixels = picture.pixels.as_ptr();
        let imported = match picture.alpha {
            true => WebPPictureImportRGBA(&mut held.picture, pixels, stride),
            false => WebPPictureImportRGB(&mut held.picture, pixels, stride),
        };
        if imported == 0 || WebPEncode(config, &mut held.picture) == 0 {
            let code = held.picture.error_code as u32;
            return Err(refused(&format!("the picture with error {code}")));
        }
        if held.writer.mem.is_null() {
            return Err(refused("to write"));
        }
        Ok(std::slice::from_raw_parts(held.writer.mem, held.writer.size).to_vec())
    }
}
