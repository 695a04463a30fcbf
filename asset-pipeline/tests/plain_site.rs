//! A plain folder: pages keep their names, what they load gets names that follow its content.

mod support;

use asset_pipeline::manifest::{Kind, Manifest};
use asset_pipeline::publish::{PublishError, publish};
use base64::Engine as _;
use proptest::prelude::*;
use sha2::Digest as _;
use support::{Place, text};

/// The hashed twin of a path.
fn twin(manifest: &Manifest, path: &str) -> String {
    let (stem, extension) = path.rsplit_once('.').expect("it has an extension");
    let named = |url: &&String| {
        url.strip_prefix(stem)
            .and_then(|rest| rest.strip_suffix(extension))
            .is_some_and(|hash| hash.starts_with('-') && hash.len() == 18)
    };
    let mut twins = manifest.files.keys().filter(named);
    let twin = twins.next().unwrap_or_else(|| panic!("{path} has a twin"));
    assert_eq!(twins.next(), None);
    assert_eq!(manifest.files[twin].kind, Kind::Hashed);
    twin.clone()
}

#[tokio::test]
async fn what_pages_load_is_hashed_and_everything_keeps_its_own_name_too() {
    let place = Place::of_the_bell();
    let report = place.publish("one").await.expect("it is published");
    assert_eq!(report.warnings, Vec::<String>::new());
    let (store, manifest) = (place.store(), place.manifest("one").await);

    for path in [
        "/",
        "/index.html",
        "/help/",
        "/help/index.html",
        "/css/app.css",
        "/js/bell.js",
        "/sw.js",
        "/robots.txt",
        "/.well-known/security.txt",
    ] {
        assert_eq!(manifest.files[path].kind, Kind::Release, "{path}");
    }
    assert_eq!(manifest.files["/"], manifest.files["/index.html"]);
    assert!(manifest.hashed_prefixes.is_empty());

    let [app, theme, bell, flock] = [
        "/css/app.css",
        "/css/theme.css",
        "/img/bell.svg",
        "/img/flock.svg",
    ]
    .map(|path| twin(&manifest, path));
    let [classic, alone] = ["/js/classic.js", "/js/alone.js"].map(|path| twin(&manifest, path));
    // app.js is imported by bell.js under its plain name, so it must not get a second one.
    let hashed = |file: &&asset_pipeline::manifest::File| file.kind == Kind::Hashed;
    assert_eq!(manifest.files.values().filter(hashed).count(), 6);

    let page = text(&store, &manifest, "/").await;
    let css = text(&store, &manifest, &app).await;
    for (what, written) in [
        (
            &page,
            format!("href=\"{}\" type=\"image/svg+xml\"", &bell[1..]),
        ),
        (
            &page,
            format!(
                "<link rel=\"preload\" as=\"style\" href=\"{}?v=1\">",
                &app[1..]
            ),
        ),
        (&page, format!("src=\"{}\" defer", &classic[1..])),
        (&page, format!("src=\"{}\"", &alone[1..])),
        (&page, "src=\"js/app.js\"".to_owned()),
        (
            &page,
            "<link rel=\"modulepreload\" href=\"js/clock.js\">".to_owned(),
        ),
        (
            &page,
            "<link rel=\"manifest\" href=\"/app.webmanifest\">".to_owned(),
        ),
        (&page, format!("url( '{}#one' ) no-repeat", &flock[1..])),
        (&page, format!("srcset=\"{} 1x, .{flock} 2x\"", &bell[1..])),
        (
            &page,
            format!("style=\"list-style: url(&quot;{}&quot;)\"", &bell[1..]),
        ),
        (
            &page,
            "<a href=\"help/\">Help</a> <a href=\"/login\">Sign in</a>".to_owned(),
        ),
        (&css, format!("@import \"{}\" screen;", &theme[5..])),
        (&css, format!("url(..{bell}) ;")),
        (&css, "h1::after { content: \"img/bell.svg\" }".to_owned()),
        (
            &css,
            format!("image-set(\"..{flock}\" 1x, url(\"..{bell}\") 2x)"),
        ),
    ] {
        assert!(what.contains(&written), "{written}\nin\n{what}");
    }
    let integrity = base64::prelude::BASE64_STANDARD.encode(sha2::Sha384::digest(&css));
    assert!(page.contains(&format!("integrity=\"sha384-{integrity}\"")));

    let web_manifest = text(&store, &manifest, "/app.webmanifest").await;
    assert!(web_manifest.contains(&format!("{{ \"src\": \"{}\", \"sizes\"", &bell[1..])));
    assert!(web_manifest.contains(&format!("{{ \"src\": \"{flock}\" }}")));
    let script = text(&store, &manifest, &classic).await;
    assert!(script.contains("\"img/bell.svg\" stays here"));
}

#[tokio::test]
async fn a_change_renames_what_depends_on_it_and_nothing_else() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    place.write("img/flock.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>");
    let report = place.publish("two").await.expect("it is published");
    assert!(report.reused > 0);
    let (one, two) = (place.manifest("one").await, place.manifest("two").await);
    for (path, same) in [
        ("/img/bell.svg", true),
        ("/js/classic.js", true),
        ("/img/flock.svg", false),
        ("/css/theme.css", false),
        ("/css/app.css", false),
    ] {
        assert_eq!(twin(&one, path) == twin(&two, path), same, "{path}");
    }
    assert_eq!(place.verified().await.damaged, []);
}

#[tokio::test]
async fn a_repeat_is_quick_and_changes_nothing() {
    let place = Place::of_the_bell();
    let first = place.publish("one").await.expect("it is published");
    assert!(!first.repeated && first.blobs_written > 0);
    let before = support::files(&place.store_folder());
    let again = place.publish("one").await.expect("it is there");
    assert!(again.repeated);
    assert_eq!((again.blobs_written, again.encoded), (0, 0));
    assert_eq!(
        again.manifest,
        place
            .store()
            .releases(&support::app())
            .await
            .expect("a store")[0]
            .manifest
    );
    assert_eq!(before, support::files(&place.store_folder()));
}

#[tokio::test]
async fn an_id_is_never_used_for_other_content() {
    let place = Place::of_the_bell();
    place.publish("one").await.expect("it is published");
    let before = place.manifest("one").await;
    place.write("robots.txt", "User-agent: somebody else");
    let error = place.publish("one").await.expect_err("it is refused");
    assert!(error.is_refusal());
    assert!(
        error.to_string().contains("`/robots.txt` has other bytes"),
        "{error}"
    );
    assert_eq!(place.manifest("one").await, before);
}

#[tokio::test]
async fn of_two_publishes_at_once_one_wins_and_the_other_says_so() {
    let (one, two) = (Place::of_the_bell(), Place::of_the_bell());
    two.write("robots.txt", "User-agent: somebody else");
    for (release, sites) in [("same", [&one, &one]), ("other", [&one, &two])] {
        let runs = sites.map(|site| {
            let mut what = site.publish_of(release);
            what.store = one.store();
            tokio::spawn(publish(what, &()))
        });
        let mut won = 0;
        for run in runs {
            match run.await.expect("no panic") {
                Ok(_) => won += 1,
                Err(error) => assert!(matches!(error, PublishError::Taken { .. }), "{error}"),
            }
        }
        assert_eq!(won, if release == "same" { 2 } else { 1 });
    }
    assert_eq!(one.verified().await.damaged, []);
}

#[tokio::test]
async fn references_that_lead_nowhere_are_all_listed() {
    let place = Place::of_the_bell();
    place.write(
        "more.html",
        "<img src=img/none.png><script src=/js/none.js></script>",
    );
    place.write("css/theme.css", "a { b: url(x\\\\y.png) }");
    let error = place.publish("one").await.expect_err("it is refused");
    assert!(error.is_refusal());
    let text = error.to_string();
    for listed in [
        "3 broken references",
        "/more.html: `img/none.png` is not in the folder",
        "/more.html: `/js/none.js` is not in the folder",
        "/css/theme.css: `x\\y.png` holds a backslash",
    ] {
        assert!(text.contains(listed), "{text}");
    }
    assert!(place.visible().await.is_empty());

    let mut allowed = place.publish_of("one");
    allowed.allow_broken = true;
    let report = publish(allowed, &()).await.expect("it is published");
    assert_eq!(report.warnings.len(), 3);
}

#[tokio::test]
async fn a_true_hash_in_a_name_is_kept_and_a_false_one_is_not_believed() {
    let place = Place::empty();
    let hash = asset_pipeline::digest::Digest::of(b"true").to_string();
    let own = format!("/a-{}.bin", &hash[..12]);
    place.write(&own[1..], "true");
    place.write("b-0123456789ab.bin", "false");
    let page = format!("<img src='{}'><img src=b-0123456789ab.bin>", &own[1..]);
    place.write("index.html", page);
    place.publish("one").await.expect("it is published");
    let manifest = place.manifest("one").await;
    assert_eq!(manifest.files[&own].kind, Kind::Hashed);
    assert_eq!(manifest.files["/b-0123456789ab.bin"].kind, Kind::Release);
    twin(&manifest, "/b-0123456789ab.bin");
    assert!(
        text(&place.store(), &manifest, "/")
            .await
            .contains(&own[1..])
    );
}

#[tokio::test]
async fn names_with_odd_letters_are_found_and_written_so_that_browsers_find_them() {
    let place = Place::empty();
    place.write("b\u{e4}h & co (1)'.svg", "<svg/>");
    let page = "<img src='b%C3%A4h%20&amp;%20co%20(1)&#39;.svg'><style>a{b:url('b\u{e4}h & co (1)\\'.svg')}</style>";
    place.write("index.html", page);
    place.publish("one").await.expect("it is published");
    let manifest = place.manifest("one").await;
    let name = twin(&manifest, "/b\u{e4}h & co (1)'.svg");
    let hash = &name[name.len() - 20..name.len() - 4];
    let written = format!("b%C3%A4h%20%26%20co%20%281%29%27-{hash}.svg");
    let page = text(&place.store(), &manifest, "/").await;
    assert!(page.contains(&format!("<img src=\"{written}\">")), "{page}");
    assert!(page.contains(&format!("url(\"{written}\")")), "{page}");
}

#[tokio::test]
async fn text_that_is_not_utf8_is_served_as_it_is_and_says_no_charset() {
    let place = Place::empty();
    place.write("index.html", b"<title>caf\xe9</title><img src=none.png>");
    place.publish("one").await.expect("it is published");
    let manifest = place.manifest("one").await;
    assert_eq!(manifest.files["/"].content_type, "text/html");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_its_name() {
    let place = Place::empty();
    for (path, text, says) in [
        ("app.webmanifest", "{", "app.webmanifest"),
        (".env", "SECRET=1", "no file that can be published"),
    ] {
        place.write(path, text);
        let error = place.publish("one").await.expect_err("it is refused");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.is_refusal());
        std::fs::remove_file(place.site().join(path)).expect("removed");
    }
    let mut inside = place.publish_of("one");
    let store = place.site().join("store");
    inside.store =
        asset_pipeline::store::Store::open(&store.display().to_string()).expect("a path");
    let error = publish(inside, &()).await.expect_err("it is refused");
    assert!(matches!(error, PublishError::Folder { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Style sheets that import and show each other at random: each reference that is published
    /// leads to a hashed file, and to the one that the author meant.
    #[test]
    fn every_reference_that_was_exchanged_leads_to_the_same_file(
        sheets in proptest::collection::vec(proptest::collection::vec(0_usize..8, 0..4), 1..8)
    ) {
        let place = Place::empty();
        let mut page = String::new();
        for (at, references) in sheets.iter().enumerate() {
            let mut css = format!("/* sheet {at} */");
            for to in references {
                let url = match to % 2 {
                    0 => format!("@import '{}.css';", to % sheets.len()),
                    _ => format!("a{{b:url(../img/{to}.svg)}}"),
                };
                css.push_str(&url);
                place.write(&format!("img/{to}.svg"), format!("<svg id='{to}'/>"));
            }
            place.write(&format!("css/{at}.css"), css);
            page.push_str(&format!("<link rel=stylesheet href=/css/{at}.css>"));
        }
        place.write("index.html", page);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            place.publish("one").await.expect("it is published");
            let (store, manifest) = (place.store(), place.manifest("one").await);
            for (at, references) in sheets.iter().enumerate() {
                let url = twin(&manifest, &format!("/css/{at}.css"));
                let css = text(&store, &manifest, &url).await;
                for to in references {
                    let (target, written) = match to % 2 {
                        0 => {
                            let target = twin(&manifest, &format!("/css/{}.css", to % sheets.len()));
                            let written = format!("@import '{}';", &target["/css/".len()..]);
                            (target, written)
                        }
                        _ => {
                            let target = twin(&manifest, &format!("/img/{to}.svg"));
                            let written = format!("url(..{target})");
                            (target, written)
                        }
                    };
                    assert!(css.contains(&written), "{written} in {css}");
                    let meant = match to % 2 {
                        0 => format!("/* sheet {} */", to % sheets.len()),
                        _ => format!("<svg id='{to}'/>"),
                    };
                    assert!(text(&store, &manifest, &target).await.starts_with(&meant));
                }
            }
        });
    }
}

#[tokio::test]
async fn a_module_that_scripts_import_by_name_is_hashed_through_the_import_map() {
    let place = Place::empty();
    let page = r#"<!doctype html><script type="importmap">{"imports": {"clock": "/js/clock.js"},
        "integrity": {"/js/clock.js": "sha384-kept"}}</script>
        <script type="module" src="/js/main.js"></script>"#;
    place.write("index.html", page);
    place.write("js/clock.js", "export const hour = 8");
    place.write(
        "js/main.js",
        "import { hour } from 'clock'; console.log(hour)",
    );
    place.publish("one").await.expect("it is published");
    let (store, manifest) = (place.store(), place.manifest("one").await);
    let (clock, main) = (
        twin(&manifest, "/js/clock.js"),
        twin(&manifest, "/js/main.js"),
    );
    let html = text(&store, &manifest, "/").await;
    for part in [
        format!(r#"{{"clock": "{clock}"}}"#),
        format!(r#"{{"{clock}": "sha384-kept"}}"#),
        format!(r#"src="{main}""#),
    ] {
        assert!(html.contains(&part), "{html}");
    }
    // Imported by its file's name as well, it would run twice under two names: it keeps the one.
    place.write("js/other.js", "import '/js/clock.js'");
    place.publish("two").await.expect("it is published");
    let html = text(&store, &place.manifest("two").await, "/").await;
    assert!(html.contains(r#"{"clock": "/js/clock.js"}"#), "{html}");

    // A map that leads nowhere is a broken reference.
    place.write(
        "index.html",
        page.replace("/js/clock.js\"}", "/js/cluck.js\"}"),
    );
    let error = place.publish("three").await.expect_err("it is refused");
    assert!(error.to_string().contains("/js/cluck.js"), "{error}");
}

#[tokio::test]
async fn a_style_sheets_source_map_follows_it() {
    let place = Place::empty();
    place.write(
        "index.html",
        "<link rel=stylesheet href=a.css><script src=b.js></script>",
    );
    place.write("a.css", "a{color:red}\n/*# sourceMappingURL=a.css.map */");
    place.write(
        "a.css.map",
        r#"{"version":3,"file":"a.css","sources":["a.scss","../up/b.scss"]}"#,
    );
    place.write("a.scss", "a{color:$red}");
    // Script text is never touched, so its map keeps its name; and what is no map is left alone.
    place.write("b.js", "b()\n//# sourceMappingURL=b.js.map");
    place.write("b.js.map", "a picture of the island");
    let report = place.publish("one").await.expect("it is published");
    assert_eq!(report.warnings, Vec::<String>::new());
    let (store, manifest) = (place.store(), place.manifest("one").await);
    let [css, map] = ["/a.css", "/a.css.map"].map(|path| twin(&manifest, path));
    let name = |url: &str| url.trim_start_matches('/').to_owned();
    assert_eq!(
        text(&store, &manifest, &css).await,
        format!("a{{color:red}}\n/*# sourceMappingURL={} */", name(&map))
    );
    assert_eq!(
        text(&store, &manifest, &map).await,
        format!(
            r#"{{"version":3,"file":"{}","sources":["a.scss","../up/b.scss"]}}"#,
            name(&css)
        )
    );
    assert!(
        !manifest
            .files
            .keys()
            .any(|url| url.starts_with("/b.js-") && url.ends_with("map"))
    );
    assert_eq!(
        text(&store, &manifest, "/b.js.map").await,
        "a picture of the island"
    );
}
