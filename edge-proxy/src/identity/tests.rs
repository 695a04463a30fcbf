use cache_rules::host::Authority;
use cache_rules::tag::Tag;
use http::header::COOKIE;
use http::{Method, Uri};

use super::*;
use crate::config::checked::{Algorithm, KeySource, Proof as Proofs};
use crate::control::event::Purge;

const ANNA: &str = r#"{"id": "anna", "school": "maple"}"#;

struct Desk {
    identities: Identities,
    epochs: Arc<Epochs>,
    clock: Clock,
}

impl Desk {
    fn open(proof: Proofs) -> Self {
        let config = checked::Identity {
            proof,
            cookies: vec!["_session".to_owned()],
            subject: "/id".to_owned(),
            tenant: "/school".to_owned(),
            roles: None,
            keep: Duration::from_secs(30),
        };
        let (epochs, clock) = (Arc::new(Epochs::default()), Clock::default());
        let revoked = Revoked::new(clock.clone(), Duration::from_secs(900));
        let identities = Identities::new(
            &config,
            8,
            Arc::clone(&epochs),
            Arc::new(revoked),
            clock.clone(),
            Arc::new(Metrics::new()),
        );
        Self {
            identities,
            epochs,
            clock,
        }
    }

    fn asked() -> Self {
        let path = "/api/v1/me".to_owned();
        Self::open(Proofs::Origin { path })
    }

    fn credentials(&self, session: &str) -> Credentials {
        let cookie = HeaderValue::try_from(format!("_session={session}")).expect("a header value");
        let headers = HeaderMap::from_iter([(COOKIE, cookie)]);
        let credentials = self.identities.credentials(&headers);
        credentials.expect("one of a kind").expect("a session")
    }

    /// The origin says at a host that session 1 is Anna's.
    fn said(&self, host: &str) {
        let born = self.identities.now();
        let said = HeaderValue::from_static(ANNA);
        let credentials = self.credentials("1");
        self.identities
            .seed(&credentials, &request(host), born, &said);
    }

    fn known(&self, session: &str, host: &str) -> Option<String> {
        let credentials = self.credentials(session);
        let known = self.identities.known(&credentials, &request(host));
        known.map(|identity| identity.subject.clone())
    }
}

fn request(host: &str) -> Request {
    let authority = Authority::parse(host).expect("a host");
    let tenant = "maple".parse().expect("a tenant");
    Request::imagined(tenant, authority, Method::GET, &Uri::from_static("/"))
}

#[test]
fn who_somebody_is_is_known_for_one_host_and_one_session() {
    let desk = Desk::asked();
    desk.said("maple.test");
    assert_eq!(desk.known("1", "maple.test").as_deref(), Some("anna"));
    for (session, host) in [
        ("2", "maple.test"),
        ("1", "maple.example"),
        ("1", "test.maple"),
    ] {
        assert_eq!(desk.known(session, host), None, "{session} {host}");
    }
}

#[test]
fn who_somebody_is_is_known_for_its_time_and_until_a_purge() {
    let desk = Desk::asked();
    let maple: TenantId = "maple".parse().expect("a tenant");
    let tag = |text| Tag::parse(text).expect("a tag");
    let known = || desk.known("1", "maple.test").is_some();
    desk.said("maple.test");
    desk.clock.advance(Duration::from_secs(29));
    assert!(known());
    desk.clock.advance(Duration::from_secs(1));
    assert!(!known(), "its time is over");
    for (purge, ends) in [
        (Purge::Tag(maple.clone(), tag("u:ben")), false),
        (Purge::Tag(maple.clone(), tag("u:anna")), true),
        (Purge::Tenant(maple.clone()), true),
        (Purge::Everything, true),
    ] {
        desk.said("maple.test");
        assert!(known());
        desk.epochs.purge(&purge);
        assert_eq!(known(), !ends, "{purge}");
    }
    let born = desk.identities.now();
    desk.epochs.purge(&Purge::Tenant(maple));
    let (credentials, request) = (desk.credentials("1"), request("maple.test"));
    let said = HeaderValue::from_static(ANNA);
    desk.identities.seed(&credentials, &request, born, &said);
    assert!(!known(), "it was asked before the purge");
}

#[tokio::test]
async fn beside_a_signature_nobodys_word_counts() {
    let desk = Desk::open(Proofs::Token(Box::new(Token {
        keys: KeySource::File("/nowhere/keys.json".into()),
        algorithms: vec![Algorithm::EdDsa],
        issuer: "https://id.test".to_owned(),
        audience: "edge".to_owned(),
        typ: None,
        epoch: None,
        lifetime_max: Duration::from_secs(900),
        refresh: Duration::from_secs(300),
        stale: Duration::from_secs(3600),
    })));
    desk.said("maple.test");
    assert_eq!(desk.known("1", "maple.test"), None);
}
