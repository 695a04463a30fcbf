use std::path::PathBuf;

use super::*;
use crate::identity::tests::signed_with;
use crate::upstream::scripted::{Scripted, Then};

/// A set with one key of this name.
fn set(kid: &str) -> String {
    let x = "A".repeat(43);
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#)
}

/// Keys that are in a file, and somebody who reads them.
struct Ring {
    keys: Arc<Keys>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Ring {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let file = folder.path().join("keys.json");
        std::fs::write(&file, text).expect("the folder can be written");
        let keys = Keys::new(
            &signed_with(file.clone()),
            Clock::default(),
            Arc::new(Metrics::new()),
        );
        let keys = Arc::new(keys);
        tokio::spawn(Arc::clone(&keys).follow());
        Self {
            keys,
            file,
            _folder: folder,
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("the folder can be written");
    }

    async fn has(&self, kid: &str) -> Result<bool, NoKey> {
        let keys = self.keys.with(kid).await?;
        Ok(keys.contains_key(kid))
    }

    fn readings(&self) -> u64 {
        *self.keys.read.borrow()
    }
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_looked_for_once_a_minute() {
    let ring = Ring::new(&set("k1"));
    assert_eq!(ring.has("k1").await, Ok(true));
    assert_eq!(ring.readings(), 1);
    // The issuer has a new one.
    ring.write(&set("k2"));
    assert_eq!(ring.has("k1").await, Ok(true), "nobody looks for it");
    assert_eq!(ring.readings(), 1);
    assert_eq!(ring.has("k2").await, Ok(true));
    assert_eq!(ring.readings(), 2);
    // Somebody makes names up.
    for kid in ["k1", "k3", "k4"] {
        assert_eq!(ring.has(kid).await, Err(NoKey::Unknown));
    }
    ring.keys.clock.advance(Duration::from_secs(50));
    assert_eq!(ring.has("k3").await, Err(NoKey::Unknown));
    assert_eq!(ring.readings(), 2);
    ring.keys.clock.advance(Duration::from_secs(10));
    assert_eq!(ring.has("k3").await, Err(NoKey::Unknown));
    assert_eq!(ring.readings(), 3);
}

#[tokio::test]
async fn the_last_good_keys_stay_for_their_time() {
    let ring = Ring::new(&set("k1"));
    assert_eq!(ring.has("k1").await, Ok(true));
    ring.write("nonsense");
    assert_eq!(ring.has("k2").await, Err(NoKey::Unknown), "it is read");
    assert_eq!(ring.readings(), 2);
    assert_eq!(ring.keys.metrics.identity_keys.get(), 1);
    ring.keys.clock.advance(Duration::from_secs(3500));
    assert_eq!(ring.has("k1").await, Ok(true));
    ring.keys.clock.advance(Duration::from_secs(100));
    assert_eq!(ring.has("k1").await, Err(NoKey::Unavailable));
}

#[tokio::test]
async fn keys_have_a_longest_length() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let file = folder.path().join("keys.json");
    let of_bytes = |bytes: usize| {
        let set = set("k1");
        format!("{set}{}", " ".repeat(bytes - set.len()))
    };
    for (bytes, read) in [(256 * 1024, true), (256 * 1024 + 1, false)] {
        let text = of_bytes(bytes);
        std::fs::write(&file, &text).expect("the folder can be written");
        let outcome = load(&KeySource::File(file.clone())).await;
        assert_eq!(outcome.is_ok(), read, "{bytes} in a file");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
        let answer = [head, text].concat().into_bytes();
        let issuer = Scripted::start(move |_| (answer.clone(), Then::Keep)).await;
        let outcome = load(&at(&issuer)).await;
        assert_eq!(outcome.is_ok(), read, "{bytes} by HTTP");
    }
}

fn at(issuer: &Scripted) -> KeySource {
    let address = issuer.pool.members()[0].address;
    let uri = format!("http://{address}/keys?of=edge");
    KeySource::Http(uri.parse().expect("a URL"))
}

#[tokio::test]
async fn an_issuer_is_asked_for_its_keys_and_must_answer_with_them() {
    for (status, good) in [
        ("200 OK", true),
        ("201 Created", false),
        ("302 Found", false),
        ("500 Internal Server Error", false),
    ] {
        let (text, length) = (set("k1"), set("k1").len());
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{text}");
        let issuer = Scripted::start(move |_| (answer.clone().into_bytes(), Then::Keep)).await;
        let keys = load(&at(&issuer)).await;
        assert_eq!(keys.is_ok(), good, "{status}");
        let asked = issuer.asked().remove(0);
        assert!(
            asked.starts_with("GET /keys?of=edge HTTP/1.1\r\n"),
            "{asked}"
        );
        let host = issuer.pool.members()[0].address.to_string();
        assert!(asked.contains(&format!("host: {host}\r\n")), "{asked}");
    }
}
