//! The images of the sample site, drawn by rule. The site holds what these functions return; a
//! test compares the two, and `cargo test -p edge-proxy draw_the_images -- --ignored` draws anew.

mod covers;
mod flock;
mod icon;
mod pen;

use std::path::{Path, PathBuf};
use std::{fs, io};

use flock::Scene;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("demo")
        .join(name)
        .join("img")
}

fn drawings() -> Vec<(PathBuf, String)> {
    let (one, two) = (folder("site"), folder("site-green"));
    let mut drawings = vec![
        (one.join("flock.svg"), flock::draw(Scene::Near)),
        (two.join("flock.svg"), flock::draw(Scene::Next)),
        (one.join("bell.svg"), icon::svg()),
    ];
    for (name, drawing) in covers::all() {
        drawings.push((one.join(format!("{name}.svg")), drawing));
    }
    drawings
}

const ICON_SIDES: [u32; 2] = [192, 512];

fn icon_path(side: u32) -> PathBuf {
    folder("site").join(format!("bell-{side}.png"))
}

#[test]
fn the_images_of_the_site_are_the_ones_that_the_rules_draw() {
    for (path, drawing) in drawings() {
        let kept = fs::read_to_string(&path).expect("an image of the site");
        assert!(
            kept == drawing,
            "{} was drawn by other rules",
            path.display()
        );
    }
    for side in ICON_SIDES {
        // Pixels are compared, not bytes: how they are packed is the library's affair.
        let kept = fs::read(icon_path(side)).expect("an icon of the site");
        assert_eq!(
            icon::unpack(&kept).expect("a PNG of ours"),
            icon::rows(side)
        );
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn draw_the_images() -> io::Result<()> {
    for (path, drawing) in drawings() {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, drawing)?;
    }
    for side in ICON_SIDES {
        fs::write(icon_path(side), icon::png(side)?)?;
    }
    Ok(())
}
