//! Origins over TLS: every request that reaches one, of clients and of the edge itself, is to the right one and from the
//! edge.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edge_proxy::colour::Colour;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::certificates::Authority;
use super::support::client::Ask;
use super::support::origin::Origin;
use super::support::school::{self, ANNA};
use super::support::stage::{MAPLE, Plan, plan};
use super::support::wait::until;

const NAME: &str = "api.internal";
const READS: &str = r#"
[[rule]]
name = "courses"
path = "/api/v1/courses"
scope = "tenant"
ttl_s = 60
"#;

/// TLS before an origin: lets in whom `clients` vouches for, and nobody else.
struct Door {
    address: SocketAddr,
    /// Connections that were let in.
    opened: Arc<AtomicUsize>,
}

impl Door {
    async fn before(
        origin: SocketAddr,
        servers: &Authority,
        name: &str,
        clients: &Authority,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(clients.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .expect("there is an authority");
        let (chain, key) = servers.issue(&[name]).parts();
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("a pair");
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, count) = (tls.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(mut inside) = tls.accept(stream).await else {
                        return;
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut origin = TcpStream::connect(origin).await.expect("it listens");
                    // Either side may leave.
                    let _ = copy_bidirectional(&mut inside, &mut origin).await;
                });
            }
        });
        Self { address, opened }
    }
}

/// `tls` for both services.
fn secured(plan: Plan, folder: &Path, own: bool) -> Plan {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut keys = format!("name = {NAME:?}\nauthorities = {:?}\n", at("servers.pem"));
    if own {
        let (certificate, key) = (at("edge.crt"), at("edge.key"));
        keys.push_str(&format!("certificate = {certificate:?}\nkey = {key:?}\n"));
    }
    let table = |service: &str| format!("[apps.learn.services.{service}.tls]\n{keys}");
    plan.table(&table("web")).table(&table("api"))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_fills_identity_checks_and_clients_requests_reach_an_origin_over_tls() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("servers.pem"), servers.pem()).expect("written");
    clients
        .issue(&["edge.internal"])
        .write(folder.path(), "edge");
    let origin = Origin::start("blue").await;
    school::serve(&origin, |reply| {
        reply
            .header("cache-control", "max-age=60")
            .header("x-edge-cache-scope", "tenant")
    });
    let door = Door::before(origin.address, &servers, NAME, &clients).await;
    let plan = plan().rules(READS).member(Colour::Blue, door.address);
    let stage = secured(plan, folder.path(), true).start().await;

    let client = stage.h2(MAPLE).await;
    let passed = client.ask(ANNA.ask("/api/v1/pages")).await;
    assert_eq!(passed.status, 200, "{passed:?}");
    assert_eq!(origin.seen_at("/api/v1/pages")[0].header("host"), MAPLE);
    let read = client.ask(ANNA.ask("/api/v1/courses")).await.nonce();
    assert_eq!(
        client.ask(ANNA.ask("/api/v1/courses")).await.nonce(),
        read,
        "it is cached"
    );
    assert_eq!(origin.hits("/api/v1/me"), 1);
    // That the edge is ready says that its probes came through too.
    assert!(
        door.opened.load(Ordering::Relaxed) >= 2,
        "pingora's connection, and the edge's own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_of_another_name_or_authority_or_that_does_not_know_the_edge_gets_nothing() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("servers.pem"), servers.pem()).expect("written");
    clients
        .issue(&["edge.internal"])
        .write(folder.path(), "edge");
    for (what, issuer, name, own) in [
        ("another name", &servers, "www.internal", true),
        ("another authority", &others, NAME, true),
        ("no certificate of the edge", &servers, NAME, false),
    ] {
        let origin = Origin::start("blue").await;
        let door = Door::before(origin.address, issuer, name, &clients).await;
        let plan = plan().member(Colour::Blue, door.address).unready();
        let stage = secured(plan, folder.path(), own).start().await;
        let client = stage.h2(MAPLE).await;
        until("the member is unhealthy", async || {
            let reasons = stage.edge.not_ready().join("\n");
            // Who shows no certificate learns so after its own part of the handshake.
            let words = ["no connection", "broke off"];
            words
                .iter()
                .any(|word| reasons.contains(word))
                .then_some(())
        })
        .await;
        let answer = client.ask(Ask::get("/api/v1/pages")).await;
        assert!(
            [502, 503].contains(&answer.status.as_u16()),
            "{what}: {answer:?}"
        );
        assert!(origin.seen().is_empty(), "{what}: {:?}", origin.seen());
    }
}
