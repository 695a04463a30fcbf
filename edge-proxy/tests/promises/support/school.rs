//! A platform with people in two schools, and answers that tell who got which.

use serde_json::json;

use super::client::{Answer, Ask};
use super::issuer::{self, Issuer};
use super::origin::{Asked, Origin};
use super::reply::Reply;
use super::stage::{MAPLE, OAK, Plan, plan};

/// Somebody with, or without, a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    /// The host of the own school.
    pub(crate) host: &'static str,
    pub(crate) tenant: &'static str,
    pub(crate) role: &'static str,
}

pub(crate) const ANONYMOUS: Person = person("", MAPLE, "", "");
pub(crate) const ANNA: Person = person("anna", MAPLE, "maple", "pupil");
pub(crate) const ALEX: Person = person("alex", MAPLE, "maple", "pupil");
pub(crate) const TEACHER: Person = person("tessa", MAPLE, "maple", "teacher");
pub(crate) const BEN: Person = person("ben", OAK, "oak", "pupil");

/// Everybody.
pub(crate) const PEOPLE: [Person; 5] = [ANONYMOUS, ANNA, ALEX, TEACHER, BEN];

const fn person(
    name: &'static str,
    host: &'static str,
    tenant: &'static str,
    role: &'static str,
) -> Person {
    Person {
        name,
        host,
        tenant,
        role,
    }
}

impl Person {
    /// A session that is no word of any other text.
    fn session(self) -> String {
        format!("canary-session-of-{}", self.name)
    }

    pub(crate) fn is_anonymous(self) -> bool {
        self.name.is_empty()
    }

    /// A request with the own session, among cookies that are nobody's business.
    pub(crate) fn ask(self, target: &str) -> Ask {
        let ask = Ask::get(target);
        if self.is_anonymous() {
            return ask;
        }
        ask.header(
            "cookie",
            &format!("theme=dark; _session={}; seen=1", self.session()),
        )
    }
}

/// How people prove who they are.
pub(crate) enum Proof {
    /// By a session that the origin knows.
    Asked,
    /// By a signed token, and the origin is never asked.
    Signed(Issuer),
}

impl Proof {
    /// Each way.
    pub(crate) fn both() -> [Self; 2] {
        [Self::Asked, Self::Signed(Issuer::new())]
    }

    /// An edge that believes it.
    pub(crate) fn plan(&self) -> Plan {
        match self {
            Self::Asked => plan(),
            // In a cookie, since a public rule is not for requests with `Authorization`.
            Self::Signed(issuer) => {
                let believed = issuer.identity("");
                plan().identity(&format!("cookies = [\"_token\"]{believed}"))
            }
        }
    }

    /// A request of somebody.
    pub(crate) fn ask(&self, who: Person, target: &str) -> Ask {
        match self {
            Self::Signed(issuer) if !who.is_anonymous() => {
                let bearer = issuer.bearer(who);
                let token = bearer.trim_start_matches("Bearer ");
                Ask::get(target).header("cookie", &format!("theme=dark; _token={token}"))
            }
            Self::Asked | Self::Signed(_) => who.ask(target),
        }
    }
}

/// Who a request's session or token belongs to.
pub(crate) fn whose(asked: &Asked) -> Option<Person> {
    let cookies = asked.seen.header("cookie");
    let token = cookies
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix("_token="));
    let bearer = asked.seen.header("authorization").strip_prefix("Bearer ");
    if let Some(subject) = token.or(bearer).and_then(issuer::subject) {
        return PEOPLE.into_iter().find(|who| who.name == subject);
    }
    let session = cookies
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix("_session="))?;
    PEOPLE
        .into_iter()
        .find(|who| !who.is_anonymous() && who.session() == session)
}

/// Answers `/api/v1/me`, and everything else with words that tell for whom it was made.
///
/// `agree` puts what the origin says about keeping an answer.
pub(crate) fn serve(origin: &Origin, agree: fn(Reply) -> Reply) {
    origin.on("/api/v1/me", |asked| async move {
        match whose(&asked) {
            Some(who) => Reply::json(&json!({
                "id": who.name,
                "school": { "id": who.tenant },
                "roles": [who.role],
            }))
            .header("set-cookie", "canary-cookie=1"),
            None => Reply::new(401),
        }
    });
    let name = origin.name;
    origin.otherwise(move |asked| async move {
        let who = whose(&asked).map_or("nobody", |who| who.name);
        agree(Reply::json(&json!({
            "nonce": asked.nonce,
            "who": format!("canary-answer-for-{who}"),
            "tenant": asked.seen.header("x-edge-tenant"),
            "colour": name,
            "target": asked.seen.target,
        })))
    });
}

impl Answer {
    /// The mark of the one origin request that made this answer.
    pub(crate) fn nonce(&self) -> String {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()["nonce"]
            .as_str()
            .expect("the origin's answers carry a nonce")
            .to_owned()
    }
}
