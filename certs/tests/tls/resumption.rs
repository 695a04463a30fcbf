//! Sessions that go on: tickets, their keys, and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use certs::{Clock, ServerOptions, TICKET_KEY_PERIOD, Tickets, server_config};
use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

use crate::link::{client, client_with, connect, server};
use crate::paper::{Authority, Folder};

const HOUR: u64 = 60 * 60;

/// A clock that stands until it is moved.
#[derive(Clone)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000)))
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(hands.0.load(Ordering::SeqCst)))
    }

    fn forward(&self, hours: u64) {
        self.0.fetch_add(hours * HOUR, Ordering::SeqCst);
    }

    fn back(&self, hours: u64) {
        self.0.fetch_sub(hours * HOUR, Ordering::SeqCst);
    }
}

fn kind(client: &ClientConfig, server: &Arc<ServerConfig>) -> HandshakeKind {
    match connect(client, server, "a.example") {
        Ok(link) => link.client.handshake_kind().expect("the handshake is done"),
        Err(refused) => panic!("{}", refused.client),
    }
}

#[test]
fn a_session_resumes_in_both_versions_and_across_a_change_of_configuration() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    let tickets = Tickets::new();
    for version in [&TLS13, &TLS12] {
        let client = client_with(&authority, aws_lc_rs::default_provider(), &[version]);
        let first = server_config(
            Arc::clone(&store),
            Arc::clone(&tickets),
            ServerOptions::default(),
        );
        assert_eq!(kind(&client, &first), HandshakeKind::Full);
        assert_eq!(kind(&client, &first), HandshakeKind::Resumed);
        let second = server_config(
            Arc::clone(&store),
            Arc::clone(&tickets),
            ServerOptions::default(),
        );
        assert_eq!(kind(&client, &second), HandshakeKind::Resumed);
        let stranger = server_config(Arc::clone(&store), Tickets::new(), ServerOptions::default());
        assert_eq!(
            kind(&client, &stranger),
            HandshakeKind::Full,
            "other keys open nothing"
        );
    }
}

#[test]
fn a_ticket_lives_for_one_turn_of_the_keys_and_not_for_two() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    let store = folder.open();
    // Hours between the ticket and its use, whether somebody else connects half-way, and what the use finds.
    for (hours, other_between, found) in [
        (1, false, HandshakeKind::Resumed),
        (11, false, HandshakeKind::Resumed),
        (13, false, HandshakeKind::Resumed),
        (23, true, HandshakeKind::Resumed),
        (25, true, HandshakeKind::Full),
        (25, false, HandshakeKind::Full),
        (24 * 365, false, HandshakeKind::Full),
    ] {
        let hands = Hands::new();
        let tickets = Tickets::with(hands.clock(), TICKET_KEY_PERIOD);
        let server = server_config(Arc::clone(&store), tickets, ServerOptions::default());
        let pupil = client(&authority);
        assert_eq!(kind(&pupil, &server), HandshakeKind::Full);
        hands.forward(hours.min(12));
        if other_between {
            assert_eq!(kind(&client(&authority), &server), HandshakeKind::Full);
        }
        hands.forward(hours.saturating_sub(12));
        assert_eq!(
            kind(&pupil, &server),
            found,
            "after {hours} hours, other: {other_between}"
        );
        assert_eq!(
            kind(&pupil, &server),
            HandshakeKind::Resumed,
            "the new ticket is good"
        );
    }
}

#[test]
fn keys_turn_again_after_the_clock_went_back() {
    let hands = Hands::new();
    let tickets = Tickets::with(hands.clock(), TICKET_KEY_PERIOD);
    let ticket = tickets.encrypt(b"state").expect("a ticket is made");
    hands.back(24 * 365);
    assert_eq!(
        tickets.decrypt(&ticket).as_deref(),
        Some(b"state".as_slice())
    );
    hands.forward(25);
    assert_eq!(
        tickets.decrypt(&ticket),
        None,
        "two periods of the new time have passed"
    );
}

#[test]
fn a_ticket_that_was_altered_or_cut_opens_nothing() {
    let tickets = Tickets::new();
    let ticket = tickets.encrypt(b"state").expect("a ticket is made");
    assert_eq!(
        tickets.decrypt(&ticket).as_deref(),
        Some(b"state".as_slice())
    );
    for position in 0..ticket.len() {
        let mut altered = ticket.clone();
        altered[position] ^= 1;
        assert_eq!(tickets.decrypt(&altered), None, "byte {position}");
        assert_eq!(
            tickets.decrypt(&ticket[..position]),
            None,
            "cut at {position}"
        );
    }
    assert_eq!(tickets.decrypt(&[ticket.as_slice(), b"x"].concat()), None);
    assert_ne!(
        tickets.encrypt(b"state"),
        Some(ticket),
        "two tickets for one state look different"
    );
}

#[test]
fn a_session_of_a_host_that_lost_its_certificate_does_not_resume() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example"]));
    folder.put_pair("b", &authority.issue(&["b.example"]));
    let store = folder.open();
    let server = server(&store);
    let client = client(&authority);
    assert_eq!(kind(&client, &server), HandshakeKind::Full);
    folder.remove("a.crt");
    folder.remove("a.key");
    assert_eq!(store.reload().removed, ["a"]);
    assert!(connect(&client, &server, "a.example").is_err());
}
