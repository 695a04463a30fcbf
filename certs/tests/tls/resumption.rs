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

#[test]
fn kept_keys_resume_sessions_after_a_restart_and_at_every_edge_that_shares_them() {
    use std::os::unix::fs::PermissionsExt;
    let hands = Hands::new();
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let file = folder.path().join("ticket-keys");
    let open = || Tickets::kept_with(&file, hands.clock(), TICKET_KEY_PERIOD).expect("a good file");
    let (one, other) = (open(), open());
    let mode = std::fs::metadata(&file).expect("it was made").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let ticket = one.encrypt(b"state").expect("a ticket is made");
    let state = Some(b"state".to_vec());
    assert_eq!(other.decrypt(&ticket), state, "another edge");
    assert_eq!(open().decrypt(&ticket), state, "after a restart");
    // One turns and writes, the other takes that over; both seal with the same key.
    hands.forward(12);
    one.tend().expect("the keys turn");
    other.tend().expect("the file is read");
    let turned = one.encrypt(b"state").expect("a ticket is made");
    assert_ne!(turned[..16], ticket[..16]);
    let of_other = other.encrypt(b"state").expect("a ticket is made");
    assert_eq!(of_other[..16], turned[..16]);
    assert_eq!(other.decrypt(&ticket), state);
    assert_eq!(open().decrypt(&ticket), state);
    hands.forward(12);
    other.tend().expect("the keys turn");
    one.tend().expect("the file is read");
    assert_eq!(
        (one.decrypt(&ticket), open().decrypt(&ticket)),
        (None, None)
    );
    assert_eq!(one.decrypt(&turned), state);
    // An edge that was down for long takes nothing old up again.
    hands.forward(24 * 30);
    assert_eq!(open().decrypt(&turned), None);
}

#[test]
fn keys_that_cannot_be_written_fall_all_the_same() {
    let hands = Hands::new();
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).expect("the folder can be written");
    let tickets = Tickets::kept_with(kept.join("keys"), hands.clock(), TICKET_KEY_PERIOD);
    let tickets = tickets.expect("the file is made");
    let ticket = tickets.encrypt(b"state").expect("a ticket is made");
    std::fs::remove_dir_all(&kept).expect("the folder can be removed");
    hands.forward(13);
    let problem = tickets.tend().expect_err("the file is gone");
    assert!(
        problem.to_string().contains("keys: cannot be read"),
        "{problem}"
    );
    assert!(tickets.decrypt(&ticket).is_some());
    hands.forward(13);
    assert!(tickets.encrypt(b"state").is_some() && tickets.decrypt(&ticket).is_none());
}

#[test]
fn a_file_that_others_can_read_or_that_holds_something_else_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let file = folder.path().join("keys");
    drop(Tickets::kept(&file).expect("the file is made"));
    let good = std::fs::read_to_string(&file).expect("it is text");
    let refused = |text: &str, mode: u32| {
        std::fs::write(&file, text).expect("the folder can be written");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("it is ours");
        let problem = Tickets::kept(&file)
            .err()
            .map(|problem| problem.to_string());
        problem.unwrap_or_default()
    };
    assert_eq!(refused(&good, 0o640), "");
    assert!(refused(&good, 0o644).contains("chmod 0600"));
    let secret = "00ff".repeat(16);
    for text in [
        "",
        "junk",
        &good[..60],
        &good.replace("current", "cur"),
        &secret,
    ] {
        let said = refused(text, 0o600);
        assert!(said.contains("holds no ticket keys"), "{text}: {said}");
        assert!(!said.contains(&secret));
    }
}
