//! The fewest bytes that look good enough: a search over the encoder's quality for a score.
//!
//! The score is SSIMULACRA2, against the picture that was resized and not yet encoded. It rises with the
//! quality almost evenly, so each try goes where a line through the last two says; four are enough for
//! most pictures. Of pictures with text butteraugli may refuse what the score takes. What does not reach the target at all is not made; WebP is then made without loss.

use butteraugli::{ButteraugliParams, ButteraugliReference};
use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};

use super::{Picture, Recipe, TARGET, TARGET_LEAN, TARGET_TEXT, Unfit, WORST_TEXT, avif, webp};
use crate::manifest::{ImageFormat, Tier};

/// Encodings of one picture and recipe.
const TRIES_MAX: usize = 6;
/// Tries after which the curve is not taken for a line any more.
const STRAIGHT_MAX: usize = 3;
/// A score this much above the target is not worth another try.
const ENOUGH: f64 = 0.8;
const QUALITY_MIN: u8 = 5;
const QUALITY_MAX: u8 = 98;
/// Points of quality that a point of the score takes, where nothing better is known.
const SLOPE: f64 = 1.3;
/// Points of the score that a point of butteraugli is worth, where it refuses.
const REFUSED: f64 = 10.0;
/// It looks at no smaller side.
const BUTTERAUGLI_PX_MIN: u32 = 8;

/// A picture that was encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the encoder was asked for, of 100; 100: nothing was lost.
    pub quality: u8,
    /// SSIMULACRA2.
    pub score: f64,
}

/// Where a search begins: what it found for a picture of almost this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint(pub Option<u8>);

/// One encoding, and what a client will see of it.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Rows of RGB, or of RGBA where something shines through.
    pub(super) seen: Vec<u8>,
}

impl Picture {
    /// The smallest encoding of this picture, which has the recipe's width, that looks good enough; none
    /// where the format is not made of such a picture.
    ///
    /// # Errors
    /// An encoder refused.
    pub fn render(&self, recipe: &Recipe, hint: Hint) -> Result<Option<Rendered>, Unfit> {
        let judge = Judge::new(self)?;
        let (target, judge) = match recipe.tier {
            Tier::Lean => (TARGET_LEAN, judge),
            Tier::Full if self.text => (TARGET_TEXT, judge.with_veto()?),
            Tier::Full => (TARGET, judge),
        };
        self.best(recipe.format, target, &judge, hint)
    }

    /// The smallest encoding in a format whose score is this, or a little more; as [`Self::render`].
    ///
    /// # Errors
    /// An encoder refused.
    pub fn searched(
        &self,
        format: ImageFormat,
        target: f64,
        hint: Hint,
    ) -> Result<Option<Rendered>, Unfit> {
        self.best(format, target, &Judge::new(self)?, hint)
    }

    fn best(
        &self,
        format: ImageFormat,
        target: f64,
        judge: &Judge<'_>,
        hint: Hint,
    ) -> Result<Option<Rendered>, Unfit> {
        match format {
            ImageFormat::Avif => {
                let frame = avif::Source::of(self);
                let encode = |quality| judge.judged(frame.encode(quality)?, quality);
                let found = search(target, hint, encode)?;
                Ok(Some(found).filter(|found| found.score >= target))
            }
            ImageFormat::Webp => {
                let encode = |quality| {
                    let encoded = webp::encode(self, quality, webp::Effort::Most)?;
                    judge.judged(encoded, quality)
                };
                let lossy = search(target, hint, encode)?;
                let good = lossy.score >= target;
                if good && !self.lossless {
                    return Ok(Some(lossy));
                }
                let lossless = webp::encode_lossless(self)?;
                Ok(Some(match good && lossy.bytes.len() <= lossless.len() {
                    true => lossy,
                    false => Rendered {
                        bytes: lossless,
                        quality: 100,
                        score: 100.0,
                    },
                }))
            }
        }
    }
}

impl Picture {
    /// WebP of one quality for all, as image servers make it on request: to compare with.
    ///
    /// # Errors
    /// The encoder refused.
    pub fn at_fixed_quality(&self, quality: u8) -> Result<Rendered, Unfit> {
        let encoded = webp::encode(self, quality, webp::Effort::Usual)?;
        Judge::new(self)?.judged(encoded, quality)
    }
}

/// The pages, of 255, that pictures are looked at on through which something shines: what smears on one may be
/// unseen on the other.
const PAGES: [u8; 2] = [0, 255];

/// The picture that encodings are compared with.
struct Judge<'a> {
    picture: &'a Picture,
    views: Vec<View>,
}

/// The picture on one page.
struct View {
    page: u8,
    reference: Ssimulacra2Reference,
    /// Of pictures with text.
    veto: Option<ButteraugliReference>,
}

impl<'a> Judge<'a> {
    fn new(picture: &'a Picture) -> Result<Self, Unfit> {
        let pages = match picture.alpha {
            true => &PAGES[..],
            // Nothing of it is seen.
            false => &PAGES[..1],
        };
        let view = |&page: &u8| {
            let flat = picture.flat_on(page);
            let reference = Ssimulacra2Reference::new(&slice(picture, &flat)?).map_err(unfit)?;
            Ok(View {
                page,
                reference,
                veto: None,
            })
        };
        let views = pages.iter().map(view).collect::<Result<_, Unfit>>()?;
        Ok(Self { picture, views })
    }

    fn with_veto(mut self) -> Result<Self, Unfit> {
        let Picture { width, height, .. } = *self.picture;
        if width.min(height) < BUTTERAUGLI_PX_MIN {
            return Ok(self);
        }
        let (width, height) = (width as usize, height as usize);
        for view in &mut self.views {
            let params = ButteraugliParams::default();
            let flat = self.picture.flat_on(view.page);
            let veto = ButteraugliReference::new(&flat, width, height, params);
            view.veto = Some(veto.map_err(unfit)?);
        }
        Ok(self)
    }

    /// By where it looks worst.
    fn judged(&self, encoded: Encoded, quality: u8) -> Result<Rendered, Unfit> {
        let mut worst = f64::INFINITY;
        for view in &self.views {
            let seen = self.picture.flat_of(&encoded.seen, view.page);
            worst = worst.min(view.score(self.picture, &seen)?);
        }
        Ok(Rendered {
            bytes: encoded.bytes,
            quality,
            score: worst,
        })
    }
}

impl View {
    fn score(&self, picture: &Picture, seen: &[u8]) -> Result<f64, Unfit> {
        let score = self
            .reference
            .compare(&slice(picture, seen)?)
            .map_err(unfit)?;
        if let Some(veto) = &self.veto
            && score >= TARGET_TEXT
        {
            let worst = veto.compare(seen).map_err(unfit)?.score;
            if worst > WORST_TEXT {
                return Ok(TARGET_TEXT - (worst - WORST_TEXT) * REFUSED);
            }
        }
        Ok(score)
    }
}

fn slice<'a>(picture: &Picture, rgb: &'a [u8]) -> Result<PixelSlice<'a>, Unfit> {
    let (width, height) = (picture.width, picture.height);
    let stride = width as usize * 3;
    PixelSlice::new(rgb, width, height, stride, PixelDescriptor::RGB8_SRGB).map_err(unfit)
}

fn unfit(error: impl std::fmt::Display) -> Unfit {
    Unfit::Encoder(error.to_string())
}

/// Searches for the lowest quality whose score is the target, or close above; the best there is where none
/// reaches it.
fn search(
    target: f64,
    hint: Hint,
    mut encode: impl FnMut(u8) -> Result<Rendered, Unfit>,
) -> Result<Rendered, Unfit> {
    let mut below: Option<(u8, f64)> = None;
    let mut reached: Option<Rendered> = None;
    let mut last: Option<Rendered> = None;
    let mut quality = hint.0.unwrap_or(60).clamp(QUALITY_MIN, QUALITY_MAX);
    for round in 0..TRIES_MAX {
        let tried = encode(quality)?;
        let score = tried.score;
        if score >= target {
            let done = score - target <= ENOUGH || quality == QUALITY_MIN;
            reached = Some(tried);
            if done {
                break;
            }
        } else {
            below = Some((quality, score));
            last = Some(tried);
            if quality == QUALITY_MAX {
                break;
            }
        }
        let above = reached.as_ref().map(|best| (best.quality, best.score));
        let Some(next) = next(target + ENOUGH / 2.0, below, above, round) else {
            break;
        };
        quality = next;
    }
    // There was at least one try, and it was the one or the other.
    reached
        .or(last)
        .ok_or_else(|| Unfit::Encoder("nothing was tried".to_owned()))
}

/// The quality to try next; none where there is nothing between what was tried.
fn next(
    target: f64,
    below: Option<(u8, f64)>,
    above: Option<(u8, f64)>,
    round: usize,
) -> Option<u8> {
    let away = |(quality, score): (u8, f64)| {
        // Twice as far each time: a picture that needs more than one step needs more of each.
        let step = ((target - score) * SLOPE * f64::from(1u32 << round.min(8))).round();
        let step = if step.abs() < 1.0 {
            step.signum()
        } else {
            step
        };
        (f64::from(quality) + step).clamp(f64::from(QUALITY_MIN), f64::from(QUALITY_MAX)) as u8
    };
    match (below, above) {
        (Some((low, low_score)), Some((high, high_score))) => {
            if high <= low + 1 {
                return None;
            }
            let share = match round < STRAIGHT_MAX {
                true => (target - low_score) / (high_score - low_score).max(f64::EPSILON),
                false => 0.5,
            };
            let at = f64::from(low) + share * f64::from(high - low);
            Some((at.round() as u8).clamp(low + 1, high - 1))
        }
        (Some(one), None) | (None, Some(one)) => Some(away(one)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(quality: u8, score: f64) -> Result<Rendered, Unfit> {
        Ok(Rendered {
            bytes: Vec::new(),
            quality,
            score,
        })
    }

    proptest! {
        #[test]
        fn whatever_the_curve_the_target_is_reached_or_there_is_no_higher_quality(
            slope in 0.2f64..3.0, at_zero in -80.0f64..60.0, target in 50.0f64..90.0,
            hint in proptest::option::of(0u8..=255),
        ) {
            let curve = |quality: u8| (at_zero + slope * f64::from(quality)).min(100.0);
            let mut tries = 0;
            let found = search(target, Hint(hint), |quality| {
                tries += 1;
                tried(quality, curve(quality))
            }).expect("nothing fails");
            prop_assert!(tries <= TRIES_MAX);
            if curve(QUALITY_MAX) >= target + 2.0 {
                prop_assert!(found.score >= target, "{found:?} in {tries} tries");
            }
            // A straight curve is found within the tries, unless it is out of reach.
            if (target + 2.0..100.0).contains(&curve(QUALITY_MAX)) {
                prop_assert!(
                    found.quality == QUALITY_MIN || found.score <= target + ENOUGH + 2.0 * slope,
                    "{found:?} for {target} in {tries} tries"
                );
            }
        }
    }

    #[test]
    fn a_good_hint_is_one_try() {
        let mut tries = 0;
        let found = search(75.0, Hint(Some(70)), |quality| {
            tries += 1;
            tried(quality, 75.3)
        });
        assert_eq!((tries, found.expect("it is found").quality), (1, 70));
    }
}
