//! A cached read, explained: who may have it, under which key it stands and how it is, and what keeps
//! such answers from being stored.

use std::borrow::Borrow;
use std::str::FromStr;

use asset_pipeline::digest::Digest;
use cache_rules::identity::{Grant, Identity};
use cache_rules::plan::Plan;
use cache_rules::rules::Scope;

use super::Tour;
use crate::cache::{Cache, Standing};
use crate::config::checked::{self, Proof};
use crate::session::Request;
use crate::split::Choice;

/// Who is imagined to ask: `TENANT/SUBJECT`, or `TENANT/SUBJECT:ROLE,ROLE`.
#[derive(Debug, Clone)]
pub struct Asker(Identity);

/// A text that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("who asks is written as TENANT/SUBJECT or TENANT/SUBJECT:ROLE,ROLE, such as oak/7:pupil")]
pub struct NotAnAsker;

impl FromStr for Asker {
    type Err = NotAnAsker;

    fn from_str(text: &str) -> Result<Self, NotAnAsker> {
        let (tenant, who) = text.split_once('/').ok_or(NotAnAsker)?;
        let (subject, roles) = who.split_once(':').unwrap_or((who, ""));
        if subject.is_empty() {
            return Err(NotAnAsker);
        }
        let roles = roles.split(',').filter(|role| !role.is_empty());
        Ok(Self(Identity {
            subject: subject.to_owned(),
            tenant: tenant.parse().map_err(|_| NotAnAsker)?,
            roles: roles.map(str::to_owned).collect(),
            acting: false,
        }))
    }
}

/// Adds the steps of a read; gives back the outcome in a sentence.
pub(super) fn explain(
    tour: &mut Tour,
    cache: &Cache,
    plan: &Plan,
    request: &Request,
    choice: &Choice,
    asker: Option<&Asker>,
    identity: Option<&checked::Identity>,
) -> String {
    let rule = plan.rule();
    let tags: Vec<String> = plan.tags().iter().map(ToString::to_string).collect();
    let consent = if plan.rule_consents() {
        "the rule alone decides".to_owned()
    } else {
        format!("the origin has to say X-Edge-Cache-Scope: {}", plan.scope())
    };
    tour.step(
        "rule",
        format!("store: {rule} ({})", plan.scope()),
        format!(
            "kept as long as the origin's CDN-Cache-Control, Cache-Control or Expires says, at most {} s; {consent}; tags {}",
            plan.ttl().as_secs(),
            if tags.is_empty() { "only from the origin".to_owned() } else { tags.join(", ") }
        ),
    );
    let grant = match proven(plan.scope(), request, asker) {
        Ok(grant) => grant,
        Err((outcome, detail, summary)) => {
            tour.step("identity", outcome, detail);
            return format!("{summary} (rule `{rule}`)");
        }
    };
    if plan.scope() != Scope::Public {
        tour.step(
            "identity",
            format!("{} of {}", plan.scope(), request.tenant),
            match identity.map(|identity| &identity.proof) {
                Some(Proof::Token(token)) => format!(
                    "proven by a token that is signed ({}) and in time, before anything is looked up; the origin is not asked",
                    token.algorithms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ),
                Some(Proof::Origin { path }) => {
                    format!("proven by the origin ({path}) before anything is looked up")
                }
                None => "nobody can prove who they are: [identity] is missing".to_owned(),
            },
        );
    }
    let key = plan.key(&grant, &request.host, choice.release.as_str());
    let bytes: &[u8] = key.borrow();
    let fingerprint = Digest::of(bytes).to_string();
    let headers: Vec<&str> = plan.varies_on().collect();
    let mut parts = format!(
        "of scope, tenant, host {}, rule, path, query",
        request.host.as_str()
    );
    if plan.scope() == Scope::Role {
        parts.push_str(", roles");
    }
    if !headers.is_empty() {
        parts = format!("{parts}, {} (here: as if not sent)", headers.join(", "));
    }
    tour.step(
        "key",
        fingerprint[..16].to_owned(),
        format!("{parts} and release {}", choice.release),
    );
    let standing = cache.standing(plan, &grant, &key);
    let (outcome, detail) = standing.map_or_else(
        || {
            (
                "nothing stored".to_owned(),
                "the origin is asked; all who want the same wait for one answer".to_owned(),
            )
        },
        said,
    );
    tour.step("cache", outcome.clone(), detail);
    for (why, times) in cache.refused(rule).into_iter().take(3) {
        tour.step(
            "origin",
            format!("not stored {times} times: {why}"),
            advice(why),
        );
    }
    format!("a cached read by rule `{rule}`: {outcome}")
}

type Refused = (String, &'static str, &'static str);

fn proven(scope: Scope, request: &Request, asker: Option<&Asker>) -> Result<Grant, Refused> {
    let grant = match (scope, asker) {
        (Scope::Public, _) => return Ok(Grant::public(&request.tenant)),
        (Scope::Tenant, Some(Asker(identity))) => Grant::tenant(identity, &request.tenant),
        (Scope::Role, Some(Asker(identity))) => Grant::role(identity, &request.tenant),
        (Scope::Tenant | Scope::Role, None) => {
            return Err((
                "401: unauthenticated".to_owned(),
                "nobody showed credentials; `--as TENANT/SUBJECT:ROLE` explains it for somebody",
                "refused without credentials, else a cached read",
            ));
        }
    };
    grant.map_err(|_| {
        (
            "403: forbidden".to_owned(),
            "they belong to another school than the host",
            "refused: another school's identity",
        )
    })
}

fn said(standing: Standing) -> (String, String) {
    let (born, purged) = standing.moments;
    let age = standing.age.as_secs();
    let moments = format!("born at moment {born}, the last purge of its tags at {purged}");
    match (standing.purged, standing.fresh_for) {
        (true, _) => (
            "purged".to_owned(),
            format!("{moments}: the origin is asked"),
        ),
        (false, Some(left)) => (
            format!("fresh for {} s", left.as_secs()),
            format!("{age} s old, {moments}"),
        ),
        (false, None) => (
            "stale".to_owned(),
            format!(
                "{age} s old, {moments}: the origin is asked whether it still holds, if it gave a validator"
            ),
        ),
    }
}

/// What the origin, or the rule, would have to do.
fn advice(why: &str) -> &'static str {
    match why {
        "set_cookie" => {
            "the answer sets a cookie. Rails does when the session was written or loaded on the way: do not touch it on reads, or `request.session_options[:skip] = true`"
        }
        "consent_missing" => "the origin did not say X-Edge-Cache-Scope on the answer",
        "consent_other" => "the origin named another scope than the rule: one of the two is wrong",
        "no_lifetime" => "the origin gave no lifetime: say Cache-Control: max-age=30, or s-maxage",
        "already_stale" => "the answer was too old when it came: max-age is 0, or Age is over it",
        "private" => {
            "the origin says `private`. Rails does by default: `expires_in 30.seconds, public: true`, and X-Edge-Cache-Scope for who shares it"
        }
        "no_store" | "no_cache" => "the origin forbids it in Cache-Control or CDN-Cache-Control",
        "vary_unlisted" => {
            "the answer varies on a header that the rule does not list: add it to `vary`, or drop it from the answer"
        }
        "vary_star" => "`Vary: *` means that nobody may share it",
        "content_type" => "its type is not one of the rule's `types`",
        "status" => "only 200 is stored",
        "content_encoding" => "the origin encoded it although it was asked for plain bytes",
        "cors" => "it is meant for one web origin: list `origin` in `vary`, or answer with `*`",
        "cache_control_invalid" | "time_invalid" => "a header that says how long cannot be read",
        "too_long" => "it is longer than `object_bytes_max`",
        "no_length" => "it has neither a length nor chunks, so nobody knows whether it is whole",
        _ => "see `edge_pass_total` by reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_has_a_school_a_name_and_perhaps_roles() {
        let Asker(identity) = "oak/7:pupil,guardian".parse().expect("somebody");
        assert_eq!((identity.subject.as_str(), identity.roles.len()), ("7", 2));
        assert!("oak/7".parse::<Asker>().is_ok());
        for text in ["", "oak", "oak/", "/7", "Oak School/7", "oak/:pupil"] {
            assert_eq!(text.parse::<Asker>().err(), Some(NotAnAsker), "{text:?}");
        }
    }
}
