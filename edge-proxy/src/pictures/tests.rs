use std::os::unix::fs::PermissionsExt as _;

use asset_pipeline::image::OnceFormat;
use cache_rules::tag::Tag;

use super::*;
use crate::control::event::PurgePath;
use crate::upstream::scripted::{Scripted, Then};

/// Begins as a JPEG does; the scripts that make pictures look no further.
const FILE: &[u8] = b"\xff\xd8\xff\xe0 a file";
const MINUTE: &str = "cache-control: public, max-age=60\r\nsurrogate-key: student:7\r\n";

/// Pictures that a script makes of what an origin has.
struct Studio {
    pictures: Arc<Pictures>,
    origin: Scripted,
    _folder: tempfile::TempDir,
}

impl Studio {
    /// `lines` are the fields of the origin's answers.
    async fn new(script: &str, lines: &str, limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&program, mode).expect("a program");
        let length = FILE.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{lines}\r\n");
        let answer = [head.as_bytes(), FILE].concat();
        let origin = Scripted::start(move |_| (answer.clone(), Then::Keep)).await;
        let pictures = Pictures::new(
            program,
            &limits,
            Arc::new(Epochs::default()),
            Clock::default(),
            Client::new(&limits),
        );
        Self {
            pictures: Arc::new(pictures),
            origin,
            _folder: folder,
        }
    }

    async fn made(&self, key: &Key) -> Result<(Arc<Made>, By), Refusal> {
        let request = Request::get("/file").header("host", "oak.example").body(());
        let request = request.expect("a request");
        self.pictures
            .make(key, &request, &self.origin.pool, true)
            .await
    }

    fn asked(&self) -> usize {
        self.origin.asked().len()
    }
}

fn key(tenant: &str, path: &str) -> Key {
    Key {
        tenant: tenant.parse().expect("a tenant"),
        app: "learn".parse().expect("an app"),
        path: path.to_owned(),
        form: Once {
            width: 640,
            format: OnceFormat::Webp,
            quality: 75,
        },
    }
}

fn bytes(made: &Made) -> &[u8] {
    let picture = made.picture.as_ref().expect("there is a picture");
    picture.identity()
}

#[tokio::test]
async fn a_picture_is_made_once_for_its_school_and_a_purge_ends_it() {
    let studio = Studio::new(r#"cat; echo "$*""#, MINUTE, Limits::default()).await;
    let hill = key("oak", "/media/hill.jpg");
    let (made, by) = studio.made(&hill).await.expect("it is made");
    assert_eq!((by, studio.asked()), (By::Own, 1));
    assert!(bytes(&made).ends_with(b"a filepicture 640 webp q75\n"));
    let covered = |purge: &Purge| studio.pictures.covered(purge);
    for purge in [
        Purge::Tag(hill.tenant.clone(), Tag::parse("student:7").expect("a tag")),
        Purge::Path(
            hill.tenant.clone(),
            PurgePath::parse("/media/hill.jpg").expect("a path"),
        ),
        Purge::Tenant(hill.tenant.clone()),
        Purge::Everything,
    ] {
        let asked = studio.asked();
        assert!(studio.pictures.found(&hill).is_some(), "{purge}");
        assert!(studio.pictures.found(&key("elm", &hill.path)).is_none());
        assert_eq!(covered(&purge), 1, "{purge}");
        studio.pictures.epochs.purge(&purge);
        assert!(studio.pictures.found(&hill).is_none(), "{purge}");
        assert_eq!(covered(&purge), 0, "{purge}");
        studio.made(&hill).await.expect("it is made anew");
        assert_eq!(studio.asked(), asked + 1);
    }
    // Another school's purge, and another file's, end nothing.
    let elm = "elm".parse().expect("a tenant");
    studio.pictures.epochs.purge(&Purge::Tenant(elm));
    assert!(studio.pictures.found(&hill).is_some());
    studio.pictures.clock.advance(Duration::from_secs(60));
    assert!(studio.pictures.found(&hill).is_none(), "its time is over");
}

#[tokio::test]
async fn what_the_origin_does_not_let_be_kept_is_made_each_time() {
    for lines in ["", "cache-control: private, max-age=60\r\n"] {
        let studio = Studio::new("cat", lines, Limits::default()).await;
        let hill = key("oak", "/media/hill.jpg");
        for turn in 1..=2 {
            studio.made(&hill).await.expect("it is made");
            assert_eq!(studio.asked(), turn);
            assert!(studio.pictures.found(&hill).is_none());
        }
        assert_eq!(studio.pictures.bytes(), 0);
    }
}

#[tokio::test]
async fn what_is_no_picture_takes_one_process_a_minute() {
    for script in ["exit 1", "kill -9 $$", "true"] {
        let studio = Studio::new(script, "cache-control: no-store\r\n", Limits::default()).await;
        let bomb = key("oak", "/media/bomb.png");
        let (made, _) = studio.made(&bomb).await.expect("it was looked at");
        assert!(made.picture.is_none(), "{script}");
        assert!(studio.pictures.found(&bomb).is_some(), "{script}");
        studio.pictures.clock.advance(UNFIT_KEPT);
        assert!(studio.pictures.found(&bomb).is_none(), "{script}");
    }
}

#[tokio::test]
async fn a_school_that_looks_at_everything_leaves_the_others_theirs() {
    let limits = Limits {
        pictures_bytes_max: 1 << 20,
        tenant_pictures_bytes_max: 256 << 10,
        ..Limits::default()
    };
    let studio = Studio::new("head -c 1000 /dev/zero", MINUTE, limits).await;
    let small = key("elm", "/media/one.jpg");
    studio.made(&small).await.expect("it is made");
    for n in 0..120 {
        let many = key("oak", &format!("/media/{n}.jpg"));
        studio.made(&many).await.expect("it is made");
        assert!(studio.pictures.bytes() <= (256 << 10) + 8192);
    }
    assert!(studio.pictures.found(&small).is_some());
}

#[tokio::test]
async fn so_many_of_one_school_are_under_way_and_others_still_get_theirs() {
    let studio = Studio::new("exec sleep 600", MINUTE, Limits::default()).await;
    let studio = Arc::new(studio);
    let begin = |tenant: &'static str, n: usize| {
        let studio = Arc::clone(&studio);
        let key = key(tenant, &format!("/media/{n}.jpg"));
        tokio::spawn(async move { studio.made(&key).await.map(|_| ()) })
    };
    let waiting: Vec<_> = (0..OF_TENANT_MAX).map(|n| begin("oak", n)).collect();
    while studio.pictures.flights.len() < OF_TENANT_MAX {
        tokio::task::yield_now().await;
    }
    let refused = studio.made(&key("oak", "/media/more.jpg")).await;
    assert_eq!(refused.map(|_| ()), Err(Refusal::Busy));
    // One that is under way is joined, and another school's begins.
    let more = [begin("oak", 0), begin("elm", 0)];
    while studio.pictures.flights.len() <= OF_TENANT_MAX {
        tokio::task::yield_now().await;
    }
    for task in waiting.iter().chain(&more) {
        assert!(!task.is_finished());
        task.abort();
    }
}

#[tokio::test]
async fn who_comes_after_a_purge_does_not_get_what_was_asked_before_it() {
    let gate = tempfile::tempdir().expect("a folder");
    let open = gate.path().join("open");
    let script = format!(
        "cat; while [ ! -e {} ]; do sleep 0.05; done",
        open.display()
    );
    let studio = Arc::new(Studio::new(&script, MINUTE, Limits::default()).await);
    let hill = key("oak", "/media/hill.jpg");
    let before = tokio::spawn({
        let (studio, hill) = (Arc::clone(&studio), hill.clone());
        async move { studio.made(&hill).await }
    });
    while studio.asked() < 1 {
        tokio::task::yield_now().await;
    }
    let purge = Purge::Tenant(hill.tenant.clone());
    studio.pictures.epochs.purge(&purge);
    std::fs::write(&open, "").expect("a file");
    let (_, by) = studio.made(&hill).await.expect("it is made");
    assert_eq!(by, By::Own);
    // Who asked before it is told as well, from the same or a later file.
    before.await.expect("no panic").expect("it is made");
    assert_eq!(studio.asked(), 2);
}
