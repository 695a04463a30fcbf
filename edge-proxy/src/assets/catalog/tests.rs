use std::fs;

use asset_pipeline::manifest::Kind::{Hashed, Release};

use super::*;
use crate::assets::fixture::{Shop, app, blob, in_mirror, in_store, read, release, reporting};
use crate::assets::release::Hashed as Look;

struct Running {
    catalog: Arc<Catalog>,
    stop: watch::Sender<bool>,
}

fn named(ids: &[&str]) -> Named {
    Named::from([(app(), ids.iter().map(|id| release(id)).collect())])
}

fn open(shop: &Shop, ids: &[&str]) -> Arc<Catalog> {
    open_trusting(shop, ids, Vec::new())
}

fn open_trusting(shop: &Shop, ids: &[&str], trusted_keys: Vec<PublicKey>) -> Arc<Catalog> {
    let options = Options {
        mirror: shop.path("mirror"),
        poll: Duration::from_millis(5),
        memory_bytes_max: 1 << 20,
        blob_bytes_max: 1 << 20,
        trusted_keys,
        reporting: reporting(),
    };
    Catalog::open(shop.store(), options, named(ids)).expect("a catalog")
}

fn run(catalog: Arc<Catalog>) -> Running {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::clone(&catalog).run(stopped));
    Running { catalog, stop }
}

impl Running {
    async fn until(&self, what: &str, mut holds: impl FnMut(&Catalog) -> bool) {
        let poll = async {
            while !holds(&self.catalog) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), poll).await.expect(what);
    }

    async fn complete(&self, id: &str) {
        let id = release(id);
        self.until("a complete release", |c| c.complete(&app(), &id).is_ok())
            .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn table(catalog: &Catalog) -> Arc<ReleaseTable> {
    Arc::clone(&catalog.tables().borrow()[&app()])
}

#[tokio::test]
async fn a_release_is_listed_then_complete_and_served_from_the_union() {
    let shop = Shop::new();
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", Some(b"1"))]);
    let running = run(open(&shop, &["r1"]));
    running.complete("r1").await;
    assert!(matches!(
        running.catalog.complete(&app(), &release("r2")),
        Err(Incomplete::Unknown(_))
    ));

    shop.publish(
        "r2",
        2,
        &[
            ("/static/b-2.js", Hashed, b"two", None),
            ("/sw.js", Release, b"w", None),
        ],
    );
    running
        .until("r2 is listed", |c| table(c).holds(&release("r2")))
        .await;
    assert!(matches!(
        running.catalog.complete(&app(), &release("r2")),
        Err(Incomplete::Pending { files: 2, .. })
    ));
    let look = table(&running.catalog);
    assert!(matches!(look.hashed("/static/a-1.js"), Look::Found(_)));
    assert!(matches!(look.hashed("/static/b-2.js"), Look::Found(_)));
    // Not named: on demand.
    let two = read(running.catalog.blobs(), &blob(b"two")).await;
    assert_eq!(two.expect("fetched"), &b"two"[..]);

    running.catalog.name(named(&["r1", "r2"]));
    running.complete("r2").await;
}

#[tokio::test]
async fn a_restart_with_the_store_down_serves_all_that_is_mirrored() {
    let shop = Shop::new();
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", Some(b"1"))]);
    run(open(&shop, &["r1"])).complete("r1").await;
    shop.go_down();

    let catalog = open(&shop, &["r1"]);
    assert!(matches!(
        table(&catalog).hashed("/static/a-1.js"),
        Look::Found(_)
    ));
    assert_eq!(
        read(catalog.blobs(), &blob(b"1")).await.expect("mirrored"),
        &b"1"[..]
    );
    let running = run(catalog);
    running.complete("r1").await;
    running
        .until("the outage is reported", |c| !c.problems().is_empty())
        .await;
    assert!(table(&running.catalog).holds(&release("r1")));

    shop.come_back();
    shop.publish("r2", 2, &[("/static/b-2.js", Hashed, b"two", None)]);
    running
        .until("r2 is listed", |c| table(c).holds(&release("r2")))
        .await;
    running
        .until("all is well", |c| c.problems().is_empty())
        .await;
}

#[tokio::test]
async fn a_release_is_complete_only_when_every_byte_is_good() {
    let shop = Shop::new();
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", Some(b"1"))]);
    let bad = format!("store/{}", in_store(&blob(b"1")));
    shop.write(&bad, b"X");
    let running = run(open(&shop, &["r1"]));
    let why = |c: &Catalog| c.complete(&app(), &release("r1"));
    running
        .until("it is refused", |c| {
            matches!(why(c), Err(Incomplete::Missing { .. }))
        })
        .await;
    let text = why(&running.catalog).expect_err("refused").to_string();
    assert!(
        text.contains("/static/a-1.js") && text.contains("damaged"),
        "{text}"
    );
    shop.write(&bad, b"1");
    running.complete("r1").await;
}

#[tokio::test]
async fn a_mirrored_file_that_was_altered_makes_no_release_complete() {
    let shop = Shop::new();
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", None)]);
    run(open(&shop, &["r1"])).complete("r1").await;
    fs::write(shop.path(&in_mirror(&blob(b"one"))), b"two").expect("altered");
    shop.go_down();
    let running = run(open(&shop, &["r1"]));
    let why = |c: &Catalog| c.complete(&app(), &release("r1"));
    running
        .until("it is refused", |c| {
            matches!(why(c), Err(Incomplete::Missing { .. }))
        })
        .await;
    assert!(read(running.catalog.blobs(), &blob(b"one")).await.is_none());
    shop.come_back();
    running.complete("r1").await;
}

#[tokio::test]
async fn one_broken_release_does_not_hide_the_others() {
    let shop = Shop::new();
    shop.write("store/releases/learn/r0", b"not a record");
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", None)]);
    let running = run(open(&shop, &["r1"]));
    running.complete("r1").await;
    let problems = running.catalog.problems();
    assert!(
        problems.iter().any(|problem| problem.contains("r0")),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_release_that_left_the_store_goes_unless_a_colour_names_it() {
    let shop = Shop::new();
    for (id, at) in [("r1", 1), ("r2", 2)] {
        shop.publish(
            id,
            at,
            &[(&format!("/static/{id}.js"), Hashed, id.as_bytes(), None)],
        );
    }
    let running = run(open(&shop, &["r1"]));
    running.complete("r1").await;
    running
        .until("r2 is listed", |c| table(c).holds(&release("r2")))
        .await;
    for id in ["r1", "r2"] {
        fs::remove_file(shop.path(&format!("store/releases/learn/{id}"))).expect("collected");
    }
    running
        .until("r2 is gone", |c| !table(c).holds(&release("r2")))
        .await;
    assert!(table(&running.catalog).holds(&release("r1")));
    assert!(running.catalog.complete(&app(), &release("r1")).is_ok());
}

#[tokio::test]
async fn a_hashed_name_with_two_contents_keeps_the_first_and_is_no_complete_release() {
    let shop = Shop::new();
    shop.publish("r9", 1, &[("/static/a-1.js", Hashed, b"one", None)]);
    shop.publish("r1", 2, &[("/static/a-1.js", Hashed, b"two", None)]);
    let running = run(open(&shop, &["r9", "r1"]));
    running.complete("r9").await;
    assert!(matches!(
        running.catalog.complete(&app(), &release("r1")),
        Err(Incomplete::Conflict(_))
    ));
    assert!(
        running
            .catalog
            .problems()
            .iter()
            .any(|problem| problem.contains("r9"))
    );
}

#[tokio::test]
async fn tables_are_replaced_only_when_something_changed() {
    let shop = Shop::new();
    shop.publish("r1", 1, &[("/static/a-1.js", Hashed, b"one", None)]);
    let catalog = open(&shop, &["r1"]);
    let mut tables = catalog.tables();
    assert!(catalog.pass(&named(&["r1"])).await);
    assert!(tables.has_changed().expect("the catalog lives"));
    tables.borrow_and_update();
    assert!(catalog.pass(&named(&["r1"])).await);
    assert!(!tables.has_changed().expect("the catalog lives"));
    assert!(catalog.pass(&named(&[])).await);
    assert!(tables.has_changed().expect("the catalog lives"));
}

#[tokio::test]
async fn only_releases_that_a_trusted_key_signed_are_taken() {
    use asset_pipeline::signature::SecretKey;
    let shop = Shop::new();
    let make = |name| SecretKey::create(&shop.path(name)).expect("a key");
    let (ours, theirs) = (make("ours"), make("theirs"));
    let good = |id| {
        let manifest = shop.publish(id, 1, &[("/a.txt", Release, id.as_bytes(), None)]);
        Digest::of(&manifest.to_bytes())
    };
    let sign = |key: &SecretKey, manifest: &Digest| {
        let hex = key.public().to_string();
        let hex = hex.trim_start_matches("ed25519:");
        let text = serde_json::to_vec(&key.sign(manifest)).expect("a signature is JSON");
        shop.write(&format!("store/signatures/{manifest}/{hex}"), &text);
    };
    let (r1, r2, r3) = (good("r1"), good("r2"), good("r3"));
    sign(&ours, &r1);
    sign(&theirs, &r2);
    let all = ["r1", "r2", "r3"];
    let running = run(open_trusting(&shop, &all, vec![ours.public()]));
    running.complete("r1").await;
    running
        .until("what is refused is said", |catalog| {
            let problems = catalog.problems();
            let said = |id: &str| {
                let about = |text: &&String| text.contains(id) && text.contains("not signed");
                problems.iter().find(about).is_some()
            };
            said("r2") && said("r3") && !said("r1")
        })
        .await;
    assert!(!table(&running.catalog).holds(&release("r2")));
    // Signed later, it is taken at the next look.
    sign(&ours, &r3);
    running.complete("r3").await;
    drop(running);

    // What was mirrored under one key is no more trusted under another one alone.
    shop.go_down();
    let kept = open_trusting(&shop, &all, vec![theirs.public(), ours.public()]);
    assert!(table(&kept).holds(&release("r1")) && table(&kept).holds(&release("r3")));
    let changed = open_trusting(&shop, &all, vec![theirs.public()]);
    assert_eq!(table(&changed).releases().count(), 0);
}
