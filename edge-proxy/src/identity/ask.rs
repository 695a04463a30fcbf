//! The origin says whose credentials these are: a GET with them to one of its paths.
//!
//! 200 is a yes, 401 and 403 a no, and anything else means that nobody knows.

use std::sync::Arc;
use std::time::Duration;

use cache_rules::credentials::Credentials;
use cache_rules::identity::Identity;
use http::header::{ACCEPT, HOST, SET_COOKIE};
use http::{Request as HttpRequest, StatusCode};

use super::Outcome;
use crate::config::checked;
use crate::error::Refusal;
use crate::metrics::Metrics;
use crate::session::Introduction;
use crate::upstream::client::Client;
use crate::upstream::pool::Pool;

/// A pupil's profile is a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where and how the origin is asked.
pub struct Question<'a> {
    /// Who is asked: the colour that will also answer the request.
    pub pool: &'a Arc<Pool>,
    /// Who asks.
    pub client: &'a Client,
    /// For the whole answer.
    pub limit: Duration,
    /// As the origin is told elsewhere.
    pub introduction: Introduction<'a>,
}

/// A question with everything it needs, independent of the request that caused it.
pub(super) struct Asked {
    config: Arc<checked::Identity>,
    pool: Arc<Pool>,
    client: Client,
    pub(super) limit: Duration,
    request: HttpRequest<()>,
}

impl Question<'_> {
    pub(super) fn put(
        &self,
        path: &str,
        config: &Arc<checked::Identity>,
        credentials: &Credentials,
    ) -> Result<Asked, Refusal> {
        let mut asked = HttpRequest::get(path)
            .header(HOST, self.introduction.request.host.as_str())
            .header(ACCEPT, "application/json")
            .body(())
            .map_err(|_| Refusal::Internal("identity_request"))?;
        self.introduction.put(asked.headers_mut());
        asked.headers_mut().remove("x-forwarded-host");
        asked.headers_mut().extend(credentials.headers());
        Ok(Asked {
            config: Arc::clone(config),
            pool: Arc::clone(self.pool),
            client: self.client.clone(),
            limit: self.limit,
            request: asked,
        })
    }
}

impl Asked {
    pub(super) async fn ask(self, metrics: &Metrics) -> Outcome {
        let unavailable = |_| Refusal::IdentityUnavailable;
        let answer = self
            .client
            .get(&self.pool, self.request)
            .await
            .map_err(unavailable)?;
        if answer.head.headers.contains_key(SET_COOKIE) {
            // It would be one client's cookie in an answer that many requests share: dropped.
            metrics.identity_cookies_dropped.inc();
        }
        match answer.head.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Refusal::Unauthenticated),
            StatusCode::FORBIDDEN => return Err(Refusal::Forbidden),
            _ => return Err(Refusal::IdentityUnavailable),
        }
        let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(unavailable)?;
        read(&body, &self.config)
            .map(Arc::new)
            .ok_or(Refusal::IdentityUnavailable)
    }
}

/// Maps the origin's answer; none when anything that was asked for is missing or of another kind.
pub(super) fn read(body: &[u8], config: &checked::Identity) -> Option<Identity> {
    map(&serde_json::from_slice(body).ok()?, config)
}

/// Finds in a document what the config's pointers name.
pub(super) fn map(document: &serde_json::Value, config: &checked::Identity) -> Option<Identity> {
    let text = |pointer: &str| match document.pointer(pointer)? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    };
    let roles = match &config.roles {
        None => Default::default(),
        Some(pointer) => {
            let roles = document.pointer(pointer)?.as_array()?.iter();
            roles
                .map(|role| role.as_str().map(str::to_owned))
                .collect::<Option<_>>()?
        }
    };
    Some(Identity {
        subject: text(&config.subject)?,
        tenant: text(&config.tenant)?.parse().ok()?,
        roles,
        acting: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(roles: Option<&str>) -> checked::Identity {
        checked::Identity {
            proof: checked::Proof::Origin {
                path: "/api/v1/me".to_owned(),
            },
            cookies: vec!["_session".to_owned()],
            subject: "/user/id".to_owned(),
            tenant: "/school".to_owned(),
            roles: roles.map(str::to_owned),
            keep: Duration::from_secs(30),
        }
    }

    #[test]
    fn an_identity_is_whole_or_none() {
        let whole = r#"{"user":{"id":7},"school":"oak","roles":["pupil"]}"#;
        let identity = read(whole.as_bytes(), &config(Some("/roles"))).expect("all is there");
        assert_eq!(
            (identity.subject.as_str(), identity.tenant.as_str()),
            ("7", "oak")
        );
        assert!(identity.roles.contains("pupil"));
        for (body, roles) in [
            ("", None),
            ("[]", None),
            (r#"{"user":{"id":""},"school":"oak"}"#, None),
            (r#"{"user":{"id":null},"school":"oak"}"#, None),
            (r#"{"user":{"id":-7},"school":"oak"}"#, None),
            (r#"{"user":{"id":7}}"#, None),
            (r#"{"user":{"id":7},"school":["oak","elm"]}"#, None),
            (r#"{"user":{"id":7},"school":"Oak School"}"#, None),
            (r#"{"user":{"id":7},"school":"oak"}"#, Some("/roles")),
            (
                r#"{"user":{"id":7},"school":"oak","roles":[1]}"#,
                Some("/roles"),
            ),
        ] {
            assert!(read(body.as_bytes(), &config(roles)).is_none(), "{body}");
        }
    }
}
