//! A signed token says who somebody is: for no longer than it may, and only while its keys are known.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::certificates::{Authority, place};
use super::support::client::{Ask, Client};
use super::support::issuer::Issuer;
use super::support::school::{self, ANNA, BEN, Person, TEACHER};
use super::support::stage::{MAPLE, OAK, Stage, plan};

const RULES: &str = r#"
[[rule]]
name = "course"
path = "/api/v1/courses/{id}"
scope = "tenant"
ttl_s = 60

[[rule]]
name = "grades"
path = "/api/v1/grades/{id}"
scope = "role"
ttl_s = 60
"#;

async fn stage(identity: &str) -> Stage {
    let stage = plan().rules(RULES).identity(identity).start().await;
    school::serve(&stage.blue, |reply| reply.shared("tenant"));
    stage
}

async fn status(client: &Client, token: &str) -> u16 {
    let ask = Ask::get("/api/v1/courses/1").header("authorization", token);
    client.ask(ask).await.status.as_u16()
}

/// Says something else of somebody.
fn claims(who: Person, name: &str, value: Value) -> Value {
    let mut claims = Issuer::claims(who);
    claims[name] = value;
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_school_and_nobody_is_asked() {
    let issuer = Issuer::new();
    let stage = stage(&issuer.identity("")).await;
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    for (client, who, expected) in [
        (&maple, ANNA, 200),
        (&maple, TEACHER, 200),
        (&oak, BEN, 200),
        (&maple, BEN, 403),
        (&oak, ANNA, 403),
    ] {
        let seen = status(client, &issuer.bearer(who)).await;
        assert_eq!(seen, expected, "{}", who.name);
    }
    assert_eq!(
        stage.blue.hits("/api/v1/courses/1"),
        2,
        "one for each school"
    );
    // A session of the origin proves nothing here, and neither does its word beside an answer.
    assert_eq!(maple.ask(ANNA.ask("/api/v1/courses/1")).await.status, 401);
    let forged = Issuer::new().bearer(ANNA);
    stage.blue.on("/api/v1/notes", |_| async {
        let word = r#"{"sub":"anna","tenant":"maple","roles":["pupil"]}"#;
        super::support::reply::Reply::json(&json!({})).header("x-edge-identity", word)
    });
    let notes = Ask::get("/api/v1/notes").header("authorization", &forged);
    assert_eq!(maple.ask(notes).await.status, 200);
    assert_eq!(status(&maple, &forged).await, 401);
    assert_eq!(stage.blue.hits("/api/v1/me"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_stays_so_and_a_restart_forgets_nothing() {
    let issuer = Issuer::new();
    let stage = stage(&issuer.identity("")).await;
    let client = stage.h2(MAPLE).await;
    let (anna, teacher) = (issuer.bearer(ANNA), issuer.bearer(TEACHER));
    assert_eq!(status(&client, &anna).await, 200);
    stage.purge("maple", "u:anna").await;
    assert_eq!(status(&client, &anna).await, 401, "also what was kept ends");
    assert_eq!(status(&client, &teacher).await, 200);
    let stage = stage.restart().await;
    let client = stage.h2(MAPLE).await;
    assert_eq!(status(&client, &anna).await, 401);
    assert_eq!(status(&client, &teacher).await, 200);
    // Who signs in again has a token of a later second.
    stage.edge.clock().advance(Duration::from_secs(5));
    let mut later = Issuer::claims(ANNA);
    later["iat"] = json!(later["iat"].as_u64().expect("seconds") + 5);
    assert_eq!(status(&client, &issuer.signed(&later)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_ends_with_its_time_and_with_the_first_of_a_higher_epoch() {
    let issuer = Issuer::new();
    let stage = stage(&issuer.identity("epoch = \"/epoch\"")).await;
    let client = stage.h2(MAPLE).await;
    let with = |epoch: u64| issuer.signed(&claims(ANNA, "epoch", json!(epoch)));
    let (first, second) = (with(1), with(2));
    assert_eq!(status(&client, &first).await, 200);
    assert_eq!(status(&client, &second).await, 200);
    assert_eq!(status(&client, &first).await, 401);
    let mut short = claims(TEACHER, "epoch", json!(1));
    short["exp"] = json!(short["iat"].as_u64().expect("seconds") + 10);
    let short = issuer.signed(&short);
    assert_eq!(status(&client, &short).await, 200);
    // It could be kept for 20 s more.
    stage.edge.clock().advance(Duration::from_secs(10));
    assert_eq!(status(&client, &short).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_nobody_makes_the_edge_look_for_keys_all_the_time() {
    let mut issuer = Issuer::new();
    let stage = stage(&issuer.identity("")).await;
    let client = stage.h2(MAPLE).await;
    let old = issuer.bearer(ANNA);
    assert_eq!(status(&client, &old).await, 200);
    let readings = || {
        let text = stage.edge.metrics().text();
        let line = text
            .lines()
            .find(|line| line.starts_with("edge_identity_keys_read_total{result=\"done\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    issuer.turn("key-2");
    assert_eq!(status(&client, &issuer.bearer(ANNA)).await, 200);
    assert_eq!(readings(), Some(2));
    issuer.turn("key-3");
    for _ in 0..5 {
        assert_eq!(status(&client, &issuer.bearer(ANNA)).await, 401);
    }
    assert_eq!(readings(), Some(2), "less than a minute ago");
    stage.edge.clock().advance(Duration::from_secs(61));
    assert_eq!(status(&client, &issuer.bearer(ANNA)).await, 200);
    assert_eq!(readings(), Some(3));
    // What was kept of tokens whose key is gone is over by now.
    assert_eq!(status(&client, &old).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acts_as_somebody_else_gets_the_origins_own_answer_and_leaves_nothing() {
    let issuer = Issuer::new();
    let stage = stage(&issuer.identity("")).await;
    let client = stage.h2(MAPLE).await;
    let acting = issuer.signed(&claims(ANNA, "act", json!({ "sub": "support" })));
    let ask = |token: &str| {
        let ask = Ask::get("/api/v1/courses/1").header("authorization", token);
        client.ask(ask)
    };
    let seen = ask(&acting).await.nonce();
    let own = ask(&issuer.bearer(ANNA)).await.nonce();
    assert_ne!(seen, own);
    assert_ne!(ask(&acting).await.nonce(), own);
    assert_eq!(stage.blue.hits("/api/v1/courses/1"), 3);
    let text = stage.edge.metrics().text();
    assert!(
        text.contains("edge_pass_total{reason=\"acting\"} 2"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_nobody_gets_anything() {
    let issuer = Issuer::new();
    let file = issuer.file();
    place(&file, b"{\"keys\":[]}");
    let stage = stage(&issuer.identity("")).await;
    let client = stage.h2(MAPLE).await;
    assert_eq!(status(&client, &issuer.bearer(ANNA)).await, 503);
    assert_eq!(stage.blue.hits("/api/v1/courses/1"), 0);
    place(&file, issuer.keys().as_bytes());
    stage.edge.clock().advance(Duration::from_secs(61));
    assert_eq!(status(&client, &issuer.bearer(ANNA)).await, 200);
}

/// Answers everything with `text`, over TLS, for as long as the test runs.
async fn over_tls(authority: &Authority, text: String) -> String {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    authority.issue(&["localhost"]).write(folder.path(), "keys");
    let certificate = CertificateDer::from_pem_file(folder.path().join("keys.crt"));
    let key = PrivateKeyDer::from_pem_file(folder.path().join("keys.key"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual suites")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("its key"),
        )
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            // Whoever is gone does not want it.
            let _ = stream.write_all((head + &text).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}/keys")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_over_tls_and_only_from_whom_an_authority_vouches_for() {
    let issuer = Issuer::new();
    let authority = Authority::new();
    let keys = over_tls(&authority, issuer.keys()).await;
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let trusted = |name: &str, authority: &Authority| {
        let file = folder.path().join(name);
        place(&file, authority.pem().as_bytes());
        format!("authorities = \"{}\"", file.display())
    };
    for (authorities, expected) in [
        (trusted("ours.pem", &authority), 200),
        (trusted("others.pem", &Authority::new()), 503),
    ] {
        let stage = stage(&Issuer::believed(&keys, &authorities)).await;
        let client = stage.h2(MAPLE).await;
        let seen = status(&client, &issuer.bearer(ANNA)).await;
        assert_eq!(seen, expected, "{authorities}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_proves_it() {
    let issuer = Issuer::new();
    let stage = stage(&issuer.identity("")).await;
    let url = format!("https://{MAPLE}/api/v1/courses/1");
    let output = stage
        .command(&["explain", &url, "--as", "maple/anna:pupil"])
        .await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("signed (ES256)"), "{said}");
}
