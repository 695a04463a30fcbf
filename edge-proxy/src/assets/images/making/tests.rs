use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use asset_pipeline::manifest::{ImageFormat, Tier};

use super::*;
use crate::assets::fixture::{Shop, read};

const DEADLINE: Duration = Duration::from_secs(60);

/// Makes forms by a script, of a picture of a thousand bytes.
struct Studio {
    shop: Shop,
    making: Arc<Making>,
    blobs: Arc<Blobs>,
    metrics: Arc<Metrics>,
    source: Blob,
}

impl Studio {
    fn new(script: &str) -> Self {
        Self::of(Shop::new(), script)
    }

    fn of(shop: Shop, script: &str) -> Self {
        let program = shop.path("program");
        shop.write("program", format!("#!/bin/sh\n{script}\n").as_bytes());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a program");
        let source = shop.blob(&[7; 1000]);
        let blobs = shop.blobs();
        let metrics = Arc::new(Metrics::new());
        let making = Making::new(program, Arc::clone(&blobs), Arc::clone(&metrics));
        Self {
            shop,
            making,
            blobs,
            metrics,
            source,
        }
    }

    /// The same folders with another program, as after a restart.
    fn restart(self, script: &str) -> Self {
        Self::of(self.shop, script)
    }

    fn find(&self, width: u32) -> Found {
        self.making.find(&self.source, &recipe(width))
    }

    async fn found(&self, width: u32) -> Found {
        let began = Instant::now();
        loop {
            match self.find(width) {
                Found::Later if began.elapsed() < DEADLINE => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                found => return found,
            }
        }
    }

    fn counted(&self, outcome: &str) -> bool {
        let line = format!("edge_images_made_total{{outcome=\"{outcome}\"}} 1");
        self.metrics.text().contains(&line)
    }
}

fn recipe(width: u32) -> Recipe {
    Recipe {
        width,
        format: ImageFormat::Webp,
        tier: Tier::Full,
    }
}

const NEVER: &str = "echo a program that should not have run";

#[tokio::test]
async fn a_form_is_made_once_and_outlives_the_process() {
    let studio = Studio::new(r#"head -c 10; echo "$*""#);
    assert_eq!(studio.find(640), Found::Later);
    let Found::Made(blob) = studio.found(640).await else {
        panic!("it is made");
    };
    let bytes = read(&studio.blobs, &blob).await.expect("it is there");
    assert_eq!(
        bytes[..],
        b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07picture 640 webp full\n"[..]
    );
    assert!(studio.counted("made"));
    let studio = studio.restart(NEVER);
    assert_eq!(studio.find(640), Found::Made(blob));
}

#[tokio::test]
async fn what_is_not_smaller_is_not_made_again() {
    for script in ["cat", "true"] {
        let studio = Studio::new(script);
        assert_eq!(studio.found(640).await, Found::Nothing, "{script}");
        assert!(studio.counted("nothing"));
        assert_eq!(studio.restart(NEVER).find(640), Found::Nothing);
    }
}

#[tokio::test]
async fn what_fails_is_tried_once_by_each_process() {
    for script in ["echo half; exit 1", "kill -9 $$"] {
        let studio = Studio::new(script);
        assert_eq!(studio.found(640).await, Found::Nothing, "{script}");
        assert!(studio.counted("failed"));
        let studio = studio.restart("echo whole");
        assert_ne!(studio.found(640).await, Found::Nothing);
    }
}

#[tokio::test]
async fn what_others_needed_the_room_of_is_made_again() {
    let studio = Studio::new("echo made");
    let Found::Made(blob) = studio.found(640).await else {
        panic!("it is made");
    };
    studio.blobs.folder().set_aside(&blob.digest).expect("gone");
    assert_eq!(studio.find(640), Found::Later);
    assert_eq!(studio.found(640).await, Found::Made(blob));
}

#[tokio::test]
async fn a_store_that_is_down_is_asked_again() {
    let studio = Studio::new("echo made");
    studio.shop.go_down();
    assert_eq!(studio.find(640), Found::Later);
    let began = Instant::now();
    while !studio.counted("failed") && began.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    studio.shop.come_back();
    assert!(matches!(studio.found(640).await, Found::Made(_)));
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let studio = Studio::new("exec sleep 600");
    for width in 1..=WAITING_MAX as u32 {
        assert_eq!(studio.find(width), Found::Later);
    }
    assert!(!studio.counted("busy"));
    assert_eq!(studio.find(1000), Found::Later);
    assert!(studio.counted("busy"));
    assert_eq!(studio.making.under_way.lock().len(), WAITING_MAX);
    assert_eq!(studio.find(1), Found::Later);
    assert_eq!(studio.making.under_way.lock().len(), WAITING_MAX);
}
