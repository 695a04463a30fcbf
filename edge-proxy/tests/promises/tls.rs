//! A connection serves the names of its certificate and no others, and certificates change without
//! anybody noticing.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::certificates::place;
use super::support::client::{Ask, Client, Http, tls};
use super::support::process::Process;
use super::support::reply::Reply;
use super::support::stage::{MAPLE, OAK, Stage, plan};
use super::support::wait::{soon, until};

const BIRCH: &str = "birch.example.test";

async fn stage() -> Stage {
    let stage = plan().tenant("birch", &[BIRCH]).start().await;
    stage.blue.otherwise(|asked| async move {
        Reply::of("text/plain", asked.seen.header("x-edge-tenant").to_owned())
    });
    stage
}

/// The certificate that a server name gets; none: the handshake is refused.
async fn certificate(stage: &Stage, sni: &str) -> Option<CertificateDer<'static>> {
    let config = stage.authority.client(&["h2", "http/1.1"]);
    let stream = tls(stage.address(), sni, config).await.ok()?;
    Some(
        stream
            .get_ref()
            .1
            .peer_certificates()?
            .first()?
            .clone()
            .into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_h2_and_everybody_may_have_http_1() {
    let stage = stage().await;
    for (http, version) in [(Http::One, Version::HTTP_11), (Http::Two, Version::HTTP_2)] {
        let answer = stage.client(MAPLE, http).await.get("/").await;
        assert_eq!((answer.version, answer.text()), (version, "maple"));
    }
    let both = tls(
        stage.address(),
        MAPLE,
        stage.authority.client(&["h2", "http/1.1"]),
    )
    .await;
    let both = both.expect("the edge shakes hands");
    let session = both.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = session
        .negotiated_key_exchange_group()
        .map(|group| group.name());
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
    let none = stage.raw(MAPLE).await;
    drop(none);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_nobodys_is_misdirected() {
    let stage = stage().await;
    for http in Http::BOTH {
        let client = stage.client(MAPLE, http).await;
        for host in [
            "elm.school.test",
            "school.test",
            "xmaple.school.test",
            "maple.school.test.evil.test",
            "127.0.0.1",
        ] {
            let answer = client.ask(Ask::get("/").host(host)).await;
            assert_eq!(answer.status, 421, "{host} over {http:?}");
            assert!(!answer.text().contains(host));
        }
        // The same name in another spelling, as browsers send it.
        assert_eq!(
            client
                .ask(Ask::get("/").host("maple.school.test:8443"))
                .await
                .text(),
            "maple"
        );
    }
    let seen = stage.blue.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.header("x-edge-tenant") == "maple"),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_not_used_for_hosts_that_its_certificate_does_not_name() {
    let stage = stage().await;
    stage
        .authority
        .issue(&[BIRCH])
        .write(&stage.certificates(), "birch");
    until("the new certificate is served", async || {
        certificate(&stage, BIRCH).await
    })
    .await;
    for http in Http::BOTH {
        let maple = stage.client(MAPLE, http).await;
        // Both are names of one certificate: a browser may share the connection.
        assert_eq!(maple.ask(Ask::get("/").host(OAK)).await.text(), "oak");
        assert_eq!(
            maple.ask(Ask::get("/").host(BIRCH)).await.status,
            421,
            "{http:?}"
        );
        // And the connection goes on.
        assert_eq!(maple.get("/").await.text(), "maple");
        let birch = stage.client(BIRCH, http).await;
        assert_eq!(birch.get("/").await.text(), "birch");
        assert_eq!(
            birch.ask(Ask::get("/").host(MAPLE)).await.status,
            421,
            "{http:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_certificate_gets_no_connection() {
    let stage = stage().await;
    assert!(certificate(&stage, MAPLE).await.is_some());
    for name in [BIRCH, "a.b.school.test", "test", "127.0.0.1"] {
        assert!(certificate(&stage, name).await.is_none(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_a_bad_one_changes_nothing() {
    let stage = stage().await;
    let folder = stage.certificates();
    let old = certificate(&stage, MAPLE)
        .await
        .expect("there is a certificate");
    let held = stage.h2(MAPLE).await;
    assert_eq!(held.get("/").await.text(), "maple");

    stage
        .authority
        .issue(&["*.school.test"])
        .write(&folder, "school");
    let new = until("the new certificate is served", async || {
        certificate(&stage, MAPLE).await.filter(|now| *now != old)
    })
    .await;
    assert_eq!(held.get("/").await.text(), "maple");

    // Garbage for one name, and a good pair for another that tells when it was looked at.
    place(
        &folder.join("school.crt"),
        b"-----BEGIN CERTIFICATE-----\nnonsense\n",
    );
    stage.authority.issue(&[BIRCH]).write(&folder, "birch");
    until("the folder was looked at", async || {
        certificate(&stage, BIRCH).await
    })
    .await;
    assert_eq!(certificate(&stage, MAPLE).await, Some(new.clone()));

    // A key that belongs to another certificate.
    stage
        .authority
        .issue(&["*.school.test"])
        .write(&folder, "school");
    stage
        .authority
        .issue(&["*.school.test"])
        .write(&folder, "other");
    std::fs::copy(folder.join("other.crt"), folder.join("school.crt"))
        .expect("the folder can be written");
    std::fs::remove_file(folder.join("other.crt")).expect("the folder can be written");
    std::fs::remove_file(folder.join("other.key")).expect("the folder can be written");
    let birch = certificate(&stage, BIRCH).await;
    stage.authority.issue(&[BIRCH]).write(&folder, "birch");
    until("the folder was looked at", async || {
        certificate(&stage, BIRCH)
            .await
            .filter(|now| Some(now) != birch.as_ref())
    })
    .await;
    assert!(certificate(&stage, MAPLE).await.is_some());
    assert_eq!(stage.h2(MAPLE).await.get("/").await.text(), "maple");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_to_https_and_serves_nothing() {
    let stage = stage().await;
    let client = Client::open_plain(stage.redirect_address(), MAPLE).await;
    let answer = client.get("/a/b?c=d%20e").await;
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.header("location"),
        format!("https://{MAPLE}:8443/a/b?c=d%20e")
    );
    assert!(answer.body.is_empty());
    let with_port = client
        .ask(Ask::get("/").host(&format!("{MAPLE}:8080")))
        .await;
    assert_eq!(
        with_port.header("location"),
        format!("https://{MAPLE}:8443/")
    );
    assert_eq!(
        client.ask(Ask::get("/").host("evil.test")).await.status,
        421
    );
    // What looks like another host in the path stays a path.
    let sly = client.get("//evil.test/").await;
    assert!(
        sly.status == 400
            || sly
                .header("location")
                .starts_with(&format!("https://{MAPLE}:8443//")),
        "{sly:?}"
    );
    assert!(stage.blue.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_over_tls_1_2_is_the_same_edge() {
    let stage = stage().await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("the provider has the usual suites")
        .with_root_certificates(stage.authority.roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = Client::open(stage.address(), MAPLE, Arc::new(config), Http::Two).await;
    assert_eq!(client.get("/").await.text(), "maple");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_surfaces_are_not_public() {
    let stage = stage().await;
    let client = stage.h2(MAPLE).await;
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/v1/status",
        "/v1/openapi.json",
    ] {
        assert_eq!(
            client.get(path).await.text(),
            "maple",
            "{path} is the origin's"
        );
    }
    let observed = Client::open_plain(stage.observe_address(), "localhost").await;
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/v1/status", 404),
    ] {
        assert_eq!(observed.get(path).await.status, status, "{path}");
    }
    use std::os::unix::fs::PermissionsExt;
    let socket = std::fs::metadata(&stage.edge.addresses().admin).expect("the socket is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

/// Asks for a page over a session that `config` may remember, and says how the handshake went.
async fn handshake(at: SocketAddr, config: &Arc<rustls::ClientConfig>) -> rustls::HandshakeKind {
    let mut stream = tls(at, MAPLE, Arc::clone(config))
        .await
        .expect("the edge shakes hands");
    let ask = format!("GET / HTTP/1.1\r\nHost: {MAPLE}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("it is open");
    let mut answer = Vec::new();
    // Tickets come behind the handshake; a closed connection has brought them.
    let _end = soon("the answer is read", stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let kind = stream.get_ref().1.handshake_kind();
    kind.expect("the handshake is done")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_resumes_after_a_restart_of_the_edge() {
    use std::os::unix::fs::PermissionsExt;
    let stage = stage().await;
    let pupil = stage.authority.client(&["http/1.1"]);
    assert_eq!(
        handshake(stage.address(), &pupil).await,
        rustls::HandshakeKind::Full
    );
    assert_eq!(
        handshake(stage.address(), &pupil).await,
        rustls::HandshakeKind::Resumed
    );
    let stage = stage.restart().await;
    assert_eq!(
        handshake(stage.address(), &pupil).await,
        rustls::HandshakeKind::Resumed
    );
    let metrics = stage.edge.metrics().text();
    assert!(metrics.contains("edge_tls_handshakes_total{result=\"done\",resumed=\"true\"} 1"));
    let keys = stage.folder().join("state/ticket-keys");
    let mode = std::fs::metadata(&keys)
        .expect("they are kept")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    // Without the keys the sessions of before are nobody's.
    let stage = stage
        .restart_after(|| std::fs::remove_file(&keys).expect("the file is there"))
        .await;
    assert_eq!(
        handshake(stage.address(), &pupil).await,
        rustls::HandshakeKind::Full
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_resumes_in_the_worker_that_an_upgrade_brought() {
    let process = Process::run(plan().set().await).await;
    let origin = &process.set.blue;
    origin.otherwise(|_| async { Reply::of("text/plain", "page") });
    let pupil = process.set.authority.client(&["http/1.1"]);
    let at = process.address();
    assert_eq!(handshake(at, &pupil).await, rustls::HandshakeKind::Full);
    let before = process.worker().await;
    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    assert_ne!(process.worker().await, before);
    assert_eq!(handshake(at, &pupil).await, rustls::HandshakeKind::Resumed);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_listed_with_what_is_left_and_what_is_wrong() {
    let stage = stage().await;
    place(&stage.certificates().join("ash.crt"), b"nonsense");
    let listed = until("the folder was looked at", async || {
        let listed = stage.command(&["certs", "list"]).await;
        let said = String::from_utf8_lossy(&listed.stdout).into_owned();
        said.contains("ash.crt").then_some(said)
    })
    .await;
    assert!(
        listed.contains("school.crt") && listed.contains("*.school.test"),
        "{listed}"
    );
    let json = stage.command(&["certs", "list", "--json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(json["certificates"][0]["urgency"], "good");
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(1));
    let metrics = stage.edge.metrics().text();
    assert!(metrics.contains("edge_tls_certificates{left=\"good\"} 1"));
    assert!(metrics.contains("edge_tls_certificates{left=\"now\"} 0"));
    assert!(metrics.contains("edge_tls_certificate_problems 1"));
}
