use std::path::PathBuf;

use cache_rules::host::Authority;
use cache_rules::tag::Tag;
use http::header::COOKIE;
use http::{Method, Uri};

use super::*;
use crate::colour::Colour;
use crate::config::checked::{Algorithm, KeySource, Limits, Proof as Proofs};
use crate::control::event::Purge;
use crate::listener::Surface;
use crate::session::Introduction;
use crate::upstream::client::Client;
use crate::upstream::scripted::{Scripted, Then};

const MAYA: &str = r#"{"id":7,"school":"oak"}"#;

/// An edge that asks an origin who people are.
struct Desk {
    identities: Arc<Identities>,
    origin: Scripted,
    client: Client,
    limit: Duration,
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant id")
}

fn signed_out(of: &str, subject: &str) -> Purge {
    let tag = Tag::parse(&format!("u:{subject}")).expect("a tag");
    Purge::Tag(tenant(of), tag)
}

/// Somebody at a school's own host.
fn at(school: &str) -> Request {
    let authority = Authority::parse(&format!("{school}.example")).expect("a host");
    let url = Uri::from_static("/courses");
    Request::imagined(tenant(school), authority, Method::GET, &url)
}

/// Proof by tokens, with the keys in this file.
pub(super) fn signed_with(keys: PathBuf) -> Token {
    Token {
        keys: KeySource::File(keys),
        algorithms: vec![Algorithm::EdDsa],
        issuer: "https://id.test".to_owned(),
        audience: "edge".to_owned(),
        typ: None,
        epoch: None,
        lifetime_max: Duration::from_secs(900),
        refresh: Duration::from_secs(300),
        stale: Duration::from_secs(3600),
    }
}

fn identities(proof: Proofs, epochs: Arc<Epochs>, checks_max: usize) -> Identities {
    let config = checked::Identity {
        proof,
        cookies: vec!["_session".to_owned()],
        subject: "/id".to_owned(),
        tenant: "/school".to_owned(),
        roles: None,
        keep: Duration::from_secs(30),
    };
    let (clock, metrics) = (Clock::default(), Arc::new(Metrics::new()));
    let revoked = Arc::new(Revoked::new(clock.clone(), Duration::ZERO));
    Identities::new(&config, checks_max, epochs, revoked, clock, metrics)
}

impl Desk {
    async fn open(script: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Self {
        Self::with(script, Arc::default(), 100).await
    }

    async fn with(
        script: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static,
        epochs: Arc<Epochs>,
        checks_max: usize,
    ) -> Self {
        let proof = Proofs::Origin {
            path: "/api/v1/me".to_owned(),
        };
        Self {
            identities: Arc::new(identities(proof, epochs, checks_max)),
            origin: Scripted::start(script).await,
            client: Client::new(&Limits::default()),
            limit: Duration::from_secs(60),
        }
    }

    /// One who is known to be Maya, to whoever asks.
    async fn of_maya() -> Self {
        Self::open(|_| (answer("200 OK", MAYA), Then::Keep)).await
    }

    fn credentials(&self, session: &str) -> Credentials {
        let mut headers = HeaderMap::new();
        let cookie = format!("_session={session}");
        headers.insert(COOKIE, cookie.parse().expect("a value"));
        let credentials = self.identities.credentials(&headers).expect("one");
        credentials.expect("some")
    }

    async fn ask(&self, session: &str, school: &str) -> Outcome {
        let request = at(school);
        let introduction = Introduction {
            request: &request,
            surface: Surface::Public,
            colour: Colour::Blue,
        };
        let question = Question {
            pool: &self.origin.pool,
            client: &self.client,
            limit: self.limit,
            introduction,
        };
        let credentials = self.credentials(session);
        self.identities.of(&credentials, question).await
    }

    fn knows(&self, session: &str, school: &str) -> Option<String> {
        let known = self
            .identities
            .known(&self.credentials(session), &at(school))?;
        Some(known.subject.clone())
    }

    fn seed(&self, session: &str, school: &str, born: Moment, said: &str) {
        let said = HeaderValue::from_str(said).expect("a value");
        self.identities
            .seed(&self.credentials(session), &at(school), born, &said);
    }

    fn asked(&self) -> usize {
        self.origin.asked().len()
    }
}

#[tokio::test]
async fn who_somebody_is_is_asked_once_and_kept_for_these_credentials_at_this_host() {
    let desk = Desk::of_maya().await;
    assert_eq!(desk.knows("1", "oak"), None, "nobody was asked");
    let identity = desk.ask("1", "oak").await.expect("Maya");
    assert_eq!((&*identity.subject, identity.tenant.as_str()), ("7", "oak"));
    desk.ask("1", "oak").await.expect("Maya");
    assert_eq!(desk.knows("1", "oak").as_deref(), Some("7"));
    assert_eq!(desk.asked(), 1);
    assert_eq!(desk.knows("2", "oak"), None, "another session");
    assert_eq!(desk.knows("1", "elm"), None, "another host");

    desk.identities.clock.advance(Duration::from_secs(25));
    assert!(desk.knows("1", "oak").is_some());
    desk.identities.clock.advance(Duration::from_secs(5));
    assert_eq!(desk.knows("1", "oak"), None, "half a minute is over");
    desk.ask("1", "oak").await.expect("Maya");
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn the_origin_is_asked_with_the_credentials_alone_and_by_the_canonical_name() {
    let desk = Desk::of_maya().await;
    desk.ask("1", "oak").await.expect("Maya");
    let asked = desk.origin.asked().remove(0);
    assert!(asked.starts_with("GET /api/v1/me HTTP/1.1\r\n"), "{asked}");
    for line in [
        "accept: application/json",
        "cookie: _session=1",
        "host: oak.example",
        "x-edge-tenant: oak",
    ] {
        assert!(asked.lines().any(|said| said == line), "{line}: {asked}");
    }
    // With the port that this client named.
    assert!(!asked.contains("x-forwarded-host"), "{asked}");
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question_and_those_beyond_the_bound_are_refused() {
    let desk = Desk::with(|_| (answer("200 OK", MAYA), Then::Keep), Arc::default(), 1).await;
    desk.origin.answers(false);
    let desk = Arc::new(desk);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.ask("1", "oak").await })
        })
        .collect();
    desk.origin.asked_times(1).await;
    assert_eq!(desk.ask("2", "oak").await.err(), Some(Refusal::Busy));
    desk.origin.answers(true);
    for task in waiting {
        let identity = task.await.expect("no panic").expect("Maya");
        assert_eq!(identity.subject, "7");
    }
    assert_eq!(desk.asked(), 1);
    assert!(desk.identities.checks.is_empty());
    desk.ask("2", "oak").await.expect("there is room again");
}

#[tokio::test]
async fn a_no_is_kept_for_two_seconds_and_what_nobody_knows_not_at_all() {
    for (status, refusal) in [
        ("401 Unauthorized", Refusal::Unauthenticated),
        ("403 Forbidden", Refusal::Forbidden),
    ] {
        let desk = Desk::open(move |_| (answer(status, MAYA), Then::Keep)).await;
        for _ in 0..2 {
            assert_eq!(desk.ask("1", "oak").await.err(), Some(refusal));
            assert_eq!(desk.asked(), 1, "{status}");
        }
        assert_eq!(desk.knows("1", "oak"), None);
        desk.identities.clock.advance(NO_KEPT);
        assert_eq!(desk.ask("1", "oak").await.err(), Some(refusal));
        assert_eq!(desk.asked(), 2, "{status}");
    }
    for (status, body) in [
        ("500 Internal Server Error", MAYA),
        ("302 Found", MAYA),
        ("204 No Content", ""),
        ("200 OK", "{}"),
    ] {
        let desk = Desk::open(move |_| (answer(status, body), Then::Keep)).await;
        for times in 1..=2 {
            let refused = desk.ask("1", "oak").await.err();
            assert_eq!(refused, Some(Refusal::IdentityUnavailable), "{status}");
            assert_eq!(desk.asked(), times, "{status}");
        }
    }
}

#[tokio::test]
async fn an_answer_has_a_longest_length_and_a_longest_time() {
    let of_bytes = |bytes: usize| {
        let empty = MAYA.replace('}', r#","x":""}"#).len();
        MAYA.replace('}', &format!(r#","x":"{}"}}"#, "a".repeat(bytes - empty)))
    };
    for (bytes, known) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let body = of_bytes(bytes);
        assert_eq!(body.len(), bytes);
        let desk = Desk::open(move |_| (answer("200 OK", &body), Then::Keep)).await;
        assert_eq!(desk.ask("1", "oak").await.is_ok(), known, "{bytes}");
    }
    let whole = answer("200 OK", MAYA);
    let mut desk = Desk::open(move |_| (whole[..whole.len() - 1].to_vec(), Then::Hang)).await;
    desk.limit = Duration::from_millis(50);
    let refused = desk.ask("1", "oak").await.err();
    assert_eq!(refused, Some(Refusal::IdentityUnavailable));
    assert!(desk.identities.checks.is_empty(), "the next one asks anew");
}

#[tokio::test]
async fn a_cookie_beside_an_identity_is_dropped_and_counted() {
    let plain = String::from_utf8(answer("200 OK", MAYA)).expect("text");
    let with_cookie = plain.replacen("\r\n", "\r\nset-cookie: _session=9\r\n", 1);
    let desk = Desk::open(move |_| (with_cookie.clone().into_bytes(), Then::Keep)).await;
    desk.ask("1", "oak").await.expect("Maya");
    assert_eq!(desk.identities.metrics.identity_cookies_dropped.get(), 1);
    let desk = Desk::of_maya().await;
    desk.ask("1", "oak").await.expect("Maya");
    assert_eq!(desk.identities.metrics.identity_cookies_dropped.get(), 0);
}

#[tokio::test]
async fn a_purge_of_somebody_ends_what_is_known_of_them_and_of_nobody_else() {
    let desk = Desk::of_maya().await;
    let purges = [
        (signed_out("oak", "8"), true),
        (signed_out("elm", "7"), true),
        (Purge::Tenant(tenant("elm")), true),
        (signed_out("oak", "7"), false),
        (Purge::Tenant(tenant("oak")), false),
        (Purge::Everything, false),
    ];
    for (purge, stays) in purges {
        desk.ask("1", "oak").await.expect("Maya");
        desk.identities.epochs.purge(&purge);
        assert_eq!(desk.knows("1", "oak").is_some(), stays, "{purge}");
    }
}

#[tokio::test]
async fn who_asks_after_a_purge_does_not_get_an_answer_from_before_it() {
    let desk = Arc::new(Desk::of_maya().await);
    desk.origin.answers(false);
    let ask = || {
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { desk.ask("1", "oak").await })
    };
    let before = ask();
    desk.origin.asked_times(1).await;
    desk.identities.epochs.purge(&signed_out("oak", "7"));
    // Not joined: the origin is asked a second time while the first answer is still to come.
    let after = ask();
    desk.origin.asked_times(2).await;
    desk.origin.answers(true);
    for task in [before, after] {
        task.await.expect("no panic").expect("Maya");
    }
    assert!(desk.knows("1", "oak").is_some());
}

#[tokio::test]
async fn a_purge_in_the_middle_of_each_question_leaves_nobody_known() {
    let epochs = Arc::new(Epochs::default());
    let purged = Arc::clone(&epochs);
    let script = move |_: &str| {
        purged.purge(&signed_out("oak", "7"));
        (answer("200 OK", MAYA), Then::Keep)
    };
    let desk = Desk::with(script, epochs, 100).await;
    let refused = desk.ask("1", "oak").await.err();
    assert_eq!(refused, Some(Refusal::IdentityUnavailable));
    assert_eq!(desk.asked(), TRIES);
    assert_eq!(desk.knows("1", "oak"), None);
}

#[tokio::test]
async fn what_the_origin_says_beside_an_answer_saves_a_question() {
    let desk = Desk::of_maya().await;
    let born = desk.identities.now();
    desk.seed("1", "oak", born, MAYA);
    assert_eq!(desk.knows("1", "oak").as_deref(), Some("7"));
    assert_eq!(desk.knows("2", "oak"), None);
    assert_eq!(desk.knows("1", "elm"), None);
    desk.ask("1", "oak").await.expect("Maya");
    assert_eq!(desk.asked(), 0);
    desk.identities.clock.advance(Duration::from_secs(30));
    assert_eq!(desk.knows("1", "oak"), None);

    // Said before she was signed out, and heard after it.
    let born = desk.identities.now();
    desk.identities.epochs.purge(&signed_out("oak", "7"));
    desk.seed("1", "oak", born, MAYA);
    assert_eq!(desk.knows("1", "oak"), None);

    for odd in ["", "Maya", r#"{"id":7}"#, r#"{"school":"oak"}"#] {
        desk.seed("1", "oak", desk.identities.now(), odd);
        assert_eq!(desk.knows("1", "oak"), None, "{odd}");
    }
    for (bytes, heard) in [(4097, false), (4096, true)] {
        let said = format!("{MAYA}{}", " ".repeat(bytes - MAYA.len()));
        desk.seed("1", "oak", desk.identities.now(), &said);
        assert_eq!(desk.knows("1", "oak").is_some(), heard, "{bytes}");
    }
}

#[tokio::test]
async fn beside_a_signature_nobodys_word_counts() {
    let token = Proofs::Token(Box::new(signed_with("/nowhere/keys.json".into())));
    let mut desk = Desk::of_maya().await;
    desk.identities = Arc::new(identities(token, Arc::default(), 100));
    desk.seed("1", "oak", desk.identities.now(), MAYA);
    assert_eq!(desk.knows("1", "oak"), None);
}
