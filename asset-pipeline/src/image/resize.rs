//! A narrower picture: Lanczos3, as most tools do it, with colours weighed by their opacity.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{Picture, Unfit};

impl Picture {
    /// The picture at this width; itself where that is its own, or more.
    ///
    /// # Errors
    /// The library refused.
    pub fn resized(&self, width: u32) -> Result<Self, Unfit> {
        if width >= self.width || width == 0 {
            return Ok(self.clone());
        }
        let height = u64::from(self.height) * u64::from(width) + u64::from(self.width) / 2;
        let height = u32::try_from(height / u64::from(self.width)).unwrap_or(self.height);
        let height = height.clamp(1, self.height);
        let kind = if self.alpha {
            PixelType::U8x4
        } else {
            PixelType::U8x3
        };
        let wrong = |error: String| Unfit::Encoder(error);
        let source = ImageRef::new(self.width, self.height, &self.pixels, kind)
            .map_err(|error| wrong(error.to_string()))?;
        let mut target = Image::new(width, height, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new()
            .resize(&source, &mut target, &options)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            width,
            height,
            pixels: target.into_vec(),
            ..*self
        })
    }
}
