//! Whether there are letters or lines in a picture: scans, worksheets, screenshots, diagrams.
//!
//! Such pictures have blocks of two tones: most of their pixels are near the darkest or near the lightest
//! one, which are far apart, with little between; and the tones change often, along rows and columns. In a
//! photo edges are soft and surfaces are shaded, and where a roof meets the sky each row and each column
//! changes once. To take a photo for text costs bytes; to miss text costs at most the step from 82 to 75,
//! which still reads: so the bar is low.

use super::Picture;

const BLOCK: usize = 8;
/// How far apart the two tones are, of 255.
const CONTRAST_MIN: u8 = 96;
/// Blocks of two tones, of a hundred.
const SHARE_PC_MIN: usize = 3;
/// A block's pixels that may lie between its tones, of 64.
const BETWEEN_MAX: usize = 24;
/// Changes of tone in a block: an edge makes one in each of eight rows and eight columns, and no more.
const CHANGES_MIN: usize = 17;

pub(super) fn is_in(picture: &Picture) -> bool {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let pixels = picture.flat();
    let (mut blocks, mut two_toned) = (0, 0);
    for top in (0..height.saturating_sub(BLOCK - 1)).step_by(BLOCK) {
        for left in (0..width.saturating_sub(BLOCK - 1)).step_by(BLOCK) {
            blocks += 1;
            two_toned += usize::from(is_two_toned(&pixels, width, left, top));
        }
    }
    blocks > 0 && two_toned * 100 >= blocks * SHARE_PC_MIN
}

fn is_two_toned(pixels: &[u8], width: usize, left: usize, top: usize) -> bool {
    let mut luma = [0u8; BLOCK * BLOCK];
    for (y, row) in luma.chunks_exact_mut(BLOCK).enumerate() {
        let at = ((top + y) * width + left) * 3;
        let line = &pixels[at..at + BLOCK * 3];
        for (value, pixel) in row.iter_mut().zip(line.chunks_exact(3)) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            *value = ((77 * r + 150 * g + 29 * b) >> 8) as u8;
        }
    }
    let (mut dark, mut light) = (255, 0);
    for value in luma {
        dark = dark.min(value);
        light = light.max(value);
    }
    let contrast = light - dark;
    if contrast < CONTRAST_MIN {
        return false;
    }
    let (low, high) = (dark + contrast / 4, light - contrast / 4);
    let between = luma.iter().filter(|value| (low..=high).contains(value));
    if between.count() > BETWEEN_MAX {
        return false;
    }
    let middle = dark + contrast / 2;
    let tone = |x: usize, y: usize| luma[y * BLOCK + x] > middle;
    let changes = (0..BLOCK)
        .flat_map(|line| (1..BLOCK).map(move |at| (line, at)))
        .map(|(line, at)| {
            usize::from(tone(at, line) != tone(at - 1, line))
                + usize::from(tone(line, at) != tone(line, at - 1))
        });
    changes.sum::<usize>() >= CHANGES_MIN
}
