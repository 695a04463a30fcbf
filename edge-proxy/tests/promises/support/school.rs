//! A platform with people in two schools, and answers that tell who got which.

use serde_json::json;

use super::client::{Answer, Ask};
use super::origin::{Asked, Origin};
use super::reply::Reply;
use super::stage::{MAPLE, OAK};

/// Somebody with, or without, a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    /// The host of the own school.
    pub(crate) host: &'static str,
    tenant: &'static str,
    role: &'static str,
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

/// Who a request's session belongs to.
pub(crate) fn whose(asked: &Asked) -> Option<Person> {
    let cookies = asked.seen.header("cookie");
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
