//! Pages offer the dictionary of their release, and a new file that nothing of its name was held for is
//! told by it.

use std::path::Path;

use asset_pipeline::manifest::Manifest;
use asset_pipeline::publish::{Publish, publish};
use asset_pipeline::store::Store;
use edge_proxy::colour::Colour;

use super::assets::{decode, decode_from, offer};
use super::support::client::{Ask, Http};
use super::support::reply::Reply;
use super::support::site::{APP, edited, url};
use super::support::stage::{MAPLE, plan};

/// Publishes two pages that share a script; the second release has one more, made of parts of it.
async fn release(folder: &Path, id: &str, new: Option<&str>) -> Manifest {
    let site = folder.join(format!("site-{id}"));
    std::fs::create_dir(&site).expect("a folder");
    let page = "<script src=/shared.js></script>";
    let mut files = vec![
        ("index.html", page.to_owned()),
        ("help.html", page.to_owned()),
    ];
    files.push(("shared.js", format!("{}// {id}", edited("shared"))));
    if let Some(new) = new {
        files.push(("new.html", "<script src=/new.js></script>".to_owned()));
        files.push(("new.js", new.to_owned()));
    }
    for (name, text) in files {
        std::fs::write(site.join(name), text).expect("a file");
    }
    let store = Store::open(&url(&folder.join("store"))).expect("a store");
    let app = APP.parse().expect("a name");
    let release = id.parse().expect("a name");
    let mut what = Publish::new(site, app, release, store.clone());
    what.dictionary = true;
    publish(what, &()).await.expect("it is published");
    let (app, release) = (APP.parse().expect("a name"), id.parse().expect("a name"));
    store.manifest(&app, &release).await.expect("a manifest")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_told_by_what_the_pages_before_have_shared() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = edited("shared");
    let new = format!("{}self.more = 1;{}", &shared[4000..9000], &shared[..3000]);
    let first = release(folder.path(), "r1", None).await;
    let second = release(folder.path(), "r2", Some(&new)).await;
    let stage = plan().store(&folder.path().join("store")).start().await;
    stage.colour_ready(Colour::Green).await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/html; charset=utf-8", "a page of the origin") });
    let at = first.dictionary.expect("r1 has one");
    let link = format!("<{at}>; rel=\"compression-dictionary\"");
    let path = second.files.keys().find(|path| path.starts_with("/new-"));
    let path = path.expect("a hashed script");
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for page in ["/", "/help.html", "/of/the/origin"] {
            let answer = client.get(page).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("link")),
                (200, link.as_str()),
                "{page}"
            );
        }
        let plain = client.get(&at).await;
        assert_eq!(plain.header("use-as-dictionary"), "match=\"/*\"");
        assert_eq!(plain.header("link"), "");
        assert!(plain.header("cache-control").contains("immutable"));
        let held = decode(plain.header("content-encoding"), &plain.body);
        let ask = Ask::get(path).header("available-dictionary", &offer(&held));
        let told = client.ask(ask.header("accept-encoding", "br, dcb")).await;
        assert_eq!(told.header("content-encoding"), "dcb");
        assert!(told.body.len() < 200, "{}", told.body.len());
        assert_eq!(decode_from(&held, "dcb", &told.body), new.as_bytes());
    }
}
