//! AVIF by rav1e: all in Rust, and without assembly, which would need another tool to build.
//!
//! rav1e says what a decoder will show, so no AV1 decoder is needed to score an encoding. That is why it is
//! called here and not through a wrapper: wrappers keep it to themselves. Photos are told in 4:2:0, pictures
//! with text in 4:4:4, so that coloured letters stay sharp. What shines through is told by a second picture of
//! greys; colours that nobody sees are those of the neighbours, which cost nothing.

use std::sync::Arc;

use avif_serialize::Aviffy;
use rav1e::prelude::{
    ChromaSampling, ColorDescription, ColorPrimaries, Config, Context, EncoderConfig,
    EncoderStatus, Frame, MatrixCoefficients, PixelRange, SpeedSettings, TransferCharacteristics,
};

use super::search::Encoded;
use super::{Picture, Unfit};

/// What makes the bytes. A test holds the version to that of `Cargo.lock`.
pub(super) const ENCODER: &str = "speed=6 bits=8 rav1e=0.8.1";

/// At the same score, 4 saved two in a hundred bytes of the photo that was tried, for several times the time.
const SPEED: u8 = 6;

/// The weights of BT.601, which every reader of AVIF assumes.
const RED: f32 = 0.299;
const BLUE: f32 = 0.114;
const GREEN: f32 = 1.0 - RED - BLUE;

/// A picture in the planes that AV1 works on.
pub(super) struct Source {
    width: usize,
    height: usize,
    /// Luma, and how far blue and red are from it.
    planes: [Vec<u8>; 3],
    /// Where something shines through: how little of it.
    opacity: Option<Vec<u8>>,
    /// Whether colours are told for every pixel.
    full: bool,
}

/// One of the two pictures of a file, as it is told.
struct Told {
    bytes: Vec<u8>,
    shown: Frame<u8>,
}

impl Source {
    pub(super) fn of(picture: &Picture) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let count = width * height;
        let (mut luma, mut blues, mut reds) = (
            Vec::with_capacity(count),
            Vec::with_capacity(count),
            Vec::with_capacity(count),
        );
        let covered = picture.alpha.then(|| covered(&picture.pixels, width));
        let pixels = covered.as_ref().unwrap_or(&picture.pixels);
        for pixel in pixels.chunks_exact(picture.channels()) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
            let y = RED * r + GREEN * g + BLUE * b;
            luma.push(whole(y));
            blues.push((b - y) / (2.0 * (1.0 - BLUE)));
            reds.push((r - y) / (2.0 * (1.0 - RED)));
        }
        let full = picture.text;
        let plane = |values: &[f32]| match full {
            true => values.iter().map(|value| whole(value + 128.0)).collect(),
            false => halved(values, width, height),
        };
        let opacity = || picture.pixels.chunks_exact(4).map(|pixel| pixel[3]);
        Self {
            planes: [luma, plane(&blues), plane(&reds)],
            opacity: picture.alpha.then(|| opacity().collect()),
            width,
            height,
            full,
        }
    }

    pub(super) fn encode(&self, quality: u8) -> Result<Encoded, Unfit> {
        let sampling = match self.full {
            true => ChromaSampling::Cs444,
            false => ChromaSampling::Cs420,
        };
        let strides = [self.width, self.chroma_width(), self.chroma_width()];
        let planes = self.planes.iter().map(Vec::as_slice).zip(strides);
        let colours = self.told(quality, sampling, planes)?;
        let opacity = match &self.opacity {
            None => None,
            Some(opacity) => {
                // Edges are most of it, and they show on every page.
                let quality = quality.midpoint(100);
                let plane = [(opacity.as_slice(), self.width)].into_iter();
                Some(self.told(quality, ChromaSampling::Cs400, plane)?)
            }
        };
        let mut file = Aviffy::new();
        file.set_chroma_subsampling((!self.full, !self.full))
            .set_seq_profile(u8::from(self.full))
            .set_width(self.width as u32)
            .set_height(self.height as u32)
            .set_bit_depth(8);
        let besides = opacity.as_ref().map(|told| told.bytes.as_slice());
        let mut bytes = Vec::with_capacity(colours.bytes.len() + 512);
        file.write_slice(&mut bytes, &colours.bytes, besides)
            .map_err(|error| wrong(error.to_string()))?;
        let opacity = opacity.as_ref().map(|told| &told.shown);
        Ok(Encoded {
            seen: self.seen(&colours.shown, opacity),
            bytes,
        })
    }

    /// Encodes planes, each with its stride.
    fn told<'a>(
        &self,
        quality: u8,
        sampling: ChromaSampling,
        planes: impl Iterator<Item = (&'a [u8], usize)>,
    ) -> Result<Told, Unfit> {
        let config = Config::new()
            .with_encoder_config(self.config(quality, sampling))
            .with_threads(1);
        let mut context: Context<u8> = config
            .new_context()
            .map_err(|error| wrong(error.to_string()))?;
        let mut frame = context.new_frame();
        for (plane, (values, stride)) in frame.planes.iter_mut().zip(planes) {
            plane.copy_from_raw_u8(values, stride, 1);
        }
        context
            .send_frame(frame)
            .map_err(|error| wrong(error.to_string()))?;
        context.flush();
        let mut bytes = Vec::new();
        let mut shown = None;
        loop {
            match context.receive_packet() {
                Ok(packet) => {
                    bytes.extend_from_slice(&packet.data);
                    shown = packet.rec;
                }
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::LimitReached) => break,
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        let shown = shown.ok_or_else(|| wrong("it made no picture".to_owned()))?;
        let shown = Arc::unwrap_or_clone(shown);
        Ok(Told { bytes, shown })
    }

    fn config(&self, quality: u8, sampling: ChromaSampling) -> EncoderConfig {
        EncoderConfig {
            width: self.width,
            height: self.height,
            bit_depth: 8,
            chroma_sampling: sampling,
            pixel_range: PixelRange::Full,
            color_description: Some(ColorDescription {
                color_primaries: ColorPrimaries::BT709,
                transfer_characteristics: TransferCharacteristics::SRGB,
                matrix_coefficients: MatrixCoefficients::BT601,
            }),
            still_picture: true,
            quantizer: 255 - usize::from(quality.min(100)) * 255 / 100,
            min_quantizer: 0,
            speed_settings: SpeedSettings::from_preset(SPEED),
            ..EncoderConfig::default()
        }
    }

    fn chroma_width(&self) -> usize {
        if self.full {
            self.width
        } else {
            self.width.div_ceil(2)
        }
    }

    /// What a browser shows of the planes: the colours between two known ones are mixed of them.
    fn seen(&self, shown: &Frame<u8>, opacity: Option<&Frame<u8>>) -> Vec<u8> {
        let of = |frame: &Frame<u8>, plane: usize, x: usize, y: usize| {
            let plane = &frame.planes[plane];
            let config = &plane.cfg;
            plane.data[(y + config.yorigin) * config.stride + x + config.xorigin]
        };
        let at = |plane: usize, x: usize, y: usize| f32::from(of(shown, plane, x, y));
        let (across, down) = (self.chroma_width(), self.height.div_ceil(2));
        let between = |plane: usize, x: usize, y: usize| {
            if self.full {
                return at(plane, x, y) - 128.0;
            }
            let (left, right, by_x) = around(x, across);
            let (up, low, by_y) = around(y, down);
            let row = |y| at(plane, left, y) * (1.0 - by_x) + at(plane, right, y) * by_x;
            row(up) * (1.0 - by_y) + row(low) * by_y - 128.0
        };
        let mut seen = Vec::with_capacity(self.width * self.height * 4);
        for y in 0..self.height {
            for x in 0..self.width {
                let luma = at(0, x, y);
                let (blue, red) = (between(1, x, y), between(2, x, y));
                let r = luma + 2.0 * (1.0 - RED) * red;
                let b = luma + 2.0 * (1.0 - BLUE) * blue;
                let g = (luma - RED * r - BLUE * b) / GREEN;
                seen.extend([r, g, b].map(whole));
                seen.extend(opacity.map(|opacity| of(opacity, 0, x, y)));
            }
        }
        seen
    }
}

fn wrong(reason: String) -> Unfit {
    Unfit::Encoder(format!("rav1e: {reason}"))
}

/// The same pixels (RGBA), where those that nobody sees have the mean colours of those around that somebody does: of
/// their square of four, else of the next larger one.
fn covered(pixels: &[u8], width: usize) -> Vec<u8> {
    let seen = |pixel: &[u8]| match pixel[3] {
        0 => [0; 4],
        _ => [pixel[0].into(), pixel[1].into(), pixel[2].into(), 1],
    };
    let mut colours: Vec<[u64; 4]> = pixels.chunks_exact(4).map(seen).collect();
    cover(&mut colours, width);
    let mut covered = pixels.to_vec();
    for (pixel, [r, g, b, count]) in covered.chunks_exact_mut(4).zip(colours) {
        if pixel[3] == 0 && count > 0 {
            pixel[..3].copy_from_slice(&[r, g, b].map(|sum| (sum / count) as u8));
        }
    }
    covered
}

/// Gives places without colours (sums of red, green and blue, and of how many) those of the square that they are in.
fn cover(colours: &mut [[u64; 4]], width: usize) {
    let height = colours.len() / width;
    if colours.len() <= 1 || colours.iter().all(|place| place[3] > 0) {
        return;
    }
    let half = width.div_ceil(2);
    let mut squares = vec![[0; 4]; half * height.div_ceil(2)];
    for (at, place) in colours.iter().enumerate() {
        let square = &mut squares[at / width / 2 * half + at % width / 2];
        for (sum, value) in square.iter_mut().zip(place) {
            *sum += value;
        }
    }
    cover(&mut squares, half);
    for (at, place) in colours
        .iter_mut()
        .enumerate()
        .filter(|(_, place)| place[3] == 0)
    {
        *place = squares[at / width / 2 * half + at % width / 2];
    }
}

fn whole(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// The means of squares of four; of what there is of them at the edges.
fn halved(values: &[f32], width: usize, height: usize) -> Vec<u8> {
    let mut means = Vec::with_capacity(width.div_ceil(2) * height.div_ceil(2));
    for y in (0..height).step_by(2) {
        let low = (y + 1).min(height - 1);
        for x in (0..width).step_by(2) {
            let right = (x + 1).min(width - 1);
            let sum = values[y * width + x]
                + values[y * width + right]
                + values[low * width + x]
                + values[low * width + right];
            means.push(whole(sum / 4.0 + 128.0));
        }
    }
    means
}

/// The two known places around a pixel, of so many, and how near it is to the second one.
fn around(at: usize, count: usize) -> (usize, usize, f32) {
    let half = at / 2;
    match at % 2 {
        0 => (half.saturating_sub(1), half, 0.75),
        _ => (half, (half + 1).min(count - 1), 0.25),
    }
}
