//! What `asset-pipeline` publishes is what clients get, in every coding.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use asset_pipeline::id::ReleaseId;
use asset_pipeline::publish::{Publish, publish};
use asset_pipeline::store::Store;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::catalog::{Catalog, Named, Options};
use super::release::{Hashed, ReleaseTable, Served};
use crate::response::compress::tests::decode;
use crate::response::negotiate::Coding;
use crate::response::send::{Body, Reply};

/// A build in Next.js' shape; its files are large enough for both encodings.
fn build(folder: &Path, build_id: &str, words: &str) {
    let files = [
        (
            "_next/static/chunks/app/courses/[id]/page-1c6b2f60a1b2c3d4.js".to_owned(),
            "export const page = 'the same in both builds';\n".repeat(40),
        ),
        (
            format!("_next/static/chunks/main-{build_id}00112233.js"),
            format!("export const main = '{words}';\n").repeat(40),
        ),
        (
            format!("_next/static/{build_id}/_buildManifest.js"),
            format!("self.__BUILD_MANIFEST = '{words}';\n").repeat(40),
        ),
        (
            "public/sw.js".to_owned(),
            format!("// {words}\n").repeat(200),
        ),
        ("public/empty.txt".to_owned(), String::new()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let large: Vec<u8> = (0..3u32 << 18)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(folder.join("public/photo.jpg"), large).expect("a file");
}

fn release(id: &str) -> ReleaseId {
    id.parse().expect("a release id")
}

fn find<'a>(table: &'a ReleaseTable, id: &str, path: &str) -> &'a Arc<Served> {
    match table.hashed(path) {
        Hashed::Found(file) => file,
        _ => table.release_file(&release(id), path).expect(path),
    }
}

async fn whole(catalog: &Catalog, file: &Served, coding: Coding) -> (HeaderMap, Vec<u8>) {
    let wanted = HeaderValue::from_static(coding.as_str());
    let request = HeaderMap::from_iter([(http::header::ACCEPT_ENCODING, wanted)]);
    let answer = file.answer(&Method::GET, &request);
    let Reply { header, body } = catalog.blobs().reply(answer).await.expect("mirrored");
    let bytes = match body {
        Body::Empty => Bytes::new(),
        Body::Bytes(bytes) => bytes,
        Body::File(part) => {
            use std::os::unix::fs::FileExt as _;
            let mut bytes = vec![0; (part.part.end - part.part.start) as usize];
            part.file
                .read_exact_at(&mut bytes, part.part.start)
                .expect("read");
            bytes.into()
        }
        Body::Several(_) => panic!("nobody asked for ranges"),
    };
    (header.headers.clone(), bytes.into())
}

fn decoded(headers: &HeaderMap, bytes: &[u8]) -> Vec<u8> {
    let coding = headers.get("content-encoding").map(HeaderValue::as_bytes);
    match coding {
        None => bytes.to_vec(),
        Some(b"gzip") => decode(Coding::Gzip, bytes),
        Some(b"br") => decode(Coding::Br, bytes),
        other => panic!("{other:?} was not asked for"),
    }
}

#[tokio::test]
async fn every_published_file_is_served_exactly_in_every_coding() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", folder.path().join("store").display());
    let store = Store::open(&url).expect("a store");
    for (id, build_id) in [("r1", "aaaa1111"), ("r2", "bbbb2222")] {
        let site = folder.path().join(id);
        build(&site, build_id, id);
        let app = "learn".parse().expect("an app");
        let wanted = Publish::new(site, app, release(id), store.clone());
        publish(wanted, &()).await.expect("published");
    }
    let app: asset_pipeline::id::AppId = "learn".parse().expect("an app");
    let named = Named::from([(app.clone(), [release("r1"), release("r2")].into())]);
    let options = Options {
        mirror: folder.path().join("mirror"),
        poll: Duration::from_millis(10),
        memory_bytes_max: 1 << 20,
        blob_bytes_max: 1 << 20,
        trusted_keys: Vec::new(),
        reporting: crate::assets::fixture::reporting(),
    };
    let catalog = Catalog::open(store, options, named).expect("a catalog");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(Arc::clone(&catalog).run(stopped));
    let complete = async {
        while ["r1", "r2"]
            .iter()
            .any(|id| catalog.complete(&app, &release(id)).is_err())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), complete)
        .await
        .expect("mirrored");
    let table = Arc::clone(&catalog.tables().borrow()[&app]);

    let (mut answers, mut encoded) = (0, 0);
    for (id, build_id) in [("r1", "aaaa1111"), ("r2", "bbbb2222")] {
        let main = format!("/_next/static/chunks/main-{build_id}00112233.js");
        let build_manifest = format!("/_next/static/{build_id}/_buildManifest.js");
        let page = "/_next/static/chunks/app/courses/[id]/page-1c6b2f60a1b2c3d4.js";
        let urls = [
            page,
            &main,
            &build_manifest,
            "/sw.js",
            "/empty.txt",
            "/photo.jpg",
        ];
        for url in urls {
            let name = match url.strip_prefix("/_next") {
                Some(_) => url[1..].to_owned(),
                None => format!("public{url}"),
            };
            let original =
                fs::read(folder.path().join(id).join(name)).expect("a file of the build");
            for coding in [Coding::Br, Coding::Gzip, Coding::Identity] {
                let (headers, bytes) = whole(&catalog, find(&table, id, url), coding).await;
                assert!(
                    decoded(&headers, &bytes) == original,
                    "{id} {url} {coding:?}"
                );
                answers += 1;
                encoded += usize::from(headers.contains_key("content-encoding"));
            }
        }
    }
    assert_eq!(
        (answers, encoded),
        (36, 16),
        "four of six files of each release are worth encoding"
    );
    stop.send_replace(true);
}
