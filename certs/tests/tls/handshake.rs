//! What a client gets: certificate by name, protocol, group.

use std::io::Write;
use std::sync::Arc;

use certs::{ServerOptions, Tickets, server_config};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, NamedGroup, ProtocolVersion, SignatureScheme};

use crate::link::{client, client_with, connect, server};
use crate::paper::{Authority, Folder};

#[test]
fn a_name_gets_its_own_certificate_else_the_wildcard_of_one_label_else_an_alert() {
    let authority = Authority::new();
    let folder = Folder::new();
    let exact = authority.issue(&["north.school.example"]);
    let wildcard = authority.issue(&["*.school.example", "school.example"]);
    folder.put_pair("north", &exact);
    folder.put_pair("platform", &wildcard);
    let server = server(&folder.open());
    let client = client(&authority);

    for (name, shown) in [
        ("north.school.example", Some(&exact)),
        ("North.School.EXAMPLE", Some(&exact)),
        ("south.school.example", Some(&wildcard)),
        ("SOUTH.school.example", Some(&wildcard)),
        ("school.example", Some(&wildcard)),
        ("a.south.school.example", None),
        ("a.north.school.example", None),
        ("example", None),
        ("other.example", None),
        ("127.0.0.1", None), // an address is no server name: the client sends none
    ] {
        match (connect(&client, &server, name), shown) {
            (Ok(link), Some(paper)) => assert_eq!(link.leaf(), &paper.leaf, "{name}"),
            (Err(refused), None) => {
                assert_eq!(
                    refused.client,
                    Error::AlertReceived(AlertDescription::AccessDenied),
                    "{name}"
                );
            }
            (Ok(_), None) => panic!("{name} got a certificate"),
            (Err(refused), Some(_)) => panic!("{name}: {}", refused.client),
        }
    }
}

#[test]
fn a_client_without_sni_gets_an_alert() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let mut client = client(&authority);
    client.enable_sni = false;
    assert!(connect(&client, &server(&folder.open()), "a.example").is_err());
}

#[test]
fn a_connection_covers_the_hosts_of_its_certificate_and_no_other() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("own", &authority.issue(&["own.example"]));
    folder.put_pair(
        "wide",
        &authority.issue(&["*.school.example", "login.example"]),
    );
    folder.put_pair("north", &authority.issue(&["north.school.example"]));
    let store = folder.open();
    for (sni, host, covered) in [
        (Some("own.example"), "own.example", true),
        (Some("OWN.example"), "own.EXAMPLE", true),
        (Some("own.example"), "login.example", false),
        (Some("south.school.example"), "login.example", true),
        (Some("south.school.example"), "east.school.example", true),
        (Some("south.school.example"), "a.east.school.example", false),
        // Another certificate is better for the host, but the client's covers it and it may reuse its connection.
        (Some("south.school.example"), "north.school.example", true),
        (Some("north.school.example"), "south.school.example", false),
        (Some("unknown.example"), "unknown.example", false),
        (Some("own.example"), "", false),
        (Some(""), "", false),
        (None, "own.example", false),
    ] {
        assert_eq!(store.covers(sni, host), covered, "{sni:?} {host}");
    }
}

#[test]
fn a_record_holds_no_more_than_it_is_told() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    for record_bytes in [1024, 16_384] {
        let options = ServerOptions {
            record_bytes,
            ..ServerOptions::default()
        };
        let server = server_config(Arc::clone(&store), Tickets::new(), options);
        let mut link = match connect(&client(&authority), &server, "a.example") {
            Ok(link) => link,
            Err(refused) => panic!("{}", refused.client),
        };
        link.server
            .writer()
            .write_all(&[7; 40_000])
            .expect("the server takes bytes");
        let mut wire = Vec::new();
        while link.server.wants_write() {
            link.server
                .write_tls(&mut wire)
                .expect("memory takes bytes");
        }
        let mut longest = 0;
        let mut rest = wire.as_slice();
        while let [_, _, _, high, low, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            longest = longest.max(length);
            rest = &rest[5 + length..];
        }
        // Its kind and the tag of AES-GCM or ChaCha20 come with the plaintext.
        assert_eq!(longest, usize::from(record_bytes) + 17);
    }
}

#[test]
fn the_protocol_is_h2_before_http_1_1_and_nothing_else() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    let both = server(&store);
    let h1 = server_config(
        Arc::clone(&store),
        Tickets::new(),
        ServerOptions {
            http2: false,
            ..ServerOptions::default()
        },
    );
    let offer = |offered: &[&str]| {
        let mut client = client(&authority);
        client.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        client
    };
    for (server, offered, agreed) in [
        (&both, &["h2", "http/1.1"][..], Ok(Some("h2"))),
        (&both, &["http/1.1", "h2"], Ok(Some("h2"))),
        (&both, &["http/1.1"], Ok(Some("http/1.1"))),
        (&both, &[], Ok(None)),
        (
            &both,
            &["spdy/3"],
            Err(AlertDescription::NoApplicationProtocol),
        ),
        (&h1, &["h2", "http/1.1"], Ok(Some("http/1.1"))),
    ] {
        let link = connect(&offer(offered), server, "a.example");
        let seen = match &link {
            Ok(link) => Ok(link.client.alpn_protocol()),
            Err(refused) => Err(refused.client.clone()),
        };
        assert_eq!(
            seen,
            agreed
                .map(|name| name.map(str::as_bytes))
                .map_err(Error::AlertReceived),
            "{offered:?}"
        );
    }
}

#[test]
fn a_client_that_offers_x25519mlkem768_gets_it_and_others_get_x25519() {
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let server = server(&folder.open());
    for (groups, versions, agreed) in [
        (
            vec![X25519MLKEM768, X25519],
            &[&TLS13][..],
            NamedGroup::X25519MLKEM768,
        ),
        (vec![X25519, SECP256R1], &[&TLS13], NamedGroup::X25519),
        (vec![X25519, SECP256R1], &[&TLS12], NamedGroup::X25519),
        (vec![SECP256R1], &[&TLS12], NamedGroup::secp256r1),
    ] {
        let provider = CryptoProvider {
            kx_groups: groups,
            ..aws_lc_rs::default_provider()
        };
        let Ok(link) = connect(
            &client_with(&authority, provider, versions),
            &server,
            "a.example",
        ) else {
            panic!("{agreed:?} is refused");
        };
        let group = link
            .client
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        assert_eq!(group, Some(agreed));
        let version = if versions == [&TLS13] {
            ProtocolVersion::TLSv1_3
        } else {
            ProtocolVersion::TLSv1_2
        };
        assert_eq!(link.client.protocol_version(), Some(version));
    }
}

#[test]
fn of_two_certificates_for_a_name_the_client_gets_ecdsa_or_else_the_rsa_that_it_can_check() {
    let authority = Authority::new();
    let folder = Folder::new();
    let ecdsa = authority.issue(&["a.example", "only-ecdsa.example"]);
    let rsa = authority.issue_rsa(&["a.example"]);
    folder.put_pair("a-rsa", &rsa);
    folder.put_pair("z-ecdsa", &ecdsa);
    let store = folder.open();
    let server = server(&store);

    let Ok(modern) = connect(&client(&authority), &server, "a.example") else {
        panic!("a modern client is refused")
    };
    assert_eq!(modern.leaf(), &ecdsa.leaf);

    let mut provider = aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms;
    let rsa_only: Vec<_> = known
        .mapping
        .iter()
        .copied()
        .filter(|(scheme, _)| {
            use SignatureScheme::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512};
            use SignatureScheme::{RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512};
            [
                RSA_PKCS1_SHA256,
                RSA_PKCS1_SHA384,
                RSA_PKCS1_SHA512,
                RSA_PSS_SHA256,
                RSA_PSS_SHA384,
                RSA_PSS_SHA512,
            ]
            .contains(scheme)
        })
        .collect();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: known.all,
        mapping: Box::leak(rsa_only.into_boxed_slice()),
    };
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let old = client_with(&authority, provider.clone(), versions);
        let Ok(link) = connect(&old, &server, "a.example") else {
            panic!("an old client is refused")
        };
        assert_eq!(link.leaf(), &rsa.leaf);
        assert!(
            connect(&old, &server, "only-ecdsa.example").is_err(),
            "there is nothing that it could check"
        );
    }

    // It may have been either certificate, so only what both cover is covered.
    assert!(store.covers(Some("a.example"), "a.example"));
    assert!(!store.covers(Some("a.example"), "only-ecdsa.example"));
}

#[test]
fn a_client_that_knows_brotli_gets_a_smaller_certificate() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair(
        "a",
        &authority.issue(&["a.example", "*.a.example", "b.example", "*.b.example"]),
    );
    let server = server(&folder.open());
    let compressed = client(&authority);
    let mut plain = client(&authority);
    plain.cert_decompressors.clear();
    let bytes = |client: &ClientConfig| match connect(client, &server, "a.example") {
        Ok(link) => link.server_bytes,
        Err(refused) => panic!("{}", refused.client),
    };
    let (compressed, plain) = (bytes(&compressed), bytes(&plain));
    assert!(
        compressed + 50 < plain,
        "{compressed} against {plain} bytes"
    );
}
