//! What scanners say of a running edge: no finding above LOW, and each exception has its reason here.
//!
//! `testssl` is a Debian package (`testssl.sh`), `sslyze` a program of PyPI; where one is missing, that
//! is said and its test is skipped. A binary of its own: what scanners do would disturb other tests.

#[expect(
    dead_code,
    reason = "the promises use what is not used here, and the other way round"
)]
#[path = "promises/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use support::fixtures::skipped;
use support::reply::Reply;
use support::stage::{Stage, plan};
use support::wait::until;

/// Scanners resolve the name that they are given.
const HOST: &str = "localhost";

/// Findings above LOW that are as they should be.
const EXCEPTIONS: [(&str, &str); 3] = [
    (
        "cipher_order",
        "all suites are strong: the client knows whether its processor has AES, so it chooses (as Mozilla advises)",
    ),
    (
        "cert_revocation",
        "the authority of a test has neither CRL nor OCSP; those of certificates are their authority's matter",
    ),
    (
        "BREACH",
        "the length of a compressed page is blurred: a scanner sees the compression and not that",
    ),
];

/// An edge with a certificate for [`HOST`] as public authorities give them, and a page worth compressing.
async fn stage() -> Stage {
    let stage = plan().tenant("local", &[HOST]).start().await;
    stage
        .authority
        .issue(&[HOST])
        .write(&stage.certificates(), HOST);
    let page = "<!doctype html><title>x</title><p>A page of a school.</p>".repeat(60);
    stage.blue.otherwise(move |_| {
        let page = page.clone();
        async { Reply::of("text/html; charset=utf-8", page) }
    });
    until("the certificate is served", async || {
        let config = stage.authority.client(&["h2"]);
        let stream = support::client::tls(stage.address(), HOST, config).await;
        stream.ok()
    })
    .await;
    std::fs::write(stage.folder().join("ca.pem"), stage.authority.pem())
        .expect("the test's folder can be written");
    stage
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

async fn scan(mut command: Command) -> Output {
    let scanning = tokio::task::spawn_blocking(move || command.output());
    scanning
        .await
        .expect("nothing panics in there")
        .expect("the scanner starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_above_low() {
    let Some(testssl) = find(&["testssl", "testssl.sh"]) else {
        return skipped("testssl is not installed (Debian: apt install testssl.sh)");
    };
    let stage = stage().await;
    let found = stage.folder().join("testssl.json");
    let mut command = Command::new(testssl);
    command
        // Protocols, kinds of suites, forward secrecy, preferences, defaults, headers, known holes. The
        // simulated clients and each single suite would take minutes and say the same.
        .args(["-p", "-s", "-f", "-P", "-S", "-h", "-U"])
        .args([
            "--quiet",
            "--warnings",
            "off",
            "--color",
            "0",
            "--ip",
            "127.0.0.1",
        ])
        .arg("--add-ca")
        .arg(stage.folder().join("ca.pem"))
        .arg("--jsonfile")
        .arg(&found)
        .arg(format!("{HOST}:{}", stage.address().port()));
    let output = scan(command).await;
    let text = std::fs::read_to_string(&found).unwrap_or_default();
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stdout);
        panic!("{error} in `{text}`:\n{said}")
    });
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let offers = |id: &str| {
        let finding = findings.iter().find(|finding| finding["id"] == id);
        finding.map_or_else(String::new, |finding| word(finding, "finding"))
    };
    assert!(offers("TLS1_3").contains("offered"), "{text}");
    assert!(offers("TLS1_1").contains("not offered"), "{text}");
    let bad: Vec<String> = findings
        .iter()
        .filter(|finding| {
            let severity = word(finding, "severity");
            let id = word(finding, "id");
            let excepted = EXCEPTIONS.iter().any(|(name, _)| *name == id);
            matches!(&*severity, "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL") && !excepted
        })
        .map(|finding| format!("{finding}"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sslyze_finds_no_hole_and_no_old_protocol() {
    let Some(sslyze) = find(&["sslyze"]) else {
        return skipped("sslyze is not installed (PyPI: pip install sslyze)");
    };
    let stage = stage().await;
    let mut command = Command::new(sslyze);
    // Not `--certinfo`: it takes the alert that a client without a server name gets for a failure.
    let scans = [
        "sslv2",
        "sslv3",
        "tlsv1",
        "tlsv1_1",
        "tlsv1_2",
        "tlsv1_3",
        "heartbleed",
        "openssl_ccs",
        "compression",
        "robot",
        "reneg",
        "fallback",
        "elliptic_curves",
        "ems",
        "early_data",
        "resum",
    ];
    command
        .args(scans.map(|scan| format!("--{scan}")))
        .arg("--mozilla_config=disable")
        .arg(format!("{HOST}:{}", stage.address().port()));
    let output = scan(command).await;
    let said = String::from_utf8_lossy(&output.stdout);
    for fine in [
        "OK - Not vulnerable to Heartbleed",
        "OK - Not vulnerable to OpenSSL CCS injection",
        "OK - Compression disabled",
        "TLS_AES_128_GCM_SHA256",
        "SCANS COMPLETED",
    ] {
        assert!(said.contains(fine), "no `{fine}` in:\n{said}");
    }
    let old = said
        .matches("the server rejected all cipher suites")
        .count();
    assert_eq!(old, 4, "SSL 2 and 3, TLS 1.0 and 1.1:\n{said}");
    for bad in ["VULNERABLE -", "FAILED", "ERROR", "WARNING"] {
        assert!(!said.contains(bad), "`{bad}` in:\n{said}");
    }
}
