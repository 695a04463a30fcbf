//! A signed token (JWT, RFC 7519) says whose credentials these are, and nobody is asked.
//!
//! After RFC 8725: the algorithms are those of the config, whatever the token says; keys are found
//! by `kid` among the issuer's own and nowhere else (`jku`, `jwk`, `x5u` are not looked at); `crit`
//! is refused, as is a member that is there twice; `iss`, `aud`, `exp` and `iat` must be there and
//! right. All of that is checked here, on the edge's own clock, and not by a library: what is left
//! of one then is Base64 and a call to aws-lc, which is here already.
//!
//! A token is believed until it expires, so it must not live long, and two things end it before:
//! a purge of `u:<subject>` (see [`super::revoked`]), and a token of the same person with a higher
//! epoch.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cache_rules::credentials::Credentials;
use cache_rules::identity::Identity;
use cache_rules::tag::Tag;
use serde::Deserialize;
use serde_json::Value;

use super::ask;
use super::keys::{Keys, NoKey};
use super::revoked::{Revoked, Seconds};
use super::unambiguous::Unambiguous;
use crate::config::checked::{self, Algorithm, Token};
use crate::error::Refusal;

/// A token is in every request.
const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// How far the clocks of issuer and edge may be apart. Nothing is added to `exp`.
const APART_S: Seconds = 10;
/// As many people as verdicts are kept for.
const EPOCHS_MAX: u64 = 200_000;

/// Verifies tokens.
pub(super) struct Tokens {
    config: Arc<checked::Identity>,
    token: Token,
    keys: Arc<Keys>,
    revoked: Arc<Revoked>,
    /// The highest epoch that a good token of somebody had, by a keyed hash of who it is.
    epochs: moka::sync::Cache<[u8; 32], u64>,
    hash: hmac::Key,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) identity: Identity,
    /// When it is over.
    pub(super) expires: Seconds,
    /// It is the first of a higher epoch: what is kept of the person is of tokens that are no more.
    pub(super) ends_others: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl Tokens {
    pub(super) fn new(
        config: Arc<checked::Identity>,
        token: Token,
        keys: Arc<Keys>,
        revoked: Arc<Revoked>,
    ) -> Self {
        Self {
            epochs: moka::sync::Cache::builder()
                .max_capacity(EPOCHS_MAX)
                .time_to_live(token.lifetime_max)
                .build(),
            hash: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            config,
            token,
            keys,
            revoked,
        }
    }

    /// Who the token of these credentials says the client is.
    pub(super) async fn verify(&self, credentials: &Credentials) -> Result<Believed, Refusal> {
        let no = Refusal::Unauthenticated;
        let token = match self.config.cookies.first() {
            // The origin would see both, and could believe the other one.
            Some(_) if credentials.authorization().is_some() => {
                return Err(Refusal::Malformed("ambiguous_credentials"));
            }
            Some(name) => credentials.cookie_named(name),
            None => credentials.bearer(),
        };
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let mut parts = token.ok_or(no)?.split(|&b| b == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(no);
        };
        let signed = &token.ok_or(no)?[..header.len() + 1 + claims.len()];
        let (kid, algorithm) = self.header(header).ok_or(no)?;
        let keys = self.keys.with(&kid).await.map_err(|no_key| match no_key {
            NoKey::Unknown => no,
            NoKey::Unavailable => Refusal::IdentityUnavailable,
        })?;
        let key = keys.get(&kid).ok_or(no)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| no)?;
        if !key.signed(algorithm, signed, &signature) {
            return Err(no);
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).map_err(|_| no)?;
        let Unambiguous(claims) = serde_json::from_slice(&claims).map_err(|_| no)?;
        self.believe(&claims).ok_or(no)
    }

    /// The key that it names and the algorithm, if that is one of the config's.
    fn header(&self, text: &[u8]) -> Option<(String, Algorithm)> {
        let text = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let header: Header = serde_json::from_slice(&text).ok()?;
        let algorithm = Algorithm::named(&header.alg)?;
        let typ = header.typ.as_deref().map(|typ| {
            let short = typ
                .get(..12)
                .filter(|p| p.eq_ignore_ascii_case("application/"));
            &typ[short.map_or(0, str::len)..]
        });
        let of_type = match (&self.token.typ, typ) {
            (Some(wanted), typ) => typ.is_some_and(|typ| typ.eq_ignore_ascii_case(wanted)),
            (None, typ) => typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt")),
        };
        let fits = header.crit.is_none() && of_type && self.token.algorithms.contains(&algorithm);
        fits.then_some((header.kid, algorithm))
    }

    /// Checks what a token with a good signature says.
    fn believe(&self, claims: &Value) -> Option<Believed> {
        let now = self.revoked.now();
        let (issued, expires) = (seconds(claims.get("iat")?)?, seconds(claims.get("exp")?)?);
        let begins = match claims.get("nbf") {
            Some(nbf) => seconds(nbf)?,
            None => issued,
        };
        let in_time = now < expires
            && issued.max(begins) <= now + APART_S
            && expires.saturating_sub(issued) <= self.token.lifetime_max.as_secs();
        let for_us = match claims.get("aud")? {
            Value::String(audience) => *audience == self.token.audience,
            Value::Array(all) => all.iter().any(|one| *one == *self.token.audience),
            _ => false,
        };
        if !in_time || !for_us || *claims.get("iss")? != *self.token.issuer {
            return None;
        }
        let identity = Identity {
            // Somebody acts as somebody else: what they see is not what the other one sees.
            acting: claims.get("act").is_some(),
            ..ask::map(claims, &self.config)?
        };
        // Who has a name that no purge can have, could never be signed out.
        Tag::parse(&format!("u:{}", identity.subject)).ok()?;
        if self
            .revoked
            .ends(&identity.tenant, &identity.subject, issued)
        {
            return None;
        }
        let ends_others = match &self.token.epoch {
            Some(pointer) => self.newer(&identity, claims.pointer(pointer)?.as_u64()?)?,
            None => false,
        };
        Some(Believed {
            identity,
            expires,
            ends_others,
        })
    }

    /// Whether the epoch is higher than all that were seen; none: it is lower than one.
    fn newer(&self, identity: &Identity, epoch: u64) -> Option<bool> {
        let mut context = hmac::Context::with_key(&self.hash);
        for part in [identity.tenant.as_str(), &identity.subject] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut who = [0; 32];
        who.copy_from_slice(context.sign().as_ref());
        let mut before = None;
        let highest = self.epochs.entry(who).and_upsert_with(|known| {
            before = known.map(|known| *known.value());
            before.unwrap_or(0).max(epoch)
        });
        let highest = *highest.value();
        (epoch >= highest).then(|| before.is_some_and(|before| before < epoch))
    }
}

/// A NumericDate: what is after the point is cut off.
fn seconds(claim: &Value) -> Option<Seconds> {
    let number = claim.as_number()?;
    let whole = |float: f64| (0.0..1e15).contains(&float).then_some(float as Seconds);
    number.as_u64().or_else(|| number.as_f64().and_then(whole))
}

#[cfg(test)]
mod tests;
