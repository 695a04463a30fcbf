//! A hashed file of any release is served whole, in the best coding, whatever the weights are; an
//! unknown one is a 404 that nobody keeps; a damaged one is never served.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;

use super::support::client::{Ask, Client, Http};
use super::support::reply::Reply;
use super::support::site::{
    self, DYNAMIC, EDITED_R1, EDITED_R2, LONG, NOTES, OF_R1, OF_R2, SHARED, edited, noise, text,
};
use super::support::stage::{MAPLE, plan};

/// Undoes a coding.
pub(crate) fn decode(coding: &str, bytes: &[u8]) -> Bytes {
    let mut out = Vec::new();
    match coding {
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(bytes).and_then(|mut d| d.read_to_end(&mut out)),
        "" => {
            out.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        other => panic!("nobody asked for {other}"),
    }
    .unwrap_or_else(|error| panic!("this is not {coding}: {error}"));
    out.into()
}

/// What a file holds after its coding is undone; the coding, too.
async fn fetch(client: &Client, path: &str, accept: &str) -> (String, Bytes) {
    let answer = client
        .ask(Ask::get(path).header("accept-encoding", accept))
        .await;
    assert_eq!(answer.status, 200, "{path}");
    let coding = answer.header("content-encoding").to_owned();
    let bytes = decode(&coding, &answer.body);
    (coding, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hashed_file_is_whole_in_every_coding_and_may_be_kept_for_ever() {
    let stage = plan().start().await;
    let source = text("shared", 20_000);
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let mut etags = BTreeSet::new();
        for (accept, coding) in [("br", "br"), ("gzip", "gzip"), ("identity", "")] {
            let answer = client
                .ask(Ask::get(SHARED).header("accept-encoding", accept))
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-encoding"), coding);
            assert_eq!(decode(coding, &answer.body), source);
            assert_eq!(
                answer.header("content-length"),
                answer.body.len().to_string()
            );
            assert_eq!(
                answer.header("cache-control"),
                "public, max-age=31536000, immutable"
            );
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("timing-allow-origin"), "*");
            assert!(
                answer.header("content-type").starts_with("text/javascript"),
                "{:?}",
                answer.headers
            );
            assert!(
                answer
                    .header("vary")
                    .to_ascii_lowercase()
                    .contains("accept-encoding")
            );
            let etag = answer.header("etag").to_owned();
            assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");

            let again = Ask::get(SHARED)
                .header("accept-encoding", accept)
                .header("if-none-match", &etag);
            let same = client.ask(again).await;
            assert_eq!(
                (same.status.as_u16(), same.body.len()),
                (304, 0),
                "{accept}"
            );
            assert_eq!(same.header("etag"), etag);
            assert_eq!(same.header("cache-control"), answer.header("cache-control"));

            let head = Ask::new(Method::HEAD, SHARED).header("accept-encoding", accept);
            let head = client.ask(head).await;
            assert_eq!(
                (head.status.as_u16(), head.body.len()),
                (200, 0),
                "{accept}"
            );
            for name in ["etag", "content-length", "content-encoding", "content-type"] {
                assert_eq!(head.header(name), answer.header(name), "{name}");
            }
            etags.insert(etag);
        }
        assert_eq!(etags.len(), 3, "each coding has its own name: {etags:?}");
        let of_another = Ask::get(SHARED)
            .header("accept-encoding", "br")
            .header("if-none-match", "\"of-another\"");
        assert_eq!(client.ask(of_another).await.status, 200);
    }
    assert!(stage.blue.seen().is_empty() && stage.green.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coding_is_chosen_by_weight_and_not_by_place() {
    let stage = plan().start().await;
    let client = stage.h2(MAPLE).await;
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("BR", "br"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "gzip"),
        ("identity", ""),
        ("zstd", ""),
        ("", ""),
        ("br;q=junk", ""),
    ] {
        let (chosen, bytes) = fetch(&client, SHARED, accept).await;
        assert_eq!(chosen, coding, "{accept:?}");
        assert_eq!(bytes, text("shared", 20_000), "{accept:?}");
    }
    let (chosen, bytes) = fetch(&client, LONG, "br, gzip").await;
    assert_eq!(
        (chosen.as_str(), bytes.as_ref()),
        ("", noise(2_500_000).as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_cut_from_the_plain_form_and_only_of_what_the_client_has() {
    let stage = plan().start().await;
    for (http, path, whole) in [
        (Http::One, LONG, noise(2_500_000)),
        (Http::Two, LONG, noise(2_500_000)),
        (Http::Two, SHARED, text("shared", 20_000).into_bytes()),
    ] {
        let client = stage.client(MAPLE, http).await;
        let length = whole.len();
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=100-199", 100, 200),
            ("bytes=-10", length - 10, length),
            ("bytes=19000-", 19_000, length),
            ("bytes=19000-99999999", 19_000, length),
        ] {
            let ask = Ask::get(path)
                .header("range", range)
                .header("accept-encoding", "br");
            let part = client.ask(ask).await;
            assert_eq!(part.status, 206, "{path} {range}");
            assert_eq!(
                part.header("content-range"),
                format!("bytes {from}-{}/{length}", to - 1)
            );
            assert_eq!(part.header("content-encoding"), "");
            assert!(part.body == whole[from..to], "{path} {range}");
        }
        let etag = client.get(path).await.header("etag").to_owned();
        let part = |condition: &str| {
            Ask::get(path)
                .header("range", "bytes=5-9")
                .header("if-range", condition)
        };
        assert_eq!(client.ask(part(&etag)).await.body, whole[5..10]);
        for other in [
            "\"other\"".to_owned(),
            format!("W/{etag}"),
            "Sat, 01 Jan 2000 00:00:00 GMT".to_owned(),
        ] {
            let answer = client.ask(part(&other)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (200, length),
                "{other}"
            );
        }
        let beyond = Ask::get(path).header("range", "bytes=99999999-");
        let beyond = client.ask(beyond).await;
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
        let last = length - 150_000.min(length / 2);
        let many = format!("bytes=0-1,5-6,{last}-");
        let many = client.ask(Ask::get(path).header("range", &many)).await;
        assert_eq!(
            (many.status.as_u16(), many.header("content-range")),
            (206, "")
        );
        let boundary = many.header("content-type").split_once("boundary=");
        let (_, boundary) = boundary.expect("several parts");
        let plain = client.get(path).await;
        let kind = plain.header("content-type");
        let mut expected = Vec::new();
        for (from, to) in [(0, 2), (5, 7), (last, length)] {
            let before = format!(
                "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {from}-{}/{length}\r\n\r\n",
                to - 1
            );
            expected.extend_from_slice(before.as_bytes());
            expected.extend_from_slice(&whole[from..to]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(many.body == expected, "{path}: {} bytes", many.body.len());
        for too_many in ["bytes=0-1,3-4,6-7,9-9,11-12", "bytes=0-5,3-8"] {
            let ask = Ask::get(path).header("range", too_many);
            assert_eq!(client.ask(ask).await.body.len(), length);
        }
        let unknown = Ask::get(path).header("range", "lines=0-1");
        assert_eq!(client.ask(unknown).await.body.len(), length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_release_are_there_whatever_the_weights_are() {
    let stage = plan().start().await;
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let client = stage.h2(MAPLE).await;
    for weight in ["green=0%", "green=50%", "green=100%", "green=0%"] {
        stage.shift(weight).await;
        for (path, word) in [(OF_R1, "r1"), (OF_R2, "r2")] {
            assert_eq!(
                fetch(&client, path, "br").await.1,
                text(word, 8_000),
                "{weight}"
            );
        }
    }
    for (weight, release) in [("green=0%", "r1"), ("green=100%", "r2"), ("green=0%", "r1")] {
        stage.shift(weight).await;
        let notes = client.get(NOTES).await;
        assert_eq!(
            notes.text(),
            text(&format!("notes of {release}"), 2_000),
            "{weight}"
        );
        assert_eq!(notes.header("cache-control"), "no-cache");
        let again = Ask::get(NOTES).header("if-none-match", notes.header("etag"));
        assert_eq!(client.ask(again).await.status, 304);
        for own in ["r1", "r2"] {
            let manifest = format!("/_next/static/{own}/_buildManifest.js");
            let answer = client.get(&manifest).await;
            // A file below a hashed prefix that another release has is no secret, but this one's
            // own must be there.
            assert!(
                own != release || answer.status == 200,
                "{weight}: {manifest}"
            );
        }
    }
    assert!(stage.blue.seen().is_empty() && stage.green.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_hashed_file_is_a_404_that_nobody_keeps_or_asks_for() {
    let stage = plan().start().await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/javascript", "not yours") });
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for path in [
            "/_next/static/chunks/page-0000000000000000.js",
            "/_next/static/",
            "/_next/static/chunks",
            "/%5Fnext/static/chunks/page-0000000000000000.js",
        ] {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
    assert!(stage.blue.seen().is_empty(), "{:?}", stage.blue.seen());
    // What is no file at all is the origin's.
    let client = stage.h2(MAPLE).await;
    assert_eq!(client.get("/_nextstatic/x.js").await.text(), "not yours");
    assert_eq!(client.get("/missing.txt").await.text(), "not yours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_the_same_however_it_is_encoded() {
    let stage = plan().start().await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for path in [
            DYNAMIC.to_owned(),
            DYNAMIC.replace('[', "%5B").replace(']', "%5D"),
            DYNAMIC.replace('[', "%5b").replace(']', "%5d"),
            DYNAMIC.replace("page", "%70age"),
            format!("{DYNAMIC}?dpl=r1"),
        ] {
            assert_eq!(
                fetch(&client, &path, "br").await.1,
                text("course", 4_000),
                "{path}"
            );
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found)
        } else {
            found.push(path)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_never_served_and_is_fetched_again() {
    let stage = plan().start().await;
    let mut mirrored = Vec::new();
    files(&stage.folder().join("state/mirror"), &mut mirrored);
    assert!(mirrored.len() >= 6, "{mirrored:?}");
    let damage = move || {
        for (n, path) in mirrored.iter().enumerate() {
            let Ok(mut bytes) = std::fs::read(path) else {
                continue;
            };
            if bytes.is_empty() {
                continue;
            }
            match n % 2 {
                0 => bytes.truncate(bytes.len() / 2),
                _ => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
            }
            std::fs::remove_file(path).expect("the test's folder can be written");
            std::fs::write(path, bytes).expect("the test's folder can be written");
        }
    };
    let stage = stage.restart_after(damage).await;
    let client = stage.h2(MAPLE).await;
    for accept in ["br", "gzip", "identity"] {
        assert_eq!(
            fetch(&client, SHARED, accept).await.1,
            text("shared", 20_000),
            "{accept}"
        );
        assert_eq!(
            fetch(&client, OF_R1, accept).await.1,
            text("r1", 8_000),
            "{accept}"
        );
        assert_eq!(
            fetch(&client, LONG, accept).await.1,
            noise(2_500_000),
            "{accept}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mirrored_is_served_while_the_store_is_away() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let store = folder.path().join("store");
    for release in ["r1", "r2"] {
        let dir = folder.path().join(release);
        site::write(&dir, release);
        site::publish_into(&store, &dir, release).await;
    }
    let stage = plan().store(&store).start().await;
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let away = folder.path().join("away");
    let stage = stage
        .restart_after(move || {
            std::fs::rename(&store, &away).expect("the test's folder can be written");
        })
        .await;
    let client = stage.h2(MAPLE).await;
    for (path, source) in [
        (OF_R1, text("r1", 8_000)),
        (OF_R2, text("r2", 8_000)),
        (SHARED, text("shared", 20_000)),
    ] {
        assert_eq!(fetch(&client, path, "br").await.1, source);
    }
    stage.shift("green=100%").await;
    assert_eq!(client.get(NOTES).await.text(), text("notes of r2", 2_000));
}

/// The digest of a body, as a client offers it.
pub(crate) fn offer(held: &[u8]) -> String {
    use base64::Engine as _;
    let digest = asset_pipeline::digest::Digest::of(held);
    let text = base64::prelude::BASE64_STANDARD.encode(digest.as_bytes());
    format!(":{text}:")
}

/// Undoes `dcb` and `dcz` (RFC 9842).
pub(crate) fn decode_from(held: &[u8], coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "dcb" => {
            let mut decoder = brotli::Decompressor::new(&bytes[36..], 4096);
            assert!(decoder.attach_dictionary(held.to_vec().into()));
            decoder.read_to_end(&mut out)
        }
        "dcz" => zstd::stream::read::Decoder::with_ref_prefix(bytes, held)
            .and_then(|mut decoder| decoder.read_to_end(&mut out)),
        other => panic!("{other} needs no dictionary"),
    }
    .unwrap_or_else(|error| panic!("this is not {coding}: {error}"));
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_visitor_gets_what_differs_from_the_file_that_it_holds() {
    let stage = plan().start().await;
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let (old, new) = (edited("r1"), edited("r2"));
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        let ask = async |path: &str, more: &[(&str, &str)]| {
            let mut ask = Ask::get(path);
            if !more.iter().any(|(name, _)| *name == "available-dictionary") {
                ask = ask.header("available-dictionary", &offer(old.as_bytes()));
            }
            let ask = more
                .iter()
                .fold(ask, |ask, (name, value)| ask.header(name, value));
            let answer = client.ask(ask).await;
            assert_eq!(answer.status, 200, "{path} {more:?}");
            answer
        };
        // The old file says for which URLs it is good: the next one of its name.
        let held = ask(EDITED_R1, &[("accept-encoding", "br")]).await;
        let pattern = "match=\"/_next/static/chunks/edited-*.js\"";
        assert_eq!(held.header("use-as-dictionary"), pattern);
        let vary = "accept-encoding, available-dictionary";
        let mut etags = BTreeSet::new();
        for accept in ["br, dcb", "br, dcz", "gzip, deflate, br, zstd, dcb, dcz"] {
            for path in [EDITED_R2.to_owned(), format!("{EDITED_R2}?dpl=r2")] {
                let answer = ask(&path, &[("accept-encoding", accept)]).await;
                let coding = answer.header("content-encoding");
                assert_eq!(answer.header("vary"), vary);
                assert_eq!(answer.header("use-as-dictionary"), pattern);
                assert_eq!(answer.header("no-vary-search"), "params=(\"dpl\")");
                etags.insert((coding.to_owned(), answer.header("etag").to_owned()));
                let decoded = match coding {
                    "br" => decode("br", &answer.body).to_vec(),
                    coding => decode_from(old.as_bytes(), coding, &answer.body),
                };
                assert_eq!(decoded, new.as_bytes(), "{accept}");
                assert!(
                    accept == "br, dcz" || answer.body.len() < 100,
                    "{}",
                    answer.body.len()
                );
            }
        }
        assert!(etags.iter().any(|(coding, _)| coding == "dcb"));
        let codings: BTreeSet<_> = etags.iter().map(|(coding, _)| coding).collect();
        let tags: BTreeSet<_> = etags.iter().map(|(_, tag)| tag).collect();
        assert_eq!((etags.len(), tags.len()), (codings.len(), codings.len()));
        // Not for who cannot read it, not without the coding, and not from another dictionary.
        for more in [
            &[("accept-encoding", "br")][..],
            &[
                ("accept-encoding", "br, dcb"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "no-cors"),
            ],
            &[
                ("accept-encoding", "br, dcb"),
                ("available-dictionary", &offer(b"x")),
            ],
        ] {
            let answer = ask(EDITED_R2, more).await;
            assert_eq!(answer.header("content-encoding"), "br", "{more:?}");
        }
        // A release file is told by nothing and tells nothing.
        let notes = ask(NOTES, &[("accept-encoding", "br, dcb")]).await;
        assert_eq!(notes.header("use-as-dictionary"), "");
        assert_eq!(notes.header("vary"), "accept-encoding");
    }
    let metrics = Client::open_plain(stage.observe_address(), "localhost").await;
    let metrics = metrics.get("/metrics").await;
    let metrics = metrics.text();
    assert!(
        metrics.contains("edge_asset_answers_total{coding=\"dcb\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_had_is_replaced_by_another_one() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let store = folder.path().join("store");
    for release in ["r1", "r2"] {
        let dir = folder.path().join(release);
        site::write(&dir, release);
        site::publish_into(&store, &dir, release).await;
    }
    let stage = plan().store(&store).start().await;
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let old = edited("r1");
    let all = async |stage: &super::support::stage::Stage| {
        let client = stage.h2(MAPLE).await;
        let ask = Ask::get(EDITED_R2)
            .header("available-dictionary", &offer(old.as_bytes()))
            .header("accept-encoding", "gzip, br, dcb, dcz");
        client.ask(ask).await
    };
    let told = all(&stage).await;
    assert_eq!(told.status, 200);
    let mut damaged = vec![told.body.clone()];
    let mut codings = vec![told.header("content-encoding").to_owned()];
    let mut stage = stage;
    // One form after the other is lost, in the mirror and in the store.
    loop {
        let lost = damaged.clone();
        let (mirror, store) = (stage.folder().join("state/mirror/blobs"), store.clone());
        stage = stage
            .restart_after(move || {
                let mut found = Vec::new();
                files(&mirror, &mut found);
                files(&store.join("blobs"), &mut found);
                for path in found {
                    let bytes = std::fs::read(&path).expect("the test's folder can be read");
                    if lost.iter().any(|lost| *lost == bytes) {
                        std::fs::write(&path, b"bad").expect("the test's folder can be written");
                    }
                }
            })
            .await;
        let answer = all(&stage).await;
        if answer.status == 503 {
            assert_eq!(answer.header("cache-control"), "no-store");
            break;
        }
        let coding = answer.header("content-encoding").to_owned();
        let decoded = match coding.as_str() {
            "dcb" | "dcz" => decode_from(old.as_bytes(), &coding, &answer.body).into(),
            coding => decode(coding, &answer.body),
        };
        assert_eq!(decoded, edited("r2"), "{coding}");
        damaged.push(answer.body.clone());
        codings.push(coding);
    }
    assert!(
        codings.len() >= 4 && codings.ends_with(&["br".into(), "gzip".into(), "".into()]),
        "{codings:?}"
    );
}
