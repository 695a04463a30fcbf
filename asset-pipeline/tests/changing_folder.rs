//! A folder that changes while it is read is refused, with the file's name, at whatever moment.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use asset_pipeline::publish::{Progress, PublishError, Stage, publish};
use support::Place;

/// Does something when a stage begins.
struct At<F>(Stage, Mutex<Option<F>>);

impl<F: FnOnce() + Send> Progress for At<F> {
    fn begin(&self, stage: Stage, _: u64) {
        if stage == self.0
            && let Some(act) = self.1.lock().expect("no test panicked").take()
        {
            act();
        }
    }

    fn step(&self, _: &str) {}
}

#[tokio::test]
async fn a_change_at_any_stage_is_refused_and_the_file_named() {
    type Change = fn(PathBuf);
    let changes: [(Change, &str); 3] = [
        (
            |site| fs::write(site.join("robots.txt"), "Changed").expect("written"),
            "robots.txt",
        ),
        (
            |site| fs::remove_file(site.join("sw.js")).expect("removed"),
            "sw.js",
        ),
        (
            |site| fs::write(site.join("js/new.js"), "new").expect("written"),
            "js/new.js",
        ),
    ];
    for stage in [Stage::Read, Stage::Rewrite, Stage::Store] {
        for (change, named) in changes {
            let place = Place::of_the_bell();
            place.publish("before").await.expect("it is published");
            place.write("robots.txt", "Disallow: /");
            let site = place.site();
            let progress = At(stage, Mutex::new(Some(move || change(site))));
            let error = publish(place.publish_of("one"), &progress).await;
            let error = error.expect_err("it is refused");
            assert!(
                matches!(&error, PublishError::Changed { file } if file.ends_with(named)),
                "{stage:?} {named}: {error}"
            );
            assert_eq!(place.visible().await, ["before"]);
            place.publish("one").await.expect("it has come to rest");
        }
    }
}

#[tokio::test]
async fn an_unreadable_file_is_named() {
    let place = Place::of_the_bell();
    let link = place.site().join("js/gone.js");
    std::os::unix::fs::symlink("nowhere.js", link).expect("a link");
    let error = place.publish("one").await.expect_err("it is refused");
    let text = error.to_string();
    assert!(
        text.contains("js/gone.js") && text.contains("cannot be read"),
        "{text}"
    );
}
