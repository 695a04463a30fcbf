//! `pebble` and its DNS server, as processes of their own. The tests of the edge use this file too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use certs::acme::Authority;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// An authority that issues for whoever answers at its port.
pub(crate) struct Pebble {
    pub(crate) address: SocketAddr,
    /// Where it is asked what became of a certificate.
    pub(crate) management: SocketAddr,
    /// Where TXT records are set.
    pub(crate) dns: SocketAddr,
    pub(crate) servers: Servers,
    processes: Vec<Child>,
    config: serde_json::Value,
    names: SocketAddr,
}

/// Who vouches for the servers of a test.
pub(crate) struct Servers {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Servers {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an issuer");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("roots.pem"), issuer.pem()).expect("written");
        Self { issuer, folder }
    }

    /// The bundle that trusts them.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A certificate for loopback and its key.
    pub(crate) fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate, key)
    }
}

/// Starts it with answers expected at `port`; none: it is not installed, and that was said.
pub(crate) async fn pebble(port: SocketAddr) -> Option<Pebble> {
    pebble_with(port, json!({})).await
}

/// As [`pebble`], with more in its config.
pub(crate) async fn pebble_with(port: SocketAddr, more: serde_json::Value) -> Option<Pebble> {
    let there = |name: &str| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
    };
    if !there("pebble") || !there("pebble-challtestsrv") {
        eprintln!(
            "SKIPPED: pebble and pebble-challtestsrv are not installed (Debian package pebble)"
        );
        return None;
    }
    let servers = Servers::new();
    let (certificate, key) = servers.issue();
    let at = |name: &str| servers.folder.path().join(name);
    std::fs::write(at("server.pem"), certificate.pem()).expect("written");
    std::fs::write(at("server.key"), key.serialize_pem()).expect("written");
    let [address, management, dns, records] = free();
    let mut config = json!({
        "listenAddress": address,
        "managementListenAddress": management,
        "certificate": at("server.pem"),
        "privateKey": at("server.key"),
        "httpPort": port.port(),
        "tlsPort": 1,
        "ocspResponderURL": "",
        "certificateValidityPeriod": 3600,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let mut names = Command::new("pebble-challtestsrv");
    names
        .args([
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ])
        .args([
            "-dns01",
            &dns.to_string(),
            "-management",
            &records.to_string(),
        ]);
    let mut pebble = Pebble {
        address,
        management,
        dns: records,
        servers,
        processes: vec![silent(names)],
        config: json!({ "pebble": config }),
        names: dns,
    };
    open(records).await;
    pebble.begin();
    open(address).await;
    open(management).await;
    Some(pebble)
}

impl Pebble {
    /// Ends it and starts it anew at the same address: it keeps nothing.
    pub(crate) async fn forget(&mut self) {
        if let Some(mut process) = self.processes.pop() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
        self.begin();
        open(self.address).await;
    }

    fn begin(&mut self) {
        let file = self.servers.folder.path().join("pebble.json");
        std::fs::write(&file, self.config.to_string()).expect("written");
        let mut pebble = Command::new("pebble");
        pebble
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &self.names.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0");
        self.processes.push(silent(pebble));
    }

    /// As a keeper is told of it.
    pub(crate) fn authority(&self) -> Authority {
        named("pebble", self.address)
    }
}

impl Pebble {
    /// Ends its processes; who vouches for its server stays known.
    pub(crate) fn end(&mut self) {
        for mut process in self.processes.drain(..) {
            // One that is gone already is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
    }
}

/// An authority whose directory is where that of `pebble` is.
pub(crate) fn named(name: &str, address: SocketAddr) -> Authority {
    Authority {
        name: name.to_owned(),
        directory: format!("https://{address}/dir"),
        contact: vec!["mailto:operators@school.example".to_owned()],
        external: None,
    }
}

/// A program of the shell for `dns_hook`: sets and clears TXT records of the DNS server.
pub(crate) fn hook(folder: &Path, records: SocketAddr) -> PathBuf {
    let file = folder.join("hook");
    let text = format!(
        r#"#!/bin/bash
set -eu
case $1 in
  present) what=set-txt; body="{{\"host\":\"$2.\",\"value\":\"$3\"}}" ;;
  absent) what=clear-txt; body="{{\"host\":\"$2.\"}}" ;;
esac
exec 3<>/dev/tcp/{}/{}
printf 'POST /%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' "$what" "${{#body}}" "$body" >&3
read -r line <&3
[[ $line == *" 200 "* ]]
"#,
        records.ip(),
        records.port()
    );
    std::fs::write(&file, text).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&file, mode).expect("a mode");
    file
}

fn silent(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed")
}

/// Ports that were free a moment ago: these programs take none of their own.
pub(crate) fn free<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("an address"))
}

async fn open(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{address}: nobody listens"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
