//! What works: issue, renew with a new key, revoke, wildcards by DNS, accounts elsewhere, windows.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use certs::acme::{Act, External, NotNow, NotRekeyed, PointsHere, Stage};
use certs::{Source, Urgency};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{Pebble, hook, named, pebble, pebble_with};
use crate::front::{Front, Mood, trusting};
use crate::place::{HOST, Plan, Port};

/// Serial number and public key of the first certificate of a chain.
fn leaf(chain: &str) -> (String, Vec<u8>) {
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a chain");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    let serial = certificate
        .raw_serial()
        .iter()
        .map(|byte| format!("{byte:02x}"));
    (serial.collect(), certificate.public_key().raw.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_issued_renewed_with_a_new_key_and_revoked() {
    let port = Port::default();
    let address = port.listen().await;
    let Some(pebble) = pebble(address).await else {
        return;
    };
    let mut plan = Plan::new(
        vec![pebble.authority()],
        &pebble.servers.roots(),
        port.clone(),
    );
    plan.points_here = PointsHere::At(address);
    let place = plan.start();
    assert!(!place.certs.covers(Some(HOST), HOST));
    assert_eq!(place.issue(HOST).await, "pebble");
    assert!(place.certs.covers(Some(HOST), HOST));
    let info = &place.certs.list()[0];
    assert_eq!((info.source, &*info.names[0]), (Source::Managed, HOST));
    assert_eq!(port.count(), 0, "no answer is left out");
    let first = leaf(&place.chain(HOST));

    // Nothing that lies there is a key that can be read, or readable for others.
    for entry in std::fs::read_dir(place.folder.path().join("managed")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains("key_pkcs8"),
            "{path:?}"
        );
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }

    assert_eq!(place.keeper.begin(Act::Add, HOST, "oak"), Err(NotNow::Live));
    assert!(matches!(
        place.act(Act::Renew, HOST).await,
        Stage::Issued(..)
    ));
    let second = leaf(&place.chain(HOST));
    assert!(
        first.0 != second.0 && first.1 != second.1,
        "another certificate, another key"
    );

    assert!(matches!(
        place.act(Act::Revoke, HOST).await,
        Stage::Issued(..)
    ));
    let third = leaf(&place.chain(HOST));
    assert_eq!(status(&pebble, &second.0).await, "Revoked");
    assert_eq!(status(&pebble, &third.0).await, "Valid");
    assert_eq!(
        place.told(),
        ["pebble issued", "pebble issued", "pebble issued"]
    );

    // What was issued and the account are found again; with another seal key neither is, and that is said.
    let folder = place.end().await;
    let again = Plan::new(vec![pebble.authority()], &pebble.servers.roots(), port);
    let place = again.start_in(folder);
    assert!(place.certs.covers(Some(HOST), HOST));
    assert!(matches!(
        place.act(Act::Renew, HOST).await,
        Stage::Issued(..)
    ));
    let folder = place.end().await;
    let file = folder.path().join("other.key");
    std::fs::write(&file, "08".repeat(32)).expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("a mode");
    let seal = certs::Seal::open(&file).expect("a key");
    let at = |name: &str| folder.path().join(name);
    let clock = certs::system_clock();
    let store = certs::CertStore::open_managed(at("folder"), at("managed"), seal.into(), clock);
    let problems = store.expect("it opens").problems();
    assert!(
        problems[0]
            .to_string()
            .contains("cannot be opened with the seal key"),
        "{problems:?}"
    );
}

/// What the authority says of a certificate.
async fn status(pebble: &Pebble, serial: &str) -> String {
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(trusting(&pebble.servers));
    let url = format!(
        "https://{}/cert-status-by-serial/{serial}",
        pebble.management
    );
    let answer = client
        .get(url.parse().expect("a URL"))
        .await
        .expect("an answer");
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let said: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    said["Status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_is_proven_by_dns_through_the_hook() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = Plan::new(
        vec![pebble.authority()],
        &pebble.servers.roots(),
        port.clone(),
    );
    let without = Plan::new(vec![pebble.authority()], &pebble.servers.roots(), port).start();
    let refused = without.keeper.begin(Act::Add, "*.school.example", "oak");
    assert_eq!(refused, Err(NotNow::NoHook));
    plan.dns_hook = Some(hook(folder.path(), pebble.dns));
    let place = plan.start();
    assert_eq!(place.issue("*.school.example").await, "pebble");
    assert!(place.certs.covers(Some("elm.school.example"), HOST));
    assert_eq!(place.keeper.list()[0].stem, "_any.school.example");
}

#[test]
fn the_example_hook_changes_one_record_and_waits_until_every_server_answers_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let program = |name: &str, text: &str| {
        std::fs::write(at(name), format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(0o700)).expect("a mode");
    };
    program("nsupdate", &format!("cat >> {}", at("said").display()));
    // Two name servers for school.example, and nothing above it; both know the record.
    program(
        "dig",
        "case \"$*\" in *'NS school.example.') echo ns1.; echo ns2. ;; *TXT*) echo '\"abc_-1\"' ;; esac",
    );
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/hooks/nsupdate");
    let run = |arguments: [&str; 3]| {
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let status = std::process::Command::new("/bin/sh")
            .arg(hook)
            .args(arguments)
            .env("PATH", path)
            .stderr(std::process::Stdio::null())
            .status();
        status.expect("a shell").code()
    };
    let name = "_acme-challenge.oak.school.example";
    assert_eq!(run(["present", name, "abc_-1"]), Some(0));
    assert_eq!(run(["absent", name, "abc_-1"]), Some(0));
    for bad in [
        ["present", "www.school.example", "abc"],
        ["present", name, "abc\nupdate delete school.example."],
        ["change", name, "abc"],
    ] {
        assert_eq!(run(bad), Some(2), "{bad:?}");
    }
    let said = std::fs::read_to_string(at("said")).expect("nsupdate was asked");
    let change = format!("update add {name}. 60 TXT \"abc_-1\"\nsend\n");
    assert!(said.contains(&change), "{said}");
    assert!(
        said.contains(&format!("update delete {name}. TXT \"abc_-1\"\n")),
        "{said}"
    );
    assert_eq!(said.matches("send").count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_to_one_that_the_authority_gave_out() {
    let port = Port::default();
    let key = BASE64_URL_SAFE_NO_PAD.encode([9_u8; 32]);
    let bound = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": key },
    });
    let Some(pebble) = pebble_with(port.listen().await, bound).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let without = Plan::new(vec![pebble.authority()], &roots, port.clone()).start();
    let Stage::Failed(fault, _) = without.act(Act::Add, HOST).await else {
        panic!("nobody vouched for the account");
    };
    assert!(
        fault.to_string().contains("externalAccountRequired"),
        "{fault}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("external.key");
    std::fs::write(&key_file, format!("{key}\n")).expect("written");
    let mut authority = pebble.authority();
    let id = "kid-1".to_owned();
    authority.external = Some(External { id, key_file });
    let place = Plan::new(vec![authority], &roots, port).start();
    assert_eq!(place.issue(HOST).await, "pebble");
}

/// RFC 3339 of a time so many seconds from now.
fn from_now(seconds: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let at = i64::try_from(now.as_secs()).expect("a time") + seconds;
    let at = time_of(at);
    at.replace(' ', "T")
}

fn time_of(unix: i64) -> String {
    let time = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix.unsigned_abs()));
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let parts: Vec<&str> = time
        .split([' ', ','])
        .filter(|part| !part.is_empty())
        .collect();
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.find(parts[2]).expect("a month") / 3 + 1;
    format!("{}-{month:02}-{} {}Z", parts[3], parts[1], parts[4])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_the_authoritys_window_else_before_two_thirds_of_its_life() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let front = Front::before(&pebble, Mood::Good).await;
    front.suggest(&from_now(600), &from_now(1200));
    let authority = vec![named("front", front.address)];
    let place = Plan::new(authority, &pebble.servers.roots(), port.clone()).start();
    place.issue(HOST).await;
    let first = place.chain(HOST);
    let renew_at = || {
        let at = place.keeper.list()[0].renew_at.expect("a time");
        at.duration_since(SystemTime::now())
            .unwrap_or_default()
            .as_secs()
    };
    // An hour of life: without a window it is two thirds less a sixtieth.
    assert!((2280..2345).contains(&renew_at()), "{}", renew_at());
    place.keeper.tend().await;
    assert!(
        (840..=900).contains(&renew_at()),
        "the middle of the window: {}",
        renew_at()
    );
    place.later(600);
    place.keeper.tend().await;
    assert_eq!(place.chain(HOST), first, "its time has not come");
    place.later(310);
    place.keeper.tend().await;
    assert_ne!(place.chain(HOST), first);
    assert_eq!(
        front.replaced().len(),
        1,
        "the order said what it takes over from"
    );

    // An authority without windows: the life decides.
    let plain = Plan::new(vec![pebble.authority()], &pebble.servers.roots(), port).start();
    plain.issue(HOST).await;
    plain.issue("gone.school.example").await;
    let first = plain.chain(HOST);
    plain.later(2000);
    plain.keeper.tend().await;
    assert_eq!(plain.chain(HOST), first);
    plain.later(400);
    plain.keeper.tend().await;
    assert_ne!(plain.chain(HOST), first);
    let renewed = plain
        .told()
        .iter()
        .filter(|told| *told == "pebble issued")
        .count();
    assert_eq!(renewed, 3, "what no school has any more is not renewed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_gets_another_key_and_the_former_one_is_of_no_use() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let roots = pebble.servers.roots();
    let place = Plan::new(vec![pebble.authority()], &roots, port.clone()).start();
    place.issue(HOST).await;
    let file = place.folder.path().join("managed/pebble.account");
    let former = std::fs::read(&file).expect("an account");
    assert_eq!(place.keeper.rekey("nobody").await, Err(NotRekeyed::Unknown));
    assert_eq!(place.keeper.rekey("pebble").await, Ok(()));
    assert_ne!(std::fs::read(&file).expect("an account"), former);
    // In memory and on the disk it is the new key, of the same account: it may revoke what was issued before.
    let renewed = place.act(Act::Renew, HOST).await;
    assert!(matches!(renewed, Stage::Issued(..)), "{renewed:?}");
    let folder = place.end().await;
    let again = Plan::new(vec![pebble.authority()], &roots, port.clone()).start_in(folder);
    let serial = leaf(&again.chain(HOST)).0;
    let revoked = again.act(Act::Revoke, HOST).await;
    assert!(matches!(revoked, Stage::Issued(..)), "{revoked:?}");
    assert_eq!(status(&pebble, &serial).await, "Revoked");

    // The former key is refused; where a rekeying was cut off, a new account is made.
    let folder = again.end().await;
    std::fs::write(&file, &former).expect("written");
    let stale = Plan::new(vec![pebble.authority()], &roots, port.clone()).start_in(folder);
    let refused = stale.act(Act::Renew, HOST).await;
    assert!(matches!(refused, Stage::Failed(..)), "{refused:?}");
    let folder = stale.end().await;
    std::fs::write(folder.path().join("managed/pebble.rekeying"), "").expect("written");
    let anew = Plan::new(vec![pebble.authority()], &roots, port).start_in(folder);
    let renewed = anew.act(Act::Renew, HOST).await;
    assert!(matches!(renewed, Stage::Issued(..)), "{renewed:?}");
    assert!(!anew.folder.path().join("managed/pebble.rekeying").exists());
}

/// With a clock that is moved past the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_renewed_is_reported_the_more_urgently_until_it_ends() {
    let port = Port::default();
    let Some(pebble) = pebble(port.listen().await).await else {
        return;
    };
    let front = Front::before(&pebble, Mood::Good).await;
    let authority = vec![named("front", front.address)];
    let place = Plan::new(authority, &pebble.servers.roots(), port).start();
    place.issue(HOST).await;
    let first = leaf(&place.chain(HOST));
    let urgency = || {
        place.certs.look();
        place.certs.list()[0].urgency
    };
    assert_eq!(urgency(), Urgency::Good);
    front.be(Mood::Broken);
    // An hour of life: renewed after 40 minutes, a quarter is left after 45, a tenth after 54.
    for (minutes, left) in [
        (41, Urgency::Good),
        (5, Urgency::Soon),
        (9, Urgency::Now),
        (6, Urgency::Expired),
    ] {
        place.later(minutes * 60);
        place.keeper.tend().await;
        assert_eq!(urgency(), left);
        assert_eq!(leaf(&place.chain(HOST)), first, "nothing takes its place");
    }
    let listed = &place.keeper.list()[0];
    let (why, _) = listed.failed.clone().expect("it failed");
    assert!(why.contains("503") || why.contains("left alone"), "{why}");
    assert!(
        place.told().contains(&"front authority".to_owned()),
        "{:?}",
        place.told()
    );
}
