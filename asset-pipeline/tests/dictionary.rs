//! The dictionary of a release: one file of what its pages share, for files that have no predecessor.

mod support;

use asset_pipeline::manifest::{File, Kind, Manifest};
use asset_pipeline::publish::publish;
use support::Place;

/// Statements that occur nowhere else.
fn code(seed: u64, lines: u64) -> String {
    let line = |at: u64| {
        let number = (seed * 1000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("function f{number:x}(bell) {{ return ring(bell, {at}) }}\n")
    };
    (0..lines).map(line).collect()
}

fn write(place: &Place, release: u64) {
    let head = "<link rel=stylesheet href=/app.css><script src=/app.js></script>";
    place.write("index.html", head);
    place.write("help.html", head);
    place.write("app.css", code(1, 40));
    place.write("app.js", format!("{}// {release}", code(2, 60)));
}

async fn publish_with(place: &Place, release: &str, dictionary: bool) -> Manifest {
    let mut what = place.publish_of(release);
    what.dictionary = dictionary;
    publish(what, &()).await.expect("it is published");
    place.manifest(release).await
}

fn dictionary(manifest: &Manifest) -> (&str, &File) {
    let url = manifest.dictionary.as_deref().expect("a dictionary");
    (url, &manifest.files[url])
}

#[tokio::test]
async fn what_most_pages_share_tells_new_files_of_the_next_release() {
    let place = Place::empty();
    write(&place, 1);
    let first = publish_with(&place, "one", true).await;
    let (url, file) = dictionary(&first);
    assert_eq!(
        (file.kind, file.dictionary_for.as_deref()),
        (Kind::Hashed, Some("/*"))
    );
    assert!(
        url.starts_with("/dictionary-") && url.ends_with(".dat"),
        "{url}"
    );
    let bytes = place.store().blob(&file.identity).await.expect("a blob");
    for part in [code(1, 40), code(2, 60)] {
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(&part), "what both pages load is in it");
    }
    assert!(!file.encoded.is_empty() && file.deltas.is_empty());

    // A page of its own, whose script has no predecessor, but much in common with both.
    write(&place, 2);
    place.write("new.html", "<script src=/new.js></script>");
    place.write(
        "new.js",
        format!("{}{}{}", code(2, 30), code(1, 20), code(3, 3)),
    );
    let second = publish_with(&place, "two", true).await;
    let new = second
        .files
        .iter()
        .find(|(url, file)| url.starts_with("/new-") && file.kind == Kind::Hashed);
    let (_, new) = new.expect("a hashed script");
    let told = |of: &File, by: &File| {
        of.deltas
            .iter()
            .find(|delta| delta.from == by.identity)
            .copied()
    };
    let delta = told(new, file).expect("it is told by the dictionary");
    assert!(
        delta.blob.bytes * 2
            < new
                .encoded
                .values()
                .map(|blob| blob.bytes)
                .min()
                .expect("br")
    );
    let (newer, next) = dictionary(&second);
    assert_ne!(newer, url);
    assert!(
        told(next, file).is_some(),
        "the next one is told by this one"
    );
    assert_eq!(place.verified().await.damaged, []);

    // The same again is nothing new; without being asked for there is none.
    assert_eq!(publish_with(&place, "two", true).await, second);
    let third = publish_with(&place, "three", false).await;
    assert_eq!(third.dictionary, None);
    assert!(
        !third
            .files
            .keys()
            .any(|url| url.starts_with("/dictionary-"))
    );
}

#[tokio::test]
async fn pages_that_share_nothing_have_none() {
    let place = Place::empty();
    place.write("index.html", "<script src=/a.js></script>");
    place.write("help.html", "<script src=/b.js></script>");
    place.write("a.js", code(1, 40));
    place.write("b.js", code(2, 40));
    assert_eq!(publish_with(&place, "one", true).await.dictionary, None);
}
