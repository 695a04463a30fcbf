//! Operators on another machine: who shows a certificate of their authority may command, and nobody else is heard.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::certificates::{Authority, Pair};
use super::support::process::Process;
use super::support::stage::plan;
use super::support::wait::soon;

const NAME: &str = "edge.internal";

/// A client of the admin listener, with a certificate or without.
fn client(servers: &Authority, own: Option<&Pair>) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(servers.roots());
    let config = match own.map(Pair::parts) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// Status and JSON of a request; none: nobody answers such a client.
async fn ask(
    at: SocketAddr,
    tls: TlsConnector,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, Value)> {
    let name = ServerName::try_from(NAME).expect("a name");
    let exchange = async {
        let stream = TcpStream::connect(at).await.ok()?;
        let stream = tls.connect(name, stream).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", NAME)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("the request is well formed");
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    };
    soon("there is an answer, or none", exchange).await
}

/// The table that makes operators known by certificates.
fn listener(folder: &Path, servers: &Authority, operators: &Authority) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    servers.issue(&[NAME]).write(folder, "admin");
    std::fs::write(at("operators.pem"), operators.pem()).expect("written");
    format!(
        "[listeners.admin_tcp]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclients = {:?}\n",
        at("admin.crt"),
        at("admin.key"),
        at("operators.pem"),
    )
}

/// As the audit log names who shows such a certificate.
fn known(own: &Pair) -> String {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &own.parts().0[0]);
    let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("certificate {}", sha256.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_known_by_a_certificate_and_nobody_else_is_heard() {
    let (servers, operators, others) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let table = listener(folder.path(), &servers, &operators);
    let stage = plan().table(&table).start().await;
    let listeners = stage.edge.addresses();
    let admin = listeners.admin_tcp.expect("it is configured").listen;

    let own = operators.issue(&["olga.operators.internal"]);
    let tls = client(&servers, Some(&own));
    let (status, _) = ask(admin, tls.clone(), "GET", "/v1/status", "")
        .await
        .expect("an operator is answered");
    assert_eq!(status, 200);
    let off = ask(admin, tls.clone(), "POST", "/v1/cache", r#"{"off":true}"#).await;
    assert_eq!(off.map(|(status, _)| status), Some(200));
    let (_, notes) = ask(admin, tls, "GET", "/v1/audit", "")
        .await
        .expect("an answer");
    let known = known(&own);
    assert!(notes.to_string().contains(&known), "{notes}");

    let stranger = others.issue(&["olga.operators.internal"]);
    for own in [None, Some(&stranger)] {
        let heard = ask(admin, client(&servers, own), "GET", "/v1/status", "").await;
        assert_eq!(heard, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_elsewhere_commands_the_supervisor_and_is_named_after_an_upgrade_too() {
    let (servers, operators) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let table = listener(folder.path(), &servers, &operators);
    let process = Process::run(plan().table(&table).set().await).await;
    let admin = process.named("operators=");
    let own = operators.issue(&["olga.operators.internal"]);
    let tls = client(&servers, Some(&own));
    let upgraded = process.command(&["upgrade"]).await;
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    let off = ask(admin, tls.clone(), "POST", "/v1/cache", r#"{"off":true}"#).await;
    assert_eq!(off.map(|(status, _)| status), Some(200));
    let audit = ask(admin, tls, "GET", "/v1/audit", "").await;
    let (_, notes) = audit.expect("an answer");
    assert!(notes.to_string().contains(&known(&own)), "{notes}");
    let heard = ask(admin, client(&servers, None), "GET", "/v1/status", "").await;
    assert_eq!(heard, None);
}
