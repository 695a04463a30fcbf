//! What pictures weigh that look the same, and what it costs to make them narrower.
//!
//! The peer in bytes is WebP of quality 75, as `next/image` and most image servers make it by default: each
//! picture of ours has to reach the score of that one. The peer in time is libvips, which most of them call;
//! it reads JPEG at half or a quarter of its size where it can, and writes what it made, uncompressed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use asset_pipeline::image::{Hint, Picture};
use asset_pipeline::manifest::ImageFormat;
use serde::Serialize;

use crate::cpu;
use crate::error::BenchError;
use crate::tools::VIPS;

const QUALITY: u8 = 75;
/// What phones ask for, and what fits beside text.
const WIDTHS: [u32; 2] = [640, 256];
/// Each side resizes all pictures so often, in turn.
const ROUNDS: usize = 9;
const TIMES: usize = 4;

/// What was measured of pictures.
#[derive(Debug, Serialize)]
pub struct Images {
    /// By picture and width.
    pub pictures: Vec<Weighed>,
    /// CPU to decode all of them once and make them 640 pixels wide, in seconds: the median of rounds.
    pub resize_cpu_s: f64,
    /// The same by libvips; none where it is not installed.
    pub vips_cpu_s: Option<f64>,
}

/// One picture at one width. In bytes.
#[derive(Debug, Serialize)]
pub struct Weighed {
    /// The file.
    pub name: String,
    /// In pixels.
    pub width: u32,
    /// Of WebP at quality 75, and what the others have to reach.
    pub score: f64,
    /// That WebP.
    pub fixed: u64,
    /// Our WebP.
    pub webp: u64,
    /// Our AVIF.
    pub avif: u64,
}

/// Weighs the JPEG files in a folder.
///
/// # Errors
/// One is no picture, or a tool fails.
pub fn measure(folder: &Path, tell: &mut dyn FnMut(&str)) -> Result<Images, BenchError> {
    let mut files = Vec::new();
    jpegs(folder, &mut files)?;
    files.sort();
    let mut pictures = Vec::new();
    for file in &files {
        tell(&format!("pictures: {}", file.display()));
        let whole = picture(file)?;
        for width in WIDTHS {
            pictures.push(weighed(file, &whole, width)?);
        }
    }
    tell("pictures: resizing beside libvips");
    let vips = VIPS.find().ok();
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = cpu::own();
        for file in files.iter().cycle().take(files.len() * TIMES) {
            picture(file)?.resized(WIDTHS[0]).map_err(wrong(file))?;
        }
        own.push(cpu::own() - before);
        if let Some(vips) = &vips {
            let before = cpu::waited();
            resized_by_vips(vips, &files)?;
            theirs.push(cpu::waited() - before);
        }
    }
    Ok(Images {
        pictures,
        resize_cpu_s: median(own).unwrap_or_default(),
        vips_cpu_s: median(theirs),
    })
}

fn median(mut rounds: Vec<Duration>) -> Option<f64> {
    rounds.sort_unstable();
    let middle = rounds.get(rounds.len() / 2)?;
    Some(middle.as_secs_f64() / TIMES as f64)
}

fn jpegs(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    let wrong = || BenchError::io(folder.display().to_string());
    for entry in fs::read_dir(folder).map_err(wrong())? {
        let path = entry.map_err(wrong())?.path();
        if path.is_dir() {
            jpegs(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "jpg") {
            found.push(path);
        }
    }
    Ok(())
}

fn wrong<E: ToString>(file: &Path) -> impl Fn(E) -> BenchError {
    let file = file.display().to_string();
    move |error| BenchError::Picture {
        file: file.clone(),
        reason: error.to_string(),
    }
}

fn picture(file: &Path) -> Result<Picture, BenchError> {
    let bytes = fs::read(file).map_err(BenchError::io(file.display().to_string()))?;
    Picture::decode(&bytes).map_err(wrong(file))
}

fn weighed(file: &Path, whole: &Picture, width: u32) -> Result<Weighed, BenchError> {
    let picture = whole.resized(width).map_err(wrong(file))?;
    let fixed = picture.at_fixed_quality(QUALITY).map_err(wrong(file))?;
    let bytes = |format| {
        let found = picture.searched(format, fixed.score, Hint::default());
        let found = found.map_err(wrong(file))?;
        Ok::<_, BenchError>(found.map_or(fixed.bytes.len(), |found| found.bytes.len()) as u64)
    };
    let name = file.file_name().unwrap_or_default();
    Ok(Weighed {
        name: name.to_string_lossy().into_owned(),
        width: picture.width(),
        score: fixed.score,
        fixed: fixed.bytes.len() as u64,
        webp: bytes(ImageFormat::Webp)?,
        avif: bytes(ImageFormat::Avif)?,
    })
}

/// One process for all files, on one thread, as ours.
fn resized_by_vips(vips: &Path, files: &[PathBuf]) -> Result<(), BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a temporary folder"))?;
    for _ in 0..TIMES {
        let output = Command::new(vips)
            .env("VIPS_CONCURRENCY", "1")
            .args(["--size", &format!("{}x", WIDTHS[0]), "-o"])
            .arg(folder.path().join("%s.v"))
            .args(files)
            .stdin(Stdio::null())
            .output()
            .map_err(BenchError::io(VIPS.program))?;
        if !output.status.success() {
            return Err(BenchError::Failed {
                program: VIPS.program,
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
    }
    Ok(())
}

impl Images {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "\n| picture | width | SSIMULACRA2 | WebP q75 | our WebP | our AVIF |\n|---|---|---|---|---|---|\n",
        );
        for picture in &self.pictures {
            let Weighed {
                name,
                width,
                score,
                fixed,
                webp,
                avif,
            } = picture;
            text.push_str(&format!(
                "| {name} | {width} | {score:.1} | {fixed} | {webp} | {avif} |\n"
            ));
        }
        let sum = |of: fn(&Weighed) -> u64| self.pictures.iter().map(of).sum::<u64>();
        let (fixed, webp, avif) = (
            sum(|picture| picture.fixed),
            sum(|picture| picture.webp),
            sum(|picture| picture.avif),
        );
        let share = |bytes: u64| 100.0 * bytes as f64 / fixed.max(1) as f64 - 100.0;
        text.push_str(&format!(
            "| all | | | {fixed} | {webp} ({:+.1} %) | {avif} ({:+.1} %) |\n",
            share(webp),
            share(avif)
        ));
        text.push_str(&format!(
            "\nto 640 pixels, all: {:.3} s of CPU",
            self.resize_cpu_s
        ));
        match self.vips_cpu_s {
            Some(vips) => text.push_str(&format!(
                ", libvips {vips:.3} s: {:.2} x\n",
                self.resize_cpu_s / vips.max(0.001)
            )),
            None => text.push_str("; libvips is not installed: `apt-get install libvips-tools`\n"),
        }
        text
    }
}
