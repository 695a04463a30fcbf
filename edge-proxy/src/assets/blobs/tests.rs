use std::fs;

use super::*;
use crate::assets::fixture::{Shop, blob, in_mirror, in_store, read};

fn large() -> Vec<u8> {
    (0..3 * MEMORY_BLOB_BYTES_MAX)
        .map(|at| (at % 251) as u8)
        .collect()
}

#[tokio::test]
async fn what_was_fetched_once_is_there_without_the_store() {
    let shop = Shop::new();
    for bytes in [b"small".to_vec(), Vec::new(), large()] {
        let blob = shop.blob(&bytes);
        let first = shop.blobs();
        assert_eq!(read(&first, &blob).await.expect("fetched"), bytes);
        assert_eq!(read(&first, &blob).await.expect("held"), bytes);
        shop.go_down();
        assert_eq!(read(&shop.blobs(), &blob).await.expect("mirrored"), bytes);
        shop.come_back();
    }
}

#[tokio::test]
async fn a_damaged_mirrored_file_is_set_aside_and_fetched_again() {
    let shop = Shop::new();
    for bytes in [b"small".to_vec(), large()] {
        let blob = shop.blob(&bytes);
        read(&shop.blobs(), &blob).await.expect("fetched");
        let mut altered = bytes.clone();
        altered[2] ^= 1;
        for damaged in [altered, bytes[..bytes.len() - 1].to_vec()] {
            fs::write(shop.path(&in_mirror(&blob)), &damaged).expect("damaged");
            assert_eq!(read(&shop.blobs(), &blob).await.expect("whole"), bytes);
            let aside = shop.path(&format!("mirror/aside/{}", blob.digest));
            assert_eq!(fs::read(aside).expect("set aside"), damaged);
        }
    }
}

#[tokio::test]
async fn damaged_bytes_are_never_handed_out() {
    let shop = Shop::new();
    for bytes in [b"small".to_vec(), large()] {
        let blob = shop.blob(&bytes);
        read(&shop.blobs(), &blob).await.expect("fetched");
        fs::write(shop.path(&in_mirror(&blob)), b"other").expect("damaged");
        fs::write(shop.path(&format!("store/{}", in_store(&blob))), b"other").expect("damaged");
        let error = shop
            .blobs()
            .open(&blob)
            .await
            .expect_err("nothing good is left");
        assert!(matches!(error, BlobError::Store(_)), "{error}");
    }
}

#[tokio::test]
async fn a_large_file_that_changes_on_disk_is_checked_again() {
    let shop = Shop::new();
    let bytes = large();
    let blob = shop.blob(&bytes);
    let blobs = shop.blobs();
    read(&blobs, &blob).await.expect("fetched");
    fs::write(shop.path(&in_mirror(&blob)), b"cut").expect("damaged");
    assert_eq!(read(&blobs, &blob).await.expect("whole again"), bytes);
}

#[tokio::test]
async fn many_requests_for_a_cold_blob_share_one_load() {
    let shop = Shop::new();
    let blob = shop.blob(b"cold");
    let blobs = shop.blobs();
    let flights: Vec<_> = (0..20).map(|_| blobs.flight(&blob)).collect();
    assert_eq!(blobs.flights.lock().len(), 1);
    for flight in flights {
        assert!(flight.await.is_ok());
    }
    assert!(blobs.flights.lock().is_empty());
}

#[tokio::test]
async fn a_load_goes_on_when_its_client_goes_away() {
    let shop = Shop::new();
    let blob = shop.blob(b"cold");
    let blobs = shop.blobs();
    drop(blobs.flight(&blob));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while blobs.at_hand(&blob).is_none() {
        assert!(
            std::time::Instant::now() < deadline,
            "the load ended with its client"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_state_folder_that_refuses_costs_small_files_nothing() {
    let shop = Shop::new();
    let (small, big) = (shop.blob(b"small"), shop.blob(&large()));
    let blobs = shop.blobs();
    fs::remove_dir_all(shop.path("mirror")).expect("removed");
    shop.write("mirror", b"not a folder");
    assert_eq!(
        read(&blobs, &small).await.expect("from memory"),
        &b"small"[..]
    );
    assert!(matches!(
        blobs.open(&big).await,
        Err(BlobError::Disk { .. })
    ));
    let missing = blobs
        .mirror(HashMap::from([(small, "/a".to_owned())]))
        .await;
    assert_eq!(missing.len(), 1, "in memory is not mirrored");
}

#[tokio::test]
async fn mirroring_names_what_cannot_be_had() {
    let shop = Shop::new();
    let (there, gone) = (shop.blob(b"there"), blob(b"gone"));
    let wanted = HashMap::from([(there, "/a".to_owned()), (gone, "/b".to_owned())]);
    let blobs = shop.blobs();
    let missing = blobs.mirror(wanted).await;
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].path, "/b");
    assert!(blobs.is_mirrored(&there) && !blobs.is_mirrored(&gone));
}
