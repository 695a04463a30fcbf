//! Certificates that manage themselves: an operator names a host, and the edge does the rest.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::support::apart::sum;
use super::support::authority::{Pebble, free, pebble};
use super::support::client::{Ask, Client, Http};
use super::support::process::{Process, signal};
use super::support::raw::Raw;
use super::support::reply::Reply;
use super::support::stage::{Plan, plan};
use super::support::wait::until;

const PINE: &str = "pine.academy.test";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client that trusts whoever issued the host's certificate.
fn trusts(folder: &Path, host: &str) -> Arc<ClientConfig> {
    let managed = folder.join("state/certificates");
    let chain = std::fs::read(managed.join(format!("{host}.crt"))).expect("a chain is there");
    let issuer = CertificateDer::pem_slice_iter(&chain).last();
    let issuer = issuer.expect("an issuer").expect("PEM");
    let mut roots = RootCertStore::empty();
    roots.add(issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A school whose host `pebble` issues for; what seals its key is in `keys`.
fn with_pine(keys: &Path, port: SocketAddr, pebble: &Pebble) -> Plan {
    let seal = keys.join("seal.key");
    std::fs::write(&seal, "5a".repeat(32)).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&seal, mode).expect("a mode");
    let acme = format!(
        "[acme]\nseal_key = {seal:?}\nroots = {:?}\npoints_here = \"{port}\"\n\
         [[acme.authority]]\nname = \"pebble\"\ndirectory = \"https://{}/dir\"\n",
        pebble.servers.roots(),
        pebble.address,
    );
    let plan = plan().tenant("pine", &[PINE]).redirect(port.port());
    plan.table(&acme)
}

/// Whether the host is served under its own certificate.
async fn serves(at: SocketAddr, tls: &Arc<ClientConfig>) {
    let client = Client::open(at, PINE, Arc::clone(tls), Http::Two).await;
    let answer = client.ask(Ask::get("/")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_added_is_served_with_a_certificate_that_was_issued_for_it() {
    let [port] = free();
    let Some(mut pebble) = pebble(port).await else {
        return;
    };
    let keys = tempfile::tempdir().expect("a folder");
    let stage = with_pine(keys.path(), port, &pebble).start().await;
    stage
        .blue
        .otherwise(|_| async { Reply::of("text/plain", "pine") });

    // Whom no school names is refused, and what nobody asked for is redirected as before.
    let refused = stage.command(&["certs", "add", "elm.academy.test"]).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let unknown = stage.command(&["certs", "renew", PINE]).await;
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    let mut raw = Raw::plain(port).await;
    let target = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    let asked = format!("GET {target} HTTP/1.1\r\nHost: {PINE}\r\nConnection: close\r\n\r\n");
    raw.send(asked).await;
    assert_eq!(raw.hear().await.status(), 308);

    let added = stage.command(&["certs", "add", PINE]).await;
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    assert!(
        text(&added.stdout).contains("issued by pebble"),
        "{added:?}"
    );
    let tls = trusts(stage.folder(), PINE);
    serves(stage.address(), &tls).await;

    let listed = stage.command(&["certs", "list"]).await;
    let listed = text(&listed.stdout);
    let line = listed.lines().find(|line| line.contains(PINE));
    let line = line.expect("it is listed");
    assert!(line.contains("pebble"), "{listed}");
    assert!(line.contains("renewed by itself at"), "{listed}");
    let again = stage.command(&["certs", "add", PINE]).await;
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    let metrics = stage.edge.metrics().text();
    let issued = ["edge_certificate_orders_total", "pebble", "issued"];
    assert_eq!(sum(&metrics, &issued), 1, "{metrics}");
    assert_eq!(sum(&metrics, &["edge_certificate_managed", "good"]), 1);
    let (_, notes) = stage.admin("GET", "/v1/audit", None).await;
    let notes = notes.to_string();
    assert!(notes.contains("certs add pine.academy.test"), "{notes}");

    // It is there after a restart, whatever became of the authority.
    pebble.end();
    let stage = stage.restart().await;
    serves(stage.address(), &tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_serves_looks_after_certificates_after_an_upgrade_and_a_crash() {
    let [port] = free();
    let Some(pebble) = pebble(port).await else {
        return;
    };
    let keys = tempfile::tempdir().expect("a folder");
    let process = Process::run(with_pine(keys.path(), port, &pebble).set().await).await;
    process
        .set
        .blue
        .otherwise(|_| async { Reply::of("text/plain", "pine") });
    let certs = async |action: &str| {
        let done = process.command(&["certs", action, PINE]).await;
        assert_eq!(done.status.code(), Some(0), "{action}: {done:?}");
        assert!(text(&done.stdout).contains("issued by pebble"), "{done:?}");
    };
    certs("add").await;
    let tls = trusts(process.set.folder.path(), PINE);
    serves(process.address(), &tls).await;

    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    serves(process.address(), &tls).await;
    certs("renew").await;
    let rekeyed = process.command(&["certs", "rekey", "pebble"]).await;
    assert_eq!(rekeyed.status.code(), Some(0), "{rekeyed:?}");
    let unknown = process.command(&["certs", "rekey", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");

    let before = process.worker().await;
    signal(before, "KILL");
    until("another worker serves", async || {
        let pid = process.status().await["pid"].as_u64()?;
        (pid != before).then_some(())
    })
    .await;
    serves(process.address(), &tls).await;
    certs("revoke").await;
    serves(process.address(), &tls).await;
    let listed = process.command(&["certs", "list"]).await;
    assert!(
        text(&listed.stdout).contains("renewed by itself at"),
        "{listed:?}"
    );
}
